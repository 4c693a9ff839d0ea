package explain

import (
	"math"
	"slices"

	"github.com/pipectl/pipectl/engine/pipe"
)

// far is how many times as many events the figures can be trusted to tell about:
// who is active 5 % of the time may do 20 times as much, or much less.
const far = 20.0

// flow is something that grows when a limit is out of the way: what a source
// reads, or what comes through an edge that drops no more.
type flow struct {
	source *node
	edge   *link
	rate   float64           // events per second now
	most   float64           // times as much as now it can become
	parts  map[*node]float64 // of what each node takes in, how much is of this flow
}

// next finds what would limit the pipeline without l: the node that is first to
// have no time left when the flows that l holds back grow, all by the same factor
// as long as they can.
func (p *picture) next(l *limit) *Limit {
	flows, now := p.flows(l), 0.0
	for _, f := range flows {
		now += f.rate
	}
	if now <= 0 {
		return nil // nothing moves: nothing to conclude from
	}
	end := largest(flows)
	first := p.grow(flows, l.node)
	if first == nil && math.IsInf(end.most, 1) {
		return nil
	}
	next := &Limit{}
	for _, f := range flows {
		next.SourceRate += f.rate * f.most
	}
	next.Factor = next.SourceRate / now
	if known := first == nil && end.edge != nil; !known && next.Factor > far && (first != nil || end.source.limit == 0) {
		next.AtLeast = true
		next.Factor, next.SourceRate = far, far*now
	}
	switch {
	case first != nil:
		next.Node, next.Kind, next.Cause = first.Name, first.Kind, cause(first)
	case end.edge != nil:
		next.Node, next.Kind, next.Cause = end.edge.from.Name, end.edge.from.Kind, CauseSource
	default:
		next.Node, next.Kind, next.Cause = end.source.Name, string(pipe.KindSource), sourceCause(end.source)
	}
	next.Sentence = p.nextSentence(l, next, end)
	return next
}

// grow lets flows grow until nodes stop them or they have reached their most, and
// puts down how far they came as their most. It returns the first node that
// stopped one, nil if none did. A node that stops some leaves the others growing.
func (p *picture) grow(flows []*flow, without *node) (first *node) {
	full := map[*node]bool{without: true}
	for {
		stop, at := (*node)(nil), math.Inf(1)
		for _, n := range p.nodes {
			if n.isSource() || full[n] {
				continue
			}
			if f := room(n, flows); f < at {
				stop, at = n, f
			}
		}
		if stop == nil {
			return first
		}
		if first == nil {
			first = stop
		}
		full[stop] = true
		for _, f := range flows {
			if f.parts[stop] > 0 {
				f.most = min(f.most, at)
			}
		}
	}
}

// flows are what l holds back; when it holds back nothing, what leads to it.
func (p *picture) flows(l *limit) []*flow {
	if l.form == FormLoss {
		e := l.edge
		if e.rate <= 0 {
			return nil
		}
		return []*flow{{edge: e, rate: e.rate, most: e.offered / e.rate, parts: p.parts(nil, e)}}
	}
	if l.form == FormSource {
		return []*flow{{source: l.node, rate: l.node.Rate, most: math.Inf(1), parts: p.parts(l.node, nil)}}
	}
	var flows []*flow
	for _, s := range p.sources {
		parts := p.parts(s, nil)
		held := slices.Contains(l.sources, s) || len(l.sources) == 0 && parts[l.node] > 0
		if !held || s.Rate <= 0 {
			continue
		}
		most := 1 / max(1-s.Blocked, 1e-6)
		if s.limit > 0 {
			most = max(1, s.limit/s.Rate) // it says itself what it would bring
		}
		flows = append(flows, &flow{source: s, rate: s.Rate, most: most, parts: parts})
	}
	return flows
}

// largest is the flow that can grow longest, of equal ones the largest.
func largest(flows []*flow) *flow {
	best := flows[0]
	for _, f := range flows[1:] {
		if f.most > best.most || f.most == best.most && f.rate > best.rate {
			best = f
		}
	}
	return best
}

// room is how many times as large the flows can become until n has no time left;
// infinite when they cannot bring it there.
func room(n *node, flows []*flow) float64 {
	reached := false
	for _, f := range flows {
		reached = reached || f.parts[n] > 0
	}
	bound := math.Inf(1)
	if n.Active() >= least {
		bound = 1 / n.Active()
	}
	if n.limit > 0 && n.Rate > 0 {
		bound = min(bound, max(1, n.limit/n.Rate))
	}
	if !reached || math.IsInf(bound, 1) {
		return math.Inf(1)
	}
	load := func(times float64) float64 { // 1 is what it takes in now
		sum := 1.0
		for _, f := range flows {
			sum += f.parts[n] * (min(times, f.most) - 1)
		}
		return sum
	}
	low, high := 1.0, 2/least
	if load(high) < bound {
		return math.Inf(1)
	}
	for range 50 {
		if mid := (low + high) / 2; load(mid) < bound {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// parts returns which part of what each node takes in comes from a source, or
// through an edge. Edges that drop do not pass growth on: who takes too little
// behind them loses more events, but limits nobody.
func (p *picture) parts(source *node, edge *link) map[*node]float64 {
	parts := map[*node]float64{}
	if source != nil {
		parts[source] = 1
	}
	for _, n := range p.topological() {
		all, own := 0.0, 0.0
		for _, l := range n.in {
			all += l.rate
			switch {
			case l == edge:
				own += l.rate
			case !l.drops():
				own += l.rate * parts[l.from]
			}
		}
		if own > 0 {
			parts[n] = own / all
		}
	}
	return parts
}

// topological returns the nodes so that edges lead from earlier to later ones.
func (p *picture) topological() []*node {
	if p.sorted != nil {
		return p.sorted
	}
	missing := map[*node]int{}
	for _, n := range p.nodes {
		if missing[n] = len(n.in); missing[n] == 0 {
			p.sorted = append(p.sorted, n)
		}
	}
	for i := 0; i < len(p.sorted); i++ {
		for _, l := range p.sorted[i].out {
			if missing[l.to]--; missing[l.to] == 0 {
				p.sorted = append(p.sorted, l.to)
			}
		}
	}
	return p.sorted
}
