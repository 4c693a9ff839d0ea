package config

import (
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// inText returns the place of byte off of the scalar's text, as it is after
// expansion.
func (t *sourceText) inText(n *node, off int) Pos {
	return t.inside(n, rawOffset(n.spans, off))
}

// inside returns the place in the file of byte off of the scalar's unexpanded
// text. Where the two cannot be brought together it is the scalar's own place.
func (t *sourceText) inside(n *node, off int) Pos {
	if n.src == nil || n.pos.Set > 0 {
		return n.pos
	}
	off = min(off, len(n.src.Value))
	w := t.walker
	if w.src != n.src || w.off > off { // else go on where the last search ended
		w = walker{src: n.src, lines: t.lines, line: n.src.Line, value: n.src.Value}
		w.rest = skipRunes(t.line(w.line), n.src.Column-1)
		w.lost = !w.properties() || !w.open(n.src.Style)
	}
	for w.off < off && !w.lost {
		w.lost = !w.step()
	}
	t.walker = w
	if w.lost {
		return n.pos
	}
	return w.pos()
}

// walker goes through a scalar as written and as read, side by side.
type walker struct {
	src   *yaml.Node
	lines []string
	line  int
	rest  string // of the line, from here on
	quote byte   // ' or " or 0
	value string
	off   int  // in value
	lost  bool // the two do not match
}

func (w *walker) pos() Pos {
	line := w.lines[w.line-1]
	return Pos{Line: w.line, Col: utf8.RuneCountInString(line[:len(line)-len(w.rest)]) + 1}
}

func skipRunes(s string, n int) string {
	for ; n > 0 && s != ""; n-- {
		_, size := utf8.DecodeRuneInString(s)
		s = s[size:]
	}
	return s
}

// properties skips an anchor and a tag before the scalar.
func (w *walker) properties() bool {
	for w.rest != "" && (w.rest[0] == '&' || w.rest[0] == '!') {
		i := strings.IndexAny(w.rest, " \t")
		if i < 0 {
			if !w.nextLine() {
				return false
			}
		} else {
			w.rest = w.rest[i:]
		}
		w.skipBlanks()
	}
	return true
}

// open moves to the first character of the content.
func (w *walker) open(style yaml.Style) bool {
	switch {
	case style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		if w.rest == "" || w.rest[0] != '"' && w.rest[0] != '\'' {
			return false
		}
		w.quote, w.rest = w.rest[0], w.rest[1:]
	case style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return w.lineBreak()
	}
	return true
}

func (w *walker) nextLine() bool {
	if w.line >= len(w.lines) {
		return false
	}
	w.rest = w.lines[w.line]
	w.line++
	return true
}

func (w *walker) skipBlanks() { w.rest = strings.TrimLeft(w.rest, " \t") }

// lineBreak moves over a line break and the white space around it on both
// sides: indentation, empty lines, and what folding made of them.
func (w *walker) lineBreak() bool {
	for {
		if !w.nextLine() {
			return false
		}
		w.skipBlanks()
		if w.rest != "" {
			break
		}
	}
	w.off = len(w.value) - len(strings.TrimLeft(w.value[w.off:], " \t\r\n\u0085\u2028\u2029"))
	return true
}

// step moves over one character of the source.
func (w *walker) step() bool {
	if w.rest == "" || w.quote == 0 && w.off < len(w.value) && w.value[w.off] == '\n' {
		return w.lineBreak()
	}
	if w.quote == '"' && w.rest[0] == '\\' {
		return w.escape()
	}
	if w.quote == '\'' && strings.HasPrefix(w.rest, "''") {
		w.rest = w.rest[2:]
		w.off++
		return true
	}
	if blank := len(w.rest) - len(strings.TrimLeft(w.rest, " \t")); blank == len(w.rest) { // folding removes it
		return w.lineBreak()
	}
	_, size := utf8.DecodeRuneInString(w.rest)
	if !strings.HasPrefix(w.value[w.off:], w.rest[:size]) {
		return false
	}
	w.rest = w.rest[size:]
	w.off += size
	return true
}

// escape moves over a backslash escape of a double-quoted scalar.
func (w *walker) escape() bool {
	if len(w.rest) == 1 { // joins two lines without a space
		if !w.nextLine() {
			return false
		}
		w.skipBlanks()
		return true
	}
	length := map[byte]int{'x': 4, 'u': 6, 'U': 10}[w.rest[1]]
	if length == 0 {
		_, size := utf8.DecodeRuneInString(w.rest[1:])
		length = 1 + size
	}
	if w.off >= len(w.value) || length > len(w.rest) {
		return false
	}
	_, size := utf8.DecodeRuneInString(w.value[w.off:])
	w.off += size
	w.rest = w.rest[length:]
	return true
}
