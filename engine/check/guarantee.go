package check

import (
	"fmt"
	"strings"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// Level is what a path promises.
type Level string

// The levels, from strong to weak.
const (
	// AtLeastOnce: every event that the source reads is delivered, filtered or
	// dead-lettered, or read again.
	AtLeastOnce Level = "at-least-once"
	// BestEffort: nothing is dropped by design, but what is in flight when the
	// process dies is gone, because the source cannot be read again.
	BestEffort Level = "best-effort"
	// AtMostOnce: something on the way may drop events by design.
	AtMostOnce Level = "at-most-once"
)

// Levels returns the levels, from strong to weak.
func Levels() []Level { return []Level{AtLeastOnce, BestEffort, AtMostOnce} }

// rank is 0 for the strongest level.
func (l Level) rank() int {
	for i, x := range Levels() {
		if l == x {
			return i
		}
	}
	return len(Levels())
}

// Guarantee is the promise of the paths from one source to one sink: the worst
// of them.
type Guarantee struct {
	Source string `json:"source"`
	Sink   string `json:"sink"`
	Level  Level  `json:"level"`
	// Reasons says why the level is not at-least-once.
	Reasons []string `json:"reasons,omitempty"`
	// DeadLetters reports that only events that failed take these paths.
	DeadLetters bool `json:"dead_letters,omitempty"`
	// Unordered names the stages and sinks that may change the order of events.
	Unordered []string `json:"unordered,omitempty"`

	at config.Pos // of the first reason
}

// String renders the guarantee as validate prints it:
// "a -> b: at-most-once because edge x->y is drop-oldest".
func (g Guarantee) String() string {
	s := fmt.Sprintf("%s -> %s: %s", g.Source, g.Sink, g.Promise())
	if g.DeadLetters {
		s += " (dead letters)"
	}
	if len(g.Unordered) > 0 {
		s += fmt.Sprintf("; order is lost in %s", list(g.Unordered))
	}
	return s
}

// Promise renders level and reasons: "best-effort because source x …".
func (g Guarantee) Promise() string {
	if len(g.Reasons) == 0 {
		return string(g.Level)
	}
	const most = 4
	shown := g.Reasons
	if len(shown) > most {
		shown = append(shown[:most-1:most-1], fmt.Sprintf("%d more reasons", len(shown)-most+1))
	}
	return fmt.Sprintf("%s because %s", g.Level, list(shown))
}

// hazard is something that can lose events, at an edge or in a node.
type hazard struct {
	from, to int // the edge's ends; both the node for a node
	why      string
	nack     bool // the source is told: no loss if it can send again
	at       config.Pos
}

// hazards collects what can lose events.
func (g *graph) hazards() []hazard {
	var hs []hazard
	for _, a := range g.edges {
		if how := a.Loses(); how != "" {
			hs = append(hs, hazard{a.from, a.to, "edge " + a.ID + " " + how, a.OnDrop == "nack", a.At("policy")})
		}
	}
	for i, n := range g.nodes {
		if n.OnError == config.OnErrorDrop && !g.hasFailedEdge(i) {
			hs = append(hs, hazard{i, i, fmt.Sprintf("%s %s drops what fails (on_error: drop)", n.Kind, n.Name), false, n.At("on_error")})
		}
	}
	return hs
}

// guarantees finds the worst of all paths between each source and sink. It
// looks at what lies between them, not at single paths: there may be
// exponentially many.
func (g *graph) guarantees() []Guarantee {
	hs := g.hazards()
	unordered := g.unordered()
	all := []Guarantee{}
	for _, s := range g.sources {
		alive := g.forward(s, func(a arc) bool { return !a.dead() })
		for _, k := range g.sinks {
			if !g.after[s].has(k) {
				continue
			}
			x := Guarantee{Source: g.nodes[s].Name, Sink: g.nodes[k].Name, DeadLetters: !alive.has(k)}
			g.judge(&x, s, k, hs)
			for _, i := range unordered {
				if g.after[s].has(i) && g.before[k].has(i) {
					x.Unordered = append(x.Unordered, string(g.nodes[i].Kind)+" "+g.nodes[i].Name)
				}
			}
			all = append(all, x)
		}
	}
	return all
}

// judge sets the level of x, the guarantee from s to k.
func (g *graph) judge(x *Guarantee, s, k int, hs []hazard) {
	x.Level = AtLeastOnce
	source := g.nodes[s]
	back := takesBack(source)
	for _, h := range hs {
		if g.after[s].has(h.from) && g.before[k].has(h.to) && !(h.nack && back) {
			x.add(AtMostOnce, h.why, h.at)
		}
	}
	if t := traits(source); !t.Replays {
		x.add(BestEffort, "source "+cannotReplay(source, t), source.Pos)
	}
}

// add adds a reason; the weaker level wins.
func (x *Guarantee) add(l Level, why string, at config.Pos) {
	if l.rank() > x.Level.rank() {
		x.Level = l
	}
	if len(x.Reasons) == 0 {
		x.at = at
	}
	x.Reasons = append(x.Reasons, why)
}

// cannotReplay says why a source cannot be read again: its own words, with the
// node's name where they begin with the type.
func cannotReplay(n *config.Node, t pipe.Traits) string {
	if t.Why == "" {
		return n.Name + " cannot be read again"
	}
	for _, name := range []string{n.Name, n.Type} {
		if rest, ok := strings.CutPrefix(t.Why, name+" "); ok && name != "" {
			return n.Name + " " + rest
		}
	}
	return n.Name + ": " + t.Why
}

// unordered returns the stages and sinks that may change the order of events.
func (g *graph) unordered() []int {
	var nodes []int
	for i, n := range g.nodes {
		if n.Kind == pipe.KindStage && n.Workers > 1 && !n.Ordered || n.Kind == pipe.KindSink && n.Concurrency.Max > 1 {
			nodes = append(nodes, i)
		}
	}
	return nodes
}

// Weakest returns the weakest level of all paths.
func (r *Report) Weakest() Level {
	weakest := AtLeastOnce
	for _, g := range r.Guarantees {
		if g.Level.rank() > weakest.rank() {
			weakest = g.Level
		}
	}
	return weakest
}

// Require returns an error for each path that promises less than l, at the
// place that weakens it.
func (r *Report) Require(l Level) config.Diagnostics {
	var ds config.Diagnostics
	for _, g := range r.Guarantees {
		if g.Level.rank() > l.rank() {
			ds = append(ds, r.p.Diagnostic(g.at, config.Error, "guarantee", fmt.Sprintf("%s -> %s is %s; %s is required", g.Source, g.Sink, g.Promise(), l), ""))
		}
	}
	ds.Sort()
	return ds
}

// list renders "a, b and c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
