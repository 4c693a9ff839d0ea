package config

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxFileBytes is the largest accepted pipeline file, in bytes.
const MaxFileBytes = 4 << 20

// Pos is a place in the file: line and column, 1-based, in characters. Set is
// the number of the --set option instead, when the text came from one. The zero
// Pos is no place.
type Pos struct {
	Line, Col int
	Set       int
}

// sourceText is the file as lines, split where YAML splits them.
type sourceText struct {
	lines  []string
	walker walker // where the last search inside a scalar ended
}

// splitText splits at \n, \r, \r\n and the Unicode line breaks that the YAML
// scanner counts, so that line numbers agree with it.
func splitText(data []byte) sourceText {
	var t sourceText
	start := 0
	for i := 0; i < len(data); {
		n := breakLen(data[i:])
		if n == 0 {
			i++
			continue
		}
		t.lines = append(t.lines, string(data[start:i]))
		i += n
		start = i
	}
	t.lines = append(t.lines, string(data[start:]))
	return t
}

// breakLen returns the length of the line break that b begins with, or 0.
func breakLen(b []byte) int {
	switch {
	case b[0] == '\n':
		return 1
	case b[0] == '\r' && len(b) > 1 && b[1] == '\n':
		return 2
	case b[0] == '\r':
		return 1
	case b[0] == 0xC2 && len(b) > 1 && b[1] == 0x85:
		return 2
	case b[0] == 0xE2 && len(b) > 2 && b[1] == 0x80 && (b[2] == 0xA8 || b[2] == 0xA9):
		return 3
	}
	return 0
}

// line returns line n, 1-based, or "".
func (t *sourceText) line(n int) string {
	if n < 1 || n > len(t.lines) {
		return ""
	}
	return t.lines[n-1]
}

// clamp moves p into the text: at most one character after the end of a line.
func (t *sourceText) clamp(p Pos) Pos {
	if p.Set > 0 || p.Line == 0 {
		return p
	}
	p.Line = min(max(p.Line, 1), len(t.lines))
	p.Col = min(max(p.Col, 1), utf8.RuneCountInString(t.line(p.Line))+1)
	return p
}

// at returns the place of byte offset off of data.
func at(data []byte, off int) Pos {
	off = min(max(off, 0), len(data))
	p := Pos{Line: 1}
	start := 0
	for i := 0; i < off; {
		n := breakLen(data[i:])
		if n == 0 {
			i++
			continue
		}
		i += n
		if i <= off {
			p.Line++
			start = i
		}
	}
	p.Col = utf8.RuneCount(data[start:off]) + 1
	return p
}

const bom = "\xEF\xBB\xBF"

// checkEncoding finds the first byte that no YAML file may hold.
func checkEncoding(data []byte) (off int, msg, hint string) {
	if bytes.HasPrefix(data, []byte("\xFF\xFE")) || bytes.HasPrefix(data, []byte("\xFE\xFF")) {
		return 0, "the file is UTF-16, not UTF-8", "save it as UTF-8"
	}
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return i, fmt.Sprintf("byte 0x%02X is not UTF-8", data[i]), "save the file as UTF-8"
		case !allowedRune(r):
			return i, fmt.Sprintf("control character U+%04X is not allowed", r), `in a "double-quoted" text write it as an escape, such as "\x1b"`
		}
		i += n
	}
	return -1, "", ""
}

// allowedRune is YAML's set of printable characters.
func allowedRune(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r', r == 0x85:
		return true
	case r < 0x20, r >= 0x7F && r < 0xA0, r == 0xFEFF, r == 0xFFFE, r == 0xFFFF:
		return false
	}
	return true
}

// roughly renders a number of bytes with at most one decimal.
func roughly(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") + units[i]
}
