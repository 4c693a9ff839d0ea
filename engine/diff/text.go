package diff

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxLines is how many changes, or lines of a section, are written out.
const maxLines = 200

// means says what a class asks of whoever runs the pipeline.
var means = map[Class]string{
	None:    "nothing changes",
	Live:    "takes effect at once in the running pipeline",
	Swap:    "nodes are replaced in the running pipeline; edges keep what they hold",
	Restart: "needs a new process",
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: %s\n", r.Pipeline, r.Class, means[r.Class])
	for i, c := range r.Changes {
		if i == maxLines {
			fmt.Fprintf(&b, "and %d more changes\n", len(r.Changes)-i)
			break
		}
		c.writeText(&b)
	}
	if len(r.Changes) > 0 {
		fmt.Fprintf(&b, "memory\n  %s in the worst case\n", r.memory())
	}
	section(&b, "guarantees", r.Guarantees)
	section(&b, "coupling", r.Couplings)
	if len(r.Findings) > 0 {
		b.WriteString("findings that are new\n")
		var found strings.Builder
		if err := r.Findings.WriteText(&found); err != nil {
			return err
		}
		for line := range strings.Lines(found.String()) {
			b.WriteString("  " + line)
		}
	}
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

// writeText writes a change and what it does, a line each.
func (c Change) writeText(b *strings.Builder) {
	fmt.Fprintf(b, "%-7s  %s", c.Class, c.Subject())
	if c.Action != Changed {
		fmt.Fprintf(b, " %s", c.Action)
	}
	if c.Part != PartPipeline { // whose only field is in the subject
		b.WriteString("\n")
		c.writeFields(b)
	} else {
		fmt.Fprintf(b, ": %s\n", c.Fields[0])
	}
	if c.MemoryDelta != 0 {
		fmt.Fprintf(b, "         memory %s\n", signed(c.MemoryDelta))
	}
	for _, g := range c.Guarantees {
		fmt.Fprintf(b, "         %s\n", g)
	}
	if c.Why != "" {
		fmt.Fprintf(b, "         why: %s\n", c.Why)
	}
}

func (c Change) writeFields(b *strings.Builder) {
	width := 0
	for _, f := range c.Fields {
		width = max(width, utf8.RuneCountInString(f.Path))
	}
	for _, f := range c.Fields {
		fmt.Fprintf(b, "         %-*s  %s\n", width, f.Path, f)
	}
}

// String renders both sides on one line: "block -> drop-oldest". What is added
// or removed has one side.
func (f Field) String() string {
	switch {
	case f.Before == "":
		return "+ " + oneLine(f.After)
	case f.After == "":
		return "- " + oneLine(f.Before)
	}
	return oneLine(f.Before) + " -> " + oneLine(f.After)
}

// oneLine quotes a text that would not fit on a line.
func oneLine(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// String renders the change of a path: "in -> out: at-least-once becomes
// at-most-once (weaker) because edge a->b is drop-oldest".
func (g GuaranteeChange) String() string {
	s := g.short()
	if g.After == "" {
		return s
	}
	if len(g.Gained) > 0 {
		s += " because " + strings.Join(g.Gained, ", ")
	}
	if len(g.Lost) > 0 {
		s += "; no longer: " + strings.Join(g.Lost, ", ")
	}
	return s
}

// short is String without the reasons.
func (g GuaranteeChange) short() string {
	s := fmt.Sprintf("%s -> %s: ", g.Source, g.Sink)
	switch {
	case g.Before == "":
		s += "new, " + string(g.After)
	case g.After == "":
		s += "no longer connected, was " + string(g.Before)
	case g.Before == g.After:
		s += "still " + string(g.After)
	default:
		s += fmt.Sprintf("%s becomes %s", g.Before, g.After)
	}
	if g.Weaker {
		s += " (weaker)"
	}
	return s
}

// String renders the change of a coupling.
func (c CouplingChange) String() string {
	switch {
	case c.Before == "":
		return c.After
	case c.After == "":
		return "no longer: " + c.Before
	}
	return c.After + "; no longer: " + c.Before
}

// memory renders the memory before and after: "16MiB -> 32MiB (+16MiB)".
func (r *Report) memory() string {
	if r.MemoryBefore == r.MemoryAfter {
		return "still " + size(r.MemoryAfter)
	}
	return fmt.Sprintf("%s -> %s (%s)", size(r.MemoryBefore), size(r.MemoryAfter), signed(r.MemoryAfter-r.MemoryBefore))
}

func signed(n int64) string {
	if n < 0 {
		return "-" + size(-n)
	}
	return "+" + size(n)
}

// size renders a number of bytes with at most one decimal.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0") + units[i]
}
