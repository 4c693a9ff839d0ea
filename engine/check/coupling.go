package check

import (
	"fmt"
	"strings"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Coupling says what the stall of one sink stops, through edges that block for
// as long as it takes.
type Coupling struct {
	Sink string `json:"sink"`
	// Sources stop reading.
	Sources []string `json:"sources,omitempty"`
	// Siblings are other sinks that get no more events, or fewer.
	Siblings []string `json:"siblings,omitempty"`
}

// String renders the coupling: "when out stalls, source in stops and sink b starves".
func (c Coupling) String() string {
	var parts []string
	if len(c.Sources) > 0 {
		parts = append(parts, noun("source", c.Sources, "stops", "stop"))
	}
	if len(c.Siblings) > 0 {
		parts = append(parts, noun("sink", c.Siblings, "starves", "starve"))
	}
	return fmt.Sprintf("when %s stalls, %s", c.Sink, strings.Join(parts, " and "))
}

func noun(what string, names []string, one, many string) string {
	if len(names) == 1 {
		return fmt.Sprintf("%s %s %s", what, names[0], one)
	}
	return fmt.Sprintf("%ss %s %s", what, list(names), many)
}

// couplings follows blocking edges up from each sink; whatever hangs on a node
// that stands still gets nothing. Sinks of dead letters only do not count.
func (g *graph) couplings() []Coupling {
	all := []Coupling{}
	for _, k := range g.sinks {
		stalled := g.backward(k, func(a arc) bool { _, forever := a.Policy.Waits(); return forever })
		starved := newSet(len(g.nodes))
		stalled.each(func(i int) {
			for _, e := range g.out[i] {
				if a := g.edges[e]; !a.dead() && !starved.has(a.to) {
					starved.union(g.forward(a.to, func(a arc) bool { return !a.dead() }))
				}
			}
		})
		c := Coupling{Sink: g.nodes[k].Name, Sources: g.names(stalled, pipe.KindSource)}
		for _, name := range g.names(starved, pipe.KindSink) {
			if name != c.Sink {
				c.Siblings = append(c.Siblings, name)
			}
		}
		if len(c.Sources) > 0 || len(c.Siblings) > 0 {
			all = append(all, c)
		}
	}
	return all
}
