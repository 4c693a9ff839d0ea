package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// A format is one way in which a line can be written.
type format struct {
	name    string
	options []string // those of Parse that only some formats have, and this one does
	once    bool     // no line gives two fields of one name
	scalar  bool     // gives a value instead of fields
	numbers bool     // takes a number as well as a text
	check   func(*Parse) error
	open    func(*Parse) (parser, error)
}

// parser puts the fields of line into out. Their values may alias line. It is
// called by several goroutines at once.
type parser func(line []byte, out *fields, a *record.Arena) error

// formats are all formats, in the order in which messages name them.
var formats = []format{
	{name: "json", open: always(parseJSON)},
	{name: "csv", once: true, options: []string{"columns", "delimiter", "types"}, check: (*Parse).validateCSV, open: (*Parse).csvParser},
	{name: "logfmt", options: []string{"types"}, open: (*Parse).logfmtParser},
	{name: "key_value", options: []string{"pair_separator", "value_separator", "types"}, check: (*Parse).validateKeyValue, open: (*Parse).keyValueParser},
	{name: "regex", once: true, options: []string{"pattern", "types"}, check: (*Parse).validateRegex, open: (*Parse).regexParser},
	{name: "grok", options: []string{"patterns", "definitions", "types"}, check: (*Parse).validateGrok, open: (*Parse).grokParser},
	{name: "apache_common", once: true, open: always(accessParser("apache_common"))},
	{name: "apache_combined", once: true, open: always(accessParser("apache_combined"))},
	{name: "nginx", once: true, options: []string{"log_format", "types"}, check: (*Parse).validateNginx, open: (*Parse).nginxParser},
	{name: "syslog", once: true, options: []string{"zone"}, check: (*Parse).validateSyslog, open: (*Parse).syslogParser},
	{name: "url", once: true, open: always(parseURL)},
	{name: "user_agent", once: true, options: []string{"cache_entries"}, check: (*Parse).validateUserAgent, open: (*Parse).userAgentParser},
	{name: "timestamp", scalar: true, numbers: true, options: []string{"layouts", "zone", "output"}, check: (*Parse).validateTimestamp, open: (*Parse).timestampParser},
}

// always is the open of a format without options.
func always(p parser) func(*Parse) (parser, error) {
	return func(*Parse) (parser, error) { return p, nil }
}

func findFormat(name string) *format {
	for i := range formats {
		if formats[i].name == name {
			return &formats[i]
		}
	}
	return nil
}

// given returns the options that only some formats have and that were set.
func (p *Parse) given() []string {
	var set []string
	for _, o := range []struct {
		name  string
		given bool
	}{
		{"columns", len(p.Columns) > 0},
		{"delimiter", p.Delimiter != ","},
		{"pattern", !p.Pattern.IsZero()},
		{"types", len(p.Types) > 0},
		{"pair_separator", p.PairSeparator != " "},
		{"value_separator", p.ValueSeparator != "="},
		{"log_format", p.LogFormat != ""},
		{"patterns", len(p.Patterns) > 0},
		{"definitions", len(p.Definitions) > 0},
		{"layouts", len(p.Layouts) > 0},
		{"zone", p.Zone != "UTC"},
		{"output", p.Output != "rfc3339"},
		{"cache_entries", p.CacheEntries != 4096},
	} {
		if o.given {
			set = append(set, o.name)
		}
	}
	return set
}

// Validate checks that the options fit the format.
func (p *Parse) Validate() error {
	errs := []error{p.validateFormat(), p.Types.validate()}
	if _, err := record.ParsePath(p.Field); err != nil {
		errs = append(errs, &pipe.FieldError{Field: "field", Err: err})
	}
	if _, err := record.ParsePath(p.Target); err != nil && p.Target != "" {
		errs = append(errs, &pipe.FieldError{Field: "target", Err: err})
	}
	return errors.Join(errs...)
}

func (p *Parse) validateFormat() error {
	f := findFormat(p.Format)
	if f == nil {
		var names []string
		for _, f := range formats {
			names = append(names, f.name)
		}
		last := len(names) - 1
		hint := "one of " + strings.Join(names[:last], ", ") + " and " + names[last]
		if p.Format == "" {
			return fieldError("format", hint, "is required")
		}
		return fieldError("format", hint, "unknown format %q", p.Format)
	}
	var errs []error
	for _, option := range p.given() {
		if !slices.Contains(f.options, option) {
			errs = append(errs, fieldError(option, "", "has no meaning for the format %s", p.Format))
		}
	}
	if f.check != nil {
		errs = append(errs, f.check(p))
	}
	return errors.Join(errs...)
}

// Open prepares the parser.
func (p *Parse) Open(context.Context, pipe.Env) (err error) {
	if p.source, err = record.ParsePath(p.Field); err != nil {
		return fmt.Errorf("field: %w", err)
	}
	p.whole = p.Field == "message"
	if p.format = findFormat(p.Format); p.format == nil {
		return fmt.Errorf("unknown format %q", p.Format)
	}
	if p.target = nil; p.Target != "" {
		if p.target, err = record.ParsePath(p.Target); err != nil {
			return fmt.Errorf("target: %w", err)
		}
	} else if p.format.scalar {
		p.target = p.source
	}
	p.parse, err = p.format.open(p)
	return err
}
