package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// reporter collects diagnostics and knows the text that they point into.
type reporter struct {
	file    string
	text    sourceText
	sets    []string // the --set options
	secrets secrets
	list    Diagnostics
}

// maxDiagnostics is how many mistakes are reported of one file.
const maxDiagnostics = 1000

// error adds an error at p.
func (r *reporter) error(p Pos, code, msg, hint string) {
	if len(r.list) == maxDiagnostics {
		p, code, msg, hint = Pos{}, "too-many", fmt.Sprintf("there are more than %d mistakes; the rest is not shown", maxDiagnostics), ""
	}
	if !r.full() {
		r.list = append(r.list, r.diagnostic(p, Error, code, msg, hint))
	}
}

// reported reports whether there is an error at p already.
func (r *reporter) reported(p Pos) bool {
	return slices.ContainsFunc(r.list, func(d Diagnostic) bool { return d.Line == p.Line && d.Col == p.Col })
}

// full reports whether further errors are not shown.
func (r *reporter) full() bool { return len(r.list) > maxDiagnostics }

// diagnostic makes a diagnostic at p, with the line that p is on.
func (r *reporter) diagnostic(p Pos, s Severity, code, msg, hint string) Diagnostic {
	d := Diagnostic{File: r.file, Severity: s, Code: code, Message: oneLine(msg), Hint: oneLine(hint)}
	switch p = r.text.clamp(p); {
	case p.Set > 0:
		d.File, d.set = fmt.Sprintf("--set #%d", p.Set), p.Set
		if p.Set <= len(r.sets) {
			d.Source = oneLine(r.sets[p.Set-1])
		}
	case p.Line > 0:
		d.Line, d.Col = p.Line, p.Col
		d.Source = shown(r.text.line(p.Line))
	}
	return d
}

// maxSource is the longest line that a diagnostic carries, in bytes.
const maxSource = 16 << 10

// shown returns a line as a diagnostic carries it: nothing when it is too long.
func shown(line string) string {
	if len(line) > maxSource {
		return ""
	}
	return strings.ToValidUTF8(line, "\uFFFD")
}

// finish returns the diagnostics in order, without any secret in them. Lines of
// the file stay as they are: they are not expanded.
func (r *reporter) finish() Diagnostics {
	for i := range r.list {
		d := &r.list[i]
		r.clean(d)
	}
	r.list.Sort()
	return r.list
}

// clean removes secrets from what is printed, and the middle of long texts.
func (r *reporter) clean(d *Diagnostic) {
	d.Message, d.Hint = shorten(r.secrets.redactAll(d.Message)), shorten(r.secrets.redactAll(d.Hint))
	if d.set > 0 {
		d.Source = r.secrets.redactAll(d.Source)
	}
}

var longQuote = regexp.MustCompile(`"(?:[^"\\]|\\.){100,}"`)

// shorten cuts long quoted texts of a message.
func shorten(s string) string {
	const most = 60
	return longQuote.ReplaceAllStringFunc(s, func(q string) string {
		return string([]rune(q)[:min(most, len([]rune(q))-1)]) + "…\""
	})
}

// oneLine keeps messages of libraries, which may have several lines, on one.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\r\n") {
		return s
	}
	return strings.Join(strings.FieldsFunc(s, func(c rune) bool { return c == '\n' || c == '\r' }), " ")
}

// join joins the parts of a message that are not empty with ": ".
func join(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(p)
	}
	return b.String()
}
