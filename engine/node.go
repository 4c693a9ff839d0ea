package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/guard"
	"github.com/pipectl/pipectl/engine/pipe"
)

// maxBatch is the most events one step takes from its edges: enough to make the
// cost of locks and wake-ups vanish, small enough to stay in the cache.
const maxBatch = 512

// node is what sources, stages and sinks have in common.
type node struct {
	cfg   *config.Node // as it was built; what can change is in the fields below
	eng   *Engine
	log   *slog.Logger
	in    *edge.Inbox // nil for sources
	wake  chan time.Time
	meter pipe.Meter
	busy  highWater

	blockedBefore atomic.Int64 // ns that it waited at edges that have left, and its workers for one that waits

	alive pipe.Clock // the time of its workers

	working context.Context // ends when its workers must stop
	stop    context.CancelFunc

	outs       atomic.Pointer[[]*output] // by port
	failed     *output
	dropFailed atomic.Bool // on_error: drop

	life    sync.Mutex // guards what follows
	inputs  []*link    // of in, those that are being retired included
	pending [][]*link  // edges that reloads have added, to be taken from after the retiring ones
	ended   bool       // a worker has found that nothing will come any more
	hands   []*hand

	count  counters
	done   sync.WaitGroup
	panics panicBudget
	outage outage      // of what leaves through failed
	hung   atomic.Bool // a worker of it was given up and may still be at work
	strays strays
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
	fenced    bool      // abandoned, and another worker is in its place
	call      uint64    // number of the call that has a time limit
	calling   bool      // that call is going on
	until     time.Time // until when the worker may take its time; zero for no such time
}

func (h *hand) take(events []*pipe.Event) {
	h.mu.Lock()
	h.events, h.until = events, time.Time{}
	h.mu.Unlock()
}

// begin begins a call that may take until then, and returns its number.
func (h *hand) begin(until time.Time) (call uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.call++
	h.calling, h.until = true, until
	return h.call
}

func (h *hand) finish() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calling, h.until = false, time.Time{}
}

// wait notes until when the worker keeps its events because it was told so.
func (h *hand) wait(until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until = until
}

// fence takes the events away from a call that is still going on.
func (h *hand) fence(call uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.abandoned || !h.calling || h.call != call {
		return false
	}
	h.abandoned, h.fenced, h.events = true, true, nil
	return true
}

func (h *hand) isFenced() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fenced
}

// lost reports whether the events were taken away.
func (h *hand) lost() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.abandoned
}

// give ends a step. It is false when the events were taken away meanwhile: the
// step's results are then too late and must be thrown away.
func (h *hand) give() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = nil
	return !h.abandoned
}

func (h *hand) count() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(len(h.events))
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

// fail ends events that failed: through the failed port, or as on_error says. It
// reports whether that ends the pipeline.
func (n *node) fail(ctx context.Context, failures []pipe.Failure, attempts int) (ends bool) {
	if len(failures) == 0 {
		return false
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
	port := n.failed.enter() // a reload may take its edges away meanwhile
	defer port.leave()
	switch {
	case fatal >= 0:
		n.stopFor(failures[fatal])
		n.settleReturned(events)
		return true
	case len(port.links) > 0:
		for _, f := range failures {
			deadLetter(n, f, attempts)
		}
		n.count.deadOut.Add(int64(len(events)))
		n.failed.sendUnder(ctx, port, events)
	case n.dropFailed.Load():
		n.count.endedFailed.Add(int64(len(events)))
		pipe.Settle(events, pipe.Discarded)
	default:
		n.stopFor(failures[0])
		n.count.endedFailed.Add(int64(len(events)))
		pipe.Settle(events, pipe.Failed)
		return true
	}
	return false
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
			stack := debug.Stack()
			if p, ok := r.(*guard.Panic); ok {
				stack = p.Stack
			}
			n.log.Error("panic contained", "panic", r, "stack", string(stack))
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
// It may return nothing without being done: when wake delivers, and when a
// reload calls workers away.
func (n *node) receive(ctx context.Context, dst []*pipe.Event, wake <-chan time.Time) (k int, done bool) {
	k, err := n.in.RecvUntil(ctx, dst, wake)
	if k > 0 {
		n.count.in.Add(int64(k))
	}
	switch {
	case err == nil:
		return k, false
	case errors.Is(err, edge.ErrClosed):
		return k, n.end()
	}
	return k, true
}

// end notes that nothing will come any more, unless a reload has given the node
// other edges.
func (n *node) end() bool {
	n.life.Lock()
	defer n.life.Unlock()
	if !n.ended && n.in.Finished() && !n.promote() {
		n.ended = true
	}
	return n.ended
}

// promote lets the node take from edges that a reload has added once those that
// it has taken out are empty: otherwise events of the old edges could come after
// events of the new ones. It reports whether anything has changed, and is
// called with life held.
func (n *node) promote() (changed bool) {
	inputs := slices.DeleteFunc(slices.Clone(n.inputs), func(l *link) bool { return l.retiring.Load() && l.Finished() })
	for len(n.pending) > 0 && !slices.ContainsFunc(inputs, func(l *link) bool { return l.retiring.Load() && !l.Finished() }) {
		inputs = append(inputs, n.pending[0]...)
		n.pending, changed = n.pending[1:], true
	}
	if changed || len(inputs) > 0 && len(inputs) < len(n.inputs) {
		n.setInputs(inputs)
		return true
	}
	return false
}

// held returns how many events its workers have in hand.
func (n *node) held() (events int64) {
	n.life.Lock()
	defer n.life.Unlock()
	for _, h := range n.hands {
		events += h.count()
	}
	return events
}

func (n *node) addHand(h *hand) {
	n.life.Lock()
	defer n.life.Unlock()
	n.hands = append(n.hands, h)
}

// ports returns the main outputs of the node.
func (n *node) ports() []*output { return *n.outs.Load() }

func (n *node) closeOutputs() {
	for _, o := range n.ports() {
		o.close()
	}
	n.failed.close()
}

// poke ends a wait of receive early; one poke is remembered.
func (n *node) poke() {
	select {
	case n.wake <- time.Time{}:
	default:
	}
}
