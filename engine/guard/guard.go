// Package guard wraps a sink with what keeps one bad moment of the far side
// from becoming lost events: a time limit per attempt and retries. Guards are
// applied from the outside in: retry, then timeout, then the sink itself.
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

// Retry says how failed writes are repeated. Only retryable and throttled
// errors are; by default without end, which is pressure, not loss.
type Retry struct {
	MaxAttempts int           // attempts in all, 0 = no limit
	MaxElapsed  time.Duration // time since the first attempt, 0 = no limit
	Initial     time.Duration // first upper bound of the wait
	Max         time.Duration // largest upper bound of the wait, and the cap of Retry-After
	Jitter      float64       // the part of each wait that is random, 0 to 1; 1 is "full jitter"
}

// DefaultRetry is what a sink gets that says nothing.
var DefaultRetry = Retry{Initial: 100 * time.Millisecond, Max: 30 * time.Second, Jitter: 1}

// ErrReleased is returned by Write for what was not written when Release was
// called.
var ErrReleased = errors.New("another sink takes over")

// Options are what a guard tells others.
type Options struct {
	Log    *slog.Logger
	Record *Record     // of the attempts; nil for one of its own
	Meter  *pipe.Meter // External counts attempts, Throttled the pauses between them; nil counts nothing
}

// Sink is a guarded sink.
type Sink struct {
	inner    pipe.Sink
	timeout  time.Duration
	retry    Retry
	log      *slog.Logger
	record   *Record
	external *pipe.Clock
	pauses   *pipe.Clock
	release  chan struct{}
	once     sync.Once
}

// New wraps s. timeout 0 means that an attempt may take as long as it likes.
func New(s pipe.Sink, timeout time.Duration, r Retry, o Options) *Sink {
	g := &Sink{inner: s, timeout: timeout, retry: r, log: o.Log, record: o.Record, release: make(chan struct{})}
	if g.record == nil {
		g.record = &Record{}
	}
	if o.Meter != nil {
		g.external, g.pauses = &o.Meter.External, &o.Meter.Throttled
	}
	return g
}

// Release ends a Write that waits for its next attempt, and one whose attempt
// then fails: what is not written by then is somebody else's. Calling it twice
// is allowed.
func (s *Sink) Release() { s.once.Do(func() { close(s.release) }) }

func (s *Sink) released() bool {
	select {
	case <-s.release:
		return true
	default:
		return false
	}
}

// Write writes in with retries, waiting as long as they take or until ctx ends.
// It returns nil, a *pipe.PartialError for events that failed for good or whose
// retries ctx ended, or one error for all of them, with the number of attempts.
func (s *Sink) Write(ctx context.Context, in []*pipe.Event) (attempts int, err error) {
	start := time.Now()
	var lost pipe.PartialError
	index := []int(nil) // of the events still to write, in the caller's batch; nil = all
	for attempts = 1; ; attempts++ {
		err = s.attempt(ctx, in)
		if err == nil {
			break
		}
		var part *pipe.PartialError
		if errors.As(err, &part) && !valid(part, len(in)) {
			err = pipe.Classed(pipe.Permanent, errors.New("the sink reports a failure of an event that it was not given, or reports one twice"))
		} else if part != nil {
			in, index, err = s.sift(in, index, part, &lost, attempts)
			if len(in) == 0 {
				break
			}
		}
		if ctx.Err() != nil {
			return attempts, rest(ctx.Err(), index, &lost)
		}
		wait, again := s.next(err, attempts, time.Since(start))
		if !again {
			return attempts, rest(exhausted(err, attempts, time.Since(start)), index, &lost)
		}
		s.note(err, wait)
		if e := s.pause(ctx, wait); e != nil {
			return attempts, rest(e, index, &lost)
		}
		s.record.retries.Add(1)
	}
	if s.record.failing.CompareAndSwap(true, false) {
		s.log.Info("sink works again", "attempts", attempts, "after", time.Since(start).Round(time.Millisecond))
	}
	if len(lost.Items) > 0 {
		return attempts, &lost
	}
	return attempts, nil
}

