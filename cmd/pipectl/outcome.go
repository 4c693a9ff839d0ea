package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/diff"
)

// writeOutcome says what a change did, for people.
func writeOutcome(w io.Writer, o control.Outcome, t trial) error {
	var b strings.Builder
	if o.Result == "unchanged" {
		fmt.Fprintf(&b, "nothing to change: generation %d is in force already\n", o.Generation)
		_, err := io.WriteString(w, b.String())
		return err
	}
	edges := map[string]bool{}
	for _, e := range o.Edges {
		edges[e.Edge] = true
		b.WriteString(edgeReceipt(e))
	}
	for _, c := range o.Changes {
		if c.Part != "edge" || !edges[c.Name] {
			b.WriteString(changeText(c))
		}
	}
	for _, g := range o.Guarantees {
		b.WriteString(guaranteeText(g))
	}
	if o.MemoryBefore != o.MemoryAfter {
		fmt.Fprintf(&b, "worst-case memory: %s → %s\n", bytesText(o.MemoryBefore), bytesText(o.MemoryAfter))
	}
	b.WriteString(verdictLine(o) + "\n")
	if o.Reverts != nil {
		fmt.Fprintf(&b, "it is taken back at %s unless you confirm it: pipectl confirm %d\n", o.Reverts.Local().Format("15:04:05"), o.Generation)
	}
	if t.guard != "" {
		fmt.Fprintf(&b, "it is taken back if %s becomes false within %s\n", t.guard, tidy(t.watch))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// guaranteeText says how the promise of a path from a source to a sink differs.
func guaranteeText(g diff.GuaranteeChange) string {
	text := fmt.Sprintf("guarantee %s -> %s: %s → %s", g.Source, g.Sink, absent(string(g.Before)), absent(string(g.After)))
	if g.Weaker {
		text += ", which is weaker"
	}
	for _, risk := range g.Gained {
		text += "\n  " + printable(risk)
	}
	return text + "\n"
}

func ifText(yes bool, text string) string {
	if yes {
		return text
	}
	return ""
}

// verdictLine says what is in force now.
func verdictLine(o control.Outcome) string {
	if o.DryRun {
		return fmt.Sprintf("dry run, nothing was changed: this is a %s change to generation %d", o.Class, o.Before)
	}
	return fmt.Sprintf("generation %d is in force (was %d), a %s change, paused for %s", o.Generation, o.Before, o.Class, microseconds(o.PausedUS))
}

// microseconds renders a short time: 52µs, 1.2ms.
func microseconds(us int64) string {
	if us < 1000 {
		return fmt.Sprintf("%dµs", us)
	}
	return (time.Duration(us) * time.Microsecond).Round(10 * time.Microsecond).String()
}

// edgeReceipt says what became of an edge, and of what was in it.
func edgeReceipt(e engine.EdgeReceipt) string {
	var b strings.Builder
	switch e.Action {
	case diff.Added:
		fmt.Fprintf(&b, "edge %s: added, %s\n", e.Edge, e.AfterText)
	case diff.Removed:
		fmt.Fprintf(&b, "edge %s: removed, it was %s\n", e.Edge, e.BeforeText)
	default:
		fmt.Fprintf(&b, "edge %s: %s\n%s→ %s\n", e.Edge, e.BeforeText, strings.Repeat(" ", len("edge : ")+len(e.Edge)-2), e.AfterText)
	}
	n := notes{}
	for _, c := range []struct {
		n         int64
		one, what string
	}{{e.CarriedOver, "queued event", " kept"}, {e.Evicted, "queued event", " evicted"}, {int64(e.BlockedProducers), "blocked producer", " woken"}} {
		if c.n > 0 {
			n = append(n, plural(c.n, c.one)+c.what)
		}
	}
	if len(n) > 0 {
		fmt.Fprintf(&b, "  %s\n", n)
	}
	return b.String()
}

// changeText says what differs in a node, an edge or the pipeline.
func changeText(c diff.Change) string {
	var b strings.Builder
	name := c.Part
	if c.Name != "" {
		name += " " + c.Name
	}
	fmt.Fprintf(&b, "%s: %s (%s)\n", name, c.Action, c.Class)
	if c.Why != "" {
		fmt.Fprintf(&b, "  %s\n", c.Why)
	}
	for _, f := range c.Fields {
		fmt.Fprintf(&b, "  %s: %s → %s\n", f.Path, absent(f.Before), absent(f.After))
	}
	return b.String()
}

// absent gives a name to a value that is not there.
func absent(value string) string {
	if value == "" {
		return "(none)"
	}
	return printable(value)
}

// writeRefusal says what is wrong where, and what cannot be changed.
func writeRefusal(w io.Writer, file string, r *refusal) error {
	if err := named(r.Diagnostics, file).WriteText(w); err != nil {
		return err
	}
	for _, c := range r.Changes {
		if _, err := io.WriteString(w, changeText(c)); err != nil {
			return err
		}
	}
	return nil
}

// named gives diagnostics of what was sent the name that the user knows it by.
func named(found config.Diagnostics, file string) config.Diagnostics {
	found = slices.Clone(found)
	for i := range found {
		if d := &found[i]; file != "" && !strings.HasPrefix(d.File, "--set") {
			d.File = file
		}
	}
	return found
}
