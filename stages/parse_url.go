package stages

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/pipectl/pipectl/engine/record"
)

// The parts of a URL (RFC 3986), in the order of their fields.
const (
	urlScheme = iota
	urlUser
	urlHost
	urlPort
	urlPath
	urlQuery
	urlFragment
	urlParts
)

var urlNames = newNames([]string{"scheme", "user", "host", "port", "path", "query", "fragment"})

func parseURL(line []byte, out *fields, _ *record.Arena) error {
	var parts [urlParts][]byte
	c := out.cursor(bytes.TrimSpace(line))
	c.cutURL(&parts)
	if c.want != "" {
		return c.mistake("url")
	}
	var query []byte
	if parts[urlQuery] != nil {
		query = c.queryObject(parts[urlQuery])
	}
	for i, b := range parts {
		switch {
		case b == nil:
		case i == urlPort:
			out.add(&urlNames[i], record.Number(b))
		case i == urlQuery:
			out.add(&urlNames[i], record.RawJSON(query))
		default:
			out.add(&urlNames[i], record.Text(b))
		}
	}
	out.room = c.room
	return nil
}

// cutURL takes a URL apart. A part that it does not have stays nil.
func (c *cursor) cutURL(p *[urlParts][]byte) {
	rest := c.line
	if len(rest) == 0 {
		c.fail(0, "a URL", " should be here")
		return
	}
	for i, b := range rest {
		if b <= ' ' || b == 0x7f {
			c.fail(i, "the URL", " has a space or a control character")
			return
		}
	}
	if i := bytes.IndexByte(rest, '#'); i >= 0 {
		rest, p[urlFragment] = rest[:i], rest[i+1:]
	}
	if i := bytes.IndexByte(rest, '?'); i >= 0 {
		rest, p[urlQuery] = rest[:i], rest[i+1:]
	}
	if n := schemeLen(rest); n > 0 {
		p[urlScheme], rest = rest[:n], rest[n+1:]
	}
	if bytes.HasPrefix(rest, []byte("//")) && (p[urlScheme] != nil || !bytes.HasPrefix(rest, []byte("///"))) {
		rest = rest[2:]
		n := bytes.IndexByte(rest, '/')
		if n < 0 {
			n = len(rest)
		}
		c.cutAuthority(p, rest[:n])
		rest = rest[n:]
	}
	if len(rest) > 0 {
		p[urlPath] = rest
	}
	for _, part := range []int{urlFragment, urlQuery} {
		if len(p[part]) == 0 {
			p[part] = nil
		}
	}
}

// schemeLen returns how long the scheme is that b begins with, 0 without one.
// What looks like host:port has none.
func schemeLen(b []byte) int {
	for i, c := range b {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		switch {
		case letter, i > 0 && (c-'0' <= 9 || c == '+' || c == '-' || c == '.'):
		case c == ':' && i > 0:
			if rest := b[i+1:]; len(rest) > 0 && digits(rest) > 0 && (digits(rest) == len(rest) || rest[digits(rest)] == '/') {
				return 0
			}
			return i
		default:
			return 0
		}
	}
	return 0
}

