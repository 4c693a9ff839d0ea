package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine"
)

// maxReceiptRows bounds each part of the table; the rest is counted. The JSON
// receipt always has everything.
const maxReceiptRows = 40

// writeReceipt writes the account of a run for people: what every node and edge
// did, the balance, and in words how it ended. A run that failed before anything
// was read has nothing to count.
func writeReceipt(w io.Writer, r engine.Receipt) {
	if r.Outcome == engine.Failed && r.Balance.Read == 0 {
		fmt.Fprintln(w, outcomeLine(r))
		return
	}
	section(w, r.SourceNames, sourceHead, func(n string) ([]string, bool) { return sourceRow(n, r.Sources[n]) })
	section(w, r.StageNames, stageHead, func(n string) ([]string, bool) { return stageRow(n, r.Stages[n]) })
	section(w, r.EdgeNames, edgeHead, func(n string) ([]string, bool) { return edgeRow(n, r.Edges[n]) })
	section(w, r.SinkNames, sinkHead, func(n string) ([]string, bool) { return sinkRow(n, r.Sinks[n]) })
	fmt.Fprintln(w, balanceLine(r.Balance))
	for _, line := range remarks(r) {
		fmt.Fprintln(w, line)
	}
	fmt.Fprintln(w, outcomeLine(r))
}

// section writes one table. When there are too many rows, those that stand out
// come before the others.
func section(w io.Writer, names, head []string, row func(string) (cells []string, standsOut bool)) {
	if len(names) == 0 {
		return
	}
	t := table{}
	t.add(head...)
	shown, left := 0, 0
	for _, wanted := range []bool{true, false} {
		for _, n := range names {
			cells, standsOut := row(n)
			switch {
			case len(names) > maxReceiptRows && standsOut != wanted, len(names) <= maxReceiptRows && !wanted:
			case shown == maxReceiptRows:
				left++
			default:
				t.add(cells...)
				shown++
			}
		}
	}
	t.writeTo(w)
	if left > 0 {
		fmt.Fprintf(w, "… and %s more; --receipt FILE has them all\n", commas(int64(left)))
	}
	fmt.Fprintln(w)
}

var (
	sourceHead = []string{"SOURCE", "READ", "ACKED", "NACKED", "RETURNED", "LOST", ""}
	stageHead  = []string{"STAGE", "IN", "OUT", "FILTERED", "FAILED", ""}
	edgeHead   = []string{"EDGE", "OFFERED", "DELIVERED", "DROPPED", "PEAK", "POLICY"}
	sinkHead   = []string{"SINK", "IN", "DELIVERED", "FAILED", "RETRIES", ""}
)

const maxReceiptName = 60

func sourceRow(name string, s engine.SourceStatus) ([]string, bool) {
	n := notes{}
	n.count(s.Failed, "not decoded")
	for _, code := range sortedKeys(s.Rejected) {
		n.count(s.Rejected[code], "rejected with "+code)
	}
	cells := []string{squeeze(name, maxReceiptName), commas(s.Read), commas(s.Acked), commas(s.Nacked),
		commas(s.Returned), commas(s.Lost), n.String()}
	return cells, s.Nacked+s.Returned+s.Lost > 0 || len(n) > 0
}

func stageRow(name string, s engine.StageStatus) ([]string, bool) {
	n := notes{}
	n.count(s.Unrouted, "unrouted")
	n.count(s.Merged, "merged")
	n.count(s.Panics, "panics contained")
	cells := []string{squeeze(name, maxReceiptName), commas(s.In), commas(s.Out), commas(s.Filtered), commas(s.Failed), n.String()}
	return cells, s.Failed+s.Panics > 0
}

func edgeRow(name string, e engine.EdgeStatus) ([]string, bool) {
	n := notes{e.Policy}
	if e.BlockedSeconds >= 0.05 {
		n = append(n, "blocked "+span(seconds(e.BlockedSeconds)))
	}
	n.count(e.Returned, "returned")
	n.count(e.Queued, "still queued")
	dropped := droppedBy(e)
	cells := []string{squeeze(name, maxReceiptName), commas(e.Offered), commas(e.Delivered), commas(dropped),
		commas(e.Peak) + "/" + commas(e.Capacity), n.String()}
	return cells, dropped+e.Returned+e.Queued > 0 || len(n) > 1
}

