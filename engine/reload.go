package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/pipe"
)

// prepareWithin is how long opening the new components of a reload may take
// together; then the reload is refused and nothing has changed.
const prepareWithin = 5 * time.Second

// ReloadOptions say how a reload is done.
type ReloadOptions struct {
	DryRun bool // everything but the commit: nothing is opened, nothing changes
}

// ReloadReceipt says what a reload changed.
type ReloadReceipt struct {
	Generation uint64        `json:"generation"` // now in force
	Before     uint64        `json:"before"`     // in force before; the same when nothing changed
	Class      diff.Class    `json:"class"`
	DryRun     bool          `json:"dry_run,omitempty"`
	At         time.Time     `json:"at"`
	Changes    []diff.Change `json:"changes"`
	Edges      []EdgeReceipt `json:"edges"`     // every edge that was changed, added or removed
	PausedUS   int64         `json:"paused_us"` // how long the commit took, in µs: the most anybody waited for it
}

// EdgeReceipt says what a reload did to an edge.
type EdgeReceipt struct {
	Edge             string               `json:"edge"`
	Action           diff.Action          `json:"action"`
	Before           *config.EdgeSettings `json:"-"`
	After            *config.EdgeSettings `json:"-"`
	BeforeText       string               `json:"before,omitempty"`    // "block, 1024 events, 16MiB"
	AfterText        string               `json:"after,omitempty"`     //
	CarriedOver      int64                `json:"carried_over"`        // events that were queued and stay queued
	Evicted          int64                `json:"evicted,omitempty"`   // because of on_shrink: evict
	BlockedProducers int                  `json:"blocked_producers"`   // were waiting and decide again
	PausedUS         int64                `json:"paused_us,omitempty"` // how long this edge was locked, in µs
}

// RefusedError says why a reload was refused; nothing has changed.
type RefusedError struct {
	Reason      string             // one sentence, for people
	Diagnostics config.Diagnostics // where in the file, if it is about the file
	Changes     []diff.Change      // those that cannot be made, if it is about the change
	Busy        bool               // the same may be accepted later
}

func (e *RefusedError) Error() string { return e.Reason }

// Config returns the configuration in force. It must not be changed.
func (e *Engine) Config() *config.Pipeline {
	e.shape.RLock()
	defer e.shape.RUnlock()
	return e.cfg
}

// Generation returns the number of the configuration in force.
func (e *Engine) Generation() uint64 { return e.generation.Load() }

// Reload makes next, which must be valid, the running pipeline, or refuses with
// a *RefusedError and changes nothing. The components of next belong to the
// engine when it succeeds; those of nodes that did not change are not used.
//
// Reload prepares first, while data flows: it compares, builds what is new and
// opens it, within 5 seconds. Then it commits, which cannot fail, does no I/O and
// waits for no data: the settings of each edge change in one critical section,
// nodes get another component at the end of their present step, and branches
// come and go. What is taken out ends in the background: what it holds goes on
// to where it was going, for as long as shutdown.timeout, and is then returned.
// By itself a reload loses, repeats and reorders nothing.
//
// One reload goes on at a time; others wait for it.
func (e *Engine) Reload(ctx context.Context, next *config.Pipeline, o ReloadOptions) (ReloadReceipt, error) {
	e.changing.Lock()
	defer e.changing.Unlock()
	r := &reload{eng: e, old: e.Config(), next: next, fresh: map[string]bool{}}
	r.receipt = ReloadReceipt{At: time.Now(), Before: e.generation.Load(), DryRun: o.DryRun, Edges: []EdgeReceipt{}}
	r.receipt.Generation = r.receipt.Before
	r.receipt.Changes = diff.Plan(r.old, next)
	r.receipt.Class = diff.Heaviest(r.receipt.Changes)
	if err := r.accept(); err != nil || r.receipt.Class == diff.None && len(r.receipt.Changes) == 0 {
		return r.receipt, err
	}
	if o.DryRun {
		r.describeEdges()
		return r.receipt, nil
	}
	if err := r.prepare(ctx); err != nil {
		r.discard()
		return r.receipt, err
	}
	if err := r.commit(); err != nil {
		r.discard()
		return r.receipt, err
	}
	return r.receipt, nil
}

// reload is one reload under way.
type reload struct {
	eng       *Engine
	old, next *config.Pipeline
	merged    *config.Pipeline // next with the running components of nodes that stay
	receipt   ReloadReceipt

	graph  *graph          // as it will be
	fresh  map[string]bool // nodes of graph that are new
	opened []closer        // what prepare has opened
	stages map[*stageNode]*stageJob
	sinks  map[*sinkNode]*sinkJob
	fans   map[*output][]*link // outputs whose edges change
	inputs map[*node][]*link   // nodes that get other edges, with those they get
	apply  map[*link]*config.Edge
	out    departure // what is taken out
}