// cutAuthority takes user:password@host:port apart and leaves the password out.
func (c *cursor) cutAuthority(p *[urlParts][]byte, b []byte) {
	at := cap(c.line) - cap(b) // where it is in the line
	if i := bytes.LastIndexByte(b, '@'); i >= 0 {
		user := b[:i]
		if j := bytes.IndexByte(user, ':'); j >= 0 {
			user = user[:j]
		}
		if len(user) > 0 {
			p[urlUser] = c.unpercent(user, false)
		}
		b = b[i+1:]
	}
	host, port := b, []byte(nil)
	if len(b) > 0 && b[0] == '[' {
		i := bytes.IndexByte(b, ']')
		if i < 0 {
			c.fail(at, "the ] of the host", " is missing")
			return
		}
		host, b = b[1:i], b[i+1:]
		if len(b) > 0 && b[0] != ':' {
			c.fail(at, "the port", " should follow the ] of the host")
			return
		}
		if len(b) > 0 {
			port = b[1:]
		}
	} else if i := bytes.LastIndexByte(b, ':'); i >= 0 {
		host, port = b[:i], b[i+1:]
	}
	if len(host) > 0 {
		p[urlHost] = host
	}
	if len(port) == 0 {
		return
	}
	n := 0
	for _, d := range port {
		if n = n*10 + int(d-'0'); d-'0' > 9 || n > 65535 {
			c.fail(at, "the port", fmt.Sprintf(" should be 0 to 65535, got %q", clip(port)))
			return
		}
	}
	for len(port) > 1 && port[0] == '0' {
		port = port[1:]
	}
	p[urlPort] = port
}

// unpercent undoes %41, and + for a space if plus is set. What is no escape
// stays, and so does a text whose escapes would not make UTF-8.
func (c *cursor) unpercent(b []byte, plus bool) []byte {
	if bytes.IndexByte(b, '%') < 0 && (!plus || bytes.IndexByte(b, '+') < 0) {
		return b
	}
	start := len(c.room)
	out := c.room
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '+' && plus:
			out = append(out, ' ')
		case b[i] == '%' && i+2 < len(b) && hexDigit(b[i+1]) >= 0 && hexDigit(b[i+2]) >= 0:
			out = append(out, byte(hexDigit(b[i+1])<<4|hexDigit(b[i+2])))
			i += 2
		default:
			out = append(out, b[i])
		}
	}
	if !utf8.Valid(out[start:]) {
		return b
	}
	c.room = out
	return out[start:]
}

// param is a name of a query with its first value; next leads to the others.
type param struct {
	key, value []byte
	next, last int // of the same name, in the list; 0 for none
}

// queryObject makes an object of a query: a text for a name that occurs once, a
// list for others. A name without = is an empty text.
func (c *cursor) queryObject(query []byte) []byte {
	var few [16]param
	list, repeated := few[:0], false
	var index map[string]int
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte{'&'})
		if len(pair) == 0 {
			continue
		}
		key, value, _ := bytes.Cut(pair, []byte{'='})
		p := param{key: c.unpercent(key, true), value: c.unpercent(value, true)}
		p.last = len(list)
		if index == nil && len(list) >= fewFields {
			index = map[string]int{}
			for i := len(list) - 1; i >= 0; i-- {
				index[string(list[i].key)] = i
			}
		}
		if head := findParam(list, index, p.key); head >= 0 {
			list[list[head].last].next = len(list)
			list[head].last = len(list)
			p.last, repeated = -1, true
		} else if index != nil {
			index[string(p.key)] = len(list)
		}
		list = append(list, p)
	}
	return c.writeParams(list, repeated)
}

func findParam(list []param, index map[string]int, key []byte) int {
	if index != nil {
		if i, ok := index[string(key)]; ok {
			return i
		}
		return -1
	}
	for i := range list {
		if bytes.Equal(list[i].key, key) {
			return i
		}
	}
	return -1
}

func (c *cursor) writeParams(list []param, repeated bool) []byte {
	start := len(c.room)
	out := append(c.room, '{')
	for i := range list {
		p := &list[i]
		if p.last < 0 { // is in the list of another
			continue
		}
		if len(out) > start+1 {
			out = append(out, ',')
		}
		out = append(record.AppendQuoted(out, p.key), ':')
		if !repeated || p.next == 0 {
			out = record.AppendQuoted(out, p.value)
			continue
		}
		out = append(out, '[')
		for j := i; ; {
			out = record.AppendQuoted(out, list[j].value)
			if j = list[j].next; j == 0 {
				break
			}
			out = append(out, ',')
		}
		out = append(out, ']')
	}
	c.room = append(out, '}')
	return c.room[start:]
}
