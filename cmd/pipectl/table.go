package main

import (
	"io"
	"strings"
	"unicode/utf8"
)

// table is rows of text in columns: the first and the last are aligned left,
// those between, which are figures, right.
type table struct {
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// writeTo writes the table. All rows must have as many cells as the first.
func (t *table) writeTo(w io.Writer) {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		for i, c := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			if i == 0 || i == len(row)-1 {
				line.WriteString(padRight(c, widths[i]))
			} else {
				line.WriteString(padLeft(c, widths[i]))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	io.WriteString(w, b.String())
}
