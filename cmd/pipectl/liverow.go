package main

import (
	"strings"
	"unicode/utf8"
)

// The colours of the live view, as ANSI attributes.
const (
	plain  = ""
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"

	inverse = "7"
)

// row is one line of the live view. It never gets wider than max, so that the
// terminal does not wrap it.
type row struct {
	text  strings.Builder
	width int // columns used
	max   int
	color bool
	mark  string // a style that comes on top of all others
}

// put appends text in a style, cut to what is left of the line.
func (r *row) put(style, text string) {
	n := utf8.RuneCountInString(text)
	if room := r.max - r.width; n > room {
		text, n = string([]rune(text)[:max(0, room)]), max(0, room)
	}
	if n == 0 {
		return
	}
	r.width += n
	if r.mark != plain {
		style = strings.TrimSuffix(r.mark+";"+style, ";")
	}
	if style == plain || !r.color {
		r.text.WriteString(text)
		return
	}
	r.text.WriteString("\x1b[" + style + "m" + text + "\x1b[0m")
}

// item appends text only if all of it fits: half a figure is worse than none.
func (r *row) item(style, text string) {
	if utf8.RuneCountInString(text) <= r.max-r.width {
		r.put(style, text)
	}
}

// String returns the line with its colours and without trailing blanks.
func (r *row) String() string { return strings.TrimRight(r.text.String(), " ") }

// padRight and padLeft fill text up to width columns.
func padRight(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

func padLeft(text string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text))) + text
}

// squeeze shortens a name to width columns by leaving out its middle: both ends
// of "parse.failed->bad" tell edges apart.
func squeeze(name string, width int) string {
	runes := []rune(name)
	if len(runes) <= width {
		return name
	}
	if width < 4 {
		return string(runes[:max(0, width)])
	}
	head := (width - 1) / 2
	return string(runes[:head]) + "…" + string(runes[len(runes)-(width-1-head):])
}

var eighths = []rune(" ▏▎▍▌▋▊▉")

// bar draws a share, from 0 to 1, as a bar of width columns in eighths of a
// column. Something is never drawn as nothing, nor not quite full as full.
func bar(share float64, width int) (filled, empty string) {
	n := int(share*float64(width*8) + 0.5)
	switch {
	case share >= 1:
		n = width * 8
	case share > 0:
		n = min(max(n, 1), width*8-1)
	default:
		n = 0
	}
	filled = strings.Repeat("█", n/8)
	if n%8 > 0 {
		filled += string(eighths[n%8])
	}
	return filled, strings.Repeat("·", width-utf8.RuneCountInString(filled))
}
