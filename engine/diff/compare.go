package diff

import (
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/check"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// Report is everything that a change of configuration means. Its JSON names are
// stable.
type Report struct {
	Pipeline string   `json:"pipeline"`
	Class    Class    `json:"class"` // the heaviest of all changes
	Changes  []Change `json:"changes"`
	// MemoryBefore and MemoryAfter are the most that all edges and in-flight
	// windows can hold, in bytes.
	MemoryBefore int64 `json:"memory_before_bytes"`
	MemoryAfter  int64 `json:"memory_after_bytes"`
	// Guarantees are the paths from a source to a sink that promise something
	// else than before.
	Guarantees []GuaranteeChange `json:"guarantees"`
	// Couplings are the sinks whose stall is felt elsewhere than before.
	Couplings []CouplingChange `json:"couplings"`
	// Findings are the errors and warnings about the new pipeline that the old
	// one did not have.
	Findings config.Diagnostics `json:"findings"`
}

// GuaranteeChange is a path from a source to a sink that promises something else.
type GuaranteeChange struct {
	Source string `json:"source"`
	Sink   string `json:"sink"`
	// Before and After are the levels; empty where there is no path.
	Before check.Level `json:"before,omitempty"`
	After  check.Level `json:"after,omitempty"`
	// Weaker reports that the path promises less: a lower level, or the same one
	// with more that can go wrong.
	Weaker bool `json:"weaker"`
	// Gained and Lost say what can go wrong now, and what no longer can.
	Gained []string `json:"gained,omitempty"`
	Lost   []string `json:"lost,omitempty"`
}

// CouplingChange says what the stall of a sink stopped and will stop; empty
// where it stops nothing.
type CouplingChange struct {
	Sink   string `json:"sink"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Compare reports what it means to put next in the place of old. Both must have
// passed Parse or Complete.
func Compare(old, next *config.Pipeline) *Report {
	before, after := check.Analyze(old), check.Analyze(next)
	r := &Report{
		Pipeline: next.Name, Changes: Plan(old, next),
		MemoryBefore: before.MemoryBytes, MemoryAfter: after.MemoryBytes,
		Guarantees: []GuaranteeChange{}, Couplings: []CouplingChange{}, Findings: config.Diagnostics{},
	}
	if r.Changes == nil {
		r.Changes = []Change{} // [] and not null
	}
	r.Class = Heaviest(r.Changes)
	r.compareMemory(before, after)
	r.compareGuarantees(before, after)
	r.compareCouplings(before, after)
	r.compareFindings(before, after)
	return r
}

// compareMemory finds what each change adds to the memory. What no change of its
// own explains follows from limits.max_event_bytes.
func (r *Report) compareMemory(before, after *check.Report) {
	deltas := map[string]int64{}
	for _, m := range before.Memory {
		deltas[m.What] -= m.Bytes
	}
	for _, m := range after.Memory {
		deltas[m.What] += m.Bytes
	}
	for i := range r.Changes {
		c := &r.Changes[i]
		for _, what := range []string{c.Subject(), c.Subject() + ": in flight"} {
			c.MemoryDelta += deltas[what]
			delete(deltas, what)
		}
	}
	for i := range r.Changes {
		if c := &r.Changes[i]; c.Subject() == "pipeline limits.max_event_bytes" {
			for _, d := range deltas {
				c.MemoryDelta += d
			}
		}
	}
}

type path struct{ source, sink string }

func (r *Report) compareGuarantees(before, after *check.Report) {
	was := map[path]check.Guarantee{}
	for _, g := range before.Guarantees {
		was[path{g.Source, g.Sink}] = g
	}
	for _, g := range after.Guarantees {
		r.compareGuarantee(was[path{g.Source, g.Sink}], g)
		delete(was, path{g.Source, g.Sink})
	}
	for _, g := range before.Guarantees {
		if _, gone := was[path{g.Source, g.Sink}]; gone {
			r.compareGuarantee(g, check.Guarantee{Source: g.Source, Sink: g.Sink})
		}
	}
}

func (r *Report) compareGuarantee(before, after check.Guarantee) {
	g := GuaranteeChange{Source: after.Source, Sink: after.Sink, Before: before.Level, After: after.Level}
	g.Gained, g.Lost = without(risks(after), risks(before)), without(risks(before), risks(after))
	if g.Before == g.After && len(g.Gained) == 0 && len(g.Lost) == 0 {
		return
	}
	if g.Before != "" && g.After != "" {
		lower := rank(g.After) - rank(g.Before)
		g.Weaker = lower > 0 || lower == 0 && len(g.Gained) > len(g.Lost)
	}
	r.Guarantees = append(r.Guarantees, g)
	for i := range r.Changes {
		if c := &r.Changes[i]; g.follows(*c) {
			c.Guarantees = append(c.Guarantees, g.short())
		}
	}
}

// risks are what can go wrong on a path.
func risks(g check.Guarantee) []string {
	all := slices.Clone(g.Reasons)
	for _, stage := range g.Unordered {
		all = append(all, stage+" may change the order")
	}
	if g.DeadLetters {
		all = append(all, "only dead letters take it")
	}
	return all
}

// without returns the words of a that are not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// rank is 0 for the strongest level.
func rank(l check.Level) int { return slices.Index(check.Levels(), l) }

// follows reports whether a change explains the change of a guarantee: a risk is
// about its subject, or it made or removed an end of the path.
func (g GuaranteeChange) follows(c Change) bool {
	if g.Before == "" || g.After == "" {
		return c.Action != Changed && (c.Part == string(pipe.KindSource) && c.Name == g.Source || c.Part == string(pipe.KindSink) && c.Name == g.Sink)
	}
	about := c.Subject()
	return slices.ContainsFunc(slices.Concat(g.Gained, g.Lost), func(risk string) bool {
		return strings.HasPrefix(risk, about+" ") || strings.HasPrefix(risk, about+":")
	})
}

func (r *Report) compareCouplings(before, after *check.Report) {
	was := map[string]string{}
	for _, c := range before.Couplings {
		was[c.Sink] = c.String()
	}
	for _, c := range after.Couplings {
		if text := c.String(); was[c.Sink] != text {
			r.Couplings = append(r.Couplings, CouplingChange{c.Sink, was[c.Sink], text})
		}
		delete(was, c.Sink)
	}
	for _, c := range before.Couplings {
		if text, gone := was[c.Sink]; gone {
			r.Couplings = append(r.Couplings, CouplingChange{c.Sink, text, ""})
		}
	}
}

// compareFindings keeps the findings that are new, wherever they stand.
func (r *Report) compareFindings(before, after *check.Report) {
	for _, f := range after.Findings {
		known := slices.ContainsFunc(before.Findings, func(o config.Diagnostic) bool {
			return o.Code == f.Code && o.Message == f.Message
		})
		if !known {
			r.Findings = append(r.Findings, f)
		}
	}
}
