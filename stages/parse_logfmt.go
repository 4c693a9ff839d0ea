package stages

import (
	"bytes"
	"fmt"

	"github.com/pipectl/pipectl/engine/record"
)

// logfmtPair is one key=value of a logfmt line. Key and value alias the line
// where they can.
type logfmtPair struct {
	key, value []byte
	at         int  // where the value starts
	bare       bool // a key without =
	quoted     bool
}

// logfmtPair takes the next pair and reports whether there was one. The
// grammar is forgiving where that loses nothing: a quote inside an unquoted value
// stands for itself.
func (c *cursor) logfmtPair(p *logfmtPair) bool {
	for c.at < len(c.line) && c.line[c.at] <= ' ' {
		c.at++
	}
	if c.want != "" || c.at == len(c.line) {
		return false
	}
	start := c.at
	for c.at < len(c.line) && c.line[c.at] > ' ' && c.line[c.at] != '=' && c.line[c.at] != '"' {
		c.at++
	}
	*p = logfmtPair{key: c.line[start:c.at], bare: true}
	switch {
	case c.at < len(c.line) && c.line[c.at] == '"':
		c.fail(c.at, "a key", " cannot have a quote")
		return false
	case c.at == start:
		c.fail(start, "a key", " should be before =")
		return false
	case c.at == len(c.line) || c.line[c.at] != '=':
		return true
	}
	c.at++
	p.bare, p.at = false, c.at
	if c.at < len(c.line) && c.line[c.at] == '"' {
		p.quoted = true
		p.value = c.logfmtQuoted(p.key)
		return c.want == ""
	}
	for c.at < len(c.line) && c.line[c.at] > ' ' {
		c.at++
	}
	p.value = c.line[p.at:c.at]
	return true
}

func (c *cursor) logfmtQuoted(key []byte) []byte {
	start := c.at + 1
	for i := start; ; i++ {
		n := bytes.IndexByte(c.line[i:], '"')
		if n < 0 {
			c.fail(len(c.line), "the closing quote of "+clip(key), " is missing")
			return nil
		}
		if i += n; escaped(c.line[start:i]) {
			continue
		}
		c.at = i + 1
		if c.at < len(c.line) && c.line[c.at] > ' ' {
			c.fail(c.at, "a space", " should follow the value of "+clip(key))
			return nil
		}
		return c.unescape(c.line[start:i])
	}
}

// setPair adds a pair, or gives its key a new value.
func (f *fields) setPair(format string, p *logfmtPair, types *typesByName, a *record.Arena) error {
	key := view(p.key)
	if p.bare {
		f.set(&name{plain: key}, record.Bool(true))
		return nil
	}
	t, own := types.of(key)
	if p.quoted && !own {
		t = asString
	}
	v, want := t.convert(p.value, a)
	if want != "" {
		return fmt.Errorf("%s: byte %d: field %s should be %s, got %q", format, p.at, clip(p.key), want, clip(p.value))
	}
	if v.Exists() {
		f.set(&name{plain: key}, v)
	}
	return nil
}

func (p *Parse) logfmtParser() (parser, error) {
	types := p.Types.byName()
	return func(line []byte, out *fields, a *record.Arena) error {
		c := out.cursor(line)
		var kv logfmtPair
		n := 0
		for ; c.logfmtPair(&kv); n++ {
			if err := out.setPair("logfmt", &kv, &types, a); err != nil {
				return err
			}
		}
		out.room = c.room
		switch {
		case c.want != "":
			return c.mistake("logfmt")
		case n == 0:
			return fmt.Errorf("logfmt: byte %d: the line has no key=value", len(line))
		}
		return nil
	}, nil
}
