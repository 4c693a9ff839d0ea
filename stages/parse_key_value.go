package stages

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pipectl/pipectl/engine/record"
)

func (p *Parse) validateKeyValue() error {
	var errs []error
	blank := strings.TrimSpace(p.PairSeparator) == ""
	switch {
	case p.PairSeparator == "":
		errs = append(errs, fieldError("pair_separator", `such as " " or "&"`, "must not be empty"))
	case strings.ContainsAny(p.PairSeparator, `"'\`):
		errs = append(errs, fieldError("pair_separator", "", "cannot have quotes or backslashes"))
	}
	switch {
	case p.ValueSeparator == "":
		errs = append(errs, fieldError("value_separator", `such as "=" or ":"`, "must not be empty"))
	case strings.ContainsAny(p.ValueSeparator, `"'\`):
		errs = append(errs, fieldError("value_separator", "", "cannot have quotes or backslashes"))
	case p.PairSeparator != "" && strings.Contains(p.ValueSeparator, p.PairSeparator), blank && strings.ContainsAny(p.ValueSeparator, " \t"):
		errs = append(errs, fieldError("value_separator", "", "%q has the pair_separator %q in it, so no pair would have a value", p.ValueSeparator, p.PairSeparator))
	}
	return errors.Join(errs...)
}

// keyValue is how the pairs of a line are separated.
type keyValue struct {
	pair, value []byte
	blank       bool // pair is white space, and so is any other
}

// end returns where the next pair separator begins, or the end of the line.
func (k *keyValue) end(c *cursor) int {
	rest := c.line[c.at:]
	n := -1
	if !k.blank {
		n = bytes.Index(rest, k.pair)
	} else {
		for i, b := range rest {
			if b <= ' ' {
				n = i
				break
			}
		}
	}
	if n < 0 {
		n = len(rest)
	}
	return c.at + n
}

// skip passes the separators before a pair.
func (k *keyValue) skip(c *cursor) {
	for c.at < len(c.line) {
		switch {
		case c.line[c.at] <= ' ' && !bytes.HasPrefix(c.line[c.at:], k.value):
			c.at++
		case !k.blank && bytes.HasPrefix(c.line[c.at:], k.pair):
			c.at += len(k.pair)
		default:
			return
		}
	}
}

// next takes the next pair and reports whether there was one.
func (k *keyValue) next(c *cursor, p *logfmtPair) bool {
	k.skip(c)
	if c.want != "" || c.at == len(c.line) {
		return false
	}
	start, end := c.at, k.end(c)
	n := bytes.Index(c.line[start:end], k.value)
	if n < 0 {
		*p = logfmtPair{key: bytes.TrimRight(c.line[start:end], " \t\r"), bare: true}
		c.at = end
		return true
	}
	*p = logfmtPair{key: bytes.TrimRight(c.line[start:start+n], " \t"), at: start + n + len(k.value)}
	if len(p.key) == 0 {
		c.fail(start, "a key", " should be before "+string(k.value))
		return false
	}
	for !k.blank && p.at < end && (c.line[p.at] == ' ' || c.line[p.at] == '\t') {
		p.at++
	}
	if p.at < end && (c.line[p.at] == '"' || c.line[p.at] == '\'') {
		p.quoted = true
		p.value = k.quoted(c, p)
		return c.want == ""
	}
	p.value, c.at = bytes.TrimRight(c.line[p.at:end], " \t\r"), end
	return true
}

// quoted takes the value of p, which begins with a quote. It leaves the cursor
// at the separator after it.
func (k *keyValue) quoted(c *cursor, p *logfmtPair) []byte {
	quote, start := c.line[p.at], p.at+1
	for i := start; ; i++ {
		n := bytes.IndexByte(c.line[i:], quote)
		if n < 0 {
			c.fail(len(c.line), "the closing quote of "+clip(p.key), " is missing")
			return nil
		}
		if i += n; escaped(c.line[start:i]) {
			continue
		}
		for c.at = i + 1; c.at < len(c.line) && c.line[c.at] <= ' '; c.at++ {
		}
		apart := c.at == len(c.line) || k.blank && c.at > i+1 || !k.blank && bytes.HasPrefix(c.line[c.at:], k.pair) ||
			!k.blank && bytes.HasPrefix(c.line[i+1:], k.pair)
		if !apart {
			c.fail(c.at, fmt.Sprintf("the separator %q", k.pair), " should follow the value of "+clip(p.key))
			return nil
		}
		if quote == '"' {
			return c.unescape(c.line[start:i])
		}
		return c.unescapeSingle(c.line[start:i])
	}
}

// unescapeSingle undoes \' and \\, which are all that single quotes need.
func (c *cursor) unescapeSingle(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	start := len(c.room)
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) && (b[i+1] == '\'' || b[i+1] == '\\') {
			i++
		}
		c.room = append(c.room, b[i])
	}
	return c.room[start:]
}

func (p *Parse) keyValueParser() (parser, error) {
	types := p.Types.byName()
	k := &keyValue{pair: []byte(p.PairSeparator), value: []byte(p.ValueSeparator), blank: strings.TrimSpace(p.PairSeparator) == ""}
	return func(line []byte, out *fields, a *record.Arena) error {
		c := out.cursor(line)
		var kv logfmtPair
		n := 0
		for ; k.next(&c, &kv); n++ {
			if err := out.setPair("key_value", &kv, &types, a); err != nil {
				return err
			}
		}
		out.room = c.room
		switch {
		case c.want != "":
			return c.mistake("key_value")
		case n == 0:
			return fmt.Errorf("key_value: byte %d: the line has no pairs", len(line))
		}
		return nil
	}, nil
}
