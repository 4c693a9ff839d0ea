package stages

import (
	"bytes"
	"fmt"

	"github.com/pipectl/pipectl/engine/record"
)

// The parts of a line of the common and the combined log format, in the order
// of their fields in the event.
const (
	partClientIP = iota
	partIdent
	partUser
	partTime
	partMethod
	partPath
	partProtocol
	partStatus
	partBytes
	partReferer
	partAgent
	partRequest
	accessParts
)

var accessNames = [accessParts]string{
	"client_ip", "ident", "user", "time", "method", "path", "protocol",
	"status", "bytes", "referer", "agent", "request",
}

// accessLine is an access log line cut into its parts. Parts alias the line
// where they can; a nil part is absent.
type accessLine [accessParts][]byte

// accessParser returns the parser of an access log format.
func accessParser(format string) parser {
	combined := format == "apache_combined"
	names := newNames(accessNames[:])
	return func(line []byte, out *fields, a *record.Arena) error {
		var p accessLine
		c := out.cursor(line)
		c.cutAccess(&p, combined)
		if c.want != "" {
			return c.mistake(format)
		}
		start := len(c.room)
		var ok bool
		if c.room, ok = appendRFC3339(c.room, p[partTime]); !ok {
			return fmt.Errorf("%s: byte %d: time is no time: %s", format, bytes.IndexByte(line, '[')+1, p[partTime])
		}
		p[partTime] = c.room[start:]
		out.room = c.room
		if out.direct {
			p.addTo(&out.made, names)
			return nil
		}
		for i, b := range p[:] {
			if b != nil {
				out.add(&names[i], accessValue(i, b))
			}
		}
		return nil
	}
}

func accessValue(part int, b []byte) record.Value {
	if part == partStatus || part == partBytes {
		return record.Number(b)
	}
	return record.Text(b)
}

// addTo adds the parts as members. It is what add does one by one, but faster.
func (p *accessLine) addTo(made *record.Builder, names []name) {
	for i := range p {
		b := p[i]
		if b == nil {
			continue
		}
		n := &names[i].written
		switch i {
		case partStatus, partBytes:
			made.AddNumber(n, b)
		case partTime, partMethod: // nothing in them needs an escape
			made.AddPlain(n, b)
		default:
			made.AddText(n, b)
		}
	}
}

// cutAccess cuts a line of the common format, or of the combined one, which
// has a referer and an agent after it. The time stays as it is in the line.
func (c *cursor) cutAccess(p *accessLine, combined bool) {
	p[partClientIP] = c.word("client_ip")
	p[partIdent] = c.word("ident")
	p[partUser] = c.user()
	p[partTime] = c.time()
	c.cutRequest(p)
	p[partStatus] = c.number("status", false)
	p[partBytes] = c.number("bytes", !combined)
	p[partReferer], p[partAgent] = nil, nil
	if combined {
		p[partReferer] = dashless(c.quoted("referer"))
		c.space("referer")
		p[partAgent] = dashless(c.quoted("agent"))
	}
	if c.want == "" && len(bytes.TrimRight(c.line[c.at:], " \r\t")) > 0 {
		c.fail(c.at, "the line", " goes on where it should end")
	}
}

// dashless returns nil for "-", which says that there is no value.
func dashless(b []byte) []byte {
	if len(b) == 1 && b[0] == '-' {
		return nil
	}
	return b
}

// space passes the one space after a part.
func (c *cursor) space(after string) {
	switch {
	case c.want != "":
	case c.at >= len(c.line):
		c.fail(c.at, "the line", " ends after "+after)
	case c.line[c.at] != ' ':
		c.fail(c.at, "a space", " should follow "+after)
	default:
		c.at++
	}
}

