package stages

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// cursor walks over a line. After the first mistake it stands still: want says
// what should have been at byte at, and every further step does nothing.
type cursor struct {
	line []byte
	at   int
	want string
	part string // the part that want speaks about
	room []byte // for text that the line does not have as it is needed
}

func (c *cursor) fail(at int, part, want string) {
	if c.want == "" {
		c.at, c.part, c.want = at, part, want
	}
}

func (c *cursor) mistake(format string) error {
	return fmt.Errorf("%s: byte %d: %s%s", format, c.at, c.part, c.want)
}

// escaped reports whether the byte after b is escaped by b's last backslash.
func escaped(b []byte) bool {
	n := 0
	for n < len(b) && b[len(b)-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

// unescape undoes what web servers and logfmt writers do to bytes that cannot
// stand in quotes: \" \\ \n \t \xhh and so on. A text whose escapes do not make
// valid UTF-8 stays as it was logged, so that nothing is lost.
func (c *cursor) unescape(b []byte) []byte {
	i := bytes.IndexByte(b, '\\')
	if i < 0 {
		return b
	}
	start := len(c.room)
	out := append(c.room, b[:i]...)
	for i < len(b) {
		if b[i] != '\\' || i+1 == len(b) {
			out = append(out, b[i])
			i++
			continue
		}
		means, n := unescapeOne(b[i+1:])
		if n == 0 { // no such escape: a backslash that stands for itself
			means = b[i]
		}
		out = append(out, means)
		i += 1 + n
	}
	if !utf8.Valid(out[start:]) {
		return b
	}
	c.room = out
	return out[start:]
}

// unescapeOne returns the byte that an escape stands for, given what follows
// its backslash, and how many bytes that is; 0 if it is none.
func unescapeOne(b []byte) (byte, int) {
	const codes, means = `"\/nrtbvf`, "\"\\/\n\r\t\b\v\f"
	if i := bytes.IndexByte([]byte(codes), b[0]); i >= 0 {
		return means[i], 1
	}
	if b[0] == 'x' && len(b) >= 3 {
		hi, lo := hexDigit(b[1]), hexDigit(b[2])
		if hi >= 0 && lo >= 0 {
			return byte(hi<<4 | lo), 3
		}
	}
	return 0, 0
}

func hexDigit(c byte) int {
	switch {
	case c-'0' <= 9:
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// clip shortens text that goes into a message.
func clip(b []byte) string {
	const most = 40
	if len(b) > most {
		return string(b[:most]) + "..."
	}
	return string(b)
}
