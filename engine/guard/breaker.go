package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// WhenOpen says what becomes of a write that the breaker does not let through.
type WhenOpen uint8

// What an open breaker does.
const (
	Hold   WhenOpen = iota // the write waits: pressure, no loss
	Refuse                 // its events fail
	Stop                   // they fail with a fatal error, which ends the pipeline
)

// Breaker says when a sink that fails is left alone, and how it comes back.
//
// Closed, it lets every attempt through. When enough of them have failed within
// the window it opens and lets none through. After a wait it is half-open: it
// lets a fraction of the usual attempts through, until enough of them in a row
// have worked and some time has passed; then it lets a twentieth and a quarter
// through before it closes. Any failure on that way opens it again, for longer
// each time.
type Breaker struct {
	Ratio       float64       // of attempts in the window that failed and open it, above 0, at most 1
	Window      time.Duration // how far back attempts count
	MinRequests int           // attempts in the window below which it stays closed
	Wait        time.Duration // how long it stays open at least, the first time
	MaxWait     time.Duration // how long it stays open at most; also caps a Retry-After
	WhenOpen    WhenOpen
	Fraction    float64       // of the usual attempts that a half-open breaker lets through
	Probe       time.Duration // it lets one through at least this often
	MinHalfOpen time.Duration // how long it is half-open at least
	Successes   int           // in a row that take it a step further
	Ramp        time.Duration // how long each step between half-open and closed takes at least
}

// The states of a breaker, as numbers for metrics.
const (
	Closed State = iota
	HalfOpen
	Open
)

// State is the state of a breaker.
type State int

func (s State) String() string { return [...]string{"closed", "half-open", "open"}[s] }

// BreakerStatus is what a breaker is doing.
type BreakerStatus struct {
	State State
	Until time.Time // when an open one becomes half-open
	Share float64   // of the usual attempts that it lets through, 0 to 1
}

// ramp are the shares of the steps between half-open and closed.
var ramp = [...]float64{.05, .25}

// shortest is the shortest time between two attempts that a half-open breaker
// thinks about.
const shortest = time.Millisecond

// breaker is the state machine. A generation is the time between two changes
// among closed, half-open and open: what was let through in an earlier one says
// nothing about this.
type breaker struct {
	log    *slog.Logger
	record *Record

	mu         sync.Mutex // guards what follows
	set        Breaker
	state      State
	generation ticket
	window     window
	until      time.Time // open: when it becomes half-open
	reopened   int       // times in a row that it did not close
	step       int       // half-open: 0, then the steps of ramp
	since      time.Time // when the step began
	streak     int       // successes in a row in this step
	seen       int64     // attempts that asked in this step
	probe      time.Time // the last one that was let through
	cause      error     // what opened it
}

// ticket is the permission for one attempt: the generation it was given in.
type ticket uint64

func newBreaker(set Breaker, log *slog.Logger, record *Record) *breaker {
	return &breaker{set: set, log: log, record: record, window: window{width: set.Window / buckets}}
}

// inherit goes on in the state of another breaker.
func (b *breaker) inherit(old *breaker) {
	old.mu.Lock()
	defer old.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state, b.until, b.reopened, b.step, b.since, b.streak = old.state, old.until, old.reopened, old.step, old.since, old.streak
	b.seen, b.probe, b.cause = old.seen, old.probe, old.cause
	width := b.window.width
	if b.window = old.window; width != old.window.width {
		b.window = window{width: width, usual: old.window.usual}
	}
}

func (b *breaker) status(now time.Time) BreakerStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.state == Closed:
		return BreakerStatus{State: Closed, Share: 1}
	case b.state == Open && now.Before(b.until):
		return BreakerStatus{State: Open, Until: b.until}
	case b.state == Open: // nobody has asked since
		return BreakerStatus{State: HalfOpen, Share: b.set.Fraction}
	}
	return BreakerStatus{State: HalfOpen, Share: b.share()}
}

// share is the part of the usual attempts that is let through.
func (b *breaker) share() float64 {
	if b.step == 0 {
		return b.set.Fraction
	}
	return ramp[b.step-1]
}

// ask takes a turn for an attempt, or says when to ask again, or why the attempt
// may not be made at all.
func (b *breaker) ask(now time.Time) (t ticket, at time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == Open {
		if now.Before(b.until) {
			return 0, b.until, b.refusal(now)
		}
		b.enter(HalfOpen, now)
		b.log.Info("breaker is half-open", "fraction", b.set.Fraction)
	}
	if b.state == HalfOpen {
		if at := b.next(now); now.Before(at) {
			return 0, at, b.refusal(now)
		}
		b.probe = now
	}
	return b.generation, time.Time{}, nil
}