// word takes what comes before the next space, and the space.
func (c *cursor) word(part string) []byte {
	if c.want != "" {
		return nil
	}
	if c.at+1 < len(c.line) && c.line[c.at] == '-' && c.line[c.at+1] == ' ' { // the most common one
		c.at += 2
		return nil
	}
	n := bytes.IndexByte(c.line[c.at:], ' ')
	switch {
	case n < 0 && c.at < len(c.line):
		c.fail(len(c.line), "the line", " ends after "+part)
		return nil
	case n <= 0:
		c.fail(c.at, part, " is missing")
		return nil
	}
	w := c.line[c.at : c.at+n]
	c.at += n + 1
	return dashless(w)
}

// user takes the user's name, which may have spaces, up to the time's bracket.
func (c *cursor) user() []byte {
	if c.want != "" {
		return nil
	}
	if rest := c.line[c.at:]; len(rest) > 2 && rest[0] == '-' && rest[1] == ' ' && rest[2] == '[' {
		c.at += 2
		return nil
	}
	n := bytes.Index(c.line[c.at:], []byte(" ["))
	if n <= 0 {
		c.fail(c.at, "user", " and a time in brackets should be here")
		return nil
	}
	w := c.line[c.at : c.at+n]
	c.at += n + 1
	return dashless(w)
}

// time takes the time without its brackets, and the space after them.
func (c *cursor) time() []byte {
	const size = len("17/May/2015:10:05:03 +0000")
	if c.want != "" {
		return nil
	}
	rest := c.line[c.at+1:] // user stopped at the bracket
	if len(rest) <= size || rest[size] != ']' {
		c.fail(c.at, "time", " is not like [17/May/2015:10:05:03 +0000]")
		return nil
	}
	c.at += 1 + size + 1
	c.space("time")
	return rest[:size]
}

// number takes a word of digits, without leading zeros; last says that it may
// end the line.
func (c *cursor) number(part string, last bool) []byte {
	start := c.at
	var w []byte
	if last && c.want == "" && bytes.IndexByte(c.line[c.at:], ' ') < 0 {
		w = bytes.TrimRight(c.line[c.at:], "\r")
		c.at += len(w)
		if len(w) == 0 {
			c.fail(start, part, " is missing")
		}
		w = dashless(w)
	} else {
		w = c.word(part)
	}
	for _, d := range w {
		if d-'0' > 9 {
			c.fail(start, part, " should be a number or -")
			return nil
		}
	}
	for len(w) > 1 && w[0] == '0' {
		w = w[1:]
	}
	return w
}

// quoted takes a text in double quotes, in which \" does not end it.
func (c *cursor) quoted(part string) []byte {
	if c.want != "" {
		return nil
	}
	if c.at >= len(c.line) || c.line[c.at] != '"' {
		c.fail(c.at, part, " in double quotes should be here")
		return nil
	}
	start := c.at + 1
	for i := start; ; i++ {
		n := bytes.IndexByte(c.line[i:], '"')
		if n < 0 {
			c.fail(len(c.line), "the closing quote of "+part, " is missing")
			return nil
		}
		if i += n; c.line[i-1] != '\\' || !escaped(c.line[start:i]) {
			c.at = i + 1
			return c.unescape(c.line[start:i])
		}
	}
}

// cutRequest takes the request line, which is METHOD PATH PROTOCOL if all is
// well. What cannot be split so stays whole, as the part request.
func (c *cursor) cutRequest(p *accessLine) {
	req := c.quoted("request")
	c.space("request")
	p.splitRequest(req)
}

// splitRequest takes a request line apart.
func (p *accessLine) splitRequest(req []byte) {
	p[partMethod], p[partPath], p[partProtocol], p[partRequest] = nil, nil, nil, nil
	n := bytes.IndexByte(req, ' ')
	if n <= 0 || !isMethod(req[:n]) {
		if len(req) > 0 {
			p[partRequest] = dashless(req)
		}
		return
	}
	path := req[n+1:]
	if i := bytes.LastIndexByte(path, ' '); bytes.HasPrefix(path[i+1:], []byte("HTTP/")) {
		p[partProtocol] = path[i+1:]
		path = path[:max(i, 0)]
	}
	if len(path) > 0 {
		p[partPath] = path
	}
	p[partMethod] = req[:n]
}

func isMethod(b []byte) bool {
	for _, c := range b {
		if (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