// accept refuses what cannot be done.
func (r *reload) accept() error {
	var heavy []diff.Change
	for _, c := range r.receipt.Changes {
		if c.Class == diff.Restart {
			heavy = append(heavy, c)
		}
	}
	if len(heavy) > 0 {
		return &RefusedError{Changes: heavy, Reason: fmt.Sprintf("%s cannot be changed while the pipeline runs: %s", heavy[0].Subject(), heavy[0].Why)}
	}
	return r.eng.changeable()
}

// changeable refuses reloads outside the running time of the pipeline.
func (e *Engine) changeable() error {
	e.mu.Lock()
	state := e.state
	e.mu.Unlock()
	if state != Running {
		return &RefusedError{Reason: fmt.Sprintf("the pipeline is %s; only a running one can be changed", state), Busy: state == Starting}
	}
	return nil
}

// describeEdges says what would happen to the edges.
func (r *reload) describeEdges() {
	for _, c := range r.receipt.Changes {
		if c.Part == diff.PartEdge {
			r.receipt.Edges = append(r.receipt.Edges, r.edgeReceipt(c))
		}
	}
}

func (r *reload) edgeReceipt(c diff.Change) EdgeReceipt {
	x := EdgeReceipt{Edge: c.Name, Action: c.Action}
	if q := r.old.Edge(c.Name); q != nil && c.Action != diff.Added {
		x.Before, x.BeforeText = &q.EdgeSettings, q.EdgeSettings.String()
	}
	if q := r.next.Edge(c.Name); q != nil && c.Action != diff.Removed {
		x.After, x.AfterText = &q.EdgeSettings, q.EdgeSettings.String()
	}
	return x
}

// prepare builds and opens what is new. Data flows meanwhile; nothing of it is
// in force.
func (r *reload) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, prepareWithin)
	defer cancel()
	defer context.AfterFunc(r.eng.working, cancel)()
	r.stages, r.sinks = map[*stageNode]*stageJob{}, map[*sinkNode]*sinkJob{}
	r.fans, r.inputs, r.apply = map[*output][]*link{}, map[*node][]*link{}, map[*link]*config.Edge{}
	if err := r.nodes(ctx); err != nil {
		return err
	}
	return r.edges()
}

// changeOf returns what changes about a node, nil when nothing does.
func (r *reload) changeOf(name string) *diff.Change {
	for i := range r.receipt.Changes {
		c := &r.receipt.Changes[i]
		if c.Name == name && c.Part != diff.PartEdge && c.Part != diff.PartPipeline {
			return c
		}
	}
	return nil
}

// nodes builds the nodes of the new graph: those that stay are the same, with
// other jobs if they change.
func (r *reload) nodes(ctx context.Context) error {
	merged := *r.next
	r.merged = &merged
	merged.Sources, merged.Stages, merged.Sinks = nil, nil, nil
	r.graph = &graph{byName: map[string]anyNode{}}
	for _, c := range slices.Concat(r.next.Sinks, r.next.Stages, r.next.Sources) { // consumers open first
		n, c, err := r.node(ctx, c)
		if err != nil {
			return err
		}
		r.graph.byName[c.Name] = n
		switch c.Kind {
		case pipe.KindSource:
			merged.Sources = append(merged.Sources, c)
		case pipe.KindStage:
			merged.Stages = append(merged.Stages, c)
		default:
			merged.Sinks = append(merged.Sinks, c)
		}
	}
	for _, c := range merged.Nodes() {
		r.graph.add(r.graph.byName[c.Name])
	}
	for _, n := range r.eng.graph.all() {
		if r.graph.byName[n.common().cfg.Name] == nil {
			r.out.nodes = append(r.out.nodes, n)
		}
	}
	return nil
}