// sift separates the failed events of a partial failure: those worth another
// attempt are returned, the others are added to lost.
func (s *Sink) sift(in []*pipe.Event, index []int, part *pipe.PartialError, lost *pipe.PartialError, attempts int) (again []*pipe.Event, at []int, err error) {
	for _, it := range part.Items {
		i := it.Index
		if index != nil {
			i = index[it.Index]
		}
		if _, ok := s.next(it.Err, attempts, 0); !ok {
			lost.Items = append(lost.Items, pipe.ItemError{Index: i, Err: it.Err})
			continue
		}
		again, at, err = append(again, in[it.Index]), append(at, i), it.Err
	}
	return again, at, err
}

// valid reports whether a partial failure names events of a batch of n, each once.
func valid(part *pipe.PartialError, n int) bool {
	named := make(map[int]bool, len(part.Items))
	for _, it := range part.Items {
		if it.Index < 0 || it.Index >= n || named[it.Index] {
			return false
		}
		named[it.Index] = true
	}
	return len(named) > 0
}

// exhausted names the limit in an error that is not retried any more.
func exhausted(err error, attempts int, elapsed time.Duration) error {
	if attempts > 1 {
		return fmt.Errorf("gave up after %d attempts in %v: %w", attempts, elapsed.Round(time.Millisecond), err)
	}
	return err
}

// rest ends a write with err for the events at index, the rest of the batch
// having been written or lost before. A nil index means the whole batch.
func rest(err error, index []int, lost *pipe.PartialError) error {
	if index == nil {
		return err
	}
	for _, i := range index {
		lost.Items = append(lost.Items, pipe.ItemError{Index: i, Err: err})
	}
	return lost
}

// attempt is one call of the sink under the time limit.
func (s *Sink) attempt(ctx context.Context, in []*pipe.Event) error {
	began, err := s.external.Enter(), errPanic
	defer func() { s.record.add(s.external.Leave(began), err) }()
	err = s.limited(ctx, in)
	return err
}

// errPanic is the result of an attempt that did not return.
var errPanic = pipe.Classed(pipe.Poison, errors.New("panic"))

func (s *Sink) limited(ctx context.Context, in []*pipe.Event) error {
	if s.timeout <= 0 {
		return s.inner.Write(ctx, in)
	}
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.inner.Write(limited, in)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return pipe.Classed(pipe.Retryable, fmt.Errorf("no answer within timeout %v: %w", s.timeout, err))
	}
	return err
}

// next says how long to wait before the next attempt, and whether there is one.
func (s *Sink) next(err error, attempts int, elapsed time.Duration) (time.Duration, bool) {
	class := pipe.ClassOf(err, pipe.Retryable)
	if class != pipe.Retryable && class != pipe.Throttled {
		return 0, false
	}
	if s.retry.MaxAttempts > 0 && attempts >= s.retry.MaxAttempts {
		return 0, false
	}
	bound := s.retry.Max
	if shift := attempts - 1; shift < 32 && s.retry.Initial<<shift > 0 {
		bound = min(bound, s.retry.Initial<<shift)
	}
	wait := bound
	if random := time.Duration(float64(bound) * s.retry.Jitter); random > 0 {
		wait = bound - random + rand.N(random)
	}
	var e *pipe.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		wait = min(max(wait, e.RetryAfter), s.retry.Max)
	}
	if s.retry.MaxElapsed > 0 && elapsed+wait > s.retry.MaxElapsed {
		return 0, false
	}
	return wait, true
}

func (s *Sink) note(err error, wait time.Duration) {
	if s.record.failing.CompareAndSwap(false, true) {
		s.log.Warn("sink fails, retrying", "error", err, "next_attempt_in", wait.Round(time.Millisecond))
	}
}

// pause waits before the next attempt.
func (s *Sink) pause(ctx context.Context, d time.Duration) error {
	if s.released() {
		return ErrReleased
	}
	defer s.pauses.Leave(s.pauses.Enter())
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.release:
		return ErrReleased
	case <-ctx.Done():
		return ctx.Err()
	}
}
