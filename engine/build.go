package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/guard"
	"github.com/pipectl/pipectl/engine/pipe"
)

// failedPort is the port that failures leave through.
const failedPort = "failed"

// New builds the engine of a valid pipeline. It opens nothing. The components
// in cfg belong to the engine from now on.
func New(cfg *config.Pipeline, o Options) (*Engine, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{cfg: cfg, observer: o.Observer, state: Starting}
	e.log = slog.New(&listened{Handler: o.Log.Handler(), to: &e.listeners})
	e.reading, e.stopRead = context.WithCancel(context.Background())
	e.working, e.stopWork = context.WithCancel(context.Background())
	e.generation.Store(1)
	e.budget.advise = o.Memory
	e.drainTime.Store(int64(cfg.Shutdown.Timeout.D()))
	e.graph = &graph{byName: map[string]anyNode{}}
	for _, c := range cfg.Nodes() {
		n, err := e.newNode(c)
		if err != nil {
			return nil, err
		}
		e.graph.add(n)
	}
	fans := map[*output][]*link{}
	for _, c := range cfg.Edges {
		l, o, err := e.newLink(c, e.graph, 1)
		if err != nil {
			return nil, err
		}
		e.graph.links = append(e.graph.links, l)
		l.to.inputs = append(l.to.inputs, l)
		fans[o] = append(fans[o], l)
	}
	for o, links := range fans {
		o.attach(links)
	}
	for _, n := range e.graph.nodes() {
		n.setInputs(n.inputs)
	}
	e.refreshBudget()
	return e, nil
}

// anyNode is a *sourceNode, *stageNode or *sinkNode.
type anyNode interface {
	common() *node
	component() any
	start()
}

func (n *node) common() *node        { return n }
func (s *sourceNode) component() any { return s.src }
func (s *stageNode) component() any  { return s.doing.Load().stage }
func (s *sinkNode) component() any   { return s.doing.Load().sink }

// graph is the nodes and edges of one configuration, in the order of the file.
// A reload makes another; the nodes and edges that stay are in both.
type graph struct {
	sources []*sourceNode
	stages  []*stageNode
	sinks   []*sinkNode
	links   []*link
	byName  map[string]anyNode
}

func (g *graph) add(n anyNode) {
	switch n := n.(type) {
	case *sourceNode:
		g.sources = append(g.sources, n)
	case *stageNode:
		g.stages = append(g.stages, n)
	case *sinkNode:
		g.sinks = append(g.sinks, n)
	}
	g.byName[n.common().cfg.Name] = n
}

// nodes returns the common part of every node, in the order sinks, stages, sources.
func (g *graph) nodes() []*node {
	all := make([]*node, 0, len(g.byName))
	for _, n := range g.all() {
		all = append(all, n.common())
	}
	return all
}

// all returns every node, in the order sinks, stages, sources.
func (g *graph) all() []anyNode {
	all := make([]anyNode, 0, len(g.byName))
	for _, s := range g.sinks {
		all = append(all, s)
	}
	for _, s := range g.stages {
		all = append(all, s)
	}
	for _, s := range g.sources {
		all = append(all, s)
	}
	return all
}

func (g *graph) link(id string) *link {
	for _, l := range g.links {
		if l.ID() == id {
			return l
		}
	}
	return nil
}

// newNode makes the node of c, without its edges.
func (e *Engine) newNode(c *config.Node) (anyNode, error) {
	switch c.Kind {
	case pipe.KindSource:
		if src, ok := c.Component.(pipe.Source); ok {
			return e.newSource(c, src), nil
		}
	case pipe.KindStage:
		if st, ok := c.Component.(pipe.Stage); ok {
			return e.newStage(c, st), nil
		}
	case pipe.KindSink:
		if sink, ok := c.Component.(pipe.Sink); ok {
			return e.newSink(c, sink), nil
		}
	}
	return nil, fmt.Errorf("%s %s: component of type %q is not a %s", c.Kind, c.Name, c.Type, c.Kind)
}

func (e *Engine) initNode(c *config.Node, n *node) {
	n.cfg, n.eng, n.log = c, e, e.log.With("node", c.Name)
	n.wake, n.outage.log = make(chan time.Time, 1), n.log
	n.working, n.stop = context.WithCancel(e.working)
	n.dropFailed.Store(c.OnError == config.OnErrorDrop)
	n.failed = newOutput(n, failedPort)
	n.setPorts(c.Ports)
}

// setPorts gives the node outputs of these names; those it has already stay.
func (n *node) setPorts(ports []pipe.Port) {
	outs := n.portsFor(ports)
	n.outs.Store(&outs)
}

func (n *node) portsFor(ports []pipe.Port) []*output {
	if len(ports) == 0 && n.cfg.Kind != pipe.KindSink {
		ports = []pipe.Port{{}}
	}
	var have []*output
	if p := n.outs.Load(); p != nil {
		have = *p
	}
	outs := make([]*output, len(ports))
	for i, p := range ports {
		if at := slices.IndexFunc(have, func(o *output) bool { return o.name == p.Name }); at >= 0 {
			outs[i] = have[at]
		} else {
			outs[i] = newOutput(n, p.Name)
		}
	}
	return outs
}

func (e *Engine) newSource(c *config.Node, src pipe.Source) *sourceNode {
	s := &sourceNode{src: src, stopSave: make(chan struct{})}
	settler, _ := src.(pipe.Settler)
	s.ledger = pipe.NewLedger(window(c), settler)
	if t, ok := src.(pipe.Traiter); ok {
		s.traits = t.Traits()
	}
	e.initNode(c, &s.node)
	s.reading, s.stopRead = context.WithCancel(e.reading)
	return s
}