// node returns the node of c in the new graph and its configuration there.
func (r *reload) node(ctx context.Context, c *config.Node) (anyNode, *config.Node, error) {
	n := r.eng.graph.byName[c.Name]
	if n == nil {
		n, err := r.eng.newNode(c)
		if err != nil {
			return nil, nil, &RefusedError{Reason: err.Error()}
		}
		r.fresh[c.Name] = true
		return n, c, r.open(ctx, n.common(), c.Component, nil)
	}
	change := r.changeOf(c.Name)
	if change == nil || change.Class != diff.Swap {
		own := *c
		own.Component = n.component() // the running one
		c = &own
	} else if err := r.open(ctx, n.common(), c.Component, n.component()); err != nil {
		return nil, nil, err
	}
	if change != nil {
		switch n := n.(type) {
		case *stageNode:
			st, ok := c.Component.(pipe.Stage)
			if !ok {
				return nil, nil, &RefusedError{Reason: fmt.Sprintf("component of type %q is not a stage", c.Type)}
			}
			r.stages[n] = n.newJob(st, c, n.portsFor(c.Ports))
		case *sinkNode:
			sink, ok := c.Component.(pipe.Sink)
			if !ok {
				return nil, nil, &RefusedError{Reason: fmt.Sprintf("component of type %q is not a sink", c.Type)}
			}
			r.sinks[n] = n.newJob(sink, c)
		}
	}
	return n, c, nil
}

// open opens a new component. One that was in use before cannot be opened again.
func (r *reload) open(ctx context.Context, n *node, component, predecessor any) error {
	if r.eng.used(component) {
		return &RefusedError{Reason: fmt.Sprintf("BUG: the component of %s was in use before; parse the configuration anew", n.cfg.Name)}
	}
	type result struct {
		closer
		err error
	}
	done := make(chan result, 1)
	living, cancel := context.WithCancel(n.working) // as long as the component: it may keep it
	go func() {
		c, err := r.eng.openOne(living, n, component, predecessor)
		c.cancel = cancel
		done <- result{c, err}
	}()
	select {
	case x := <-done:
		if x.err != nil {
			cancel()
			return &RefusedError{Reason: fmt.Sprintf("nothing was changed: %v", x.err)}
		}
		r.opened = append(r.opened, x.closer)
		return nil
	case <-ctx.Done():
		cancel()
		go func() { // should it still come: nobody wants it any more
			if x := <-done; x.err == nil {
				r.eng.closeLate(x.closer)
			}
		}()
		return &RefusedError{Busy: true, Reason: fmt.Sprintf("nothing was changed: %s %s did not open within %v", n.cfg.Kind, n.cfg.Name, prepareWithin)}
	}
}

// used reports whether a component is or was opened by the engine.
func (e *Engine) used(component any) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.opened, func(c closer) bool { return c.component == component })
}

// discard closes what was opened in vain.
func (r *reload) discard() {
	for _, j := range r.stages {
		j.cancel()
	}
	for _, j := range r.sinks {
		j.cancel()
	}
	for name := range r.fresh {
		if n := r.graph.byName[name]; n != nil {
			defer n.common().stop()
		}
	}
	for _, c := range slices.Backward(r.opened) {
		r.eng.closeLate(c)
	}
}

// closeLate closes a component that is not part of the pipeline, within closing.
func (e *Engine) closeLate(c closer) {
	ctx, cancel := context.WithTimeout(e.always, closing)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.shut(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			c.node.log.Warn("a replaced component did not close well", "error", err)
		}
	case <-ctx.Done():
		c.node.log.Warn("a replaced component did not close in time and is left behind")
	}
}

// edges builds the edges of the new graph: those that stay are the same.
func (r *reload) edges() error {
	changed := map[string]bool{}
	for _, c := range r.receipt.Changes {
		if c.Part == diff.PartEdge && c.Action == diff.Changed {
			changed[c.Name] = true
		}
	}
	have := map[string]*link{}
	for _, l := range r.eng.graph.links {
		have[l.ID()] = l
	}
	for _, c := range r.next.Edges {
		l := have[c.ID]
		delete(have, c.ID)
		switch {
		case l == nil:
			var err error
			if l, err = r.newLink(c); err != nil {
				return &RefusedError{Reason: err.Error()}
			}
		case changed[c.ID]:
			r.apply[l] = c
		}
		r.graph.links = append(r.graph.links, l)
	}
	for _, l := range r.eng.graph.links {
		if have[l.ID()] == l {
			r.out.links = append(r.out.links, l)
		}
	}
	r.connect()
	return nil
}

func (r *reload) newLink(c *config.Edge) (*link, error) {
	from, to := r.graph.byName[c.From], r.graph.byName[c.To]
	if from == nil || to == nil {
		return nil, fmt.Errorf("edge %s: unknown node", c.ID)
	}
	if r.output(from.common(), c.Port) == nil {
		return nil, fmt.Errorf("edge %s: node %s has no port %q", c.ID, c.From, c.Port)
	}
	q := edge.New(c.ID, settings(&c.EdgeSettings), edge.Options{Generation: r.receipt.Before + 1})
	return &link{Edge: q, from: from.common(), port: c.Port, to: to.common()}, nil
}

