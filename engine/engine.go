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
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/edge"
)

// stopGrace is how long workers get to notice a stop before they are given up.
// With it a stop ends within the shutdown deadline plus one second.
const stopGrace = 300 * time.Millisecond

// Options are what a program may set beside the pipeline itself.
type Options struct {
	Log *slog.Logger // nil discards
}

// Engine runs one pipeline once.
type Engine struct {
	cfg *config.Pipeline
	log *slog.Logger

	sources []*sourceNode
	stages  []*stageNode
	sinks   []*sinkNode
	edges   []*edge.Edge

	always     context.Context // ends when Run returns
	reading    context.Context // ends when sources must stop reading
	stopRead   context.CancelFunc
	working    context.Context // ends when everybody must stop
	stopWork   context.CancelFunc
	draining   atomic.Bool
	deadline   *time.Timer
	generation atomic.Uint64
	returned   atomic.Int64 // taken out of edges at the end
	gaveUp     atomic.Bool  // a stage's worker was left behind

	mu      sync.Mutex // guards what follows
	started time.Time
	ended   time.Time
	state   State
	drainBy time.Time // when draining becomes a stop
	failure error
	opened  []closer // in order of opening
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
	node  *node
	close func(context.Context) error
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
	e.start()
	e.wait()
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
	e.deadline = time.AfterFunc(e.cfg.Shutdown.Timeout.D(), e.expire)
	e.drainBy = time.Now().Add(e.cfg.Shutdown.Timeout.D())
	e.mu.Unlock()
	for _, s := range e.sources {
		s.drain()
	}
	e.stopRead()
	for _, n := range e.nodes() {
		n.poke()
	}
}

func (e *Engine) expire() {
	e.log.Warn("shutdown timeout is over, stopping", "timeout", e.cfg.Shutdown.Timeout)
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

// Apply puts other settings in force on a running edge, by its id, and returns
// the new generation. It neither waits nor loses what is queued; see edge.Apply.
// The settings must be valid, as config.ParseEdgeSettings returns them.
func (e *Engine) Apply(id string, s config.EdgeSettings) (generation uint64, err error) {
	for _, q := range e.edges {
		if q.ID() == id {
			generation = e.generation.Add(1)
			q.Apply(settings(&s), generation)
			return generation, nil
		}
	}
	return 0, fmt.Errorf("no edge %q", id)
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

// nodes returns the common part of every node, in the order sinks, stages, sources.
func (e *Engine) nodes() []*node {
	var all []*node
	for _, s := range e.sinks {
		all = append(all, &s.node)
	}
	for _, s := range e.stages {
		all = append(all, &s.node)
	}
	for _, s := range e.sources {
		all = append(all, &s.node)
	}
	return all
}