// next returns when a half-open breaker lets the next attempt through. One that
// holds the others does so in step with time: as much less often than usual as
// its share is smaller; for an attempt that is held makes no others come, so they
// cannot be counted. One that refuses the others lets each n-th through. Either
// lets one through each probe interval.
func (b *breaker) next(now time.Time) time.Time {
	gap := b.set.Probe
	if b.set.WhenOpen == Hold {
		if pace := b.window.usual * b.share(); pace > 0 {
			gap = min(gap, time.Duration(float64(time.Second)/pace))
		}
		return b.probe.Add(max(gap, shortest))
	}
	nth := b.seen%int64(1/b.share()+.999) == 0
	if b.seen++; nth {
		return now
	}
	return b.probe.Add(gap)
}

// holds reports whether an attempt with t may still be made.
func (b *breaker) holds(t ticket) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return t == b.generation
}

// refusal is the error for a write that is not let through; nil if it is held.
func (b *breaker) refusal(now time.Time) error {
	if b.set.WhenOpen == Hold {
		return nil
	}
	what := "is open"
	if b.state == HalfOpen {
		what = "is half-open and lets others through"
	}
	err := fmt.Errorf("the breaker %s; it opened because of: %w", what, b.cause)
	if b.set.WhenOpen == Stop {
		return pipe.Classed(pipe.Fatal, err)
	}
	e := &pipe.Error{Class: pipe.ClassOf(b.cause, pipe.Retryable), Err: err}
	if b.state == Open {
		e.RetryAfter = b.until.Sub(now)
	}
	return e
}

func (b *breaker) enter(s State, now time.Time) {
	b.state, b.since, b.step, b.streak, b.seen = s, now, 0, 0, 0
	b.generation++
	b.probe = time.Time{}
}

// result tells the breaker how an attempt went.
func (b *breaker) result(now time.Time, t ticket, v verdict, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case t != b.generation:
	case v == neither:
		if b.state == HalfOpen && cancelled(err) {
			b.probe = time.Time{} // it never was: the next one may go at once
		}
	case b.state == Closed:
		b.window.add(now, v)
		if all, failed := b.window.sum(now); v == bad && all >= b.set.MinRequests && float64(failed) >= b.set.Ratio*float64(all) {
			b.open(now, err, "failed", failed, "of", all)
		}
	case v == bad:
		b.reopened++
		b.open(now, err, "reopened", b.reopened)
	default:
		b.succeed(now)
	}
}

func cancelled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// open begins a wait, which is random within bounds that double each time: always
// longer than the one before, and not the same for many who have failed together.
// It is not shorter than the far side asks, and not longer than MaxWait.
func (b *breaker) open(now time.Time, err error, why ...any) {
	bound := b.set.MaxWait
	if first := b.set.Wait + b.set.Wait/2; b.reopened < 32 && first<<b.reopened > 0 {
		bound = min(bound, first<<b.reopened)
	}
	least := max(b.set.Wait, bound*2/3)
	wait := bound - time.Duration(rand.Float64()*float64(bound-least))
	if asked := retryAfter(err); asked > 0 {
		wait = min(max(wait, asked+time.Duration(rand.Float64()*float64(asked)/10)), b.set.MaxWait)
	}
	b.enter(Open, now)
	b.until, b.cause = now.Add(wait), err
	b.record.opened.Add(1)
	b.log.Warn("breaker opens", append(why, "error", err, "for", wait.Round(time.Millisecond))...)
}

// succeed counts a success of a half-open breaker and goes a step further when
// there are enough and the step has lasted long enough.
func (b *breaker) succeed(now time.Time) {
	least := b.set.Ramp
	if b.step == 0 {
		least = b.set.MinHalfOpen
	}
	if b.streak++; b.streak < b.set.Successes || now.Sub(b.since) < least {
		return
	}
	if b.step == len(ramp) {
		b.enter(Closed, now)
		b.reopened, b.cause = 0, nil
		b.window = window{width: b.window.width, usual: b.window.usual}
		b.log.Info("breaker closes")
		return
	}
	b.step, b.since, b.streak, b.seen = b.step+1, now, 0, 0
	b.log.Info("breaker lets more through", "share", b.share())
}

// awaitBreaker waits for a turn.
func (w *write) awaitBreaker(ctx context.Context) (ticket, error) {
	for w.breaker != nil {
		t, at, err := w.breaker.ask(time.Now())
		if err != nil || at.IsZero() {
			return t, err
		}
		if err := w.wait(ctx, nil, at); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// stillMay reports whether the breaker still lets the attempt through, which may
// have waited behind it.
func (w *write) stillMay(t ticket) bool { return w.breaker == nil || w.breaker.holds(t) }

// giveBack returns a turn that was not used.
func (w *write) giveBack(t ticket) {
	if w.breaker != nil {
		w.breaker.result(time.Now(), t, neither, context.Canceled)
	}
}
