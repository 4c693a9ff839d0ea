package explain

import (
	"cmp"
	"slices"

	"github.com/pipectl/pipectl/engine"
)

// The thresholds, as shares of time.
const (
	waits = .10 // a node that is blocked for less does not count as waiting
	trace = .03 // an edge at which somebody waits for less is not followed
	works = .70 // a node that is active for less is not at its limit
	full  = .90 // active all the time
)

// loses is the part of the events from which on an edge's drops are a limit.
const loses = .01

// shortest is the shortest window that figures say something about, in seconds.
const shortest = 1.0

// jitter is by how much of it a window that was asked for may turn out too short,
// because figures are taken by a ticker.
const jitter = 0.1

// judge finds the limits in what happened. mixed says that the configuration
// changed within that time.
func judge(b *engine.Status, d deltas, mixed bool) Report {
	p := draw(b, d)
	r := Report{Pipeline: b.Pipeline, WindowSeconds: round(d.seconds, 1000), Nodes: p.shares(), Blocks: []string{}, Bottlenecks: []Bottleneck{}}
	ended := over(b.Outcome)
	if d.seconds < shortest*(1-jitter) || b.Outcome == engine.Starting {
		r.Cause = CauseStarting
		if ended {
			r.Cause = CauseEnded
		}
		r.Sentences = []string{tooEarly(b, d.seconds, ended)}
		return r
	}
	f := finder{picture: p, found: map[key]*limit{}}
	limits := f.all()
	for _, l := range limits {
		r.Bottlenecks = append(r.Bottlenecks, l.bottleneck())
	}
	p.choose(&r, limits)
	r.Sentences = p.tell(&r, limits, mixed)
	if ended {
		r.Cause = CauseEnded
	}
	return r
}

func over(s engine.State) bool {
	return s == engine.Drained || s == engine.Stopped || s == engine.Failed
}

// choose enters the heaviest limit.
func (p *picture) choose(r *Report, limits []*limit) {
	if len(limits) == 0 || p.nothingToDo(limits) {
		r.Cause = CauseIdle
		return
	}
	first := limits[0]
	r.Limiting, r.Cause = first.node.Name, first.cause
	r.Blocks = append(r.Blocks, first.blocks()...)
	if r.Next = p.next(first); r.Next != nil {
		r.Next.SourceRate, r.Next.Factor = round(r.Next.SourceRate, 100), round(r.Next.Factor, 1000)
	}
}

// nothingToDo reports whether sources only wait for input that does not come.
func (p *picture) nothingToDo(limits []*limit) bool {
	for _, l := range limits {
		if l.form != FormSource || l.node.Rate > 0 || l.node.Idle+l.node.Throttled < works {
			return false
		}
	}
	return true
}

// limit is a Bottleneck that is being looked for.
type limit struct {
	node    *node
	form    string
	cause   string
	edge    *link // see Bottleneck.Edge
	share   float64
	sources []*node
	holder  *node
	credit  bool // the pressure reaches a source through its window
}

func (l *limit) blocks() []string {
	list := l.node.waiters()
	if l.form != FormSource && l.form != FormWindow {
		for _, s := range l.sources {
			if !slices.Contains(list, s.Name) {
				list = append(list, s.Name)
			}
		}
	}
	return list
}

func (l *limit) bottleneck() Bottleneck {
	b := Bottleneck{Node: l.node.Name, Kind: l.node.Kind, Cause: l.cause, Form: l.form, Share: round(l.share, 10000), Blocks: l.blocks()}
	if l.edge != nil {
		b.Edge = l.edge.id
	}
	if l.holder != nil {
		b.Holder = l.holder.Name
	}
	for _, s := range l.sources {
		b.Sources = append(b.Sources, s.Name)
	}
	return b
}

type key struct {
	node *node
	form string
}

// finder collects the limits of a picture.
type finder struct {
	*picture
	found map[key]*limit
	order []*limit
}

// all returns all limits, the heaviest first.
func (f *finder) all() []*limit {
	free := f.held()
	f.losses()
	f.backlogs()
	for _, s := range free {
		f.enter(&limit{node: s, form: FormSource, cause: sourceCause(s)})
	}
	rank := map[string]int{FormPressure: 0, FormWindow: 0, FormLoss: 1, FormBacklog: 2, FormSource: 3}
	slices.SortStableFunc(f.order, func(a, b *limit) int {
		return cmp.Or(cmp.Compare(rank[a.form], rank[b.form]), cmp.Compare(b.share, a.share), cmp.Compare(b.node.Rate, a.node.Rate))
	})
	return f.order
}

// enter adds a limit, or its weight and sources to the one that is there.
func (f *finder) enter(l *limit) {
	k := key{l.node, l.form}
	was := f.found[k]
	if was == nil {
		f.found[k] = l
		f.order = append(f.order, l)
		return
	}
	was.sources = append(was.sources, l.sources...)
	if l.share > was.share {
		was.share, was.edge, was.credit = l.share, l.edge, l.credit
	}
}

// held enters what holds up sources, and returns the sources that nothing holds.
func (f *finder) held() (free []*node) {
	for _, s := range f.sources {
		var l *limit
		switch {
		case s.window >= waits && s.window >= s.pressure():
			l = f.creditLimit(s)
		case s.waiting() >= waits:
			l = f.pressureLimit(s)
		}
		if l == nil || l.node == s && l.form == FormPressure {
			free = append(free, s)
			continue
		}
		l.sources, l.share = []*node{s}, s.Blocked
		f.enter(l)
	}
	return free
}