// output returns the port of a node as it will be, or nil.
func (r *reload) output(n *node, port string) *output {
	if port == failedPort {
		return n.failed
	}
	outs := n.ports()
	if s, ok := r.graph.byName[n.cfg.Name].(*stageNode); ok && r.stages[s] != nil && &s.node == n {
		outs = r.stages[s].to
	}
	for _, o := range outs {
		if o.name == port {
			return o
		}
	}
	return nil
}

// connect works out which outputs and inboxes get other edges.
func (r *reload) connect() {
	fans := map[*output][]*link{}
	for _, l := range r.graph.links {
		o := r.output(l.from, l.port)
		fans[o] = append(fans[o], l)
		if !slices.Contains(r.eng.graph.links, l) {
			r.inputs[l.to] = append(r.inputs[l.to], l)
		}
	}
	for _, l := range r.out.links {
		if n := r.graph.byName[l.to.cfg.Name]; n != nil && n.common() == l.to && r.inputs[l.to] == nil {
			r.inputs[l.to] = []*link{}
		}
	}
	for _, n := range r.graph.nodes() {
		outs := append([]*output{n.failed}, n.ports()...)
		if s, ok := r.graph.byName[n.cfg.Name].(*stageNode); ok && r.stages[s] != nil {
			outs = append(outs, r.stages[s].to...)
		}
		for _, o := range outs {
			if !slices.Equal(o.links(), fans[o]) {
				r.fans[o] = fans[o]
			}
		}
	}
}

// commit puts everything in force. It refuses only when the pipeline has begun
// to end meanwhile.
func (r *reload) commit() error {
	e := r.eng
	e.shape.Lock()
	defer e.shape.Unlock()
	began := time.Now()
	if err := r.stillPossible(); err != nil {
		return err
	}
	generation := e.generation.Add(1)
	r.receipt.Generation = generation
	for _, l := range r.out.links {
		l.retiring.Store(true)
	}
	for n, links := range r.inputs {
		if len(links) > 0 {
			n.pending = append(n.pending, links)
		}
		n.promote()
		n.life.Unlock()
	}
	r.prepareFans()
	left := r.swapJobs()
	for _, c := range r.opened {
		e.keepCloser(c)
	}
	for _, n := range r.graph.all() { // consumers before producers; sources at the end
		if _, source := n.(*sourceNode); !source && r.fresh[n.common().cfg.Name] {
			n.start()
		}
	}
	r.applyEdges(generation)
	r.tolerate(true) // before failed ports go
	r.switchFans(left)
	r.tolerate(false) // after they have come
	r.nodeSettings()
	for _, s := range r.graph.sources {
		if r.fresh[s.cfg.Name] {
			s.start()
		}
	}
	e.cfg, e.graph = r.merged, r.graph
	e.drainTime.Store(int64(r.merged.Shutdown.Timeout.D()))
	r.leave()
	r.receipt.PausedUS = time.Since(began).Microseconds()
	return nil
}

// stillPossible locks the nodes that get other inputs, if none of them has ended.
func (r *reload) stillPossible() error {
	if err := r.eng.changeable(); err != nil {
		return err
	}
	if r.eng.sealed || r.eng.isDraining() {
		return &RefusedError{Reason: "the pipeline is ending; only a running one can be changed"}
	}
	locked := slices.Collect(maps.Keys(r.inputs))
	for i, n := range locked {
		n.life.Lock()
		if n.ended {
			for _, m := range locked[:i+1] {
				m.life.Unlock()
			}
			return &RefusedError{Reason: fmt.Sprintf("%s %s has ended, because its inputs have; only a running node can get another edge", n.cfg.Kind, n.cfg.Name)}
		}
	}
	return nil
}

// swapJobs gives nodes their new components and settings. Each worker takes them
// up at the end of its present step. It returns the outputs that only the old jobs
// have, with what is closed when nobody works on those any more.
func (r *reload) swapJobs() (left map[*output]<-chan struct{}) {
	e := r.eng
	left = map[*output]<-chan struct{}{}
	for s, next := range r.stages {
		old := s.doing.Load()
		for _, o := range old.to {
			if !slices.Contains(next.to, o) {
				left[o] = old.left
			}
		}
		s.outs.Store(&next.to)
		s.doing.Store(next)
		if old.guard != nil {
			old.guard.Release()
		}
		if old.stage == next.stage {
			old.retire(&next.job, false, nil)
			continue
		}
		c, _ := e.dropCloser(old.stage)
		old.retire(&next.job, true, e.later(func() { e.closeUnused(c) }))
		e.background.Go(func() { s.callAway(&old.job) })
	}
	for s, next := range r.sinks {
		old := s.doing.Load()
		replaced := old.sink != next.sink
		if replaced {
			c, _ := e.dropCloser(old.sink)
			old.close = func() { e.closeUnused(c) }
		}
		old.successor = next
		s.doing.Store(next)
		old.guard.Release()
		old.retire(&next.job, replaced, nil)
		e.background.Go(func() {
			s.callAway(&old.job)
			old.shutIfLeft()
		})
	}
	return left
}

