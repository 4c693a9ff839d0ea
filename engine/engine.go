// Package engine builds and runs a pipeline: it wires sources, stages and sinks
// with bounded edges, starts and stops them in order, contains their failures
// and keeps the books. It is importable: see Example.
//
// Who waits for whom: a source waits for its edges, an edge for its consumer, a
// sink for the far side. Nothing else waits for data. Control (drain, stop,
// changing an edge) never travels through edges, so a full pipeline can always
// be changed and stopped.
package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// stopGrace is how long workers get to notice a stop before they are given up.
// With it a stop ends within the shutdown deadline plus one second.
const stopGrace = 300 * time.Millisecond

// Options are what a program may set beside the pipeline itself.
type Options struct {
	Log      *slog.Logger  // nil discards
	Observer pipe.Observer // is told about every step of every node; nil costs nothing

	// Memory is told limits.memory, in bytes and 0 when there is none, at the start
	// and when a reload has changed something. It returns the budget of what may be
	// held, 0 for none. nil makes the budget limits.memory.
	Memory func(limit int64) (budget int64)
}

// Engine runs one pipeline once.
type Engine struct {
	log       *slog.Logger
	listeners listeners // of log
	observer  pipe.Observer

	budget     budget
	stall      atomic.Pointer[Stall] // nil while events move
	background sync.WaitGroup        // what reloads have begun and Run must see the end of

	changing sync.Mutex   // held by the one Reload that is going on
	shape    sync.RWMutex // guards what follows; see Reload
	cfg      *config.Pipeline
	graph    *graph
	leaving  []*departure // what reloads have taken out and has not ended yet
	gone     Balance      // the account of what has left the pipeline
	sealed   bool         // all nodes have ended: nothing can be added any more

	always     context.Context // ends when Run returns
	reading    context.Context // ends when sources must stop reading
	stopRead   context.CancelFunc
	working    context.Context // ends when everybody must stop
	stopWork   context.CancelFunc
	draining   atomic.Bool
	deadline   *time.Timer
	drainTime  atomic.Int64 // shutdown.timeout in force
	generation atomic.Uint64
	returned   atomic.Int64 // taken out of edges at the end
	gaveUp     atomic.Bool  // a stage's worker was left behind

	mu      sync.Mutex // guards what follows
	started time.Time
	ended   time.Time
	state   State
	drainBy time.Time // when draining becomes a stop
	failure error
	opened  []closer // in order of opening; changed by reloads
	allOpen bool     // every component is open
	settled bool     // nothing may begin in the background any more
}

// State is where a pipeline is in its life.
type State string

// The states, in order; the last three are outcomes.
const (
	Starting State = "starting"
	Running  State = "running"
	Draining State = "draining"
	Stopping State = "stopping"
	Drained  State = "drained" // everything that was read has ended
	Stopped  State = "stopped" // stopped before it was drained
	Failed   State = "failed"
)

func (s State) final() bool { return s == Drained || s == Stopped || s == Failed }

type closer struct {
	node      *node
	component any
	cancel    context.CancelFunc // ends the context it was opened with; nil at the start
}

// EdgeError is why a pipeline ended when an edge with then: fail timed out.
type EdgeError struct {
	Edge    string
	Timeout time.Duration
}

func (e *EdgeError) Error() string {
	return fmt.Sprintf("edge %s: nothing fitted for %v and its policy says then: fail; raise timeout or buffer, or choose then: drop-newest", e.Edge, e.Timeout)
}

// Run opens everything, runs the pipeline until its sources end, Drain or Stop
// is called, or it fails, and closes everything. Ending ctx is a Stop. The
// receipt is always complete; the error is why it failed, nil otherwise. Run
// may be called once.
func (e *Engine) Run(ctx context.Context) (Receipt, error) {
	defer context.AfterFunc(ctx, e.Stop)()
	always, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	e.always = always
	e.setState(Starting)
	if err := e.open(); err != nil {
		if e.working.Err() == nil { // a stop while opening is no failure
			e.record(err)
		}
		e.finishUp()
		return e.receipt(), e.err()
	}
	e.setState(Running)
	e.openedAll()
	e.start()
	endWatch := e.watch()
	e.wait()
	endWatch()
	e.settleRest()
	e.finishUp()
	return e.receipt(), e.err()
}

// Drain stops the sources from reading and lets everything in flight end. After
// the shutdown timeout it becomes a Stop. It returns at once; Run returns when
// the pipeline has ended.
func (e *Engine) Drain() {
	e.mu.Lock()
	if e.draining.Load() || !e.ended.IsZero() {
		e.mu.Unlock()
		return
	}
	e.draining.Store(true)
	if e.state == Running {
		e.state = Draining
	}
	timeout := e.shutdownTimeout()
	e.deadline = time.AfterFunc(timeout, e.expire)
	e.drainBy = time.Now().Add(timeout)
	opened := e.allOpen
	e.mu.Unlock()
	e.shape.RLock()
	defer e.shape.RUnlock()
	if opened { // else Run drains them once they are
		e.drainSources()
	}
	e.stopRead()
	for _, n := range e.nodes() {
		n.poke()
	}
}

// drainSources tells the sources to take nothing more. It is called with shape held.
func (e *Engine) drainSources() {
	for _, s := range e.graph.sources {
		s.drain()
	}
}

// openedAll notes that every component is open. Sources that were to be drained
// before are drained now.
func (e *Engine) openedAll() {
	e.mu.Lock()
	e.allOpen = true
	late := e.draining.Load()
	e.mu.Unlock()
	if late {
		e.shape.RLock()
		defer e.shape.RUnlock()
		e.drainSources()
	}
}

// shutdownTimeout is how long a drain may take, by the configuration in force.
func (e *Engine) shutdownTimeout() time.Duration { return time.Duration(e.drainTime.Load()) }

func (e *Engine) expire() {
	e.log.Warn("shutdown timeout is over, stopping", "timeout", e.shutdownTimeout())
	e.Stop()
}

// Stop ends the pipeline now: what is in flight is returned to sources that can
// read it again, and lost for others. It returns at once.
func (e *Engine) Stop() {
	e.Drain()
	e.mu.Lock()
	if e.ended.IsZero() && e.state != Stopping {
		e.state = Stopping
	}
	e.mu.Unlock()
	e.stopWork()
}

func (e *Engine) isDraining() bool { return e.draining.Load() }

func (e *Engine) setState(s State) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s == Starting {
		e.started = time.Now()
	}
	if s != Running || e.state == Starting {
		e.state = s
	}
}

// failWith ends the pipeline because of err: sources stop reading, what is in
// flight ends in order. Only the first error counts.
func (e *Engine) failWith(err error) {
	if e.record(err) {
		e.log.Error("pipeline fails, draining", "error", err)
		e.Drain()
	}
}

func (e *Engine) record(err error) (first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failure == nil {
		e.failure = err
		return true
	}
	return false
}

func (e *Engine) err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failure
}

// nodes returns the common part of every node, those that are leaving included,
// consumers first. It is called with shape held.
func (e *Engine) nodes() []*node {
	all := e.graph.nodes()
	for _, d := range e.leaving {
		for _, n := range d.nodes {
			all = append(all, n.common())
		}
	}
	return all
}

// links returns every edge, those that are leaving included. It is called with
// shape held.
func (e *Engine) links() []*link {
	all := slices.Clone(e.graph.links)
	for _, d := range e.leaving {
		all = append(all, d.links...)
	}
	return all
}
