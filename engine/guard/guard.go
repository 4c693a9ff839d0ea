// Package guard wraps a sink, or whatever else calls a far side, with what keeps
// one bad moment of that side from becoming lost events, or a worse moment for the far side. Each guard is a
// small wrapper in a file of its own. An attempt to write passes them from the
// outside in:
//
//	deadline     events that are too old are given up
//	retry        what may work later is tried again, as far as the budget goes
//	breaker      a far side that fails is left alone for a while
//	rate limit   no more events and bytes a second than allowed
//	concurrency  no more attempts at a time than allowed
//	timeout      one attempt takes no longer than allowed; what ignores it is left behind
//
// Whatever waits in them ends its wait when the context of the write ends, when
// Release is called, and when nothing is left that is worth waiting for.
package guard

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Settings say how a sink is guarded. Of the zero value only the retries are at
// work, without a limit.
type Settings struct {
	Timeout     time.Duration // of one attempt; 0 = as long as it takes
	Deadline    time.Duration // age of an event at which it is given up; 0 = never
	Retry       Retry
	Breaker     *Breaker // nil = none
	Rate        Rate
	Concurrency Concurrency
	Batch       Batch
}

// ErrReleased is returned by Write for what was not written when Release was
// called.
var ErrReleased = errors.New("another sink takes over")

// Options are what a guard tells others.
type Options struct {
	Log    *slog.Logger
	Record *Record     // of the attempts; nil for one of its own
	Meter  *pipe.Meter // External counts attempts, Throttled every wait before one; nil for one of its own

	// Predecessor is the guard of the same sink that this one takes over from, with
	// what it knows of the far side: whether the breaker is open, how much of
	// the budget is left, how many writes at a time go well.
	Predecessor *Sink

	// Left is told that a call which ignores its time limit was left behind; with an
	// error the events fail for that reason and not for the time limit. Back is told
	// that such a call has come back at last. nil for nobody.
	Left func() error
	Back func()
}

// Sink is a guarded sink. Its methods may be called from several goroutines;
// Write only if the sink itself bears that.
type Sink struct {
	inner   pipe.Sink
	set     Settings
	log     *slog.Logger
	record  *Record
	meter   *pipe.Meter
	release chan struct{}
	once    sync.Once

	taking  sync.Once // takes over from before, at the first use
	before  *Sink
	budget  *budget
	breaker *breaker // nil when there is none
	rate    *limiter
	gate    *gate
	sizer   *sizer
	calls   *calls
	left    func() error
	back    func()
}

// New wraps s, which may be nil if only Call is used.
func New(s pipe.Sink, set Settings, o Options) *Sink {
	g := &Sink{inner: s, set: set, log: o.Log, record: o.Record, meter: o.Meter, release: make(chan struct{}), before: o.Predecessor, left: o.Left, back: o.Back}
	if g.left == nil {
		g.left = func() error { return nil }
	}
	if g.back == nil {
		g.back = func() {}
	}
	if o.Predecessor != nil {
		g.calls = o.Predecessor.calls
	} else {
		g.calls = newCalls(s, set.Concurrency.Max)
	}
	if g.record == nil {
		g.record = &Record{}
	}
	if g.meter == nil {
		g.meter = &pipe.Meter{}
	}
	g.budget, g.rate = newBudget(set.Retry.Budget), newLimiter(set.Rate)
	g.gate, g.sizer = newGate(set.Concurrency), newSizer(set.Batch)
	if set.Breaker != nil {
		g.breaker = newBreaker(*set.Breaker, g.log, g.record)
	}
	return g
}

// takeOver takes what the predecessor knows. It is called by whatever uses the
// guard, so that one which is never used takes nothing.
func (s *Sink) takeOver() *Sink {
	s.taking.Do(func() {
		old := s.before
		if s.before = nil; old == nil {
			return
		}
		old.takeOver()
		s.budget.inherit(old.budget)
		s.rate.inherit(old.rate)
		s.gate.inherit(old.gate)
		s.sizer.inherit(old.sizer)
		if s.breaker != nil && old.breaker != nil {
			s.breaker.inherit(old.breaker)
		}
	})
	return s
}

// Release ends every wait of every Write, and a Write whose attempt then fails:
// what is not written by then is somebody else's. Calling it twice is allowed.
func (s *Sink) Release() { s.once.Do(func() { close(s.release) }) }

// Released reports whether Release was called.
func (s *Sink) Released() bool {
	select {
	case <-s.release:
		return true
	default:
		return false
	}
}

// Limit returns how many calls of Write may be useful at a time now.
func (s *Sink) Limit() int { return s.takeOver().gate.allowed() }

// Batch returns the most events and bytes that one Write should get now.
func (s *Sink) Batch() (events int, bytes int64) {
	s.takeOver()
	events, bytes = s.sizer.size(), s.set.Batch.Bytes
	if n := s.rate.burst(); n > 0 {
		events = min(events, n)
	}
	if n := s.rate.burstBytes(); n > 0 {
		bytes = min(bytes, n)
	}
	return events, bytes
}

// BreakerStatus returns the state of the breaker; ok is false when there is none.
func (s *Sink) BreakerStatus() (st BreakerStatus, ok bool) {
	if s.takeOver().breaker == nil {
		return st, false
	}
	return s.breaker.status(time.Now()), true
}

// Budget returns which part of the burst of retries is left, 0 to 1.
func (s *Sink) Budget() float64 { return s.takeOver().budget.left(time.Now()) }

// RateLimit returns the most events a second, 0 when there is no such limit.
func (s *Sink) RateLimit() float64 { return s.set.Rate.Events }

// Write writes in, waiting as long as the guards say or until ctx ends. It
// returns nil, a *pipe.PartialError for events that failed for good or were not
// written because of ctx or Release, or one error for all of them; and how many
// attempts were made.
func (s *Sink) Write(ctx context.Context, in []*pipe.Event) (attempts int, err error) {
	return s.Call(ctx, in, nil)
}

// Call is Write for what is no sink: call makes one attempt with some of the
// events, as Sink.Write would, and is not left behind: that is up to it. What it
// returns is judged like the errors of a sink.
func (s *Sink) Call(ctx context.Context, in []*pipe.Event, call func(context.Context, []*pipe.Event) error) (attempts int, err error) {
	w := write{Sink: s.takeOver(), in: in, call: call}
	err = w.run(ctx)
	return w.attempts, w.result(err)
}
