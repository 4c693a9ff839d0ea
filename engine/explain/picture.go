package explain

import (
	"maps"
	"slices"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/pipe"
)

// picture is a pipeline with what happened in it during a window of time.
type picture struct {
	status  *engine.Status
	seconds float64
	nodes   []*node // in the order of the file: sources, stages, sinks
	byName  map[string]*node
	links   []*link
	sources []*node // those that were reading during at least half of the window
	sorted  []*node // see topological
}

// node is a node in a picture.
type node struct {
	NodeShare
	delta   nodeDelta
	window  float64               // share of the time a source waited for credit; part of Blocked
	limit   float64               // events a second that its own rate lets through, 0 when it has none
	credit  int64                 // max_in_flight of a source in events, 0 when there is none
	breaker *engine.BreakerStatus // nil when it has none
	in, out []*link
}

// leftAlone reports whether the node leaves its far side alone because that fails.
func (n *node) leftAlone() bool { return n.breaker != nil && n.breaker.State != "closed" }

// link is an edge in a picture. Rates are events per second.
type link struct {
	id       string
	from, to *node
	policy   string
	capacity int64
	pressed  float64 // share of the time
	rate     float64 // taken out
	offered  float64
	delta    edgeDelta
}

func draw(b *engine.Status, d deltas) *picture {
	p := &picture{status: b, seconds: d.seconds, byName: map[string]*node{}}
	for _, name := range names(b.SourceNames, b.Sources) {
		s := b.Sources[name]
		n := p.add(name, pipe.KindSource, s.NodeStatus, d.nodes[name])
		n.credit = s.InFlightLimit
		if total := n.delta.total(); total > 0 {
			n.window = min(n.Blocked, float64(n.delta.window/total))
		}
		if float64(n.delta.total()) >= d.seconds/2 {
			p.sources = append(p.sources, n)
		}
	}
	for _, name := range names(b.StageNames, b.Stages) {
		n := p.add(name, pipe.KindStage, b.Stages[name].NodeStatus, d.nodes[name])
		if c := b.Stages[name].Calls; c != nil {
			n.breaker = c.Breaker
		}
	}
	for _, name := range names(b.SinkNames, b.Sinks) {
		p.add(name, pipe.KindSink, b.Sinks[name].NodeStatus, d.nodes[name]).breaker = b.Sinks[name].Breaker
	}
	for _, id := range names(b.EdgeNames, b.Edges) {
		p.connect(id, b.Edges[id], d.edges[id])
	}
	return p
}

// names returns the names in order, or sorted when the order is not known.
func names[T any](order []string, of map[string]T) []string {
	if len(order) == len(of) {
		return order
	}
	return slices.Sorted(maps.Keys(of))
}

func (p *picture) add(name string, kind pipe.Kind, s engine.NodeStatus, d nodeDelta) *node {
	n := &node{delta: d, limit: s.RateLimit, NodeShare: NodeShare{Name: name, Kind: string(kind), Workers: s.Workers, Rate: p.perSecond(d.in)}}
	if total := float64(d.total()); total > 0 {
		n.Busy, n.Idle, n.Blocked = float64(d.busy)/total, float64(d.idle)/total, float64(d.blocked)/total
		n.Throttled, n.External = float64(d.throttled)/total, float64(d.external)/total
	}
	n.Capacity = n.capacity()
	p.nodes = append(p.nodes, n)
	p.byName[name] = n
	return n
}

func (p *picture) connect(id string, s engine.EdgeStatus, d edgeDelta) {
	from, to := p.byName[s.From], p.byName[s.To]
	if from == nil || to == nil {
		return
	}
	l := &link{id: id, from: from, to: to, policy: s.Policy, capacity: s.Capacity, delta: d,
		rate: p.perSecond(d.delivered), offered: p.perSecond(d.offered)}
	if p.seconds > 0 {
		l.pressed = min(1, float64(d.pressed)/p.seconds)
	}
	from.out, to.in = append(from.out, l), append(to.in, l)
	p.links = append(p.links, l)
}

func (p *picture) perSecond(events float32) float64 {
	if p.seconds <= 0 {
		return 0
	}
	return float64(events) / p.seconds
}

// least is the share of time below which nothing is concluded from a node's work.
const least = .01

// capacity is what a node could take if it never waited for others: no more than
// its own rate allows, if it has one. A source that waits for input keeps doing so.
func (n *node) capacity() float64 {
	free := n.Active()
	if n.Kind == string(pipe.KindSource) {
		free = 1 - n.Blocked
	}
	if n.Rate <= 0 || free < least {
		return n.limit
	}
	if c := n.Rate / free; n.limit == 0 || c < n.limit {
		return c
	}
	return n.limit
}

func (n *node) isSource() bool { return n.Kind == string(pipe.KindSource) }

// pressure is the share of time that a node waits for room in edges.
func (n *node) pressure() float64 { return n.Blocked - n.window }

// waiting is the share of time in which a worker of the node waits for room. It
// may be more than pressure when there are several.
func (n *node) waiting() float64 {
	if l := n.mostPressed(); l != nil {
		return max(n.pressure(), l.pressed)
	}
	return n.pressure()
}

// drops reports whether the edge drops events instead of making producers wait.
func (l *link) drops() bool { return l.policy != "block" }

// queued returns how many events were queued in the window, on average.
func (l *link) queued() float64 {
	return float64(l.delta.queued) - float64(l.delta.grown)/2
}

// mostPressed is the edge at which the node waits longest; nil when it waits at
// none.
func (n *node) mostPressed() (most *link) {
	for _, l := range n.out {
		if l.pressed > 0 && (most == nil || l.pressed > most.pressed) {
			most = l
		}
	}
	return most
}

// load is how many events a node has before it and in its hands.
func (n *node) load() (events float64) {
	for _, l := range n.in {
		events += l.queued()
	}
	return events + float64(n.delta.held)
}

// behind calls f for every node that can be reached from n, each once.
func (n *node) behind(f func(*node)) {
	seen := map[*node]bool{n: true}
	for queue := []*node{n}; len(queue) > 0; queue = queue[1:] {
		for _, l := range queue[0].out {
			if !seen[l.to] {
				seen[l.to] = true
				f(l.to)
				queue = append(queue, l.to)
			}
		}
	}
}

// waiters returns the nodes that wait because of n, nearest first.
func (n *node) waiters() (list []string) {
	seen := map[*node]bool{n: true}
	for queue := []*node{n}; len(queue) > 0; queue = queue[1:] {
		for _, l := range queue[0].in {
			if !seen[l.from] && l.pressed >= waits {
				seen[l.from] = true
				list = append(list, l.from.Name)
				queue = append(queue, l.from)
			}
		}
	}
	return list
}
