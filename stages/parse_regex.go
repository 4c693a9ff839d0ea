package stages

import (
	"errors"
	"regexp"
	"strings"

	"github.com/pipectl/pipectl/engine/record"
)

// Regexp is a regular expression in RE2 syntax.
type Regexp struct{ re *regexp.Regexp }

// UnmarshalText compiles the expression.
func (r *Regexp) UnmarshalText(text []byte) error {
	re, err := regexp.Compile(string(text))
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	r.re = re
	return nil
}

// MarshalText renders the expression as UnmarshalText reads it.
func (r Regexp) MarshalText() ([]byte, error) {
	if r.re == nil {
		return nil, nil
	}
	return []byte(r.re.String()), nil
}

// IsZero reports whether there is no expression.
func (r Regexp) IsZero() bool { return r.re == nil }

func (p *Parse) validateRegex() error {
	switch r := p.Pattern; {
	case r.re == nil:
		return fieldError("pattern", "such as '^(?P<level>\\w+): (?P<text>.*)'", "is required for the format regex")
	case strings.Join(r.re.SubexpNames(), "") == "":
		return fieldError("pattern", "write (?P<name>...)", "has no named group, so it would give no field")
	}
	return nil
}

func (p *Parse) regexParser() (parser, error) {
	re := p.Pattern.re
	names := newNames(re.SubexpNames())
	types := make([]fieldType, len(names))
	for i, n := range names {
		types[i] = p.Types.of(n.plain)
	}
	parse := func(line []byte, out *fields, a *record.Arena) error {
		at := re.FindSubmatchIndex(line)
		if at == nil {
			return errors.New("regex: the pattern does not match")
		}
		for i := range names {
			n := &names[i]
			start, end := at[2*i], at[2*i+1]
			if n.plain == "" || start < 0 {
				continue
			}
			if err := out.convert("regex", n, line[start:end], types[i], start, a); err != nil {
				return err
			}
		}
		return nil
	}
	return parse, nil
}
