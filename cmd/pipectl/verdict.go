package main

import (
	"io"
	"strings"

	"github.com/pipectl/pipectl/engine/config"
)

// writeVerdicts writes the verdicts for people: what is wrong, then the files
// that are right, with what they promise.
func writeVerdicts(w io.Writer, verdicts []verdict) error {
	var b strings.Builder
	for _, v := range verdicts {
		if err := v.Diagnostics.WriteText(&b); err != nil {
			return err
		}
		if !v.OK {
			continue
		}
		b.WriteString(v.File + ": OK")
		if len(v.Diagnostics) > 0 {
			b.WriteString(", " + tally(v.Diagnostics))
		}
		b.WriteString("\n")
		var report strings.Builder
		if err := v.Report.WriteText(&report); err != nil {
			return err
		}
		for line := range strings.Lines(report.String()) {
			b.WriteString("  " + line)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// encodeVerdicts writes the verdicts as one JSON object.
func encodeVerdicts(w io.Writer, verdicts []verdict) error {
	all := struct {
		OK       bool      `json:"ok"`
		Errors   int64     `json:"errors"`
		Warnings int64     `json:"warnings"`
		Files    []verdict `json:"files"`
	}{OK: true, Files: verdicts}
	for i := range verdicts {
		v := &verdicts[i]
		if v.Diagnostics == nil {
			v.Diagnostics = config.Diagnostics{} // [] and not null
		}
		errs, warnings := countBySeverity(v.Diagnostics)
		all.Errors, all.Warnings, all.OK = all.Errors+errs, all.Warnings+warnings, all.OK && v.OK
	}
	return encodeJSON(w, all)
}
