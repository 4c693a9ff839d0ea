// Package check knows what a valid pipeline will do before it runs: what each
// path promises, which sinks can stop what, how much memory the edges may take,
// and what cannot work. It does no I/O.
package check

import (
	"fmt"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// Report is everything that is known about a pipeline. Its JSON names are stable.
type Report struct {
	Pipeline string `json:"pipeline"`
	// Guarantees has one entry for each source and each sink it leads to, in the
	// order of the file.
	Guarantees []Guarantee `json:"guarantees"`
	// Couplings has one entry for each sink whose stall is felt elsewhere.
	Couplings []Coupling `json:"couplings"`
	// MemoryBytes is the most that all edges and in-flight windows can hold,
	// in accounted bytes. What stages and sinks have in hand for a moment comes
	// on top.
	MemoryBytes int64 `json:"memory_bytes"`
	// MemoryLimit is limits.memory, 0 when there is none.
	MemoryLimit int64 `json:"memory_limit_bytes"`
	// Memory are the parts of MemoryBytes, the largest first.
	Memory []Share `json:"memory"`
	// Findings are errors, which forbid running the pipeline, and warnings.
	Findings config.Diagnostics `json:"findings"`

	p *config.Pipeline
}

// Analyze examines a pipeline that config.Parse returned or that passed
// Pipeline.Complete.
func Analyze(p *config.Pipeline) *Report {
	g := newGraph(p)
	r := &Report{Pipeline: p.Name, MemoryLimit: int64(p.Limits.Memory), Findings: config.Diagnostics{}, p: p}
	r.Guarantees = g.guarantees()
	r.Couplings = g.couplings()
	r.memory(p)
	r.checkNacks(g)
	r.checkHolders(g)
	r.checkSinkBatches(g)
	r.checkPolicies(g)
	r.checkDeadLetters(g)
	r.checkUnpaused(g)
	r.checkShutdown(p)
	r.checkSameFile(p)
	r.checkSameCheckpoint(p)
	r.checkSameFolder(p)
	r.checkSameAddress(p)
	r.Findings.Sort()
	return r
}

func (r *Report) find(at config.Pos, s config.Severity, code, message, hint string) {
	r.Findings = append(r.Findings, r.p.Diagnostic(at, s, code, message, hint))
}

// checkNacks finds edges that promise the source to send a dropped event again
// where the source cannot.
func (r *Report) checkNacks(g *graph) {
	for _, a := range g.edges {
		if a.OnDrop != "nack" || a.Loses() == "" {
			continue
		}
		for _, s := range g.sources {
			if g.after[s].has(a.from) && !takesBack(g.nodes[s]) {
				r.find(a.At("on_drop"), config.Error, "nack-impossible",
					fmt.Sprintf("edge %s: on_drop: nack, but source %s cannot take a single event back", a.ID, g.nodes[s].Name),
					"use on_drop: ack, policy: block, or a source that answers each message")
			}
		}
	}
}

// takesBack reports whether a source can send one refused event again, or tell
// its client: it promises to rewind, or it answers each message and promises that
// what was not acked comes again. An http_server that answers before delivery
// does neither.
func takesBack(n *config.Node) bool {
	_, settles := n.Component.(pipe.Settler)
	t, promises := n.Component.(pipe.Traiter)
	if !promises {
		return settles
	}
	return t.Traits().Rewinds || settles && t.Traits().Replays
}

func traits(n *config.Node) pipe.Traits {
	if t, ok := n.Component.(pipe.Traiter); ok {
		return t.Traits()
	}
	return pipe.Traits{}
}

// checkHolders finds stages that wait for more events than a source may have
// in flight: without an interval both wait for ever.
func (r *Report) checkHolders(g *graph) {
	for i, n := range g.nodes {
		h, ok := n.Component.(pipe.Holder)
		if _, timely := n.Component.(pipe.Timely); !ok || timely {
			continue
		}
		for _, s := range g.sources {
			source := g.nodes[s]
			window := source.MaxInFlight.Events
			if !g.after[s].has(i) || window == 0 || h.Capacity() <= window {
				continue
			}
			waits := fmt.Sprintf("stage %s waits for %d events, but source %s has at most %d in flight", n.Name, h.Capacity(), source.Name, window)
			hint := fmt.Sprintf("raise max_in_flight.events of %s to %d, or wait for fewer events", source.Name, h.Capacity())
			if flushes(n) {
				r.find(n.At("events"), config.Warning, "batch-never-full", waits+": it is never full and always waits for its interval", hint)
			} else {
				r.find(n.At("events"), config.Error, "window-deadlock", waits+": both wait for ever", hint+", or give it an interval")
			}
		}
	}
}

// flushes reports whether a stage gives events up after a time, by the key
// "interval" that such stages have.
func flushes(n *config.Node) bool {
	v, _ := n.Option("interval")
	d, _ := v.(pipe.Duration)
	return d > 0
}

// checkSinkBatches finds sinks that wait for batches that cannot be full.
func (r *Report) checkSinkBatches(g *graph) {
	for _, k := range g.sinks {
		n := g.nodes[k]
		if n.Batch.Interval == 0 {
			continue // it never waits
		}
		if window, who := g.windows(g.before[k]); who != "" && window < n.Batch.Events {
			r.find(n.At("batch.events"), config.Warning, "batch-never-full",
				fmt.Sprintf("sink %s: a batch of %d events is never full: %s at most %d in flight; each write waits for the interval of %v", n.Name, n.Batch.Events, who, window, n.Batch.Interval),
				"lower batch.events, or raise max_in_flight.events")
		}
	}
}

// windows sums the windows of the sources in a set; who is empty when one of
// them has none.
func (g *graph) windows(reach set) (sum int, who string) {
	for _, s := range g.sources {
		if !reach.has(s) {
			continue
		}
		n := g.nodes[s]
		if n.MaxInFlight.Events == 0 {
			return 0, ""
		}
		sum += n.MaxInFlight.Events
		if who == "" {
			who = "source " + n.Name + " has"
		} else {
			who = "its sources have"
		}
	}
	return sum, who
}

// checkPolicies finds edges that are meant to drop but can never fill.
func (r *Report) checkPolicies(g *graph) {
	for _, a := range g.edges {
		switch a.Policy.Type {
		case config.DropOldest, config.DropNewest, config.DropRandom:
		default:
			continue
		}
		reach := newSet(len(g.nodes))
		for _, s := range g.sources {
			if g.after[s].has(a.from) {
				reach.add(s)
			}
		}
		if window, who := g.windows(reach); who != "" && window <= a.Buffer.Events {
			r.find(a.At("policy"), config.Warning, "policy-never-applies",
				fmt.Sprintf("edge %s is %s, but its buffer of %d events never fills: %s at most %d in flight", a.ID, a.Policy.Type, a.Buffer.Events, who, window),
				fmt.Sprintf("a stall behind it stops the source: raise max_in_flight.events above %d", a.Buffer.Events))
		}
	}
}

// checkDeadLetters finds dead-letter edges that can stop the nodes they serve
// although nobody said that they should.
func (r *Report) checkDeadLetters(g *graph) {
	for _, a := range g.edges {
		if _, forever := a.Policy.Waits(); !a.dead() || !forever || a.IsSet("policy") {
			continue
		}
		r.find(a.Pos, config.Warning, "dead-letter-blocks",
			fmt.Sprintf("edge %s: when dead letters cannot be written, it blocks and %s stops", a.ID, a.From),
			"write policy: block if that is meant, or give it a timeout or a dropping policy")
	}
}

// checkUnpaused finds sources that cannot be slowed down in front of edges that
// would slow them.
func (r *Report) checkUnpaused(g *graph) {
	for _, s := range g.sources {
		if !traits(g.nodes[s]).Unpaused {
			continue
		}
		for _, i := range g.out[s] {
			a := g.edges[i]
			if some, _ := a.Policy.Waits(); some {
				r.find(a.At("policy"), config.Warning, "unpausable-source",
					fmt.Sprintf("edge %s blocks, but source %s cannot be slowed down: what it does not take is lost outside, uncounted", a.ID, a.From),
					"use a dropping policy, so that losses are counted")
			}
		}
	}
}

// checkShutdown finds waits of sinks that a shutdown would cut short.
func (r *Report) checkShutdown(p *config.Pipeline) {
	limit := p.Shutdown.Timeout
	for _, n := range p.Sinks {
		if n.Retry.MaxElapsed > limit {
			r.find(n.At("retry.max_elapsed"), config.Warning, "retry-outlasts-shutdown",
				fmt.Sprintf("sink %s retries for up to %v, longer than shutdown.timeout %v: a shutdown during an outage returns events", n.Name, n.Retry.MaxElapsed, limit),
				"raise shutdown.timeout, or lower retry.max_elapsed")
		}
		if n.Timeout > limit {
			r.find(n.At("timeout"), config.Warning, "timeout-outlasts-shutdown",
				fmt.Sprintf("sink %s: one attempt may take %v, longer than shutdown.timeout %v", n.Name, n.Timeout, limit),
				"raise shutdown.timeout, or lower timeout")
		}
	}
}
