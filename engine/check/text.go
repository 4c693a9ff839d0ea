package check

import (
	"fmt"
	"io"
	"strings"
)

// maxLines is how many lines of a section the text form has.
const maxLines = 50

// WriteText writes guarantees, couplings and memory for people, without the
// findings: those are diagnostics like any others.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	section(&b, "guarantees", r.Guarantees)
	section(&b, "coupling", r.Couplings)
	fmt.Fprintf(&b, "memory\n  %s", size(r.MemoryBytes))
	if r.MemoryLimit > 0 {
		fmt.Fprintf(&b, " of %s", size(r.MemoryLimit))
	}
	fmt.Fprintf(&b, " in the worst case; the largest: %s\n", r.largest(3))
	_, err := io.WriteString(w, b.String())
	return err
}

func section[T fmt.Stringer](b *strings.Builder, title string, lines []T) {
	if len(lines) == 0 {
		return
	}
	b.WriteString(title + "\n")
	for i, line := range lines {
		if i == maxLines {
			fmt.Fprintf(b, "  and %d more\n", len(lines)-i)
			break
		}
		fmt.Fprintf(b, "  %s\n", line)
	}
}