func (f *finder) pressureLimit(s *node) *limit {
	t := follow(s)
	l := &limit{node: t.limit, form: FormPressure, cause: cause(t.limit), edge: t.into}
	if t.paced {
		l.cause = CauseThrottled
	}
	if t.limit != s && !t.clear() {
		l.cause = CauseUnclear
	}
	return l
}

// creditLimit finds what the unsettled events of a source wait for.
func (f *finder) creditLimit(s *node) *limit {
	var holder *node
	s.behind(func(n *node) {
		if holder == nil || n.load() > holder.load() {
			holder = n
		}
	})
	if holder != nil {
		t := follow(holder)
		if t.clear() {
			return &limit{node: t.limit, form: FormPressure, cause: cause(t.limit), edge: fullest(t.limit), credit: true}
		}
	}
	return &limit{node: s, form: FormWindow, cause: CauseWindow, holder: holder}
}

// losses enters the nodes that take too little of what a dropping edge has.
func (f *finder) losses() {
	for _, l := range f.links {
		lost := float64(l.delta.lost)
		t := follow(l.to)
		if l.delta.fill >= .5 && t.clear() {
			lost += float64(l.delta.sampled)
		}
		if share := lost / max(1, float64(l.delta.offered)); share >= loses && t.clear() {
			f.enter(&limit{node: t.limit, form: FormLoss, cause: cause(t.limit), edge: l, share: share})
		}
	}
}

// backlogs enters the nodes that make others wait, or events queue up, without
// having held up a source yet.
func (f *finder) backlogs() {
	known := map[*node]bool{}
	for _, l := range f.order {
		known[l.node] = true
	}
	for _, n := range f.nodes {
		if n.isSource() {
			continue
		}
		t := follow(n)
		if t.into == nil && n.Active() >= full && !known[n] {
			if e := growing(n); e != nil {
				f.enter(&limit{node: n, form: FormBacklog, cause: cause(n), edge: e, share: float64(e.delta.fill)})
			}
		} else if t.into != nil && t.clear() && !known[t.limit] {
			e := cmp.Or(growing(n), t.into)
			f.enter(&limit{node: t.limit, form: FormBacklog, cause: cause(t.limit), edge: e, share: float64(e.delta.fill)})
		}
	}
}

// growing returns the edge before a node that fills up or that has a long queue;
// nil when there is none.
func growing(n *node) (most *link) {
	const few = 16 // events that come and go all the time
	for _, l := range n.in {
		q := float64(l.delta.queued)
		grows := float64(l.delta.grown) >= max(few, .05*float64(n.delta.in))
		long := q >= few && q >= n.Rate
		if (grows || long) && (most == nil || q > float64(most.delta.queued)) {
			most = l
		}
	}
	return most
}

func fullest(n *node) (most *link) {
	for _, l := range n.in {
		if most == nil || l.queued() > most.queued() {
			most = l
		}
	}
	return most
}

// trail is the way that pressure came, from a node to the one that limits it.
type trail struct {
	nodes []*node
	edges []*link // edges[i] leads from nodes[i] to nodes[i+1]
	limit *node
	into  *link // the edge into limit; nil when the trail begins there
	paced bool  // limit keeps a pace of its own, see ownPace
}

// follow goes from a node along the edges at which others wait longest.
func follow(n *node) trail {
	t := trail{nodes: []*node{n}}
	for l := n.mostPressed(); l != nil && n.waiting() >= trace; l = n.mostPressed() {
		n = l.to
		t.nodes, t.edges = append(t.nodes, n), append(t.edges, l)
	}
	at := t.mostActive()
	if t.nodes[at].Idle >= waits {
		if own := t.ownPace(at); own != at {
			at, t.paced = own, true
		}
	}
	t.limit = t.nodes[at]
	if at > 0 {
		t.into = t.edges[at-1]
	}
	return t
}

// mostActive returns the place of the node that works most; of those that are
// about equal, the last.
func (t *trail) mostActive() int {
	const equal = .03
	best := len(t.nodes) - 1
	for i := best - 1; i >= 0; i-- {
		if t.nodes[i].Active() > t.nodes[best].Active()+equal {
			best = i
		}
	}
	return best
}

// ownPace is asked when even the most active node is idle at times: what comes
// is then no more than it can do. A node before it that keeps a rate of its own,
// or waits for input, gives the pace, though it hands its events over in bursts
// and waits for room while one is being taken.
func (t *trail) ownPace(at int) int {
	best, most := at, waits
	for i, n := range t.nodes[:at] {
		pace := n.Throttled
		if n.isSource() {
			pace += n.Idle
		}
		if pace >= most {
			best, most = i, pace
		}
	}
	return best
}

// clear reports whether the limit really is at its limit: active for most of the
// time, or at a pace of its own.
func (t *trail) clear() bool { return t.paced || t.limit.Active() >= works }

// cause names the largest part of what a node does.
func cause(n *node) string {
	switch {
	case n.External >= n.Busy && n.External >= n.Throttled:
		return CauseExternal
	case n.Throttled >= n.Busy:
		return CauseThrottled
	}
	return CauseBusy
}

// sourceCause is why a source that nothing holds back reads no more.
func sourceCause(n *node) string {
	if n.Idle >= n.Active() || n.Idle >= works {
		return CauseSource
	}
	return cause(n)
}

func (p *picture) shares() []NodeShare {
	list := make([]NodeShare, len(p.nodes))
	for i, n := range p.nodes {
		s := n.NodeShare
		for _, f := range []*float64{&s.Busy, &s.Idle, &s.Blocked, &s.Throttled, &s.External} {
			*f = round(*f, 10000)
		}
		s.Rate, s.Capacity = round(s.Rate, 100), round(s.Capacity, 100)
		list[i] = s
	}
	return list
}
