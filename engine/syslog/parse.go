package syslog

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// maxParams bounds the structured data of one message: elements and parameters.
const maxParams = 1024

var bom = []byte("\xef\xbb\xbf")

// Parser reads messages. Several goroutines may use it, each with its own Message.
type Parser struct {
	Format Format
	Year   int              // of RFC 3164 times; 0 takes the one that puts them nearest to Now
	Zone   *time.Location   // of RFC 3164 times
	Now    func() time.Time // time.Now, except in tests
}

// Parse takes line apart. The message's bytes are those of line, which must not
// change while it is used; what m held before is overwritten. An error says at
// which byte, counted from 0, something else should have been.
func (p *Parser) Parse(line []byte, m *Message) error {
	*m = Message{room: m.room[:0]}
	c := cursor{line: bytes.TrimRight(line, "\r\n\x00"), m: m}
	priority, ok := c.priority()
	if !ok {
		return c.wrong("a priority such as <13> should be here")
	}
	m.Facility, m.Severity = priority/8, priority%8
	if p.Format == RFC5424 || p.Format == Auto && c.looks5424() {
		return c.rfc5424()
	}
	p.rfc3164(&c)
	return nil
}

// cursor walks over a line.
type cursor struct {
	line []byte
	at   int
	m    *Message
}

func (c *cursor) wrong(want string) error { return fmt.Errorf("byte %d: %s", c.at, want) }

func (c *cursor) rest() []byte { return c.line[c.at:] }

// priority takes <0> to <191>.
func (c *cursor) priority() (n int, ok bool) {
	data := c.line
	if len(data) < 3 || data[0] != '<' {
		return 0, false
	}
	end := bytes.IndexByte(data[:min(len(data), 5)], '>')
	if end < 2 || end > 2 && data[1] == '0' {
		return 0, false
	}
	for _, d := range data[1:end] {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = 10*n + int(d-'0')
	}
	c.at = end + 1
	return n, n < 8*len(facilities)
}

// looks5424 reports whether a version follows, and then a time or none.
func (c *cursor) looks5424() bool {
	data := c.rest()
	n := 0
	for n < len(data) && n < 3 && data[n] >= '0' && data[n] <= '9' {
		n++
	}
	if n == 0 || data[0] == '0' || n+1 >= len(data) || data[n] != ' ' {
		return false
	}
	data = data[n+1:]
	return data[0] == '-' && (len(data) == 1 || data[1] == ' ') || len(data) > 4 && data[0] >= '0' && data[0] <= '9' && data[4] == '-'
}

// rfc5424 takes what follows the priority.
func (c *cursor) rfc5424() error {
	if version, err := c.word("version", 3); err != nil {
		return err
	} else if string(version) != "1" {
		return fmt.Errorf("version %q is not known: only 1 is defined", version)
	}
	start := c.at
	var err error
	if c.m.Timestamp, err = c.word("timestamp", 64); err != nil {
		return err
	}
	if t := c.m.Timestamp; t != nil {
		if _, err := time.Parse(time.RFC3339, string(t)); err != nil {
			c.at = start
			return c.wrong(fmt.Sprintf("the time should be like 2026-03-01T23:30:00.123Z or -, got %q", t))
		}
	}
	for _, f := range []struct {
		to   *[]byte
		name string
		most int
	}{{&c.m.Hostname, "hostname", 255}, {&c.m.AppName, "app_name", 48}, {&c.m.ProcID, "proc_id", 128}, {&c.m.MsgID, "msg_id", 32}} {
		if *f.to, err = c.word(f.name, f.most); err != nil {
			return err
		}
	}
	if err := c.structuredData(); err != nil {
		return err
	}
	if c.at < len(c.line) {
		if c.line[c.at] != ' ' {
			return c.wrong("a space should follow the structured data")
		}
		c.at++
		c.m.Text = bytes.TrimPrefix(c.rest(), bom)
	}
	return nil
}

// word takes a word of the header and the space behind it; nil for "-".
func (c *cursor) word(name string, most int) ([]byte, error) {
	data := c.rest()
	n := bytes.IndexByte(data[:min(len(data), most+1)], ' ')
	switch {
	case n < 0 && len(data) > most:
		return nil, c.wrong(fmt.Sprintf("%s is longer than the %d bytes that it may have", name, most))
	case n < 0:
		return nil, c.wrong("the message ends in or before " + name)
	case n == 0:
		return nil, c.wrong(name + " is missing")
	}
	c.at += n + 1
	if w := data[:n]; n != 1 || w[0] != '-' {
		return w, nil
	}
	return nil, nil
}

var errParams = errors.New("structured data has more than 1024 elements and parameters")

// structuredData takes "-" or elements.
func (c *cursor) structuredData() error {
	if data := c.rest(); len(data) > 0 && data[0] == '-' {
		c.at++
		return nil
	}
	total := 0
	for c.at < len(c.line) && c.line[c.at] == '[' {
		c.at++
		id, err := c.name("the name of an element")
		if err != nil {
			return err
		}
		e := Element{ID: id}
		for c.at < len(c.line) && c.line[c.at] == ' ' {
			c.at++
			if c.at < len(c.line) && c.line[c.at] == ']' {
				break // some senders end so
			}
			p, err := c.param()
			if err != nil {
				return err
			}
			if total++; total > maxParams {
				return errParams
			}
			e.Params = append(e.Params, p)
		}
		if c.at == len(c.line) || c.line[c.at] != ']' {
			return c.wrong("] should end the element")
		}
		c.at++
		if total++; total > maxParams {
			return errParams
		}
		c.m.Data = append(c.m.Data, e)
	}
	if c.m.Data == nil {
		return c.wrong("structured data in brackets or - should be here")
	}
	return nil
}

// name takes the name of an element or parameter.
func (c *cursor) name(what string) ([]byte, error) {
	start := c.at
	for c.at < len(c.line) {
		if b := c.line[c.at]; b <= ' ' || b >= 0x7f || b == '=' || b == ']' || b == '"' {
			break
		}
		c.at++
	}
	if c.at == start {
		return nil, c.wrong(what + " should be here")
	}
	return c.line[start:c.at], nil
}

func (c *cursor) param() (p Param, err error) {
	if p.Name, err = c.name("the name of a parameter"); err != nil {
		return p, err
	}
	if !bytes.HasPrefix(c.rest(), []byte(`="`)) {
		return p, c.wrong(`=" should follow the name of the parameter`)
	}
	c.at += 2
	start, escapes := c.at, false
	for ; c.at < len(c.line); c.at++ {
		switch c.line[c.at] {
		case '\\':
			escapes = true
			c.at++
		case '"':
			p.Value = c.line[start:c.at]
			c.at++
			if escapes {
				p.Value = c.unescape(p.Value)
			}
			return p, nil
		}
	}
	c.at = len(c.line)
	return p, c.wrong("the closing quote of the parameter is missing")
}

// unescape takes the backslashes off quotes, brackets and backslashes. Any other
// stands for itself, as RFC 5424 has it.
func (c *cursor) unescape(v []byte) []byte {
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		if v[i] == '\\' && i+1 < len(v) && (v[i+1] == '"' || v[i+1] == '\\' || v[i+1] == ']') {
			i++
		}
		out = append(out, v[i])
	}
	return out
}
