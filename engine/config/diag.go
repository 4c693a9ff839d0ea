package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// Severity says whether a diagnostic forbids running the pipeline.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Diagnostic is one mistake, or one doubt, at one place. Its JSON names are
// stable.
type Diagnostic struct {
	// File is the name of the file, or "--set #1" for the first --set option.
	File string `json:"file"`
	// Line and Col are 1-based and count characters; both are 0 when the
	// diagnostic is about no place in particular.
	Line int `json:"line"`
	Col  int `json:"col"`
	// Severity is error or warning.
	Severity Severity `json:"severity"`
	// Code names the kind of mistake, for programs: "unknown-key".
	Code string `json:"code"`
	// Message says what is wrong, for people. It is one line.
	Message string `json:"message"`
	// Hint says what to write instead; it may be empty.
	Hint string `json:"hint,omitempty"`
	// Source is the line of the file, as written there; empty when it is longer
	// than 16KiB.
	Source string `json:"source,omitempty"`

	set int // number of the --set option, 0 for the file: they sort last
}

// Diagnostics is everything that was found in one run.
type Diagnostics []Diagnostic

// HasErrors reports whether any of them is an error.
func (ds Diagnostics) HasErrors() bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == Error })
}

// Err returns the errors as one error, rendered as Text does, or nil when there
// are none. Warnings are left out.
func (ds Diagnostics) Err() error {
	var b strings.Builder
	for _, d := range ds {
		if d.Severity == Error {
			b.WriteString(d.Text())
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return errors.New(strings.TrimSuffix(b.String(), "\n"))
}

// Sort orders the diagnostics by place and removes repetitions: a value used
// through several aliases is reported once.
func (ds *Diagnostics) Sort() {
	slices.SortStableFunc(*ds, func(a, b Diagnostic) int {
		return cmp.Or(strings.Compare(a.fileKey(), b.fileKey()), cmp.Compare(a.set, b.set),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), strings.Compare(string(a.Severity), string(b.Severity)))
	})
	*ds = slices.CompactFunc(*ds, func(a, b Diagnostic) bool { return a == b })
}

// fileKey makes --set options sort after files.
func (d Diagnostic) fileKey() string {
	if d.set > 0 {
		return "\xff"
	}
	return d.File
}

// WriteText writes the diagnostics for people: for each the place, the message,
// the line and a caret with the hint.
func (ds Diagnostics) WriteText(w io.Writer) error {
	for _, d := range ds {
		if _, err := io.WriteString(w, d.Text()); err != nil {
			return err
		}
	}
	return nil
}

// Error returns the first line of the text form: "file:line:col: error: message".
func (d Diagnostic) Error() string {
	where := d.File
	if d.Line > 0 {
		where = fmt.Sprintf("%s:%d:%d", d.File, d.Line, d.Col)
	}
	return fmt.Sprintf("%s: %s: %s", where, d.Severity, d.Message)
}

// Text renders one diagnostic, with its final newline:
//
//	pipeline.yaml:12:13: error: edge keep->shape: policy: unknown policy "drop-oldst"
//	   12 |     policy: drop-oldst
//	      |             ^ did you mean "drop-oldest"?
func (d Diagnostic) Text() string {
	var b strings.Builder
	b.WriteString(d.Error())
	b.WriteByte('\n')
	switch {
	case d.Line > 0:
		line, pad := excerpt(d.Source, d.Col)
		fmt.Fprintf(&b, "%5d | %s\n", d.Line, line)
		b.WriteString(strings.TrimRight(fmt.Sprintf("%5s | %s^ %s", "", pad, d.Hint), " "))
		b.WriteByte('\n')
	case d.Source != "":
		fmt.Fprintf(&b, "%5s | %s\n", "", printable(d.Source))
		fallthrough
	default:
		if d.Hint != "" {
			fmt.Fprintf(&b, "%5s | %s\n", "", d.Hint)
		}
	}
	return b.String()
}

// The widest part of a line that is shown, and how much of it stands before the
// caret when the line must be cut, in characters.
const (
	maxExcerpt = 120
	beforeCut  = 60
)

// excerpt returns the part of line around column col, and what to print below
// it to reach that column: tabs stay tabs.
func excerpt(line string, col int) (shown, pad string) {
	runes := []rune(printable(line))
	at := min(max(col-1, 0), len(runes))
	start := 0
	if len(runes) > maxExcerpt && at > beforeCut {
		start = at - beforeCut
	}
	end := min(len(runes), start+maxExcerpt)
	lead := ""
	if start > 0 {
		lead = "…"
	}
	shown = lead + string(runes[start:end])
	if end < len(runes) {
		shown += "…"
	}
	pad = strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, lead+string(runes[start:at]))
	return shown, pad
}

// printable replaces what would disturb a terminal, one character by one.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}