// callAway makes workers that wait for events look for their new job, until all
// have found it or must stop.
func (n *node) callAway(old *job) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		n.in.CallAway()
		select {
		case <-old.left:
			return
		case <-n.working.Done():
			return
		case <-tick.C:
		}
	}
}

// later makes f, which runs in a goroutine of its own or never, part of what Run
// waits for. Once Run does not wait any more f is not run.
func (e *Engine) later(f func()) func() {
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if !e.settled { // what comes later is over with the process
			e.background.Go(f)
		}
	}
}

func (r *reload) applyEdges(generation uint64) {
	byName := map[string]*link{}
	for l := range r.apply {
		byName[l.ID()] = l
	}
	for _, c := range r.receipt.Changes {
		if c.Part != diff.PartEdge {
			continue
		}
		x := r.edgeReceipt(c)
		if l := byName[c.Name]; l != nil {
			a := l.Apply(settings(x.After), generation)
			x.CarriedOver, x.Evicted, x.BlockedProducers, x.PausedUS = int64(a.Carried), int64(a.Evicted), a.Waiting, a.Paused.Microseconds()
		}
		r.receipt.Edges = append(r.receipt.Edges, x)
	}
}

// prepareFans gives edges to the outputs that nobody sends to yet, those of new
// nodes and new ports, before anybody can: an event that finds no edge is lost.
func (r *reload) prepareFans() {
	for o, links := range r.fans {
		if r.fresh[o.node.cfg.Name] || !o.inUse() {
			o.attach(links)
			delete(r.fans, o)
		}
	}
}

// switchFans lets nodes send to their new edges. An edge that is left out admits
// what is being sent to it at this moment and is closed then. An output that is
// left out keeps its edges until the last worker has left the job that sends to it.
func (r *reload) switchFans(left map[*output]<-chan struct{}) {
	for o, links := range r.fans {
		old := o.links()
		for _, l := range old {
			if !slices.Contains(links, l) {
				l.Lift()
			}
		}
		if done := left[o]; done != nil {
			r.eng.background.Go(func() {
				select {
				case <-done:
					closeAfter(o.attach(nil), old)
				case <-r.eng.working.Done(): // the end of the pipeline takes what is left
				}
			})
			continue
		}
		before := o.attach(links)
		gone := slices.DeleteFunc(slices.Clone(old), func(l *link) bool { return slices.Contains(links, l) })
		r.eng.background.Go(func() { closeAfter(before, gone) })
	}
}

// closeAfter closes edges once nobody sends under the fans any more.
func closeAfter(before []*fan, links []*link) {
	for _, f := range before {
		<-f.quiet
	}
	for _, l := range links {
		l.Close()
	}
}

// tolerate puts on_error in force where it is drop, or where it is not.
func (r *reload) tolerate(drop bool) {
	for _, c := range r.merged.Nodes() {
		if (c.OnError == config.OnErrorDrop) == drop {
			r.graph.byName[c.Name].common().dropFailed.Store(drop)
		}
	}
}

// nodeSettings puts what is no part of a job in force.
func (r *reload) nodeSettings() {
	for _, c := range r.merged.Nodes() {
		n := r.graph.byName[c.Name]
		if s, ok := n.(*sourceNode); ok {
			if w := window(c); w != s.ledger.Window() {
				s.ledger.Limit(w)
			}
		}
	}
}

// leave lets what was taken out end in the background.
func (r *reload) leave() {
	if len(r.out.nodes) == 0 && len(r.out.links) == 0 {
		return
	}
	d := &r.out
	for i, x := range r.receipt.Edges {
		if x.Action == diff.Removed {
			if at := slices.IndexFunc(d.links, func(l *link) bool { return l.ID() == x.Edge }); at >= 0 {
				s := d.links[at].Snapshot()
				r.receipt.Edges[i].CarriedOver, r.receipt.Edges[i].BlockedProducers = s.Queued.Events, s.Producers
			}
		}
	}
	r.eng.leaving = append(r.eng.leaving, d)
	r.eng.background.Go(func() { d.end(r.eng, r.old.Shutdown.Timeout.D()) })
}
