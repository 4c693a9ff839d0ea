package engine

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/guard"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// failedPort is the port that failures leave through.
const failedPort = "failed"

// New builds the engine of a valid pipeline. It opens nothing. The components
// in cfg belong to the engine from now on.
func New(cfg *config.Pipeline, o Options) (*Engine, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{cfg: cfg, log: o.Log}
	e.reading, e.stopRead = context.WithCancel(context.Background())
	e.working, e.stopWork = context.WithCancel(context.Background())
	e.generation.Store(1)
	byName := map[string]*node{}
	for _, c := range cfg.Sources {
		if err := e.addSource(c, byName); err != nil {
			return nil, err
		}
	}
	for _, c := range cfg.Stages {
		if err := e.addStage(c, byName); err != nil {
			return nil, err
		}
	}
	for _, c := range cfg.Sinks {
		if err := e.addSink(c, byName); err != nil {
			return nil, err
		}
	}
	for _, c := range cfg.Edges {
		if err := e.addEdge(c, byName); err != nil {
			return nil, err
		}
	}
	for _, n := range e.nodes() {
		if len(n.inputs) > 0 {
			n.in = edge.NewInbox(n.inputs...)
		}
	}
	return e, nil
}

func (e *Engine) newNode(c *config.Node, byName map[string]*node, n *node) {
	n.cfg, n.eng, n.log = c, e, e.log.With("node", c.Name)
	n.wake = make(chan time.Time, 1)
	for _, p := range c.Ports {
		n.outs = append(n.outs, &output{node: n, name: p.Name})
	}
	if len(n.outs) == 0 && c.Kind != pipe.KindSink {
		n.outs = []*output{{node: n}}
	}
	byName[c.Name] = n
}

func wrong(c *config.Node) error {
	return fmt.Errorf("%s %s: component of type %q is not a %s", c.Kind, c.Name, c.Type, c.Kind)
}

func (e *Engine) addSource(c *config.Node, byName map[string]*node) error {
	src, ok := c.Component.(pipe.Source)
	if !ok {
		return wrong(c)
	}
	s := &sourceNode{src: src}
	settler, _ := src.(pipe.Settler)
	s.ledger = pipe.NewLedger(pipe.Window{Events: int64(c.MaxInFlight.Events), Bytes: int64(c.MaxInFlight.Bytes)}, settler)
	if t, ok := src.(pipe.Traiter); ok {
		s.traits = t.Traits()
	}
	e.newNode(c, byName, &s.node)
	e.sources = append(e.sources, s)
	return nil
}

func (e *Engine) addStage(c *config.Node, byName map[string]*node) error {
	st, ok := c.Component.(pipe.Stage)
	if !ok {
		return wrong(c)
	}
	s := &stageNode{stage: st, batch: maxBatch}
	e.newNode(c, byName, &s.node)
	s.holder, _ = st.(pipe.Holder)
	if p, ok := st.(pipe.Paced); ok {
		s.batch = min(maxBatch, max(1, p.MaxBatch()))
	}
	if c.Timeout > 0 {
		s.batch = 1 // the timeout is per event
	}
	if c.Workers > 1 && c.Ordered {
		s.line = newTurnstile()
	}
	e.stages = append(e.stages, s)
	return nil
}

func (e *Engine) addSink(c *config.Node, byName map[string]*node) error {
	sink, ok := c.Component.(pipe.Sink)
	if !ok {
		return wrong(c)
	}
	s := &sinkNode{sink: sink, batch: c.Batch, filled: c.Batch.Interval > 0}
	e.newNode(c, byName, &s.node)
	s.guard = guard.New(sink, c.Timeout.D(), retry(c.Retry), s.log)
	size := maxBatch
	if s.filled || c.Batch.Events < maxBatch {
		size = max(1, c.Batch.Events)
	}
	s.buf = make([]*pipe.Event, size)
	s.hands = []*hand{&s.hand}
	e.sinks = append(e.sinks, s)
	return nil
}

func retry(c config.Retry) guard.Retry {
	return guard.Retry{MaxAttempts: c.MaxAttempts, MaxElapsed: c.MaxElapsed.D(), Initial: c.Initial.D(), Max: c.Max.D(), Jitter: c.Jitter}
}

func (e *Engine) addEdge(c *config.Edge, byName map[string]*node) error {
	from, to := byName[c.From], byName[c.To]
	if from == nil || to == nil {
		return fmt.Errorf("edge %s: unknown node", c.ID)
	}
	q := edge.New(c.ID, settings(&c.EdgeSettings), edge.Options{Generation: e.generation.Load()})
	e.log.Debug("edge", "edge", c.ID, "policy", c.Policy.Type, "seed", q.Snapshot().Seed)
	e.edges = append(e.edges, q)
	to.inputs = append(to.inputs, q)
	if c.Port == failedPort {
		if from.failed == nil {
			from.failed = &output{node: from, name: failedPort}
		}
		from.failed.edges = append(from.failed.edges, q)
		return nil
	}
	for _, o := range from.outs {
		if o.name == c.Port {
			o.edges = append(o.edges, q)
			return nil
		}
	}
	return fmt.Errorf("edge %s: node %s has no port %q", c.ID, c.From, c.Port)
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
		if err != nil || !v.Exists() || v.Kind() == record.KindNull {
			return 0, false
		}
		var scratch [64]byte
		if v.Kind() == record.KindString {
			return edge.HashKey(v.Bytes(scratch[:0])), true
		}
		return edge.HashKey(v.AppendJSON(scratch[:0])), true
	}
}