func window(c *config.Node) pipe.Window {
	return pipe.Window{Events: int64(c.MaxInFlight.Events), Bytes: int64(c.MaxInFlight.Bytes)}
}

func (e *Engine) newStage(c *config.Node, st pipe.Stage) *stageNode {
	s := &stageNode{}
	e.initNode(c, &s.node)
	if c.Workers > 1 && c.Ordered {
		s.line = newTurnstile()
	}
	s.doing.Store(s.newJob(st, c, s.ports()))
	return s
}

func (e *Engine) newSink(c *config.Node, sink pipe.Sink) *sinkNode {
	s := &sinkNode{door: make(chan struct{}, 1)}
	e.initNode(c, &s.node)
	s.doing.Store(s.newJob(sink, c))
	return s
}

// guards translates the file's words into those of the guards.
func guards(c *config.Node) guard.Settings {
	s := guard.Settings{
		Timeout: c.Timeout.D(), Deadline: c.Deadline.D(),
		Retry: guard.Retry{MaxAttempts: c.Retry.MaxAttempts, MaxElapsed: c.Retry.MaxElapsed.D(), Initial: c.Retry.Initial.D(),
			Max: c.Retry.Max.D(), Jitter: c.Retry.Jitter, Budget: guard.Budget{Ratio: c.Retry.Budget.Ratio, Burst: c.Retry.Budget.Burst}},
		Concurrency: guard.Concurrency{Max: c.Concurrency.Max, Min: c.Concurrency.Min, Adaptive: c.Concurrency.Adaptive},
		Batch:       guard.Batch{Events: c.Batch.Events, Bytes: int64(c.Batch.Bytes)},
	}
	if a := c.Batch.Adaptive; a != nil {
		s.Batch.Target, s.Batch.Min = a.Target.D(), a.Min
	}
	if r := c.RateLimit; r != nil {
		s.Rate = guard.Rate{Events: float64(r.Rate), Burst: r.Burst, Bytes: int64(r.Bytes), BurstBytes: int64(r.BurstBytes)}
	}
	if b := c.Breaker; b != nil {
		h := b.HalfOpen
		s.Breaker = &guard.Breaker{Ratio: b.FailureRatio, Window: b.Window.D(), MinRequests: b.MinRequests, Wait: b.Wait.D(), MaxWait: b.MaxWait.D(),
			WhenOpen: whenOpen[b.WhenOpen], Fraction: h.Fraction, Probe: h.ProbeInterval.D(), MinHalfOpen: h.MinTime.D(), Successes: h.Successes, Ramp: h.Ramp.D()}
	}
	return s
}

var whenOpen = map[string]guard.WhenOpen{config.OpenHold: guard.Hold, config.OpenFailed: guard.Refuse, config.OpenStop: guard.Stop}

// newLink makes the edge of c between nodes of g and returns the output where it
// starts.
func (e *Engine) newLink(c *config.Edge, g *graph, generation uint64) (*link, *output, error) {
	from, to := g.byName[c.From], g.byName[c.To]
	if from == nil || to == nil {
		return nil, nil, fmt.Errorf("edge %s: unknown node", c.ID)
	}
	o := from.common().output(c.Port)
	if o == nil {
		return nil, nil, fmt.Errorf("edge %s: node %s has no port %q", c.ID, c.From, c.Port)
	}
	q := edge.New(c.ID, settings(&c.EdgeSettings), edge.Options{Generation: generation})
	e.log.Debug("edge", "edge", c.ID, "policy", c.Policy.Type, "seed", q.Snapshot().Seed)
	return &link{Edge: q, from: from.common(), port: c.Port, to: to.common()}, o, nil
}

// output returns the port of that name, or nil.
func (n *node) output(port string) *output {
	if port == failedPort {
		return n.failed
	}
	for _, o := range n.ports() {
		if o.name == port {
			return o
		}
	}
	return nil
}

// setInputs makes links the edges that the node receives from.
func (n *node) setInputs(links []*link) {
	n.inputs = links
	if n.cfg.Kind == pipe.KindSource {
		return
	}
	edges := make([]*edge.Edge, len(links))
	for i, l := range links {
		edges[i] = l.Edge
	}
	if n.in == nil {
		n.in = edge.NewInbox(edges...)
	} else {
		n.in.Set(edges...)
	}
}

// settings translates the file's words into the edge's.
func settings(c *config.EdgeSettings) edge.Settings {
	p := c.Policy
	s := edge.Settings{
		Events: c.Buffer.Events, Bytes: int64(c.Buffer.Bytes), Age: c.Buffer.Age.D(),
		Policy: edge.Policy(p.Type), Timeout: p.Timeout.D(), Then: edge.Policy(p.Then),
		Base: p.BaseRate, Min: p.MinRate, Threshold: p.Threshold,
		OnDrop: edge.OnDrop(c.OnDrop), OnShrink: edge.OnShrink(c.OnShrink), Priority: c.Priority,
	}
	if p.Key != nil && !p.Key.IsZero() {
		s.Key = sampleKey(p.Key)
	}
	return s
}

// sampleKey hashes the value of a key expression; null and errors mean no key.
func sampleKey(key *expr.Value) func(*pipe.Event) (uint64, bool) {
	return func(ev *pipe.Event) (uint64, bool) {
		v, err := key.Eval(ev, nil)
		if err != nil {
			return 0, false
		}
		var scratch [64]byte
		text, ok := v.Key(scratch[:0])
		return pipe.HashKey(text), ok
	}
}
