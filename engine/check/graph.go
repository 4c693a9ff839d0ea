package check

import (
	"math/bits"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// graph is the pipeline with numbered nodes.
type graph struct {
	p     *config.Pipeline
	nodes []*config.Node
	index map[string]int
	edges []arc
	in    [][]int // numbers of edges, per node
	out   [][]int

	sources, sinks []int
	after          map[int]set // per source, what can be reached from it, itself included
	before         map[int]set // per sink, what leads to it, itself included
}

// arc is an edge with numbered ends.
type arc struct {
	*config.Edge
	from, to int
}

// dead reports whether only events that failed travel here.
func (a arc) dead() bool { return a.Port == "failed" }

func newGraph(p *config.Pipeline) *graph {
	g := &graph{p: p, nodes: p.Nodes(), index: map[string]int{}, after: map[int]set{}, before: map[int]set{}}
	for i, n := range g.nodes {
		g.index[n.Name] = i
		switch n.Kind {
		case pipe.KindSource:
			g.sources = append(g.sources, i)
		case pipe.KindSink:
			g.sinks = append(g.sinks, i)
		}
	}
	g.in, g.out = make([][]int, len(g.nodes)), make([][]int, len(g.nodes))
	for i, e := range p.Edges {
		a := arc{e, g.index[e.From], g.index[e.To]}
		g.edges = append(g.edges, a)
		g.out[a.from] = append(g.out[a.from], i)
		g.in[a.to] = append(g.in[a.to], i)
	}
	for _, s := range g.sources {
		g.after[s] = g.forward(s, func(arc) bool { return true })
	}
	for _, k := range g.sinks {
		g.before[k] = g.backward(k, func(arc) bool { return true })
	}
	return g
}

// forward returns the nodes that start leads to over edges that f accepts.
func (g *graph) forward(start int, f func(arc) bool) set {
	return g.walk(start, g.out, func(a arc) (int, bool) { return a.to, f(a) })
}

// backward returns the nodes that lead to start over edges that f accepts.
func (g *graph) backward(start int, f func(arc) bool) set {
	return g.walk(start, g.in, func(a arc) (int, bool) { return a.from, f(a) })
}

func (g *graph) walk(start int, next [][]int, step func(arc) (int, bool)) set {
	seen := newSet(len(g.nodes))
	seen.add(start)
	queue := []int{start}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		for _, i := range next[n] {
			if to, ok := step(g.edges[i]); ok && !seen.has(to) {
				seen.add(to)
				queue = append(queue, to)
			}
		}
	}
	return seen
}

// hasFailedEdge reports whether what fails at node n goes somewhere.
func (g *graph) hasFailedEdge(n int) bool {
	for _, i := range g.out[n] {
		if g.edges[i].dead() {
			return true
		}
	}
	return false
}

// names returns the names of the nodes of a kind in s, in the order of the file.
func (g *graph) names(s set, kind pipe.Kind) []string {
	var list []string
	for i, n := range g.nodes {
		if s.has(i) && n.Kind == kind {
			list = append(list, n.Name)
		}
	}
	return list
}

// set is a set of node numbers.
type set []uint64

func newSet(n int) set       { return make(set, (n+63)/64) }
func (s set) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s set) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// union adds o to s.
func (s set) union(o set) {
	for i := range s {
		s[i] |= o[i]
	}
}

// each calls f for every member.
func (s set) each(f func(i int)) {
	for w, word := range s {
		for ; word != 0; word &= word - 1 {
			f(w*64 + bits.TrailingZeros64(word))
		}
	}
}
