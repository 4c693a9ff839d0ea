package check

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// TestModel compares the report on random graphs with what walking every single
// path says.
func TestModel(t *testing.T) {
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		p := randomPipeline(rnd)
		if ds := p.Complete(); ds.HasErrors() {
			t.Fatalf("seed %d: %v", seed, ds)
		}
		r := Analyze(p)
		got := map[string]string{}
		for _, g := range r.Guarantees {
			got[g.Source+" "+g.Sink] = fmt.Sprint(g.Level, " ", g.DeadLetters)
		}
		want, stops := walkPaths(p)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("seed %d: guarantees: got %v, want %v", seed, got, want)
		}
		stopped := map[string]bool{}
		for _, c := range r.Couplings {
			for _, s := range c.Sources {
				stopped[s+" "+c.Sink] = true
			}
		}
		if fmt.Sprint(stopped) != fmt.Sprint(stops) {
			t.Errorf("seed %d: couplings: got %v, want %v", seed, stopped, stops)
		}
	}
}

// randomPipeline makes a graph without cycles in which every node is reached.
func randomPipeline(rnd *rand.Rand) *config.Pipeline {
	p := &config.Pipeline{}
	var froms, all []*config.Node
	connect := func(to *config.Node) {
		from := froms[rnd.IntN(len(froms))]
		e := &config.Edge{From: from.Name, To: to.Name}
		if from.Kind == pipe.KindStage && rnd.IntN(4) == 0 {
			e.Port = "failed"
		}
		switch rnd.IntN(6) {
		case 0:
			e.Policy.Type = config.DropOldest
		case 1:
			e.Policy, e.OnDrop = config.Policy{Type: config.Sample}, "nack"
		case 2:
			e.Policy = config.Policy{Type: config.Block, Timeout: 1e9}
		}
		if !slices.ContainsFunc(p.Edges, func(o *config.Edge) bool { return o.From == e.From && o.Port == e.Port && o.To == e.To }) {
			p.Edges = append(p.Edges, e)
		}
	}
	add := func(kind pipe.Kind, name, typ string) *config.Node {
		n := config.NewNode(kind, name, typ, nil)
		if rnd.IntN(5) == 0 {
			n.OnError = config.OnErrorDrop
		}
		all = append(all, n)
		return n
	}
	types := []string{"file", "http", "queue", "tcp"}
	for i := range 1 + rnd.IntN(3) {
		p.Sources = append(p.Sources, add(pipe.KindSource, fmt.Sprint("s", i), types[rnd.IntN(len(types))]))
	}
	froms = slices.Clone(p.Sources)
	for i := range rnd.IntN(5) {
		n := add(pipe.KindStage, fmt.Sprint("t", i), "pass")
		for range 1 + rnd.IntN(2) {
			connect(n)
		}
		p.Stages = append(p.Stages, n)
		froms = append(froms, n)
	}
	for i := range 1 + rnd.IntN(3) {
		n := add(pipe.KindSink, fmt.Sprint("k", i), "out")
		for range 1 + rnd.IntN(3) {
			connect(n)
		}
		p.Sinks = append(p.Sinks, n)
	}
	for _, n := range froms { // no output may be loose
		if !slices.ContainsFunc(p.Edges, func(e *config.Edge) bool { return e.From == n.Name && e.Port == "" }) {
			p.Edges = append(p.Edges, &config.Edge{From: n.Name, To: p.Sinks[0].Name})
		}
	}
	return p
}

// walkPaths judges each path by itself.
func walkPaths(p *config.Pipeline) (levels map[string]string, stops map[string]bool) {
	worst, alive, reached := map[string]Level{}, map[string]bool{}, map[string]bool{}
	levels, stops = map[string]string{}, map[string]bool{}
	var walk func(source, n *config.Node, level Level, living, blocking bool)
	weaker := func(a, b Level) Level {
		if b.rank() > a.rank() {
			return b
		}
		return a
	}
	walk = func(source, n *config.Node, level Level, living, blocking bool) {
		hasFailed := slices.ContainsFunc(p.Edges, func(e *config.Edge) bool { return e.From == n.Name && e.Port == "failed" })
		if n.OnError == config.OnErrorDrop && !hasFailed {
			level = weaker(level, AtMostOnce)
		}
		if n.Kind == pipe.KindSink {
			key := source.Name + " " + n.Name
			reached[key], alive[key] = true, alive[key] || living
			worst[key] = weaker(orStrong(worst[key]), level)
			if blocking {
				stops[key] = true
			}
			return
		}
		for _, e := range p.Edges {
			if e.From != n.Name {
				continue
			}
			next := level
			lossy := e.Policy.Type != config.Block || e.Policy.Timeout > 0
			told := e.OnDrop == "nack" && (source.Type == "http" || source.Type == "queue")
			if lossy && !told {
				next = weaker(level, AtMostOnce)
			}
			walk(source, p.Node(e.To), next, living && e.Port != "failed", blocking && !lossy)
		}
	}
	for _, s := range p.Sources {
		level := AtLeastOnce
		if s.Type == "tcp" {
			level = BestEffort
		}
		walk(s, s, level, true, true)
	}
	for key := range reached {
		levels[key] = fmt.Sprint(worst[key], " ", !alive[key])
	}
	return levels, stops
}

func orStrong(l Level) Level {
	if l == "" {
		return AtLeastOnce
	}
	return l
}
