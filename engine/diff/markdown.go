package diff

import (
	"fmt"
	"io"
	"strings"
)

// mostFields is how many settings and guarantees a row of the table shows; the
// others follow in lists that can be opened.
const mostFields = 3

// A comment on a pull request may have 65,536 characters.
const (
	mostRows  = 100 // of the table
	mostItems = 40  // of a list below it
	mostRunes = 120 // of a value
	mostText  = 300 // of a line of a list, in runes
)

// WriteMarkdown writes the report for a pull request: a table of the changes,
// and below it, to be opened, what follows from them.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s: %s\n\n", code(r.Pipeline), r.Class)
	fmt.Fprintf(&b, "%s%s.", strings.ToUpper(means[r.Class][:1]), means[r.Class][1:])
	if len(r.Changes) > 0 {
		fmt.Fprintf(&b, " Worst-case memory: %s.", escape(r.memory()))
		if n := r.weaker(); n > 0 {
			fmt.Fprintf(&b, " **Weaker guarantees: %d.**", n)
		}
		b.WriteString("\n\n")
		r.table(&b)
	} else {
		b.WriteString("\n")
	}
	r.settings(&b)
	var lines []string
	for _, g := range r.Guarantees {
		lines = append(lines, escape(cut(g.String(), mostText)))
	}
	details(&b, "Guarantees", r.weaker() > 0, lines)
	lines = nil
	for _, c := range r.Couplings {
		lines = append(lines, escape(cut(c.String(), mostText)))
	}
	details(&b, "What a stall stops", false, lines)
	lines = nil
	for _, f := range r.Findings {
		lines = append(lines, escape(cut(f.Error(), mostText)))
	}
	details(&b, "Findings that are new", true, lines)
	_, err := io.WriteString(w, b.String())
	return err
}

// weaker counts the paths that promise less.
func (r *Report) weaker() int {
	n := 0
	for _, g := range r.Guarantees {
		if g.Weaker {
			n++
		}
	}
	return n
}

func (r *Report) table(b *strings.Builder) {
	b.WriteString("| Class | Change | Settings | Memory | Guarantees |\n|---|---|---|---|---|\n")
	for i, c := range r.Changes {
		if i == mostRows {
			fmt.Fprintf(b, "| | and %d more | | | |\n", len(r.Changes)-i)
			break
		}
		memory := ""
		if c.MemoryDelta != 0 {
			memory = signed(c.MemoryDelta)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", c.Class, c.title(), c.cell(), escape(memory), c.promises())
	}
}

// title names the subject of a change, and whether it is new or gone.
func (c Change) title() string {
	title := c.Part
	if c.Name != "" {
		title += " " + code(c.Name)
	}
	if c.Action != Changed {
		title += " " + string(c.Action)
	}
	return title
}

// cell renders the first settings of a change, and why it is heavy.
func (c Change) cell() string {
	var lines []string
	for i, f := range c.Fields {
		if i == mostFields && len(c.Fields) > mostFields+1 {
			lines = append(lines, fmt.Sprintf("and %d more", len(c.Fields)-i))
			break
		}
		lines = append(lines, code(f.Path)+" "+f.markdown())
	}
	if c.Why != "" {
		lines = append(lines, "_"+escape(c.Why)+"_")
	}
	return strings.Join(lines, "<br>")
}

// promises renders the first guarantees that follow from a change.
func (c Change) promises() string {
	var lines []string
	for i, g := range c.Guarantees {
		if i == mostFields && len(c.Guarantees) > mostFields+1 {
			lines = append(lines, fmt.Sprintf("and %d more", len(c.Guarantees)-i))
			break
		}
		lines = append(lines, escape(g))
	}
	return strings.Join(lines, "<br>")
}

func (f Field) markdown() string {
	switch {
	case f.Before == "":
		return code(f.After)
	case f.After == "":
		return "~~" + code(f.Before) + "~~"
	}
	return code(f.Before) + " → " + code(f.After)
}

// settings lists the settings of the changes whose rows do not show them all.
func (r *Report) settings(b *strings.Builder) {
	var lines []string
	for i, c := range r.Changes {
		if len(c.Fields) <= mostFields+1 || i >= mostRows {
			continue
		}
		for _, f := range c.Fields {
			lines = append(lines, c.title()+" "+code(f.Path)+" "+f.markdown())
		}
	}
	details(b, "All settings", false, lines)
}

// details writes lines that are shown when the reader opens them.
func details(b *strings.Builder, title string, open bool, lines []string) {
	if len(lines) == 0 {
		return
	}
	opened := ""
	if open {
		opened = " open"
	}
	fmt.Fprintf(b, "\n<details%s>\n<summary>%s (%d)</summary>\n\n", opened, title, len(lines))
	for i, line := range lines {
		if i == mostItems {
			fmt.Fprintf(b, "- and %d more\n", len(lines)-i)
			break
		}
		fmt.Fprintf(b, "- %s\n", line)
	}
	b.WriteString("\n</details>\n")
}

// code renders a text as it is, also in a table.
func code(s string) string {
	s = cut(oneLine(s), mostRunes)
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + strings.ReplaceAll(s, "|", `\|`) + fence
}

// cut shortens a text to so many runes.
func cut(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

var special = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "|", `\|`, "~", `\~`, "\n", " ")

// escape renders a text without anything that markdown would take for its own.
func escape(s string) string { return special.Replace(s) }