func sinkRow(name string, s engine.SinkStatus) ([]string, bool) {
	n := notes{}
	if s.Failing {
		n = append(n, "was failing at the end")
	}
	cells := []string{squeeze(name, maxReceiptName), commas(s.In), commas(s.Delivered), commas(s.Failed), commas(s.Retries), n.String()}
	return cells, s.Failed+s.Retries > 0 || s.Failing
}

// notes are what a row says beside its figures.
type notes []string

func (n *notes) count(k int64, what string) {
	if k > 0 {
		*n = append(*n, commas(k)+" "+what)
	}
}

func (n notes) String() string { return strings.Join(n, ", ") }

// balanceLine is the account of all events as one equation, without the parts
// that are zero.
func balanceLine(b engine.Balance) string {
	type part struct {
		n    int64
		name string
	}
	sum := func(parts ...part) string {
		var terms []string
		for i, p := range parts {
			if p.n != 0 || i == 0 {
				terms = append(terms, p.name+" "+commas(p.n))
			}
		}
		return strings.Join(terms, " + ")
	}
	return "balance: " + sum(part{b.Read, "read"}, part{b.Created, "created"}) + " = " +
		sum(part{b.Delivered, "delivered"}, part{b.DeadLettered, "dead-lettered"}, part{b.Filtered, "filtered"},
			part{b.Merged, "merged"}, part{b.Dropped, "dropped"}, part{b.Failed, "failed"},
			part{b.Returned, "returned"}, part{b.InFlight, "in flight"}, part{b.Error, "unaccounted"})
}

// reasonWords say why an edge drops, for people.
var reasonWords = map[string]string{
	"newest":   "came when the buffer was full",
	"oldest":   "made room for newer ones in a full buffer",
	"random":   "chosen at random from a full buffer",
	"sampled":  "left out by sampling",
	"timeout":  "found no room within the timeout",
	"expired":  "older than buffer.age",
	"oversize": "larger than buffer.bytes",
	"resized":  "had no room after the buffer was made smaller",
}

// remarks say what became of the events that were not delivered or filtered.
func remarks(r engine.Receipt) []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, id := range r.EdgeNames {
		e := r.Edges[id]
		for _, reason := range sortedKeys(e.Dropped) {
			if n := e.Dropped[reason]; n > 0 {
				say("dropped: %s at edge %s: %s (%s)", plural(n, "event"), id, reasonWords[reason], reason)
			}
		}
	}
	for _, name := range r.SourceNames {
		s := r.Sources[name]
		if s.Returned > 0 {
			say("returned: %s of source %s, which reads them again at the next start", plural(s.Returned, "event"), name)
		}
		if s.Lost > 0 {
			say("lost: %s of source %s, which cannot read them again", plural(s.Lost, "event"), name)
		}
	}
	if n := r.Balance.Error; n != 0 {
		say("BUG: %s unaccounted for; please report this with the receipt", plural(max(n, -n), "event"))
	}
	if len(lines) > maxReceiptRows {
		rest := len(lines) - maxReceiptRows
		lines = append(lines[:maxReceiptRows], fmt.Sprintf("… and %d more remarks", rest))
	}
	return lines
}

// outcomeLine says how the run ended and what the exit code means.
func outcomeLine(r engine.Receipt) string {
	words := map[int]string{
		engine.ExitDone:    "everything that was read has ended",
		engine.ExitFailed:  "failed while running",
		engine.ExitStopped: "stopped before everything that was read had ended",
	}
	why := words[r.ExitCode]
	if r.Outcome == engine.Failed && r.Balance.Read == 0 {
		why = "failed before anything was read"
	}
	return fmt.Sprintf("%s: %s after %s, exit code %d: %s",
		printable(r.Pipeline), r.Outcome, span(seconds(r.Seconds)), r.ExitCode, why)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
