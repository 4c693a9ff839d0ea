package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/pipe"
)

// maxBatch is the most events one step takes from its edges: enough to make the
// cost of locks and wake-ups vanish, small enough to stay in the cache.
const maxBatch = 512

// node is what sources, stages and sinks have in common.
type node struct {
	cfg    *config.Node
	eng    *Engine
	log    *slog.Logger
	in     *edge.Inbox
	inputs []*edge.Edge
	outs   []*output
	failed *output // nil when nobody listens to the failed port
	wake   chan time.Time

	count counters
	hands []*hand
	done  sync.WaitGroup

	panics panicBudget
	hung   atomic.Bool // a worker of it was given up and may still be at work
}

// counters are a node's figures, in events. They only rise.
type counters struct {
	in, out, filtered, unrouted, failed atomic.Int64
	deadOut                             atomic.Int64 // left through the failed port
	endedFailed, returned               atomic.Int64 // ends at this node
	delivered, deadLettered             atomic.Int64 // sinks
	created, merged                     atomic.Int64
	panics, double, unbalanced          atomic.Int64
	held                                atomic.Int64 // a gauge: kept by a holder
	errors                              classCounts
}

// classCounts counts errors by class.
type classCounts struct {
	mu sync.Mutex // guards n
	n  map[pipe.Class]int64
}

func (c *classCounts) add(class pipe.Class, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[pipe.Class]int64{}
	}
	c.n[class] += n
}

func (c *classCounts) get() map[pipe.Class]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := make(map[pipe.Class]int64, len(c.n))
	for k, v := range c.n {
		m[k] = v
	}
	return m
}

// hand holds the events a worker works on, so that a worker that never comes
// back can be given up without losing count of them.
type hand struct {
	mu        sync.Mutex // guards what follows
	events    []*pipe.Event
	abandoned bool
}

func (h *hand) take(events []*pipe.Event) {
	h.mu.Lock()
	h.events = events
	h.mu.Unlock()
}

// give ends a step. It is false when the events were taken away meanwhile: the
// step's results are then too late and must be thrown away.
func (h *hand) give() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = nil
	return !h.abandoned
}

func (h *hand) abandon() []*pipe.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.abandoned = true
	events := h.events
	h.events = nil
	return events
}

// settleReturned ends events that nobody decided about.
func (n *node) settleReturned(events []*pipe.Event) {
	if len(events) > 0 {
		n.count.returned.Add(int64(len(events)))
		pipe.Settle(events, pipe.Returned)
	}
}

// fail ends events that failed: through the failed port, or as on_error says.
func (n *node) fail(ctx context.Context, failures []pipe.Failure, attempts int) {
	if len(failures) == 0 {
		return
	}
	fallback := pipe.Permanent
	events := make([]*pipe.Event, len(failures))
	fatal := -1
	for i, f := range failures {
		events[i] = f.Event
		class := pipe.ClassOf(f.Err, fallback)
		n.count.errors.add(class, 1)
		if class == pipe.Fatal && fatal < 0 {
			fatal = i
		}
	}
	n.count.failed.Add(int64(len(failures)))
	switch {
	case fatal >= 0:
		n.stopFor(failures[fatal])
		n.settleReturned(events)
	case n.failed != nil:
		for _, f := range failures {
			deadLetter(n, f, attempts)
		}
		n.count.deadOut.Add(int64(len(events)))
		n.failed.send(ctx, events)
	case n.cfg.OnError == config.OnErrorDrop:
		n.count.endedFailed.Add(int64(len(events)))
		pipe.Settle(events, pipe.Discarded)
	default:
		n.stopFor(failures[0])
		n.count.endedFailed.Add(int64(len(events)))
		pipe.Settle(events, pipe.Failed)
	}
}

// stopFor ends the pipeline because of an event, and says how to avoid it.
func (n *node) stopFor(f pipe.Failure) {
	advice := fmt.Sprintf("to go on past such events add an edge {from: %s.failed, to: SINK} that keeps them, or set on_error: drop on %s",
		n.cfg.Name, n.cfg.Name)
	if pipe.ClassOf(f.Err, pipe.Permanent) == pipe.Fatal {
		advice = ""
	}
	n.eng.failWith(&NodeError{Node: n.cfg.Name, Kind: n.cfg.Kind, Origin: f.Event.Origin(), Err: f.Err, Advice: advice})
}

// NodeError is why a pipeline ended: what happened, at which node, with which
// input, and what to do about it.
type NodeError struct {
	Node   string
	Kind   pipe.Kind
	Origin string
	Err    error
	Advice string
}

func (e *NodeError) Error() string {
	s := fmt.Sprintf("%s %s: %v", e.Kind, e.Node, e.Err)
	if e.Origin != "" {
		s += " (input: " + e.Origin + ")"
	}
	if e.Advice != "" {
		s += "; " + e.Advice
	}
	return s
}

func (e *NodeError) Unwrap() error { return e.Err }

// guarded runs f and turns a panic into an error.
func (n *node) guarded(f func() error) (err error, panicked bool) {
	defer func() {
		if r := recover(); r != nil {
			n.count.panics.Add(1)
			n.log.Error("panic contained", "panic", r, "stack", string(debug.Stack()))
			err, panicked = pipe.Classed(pipe.Poison, fmt.Errorf("panic: %v", r)), true
		}
	}()
	return f(), false
}

// panicBudget allows so many panics a minute before the node counts as broken.
type panicBudget struct {
	mu    sync.Mutex // guards times
	times []time.Time
}

const panicsPerMinute = 5

// spend records a panic and reports whether it was one too many.
func (p *panicBudget) spend(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.times = append(p.times, now)
	for len(p.times) > 0 && now.Sub(p.times[0]) > time.Minute {
		p.times = p.times[1:]
	}
	return len(p.times) > panicsPerMinute
}

var errNoOutcome = errors.New("the stage decided nothing about the event")

// receive takes up to len(dst) events. done is true when there will be no more.
func (n *node) receive(ctx context.Context, dst []*pipe.Event, wake <-chan time.Time) (int, bool) {
	k, err := n.in.RecvUntil(ctx, dst, wake)
	if k > 0 {
		n.count.in.Add(int64(k))
	}
	return k, err != nil
}

func (n *node) closeOutputs() {
	for _, o := range n.outs {
		o.close()
	}
	if n.failed != nil {
		n.failed.close()
	}
}

// poke ends a wait of receive early; one poke is remembered.
func (n *node) poke() {
	select {
	case n.wake <- time.Time{}:
	default:
	}
}
