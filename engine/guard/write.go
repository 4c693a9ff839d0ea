package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// write is one call of Sink.Write.
type write struct {
	*Sink
	call     func(context.Context, []*pipe.Event) error // one attempt; nil for the sink's
	in       []*pipe.Event                              // still to be written
	index    []int                                      // of in, in the caller's batch; nil = the same
	lost     *pipe.PartialError                         // what has failed for good; nil = nothing
	attempts int
	began    time.Time // of the first attempt
	last     error     // of the last attempt
	paid     bool      // the rate limit has let through what the next attempt writes
}

// run makes attempts until nothing is left to be written, and returns nil, or
// until there is no point in another: then it returns why.
func (w *write) run(ctx context.Context) error {
	for {
		lease, err := w.pass(ctx)
		switch {
		case errors.Is(err, errNothingLeft):
			return nil
		case err != nil:
			return err
		}
		err = w.attempt(ctx, lease)
		if err == nil {
			break
		}
		if err = w.sift(err); len(w.in) == 0 {
			break
		}
		w.last = err
		if err = w.again(ctx, err); errors.Is(err, errNothingLeft) {
			return nil
		} else if err != nil {
			return err
		}
	}
	if w.record.failing.CompareAndSwap(true, false) {
		w.log.Info("sink works again", "attempts", w.attempts, "after", time.Since(w.began).Round(time.Millisecond))
	}
	return nil
}

// result is what Write returns when run has ended with err: that of the whole
// batch, or of its parts.
func (w *write) result(err error) error {
	if err != nil && w.index == nil {
		return err
	}
	if err != nil {
		for i := range w.in {
			w.lose(i, err)
		}
	}
	if w.lost != nil {
		return w.lost
	}
	return nil
}

// place returns where the i-th of in is in the caller's batch.
func (w *write) place(i int) int {
	if w.index == nil {
		return i
	}
	return w.index[i]
}

// lose enters the i-th of in as failed; keep must leave it out.
func (w *write) lose(i int, err error) {
	if w.lost == nil {
		w.lost = &pipe.PartialError{}
	}
	w.lost.Items = append(w.lost.Items, pipe.ItemError{Index: w.place(i), Err: err})
}

// keep leaves only those events to be written that f accepts.
func (w *write) keep(f func(i int) bool) {
	in, index := make([]*pipe.Event, 0, len(w.in)), make([]int, 0, len(w.in))
	for i, e := range w.in {
		if f(i) {
			in, index = append(in, e), append(index, w.place(i))
		}
	}
	w.in, w.index = in, index
}

// pass takes an attempt through the guards before it, and waits as they say.
func (w *write) pass(ctx context.Context) (l lease, err error) {
	for {
		if w.expire(time.Now()); len(w.in) == 0 {
			return l, errNothingLeft
		}
		if l.ticket, err = w.awaitBreaker(ctx); err != nil {
			return l, err
		}
		if err = w.awaitRate(ctx); err == nil {
			l.place, err = w.awaitGate(ctx)
		}
		if err != nil {
			w.giveBack(l.ticket)
			return l, err
		}
		if w.stillMay(l.ticket) {
			return l, nil
		}
		w.gate.leave(l.place, 0, neither)
	}
}

// lease is the permission for one attempt.
type lease struct {
	ticket ticket // of the breaker
	place  *place // behind the gate
}

// attempt calls the sink once and tells every guard how it went.
func (w *write) attempt(ctx context.Context, l lease) (err error) {
	if w.attempts++; w.attempts == 1 {
		w.began = time.Now()
		w.budget.deposit()
	} else {
		w.record.retries.Add(1)
	}
	w.paid = false
	events, began := len(w.in), w.meter.External.Enter()
	err = errPanic
	defer func() {
		took := w.meter.External.Leave(began)
		w.record.add(took, err)
		v := judge(ctx, err, events)
		w.gate.leave(l.place, took, v)
		w.sizer.observe(events, took, v)
		if w.breaker != nil {
			w.breaker.result(time.Now(), l.ticket, v, err)
		}
	}()
	err = w.limited(ctx)
	return err
}

// errPanic is the result of an attempt that did not return.
var errPanic = pipe.Classed(pipe.Poison, errors.New("panic"))

// sift judges a failed attempt. With a partial failure what cannot succeed is
// lost and what may stays to be written; all else stays. It returns the error of
// what stays.
func (w *write) sift(err error) error {
	var part *pipe.PartialError
	if !errors.As(err, &part) {
		return err
	}
	if !valid(part, len(w.in)) {
		return pipe.Classed(pipe.Permanent, errors.New("the sink reports a failure of an event that it was not given, or reports one twice"))
	}
	again := make(map[int]bool, len(part.Items))
	for _, it := range part.Items {
		if w.set.Retry.over(it.Err, w.attempts) {
			w.lose(it.Index, it.Err)
		} else {
			again[it.Index], err = true, it.Err
		}
	}
	w.keep(func(i int) bool { return again[i] })
	return err
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
func (w *write) exhausted(err error) error {
	if w.attempts > 1 {
		return fmt.Errorf("gave up after %d attempts in %v: %w", w.attempts, time.Since(w.began).Round(time.Millisecond), err)
	}
	return err
}

var errNothingLeft = errors.New("nothing is left to be written")

// never is a time that does not come.
var never = time.Unix(1<<40, 0)

// wait waits until t, or until c delivers. It returns early, with an error, when
// ctx ends, when the guard is released, when the deadline of every event is over
// (errNothingLeft), and when the attempts would then take longer than they may.
func (w *write) wait(ctx context.Context, c <-chan struct{}, t time.Time) error {
	if w.Released() {
		return ErrReleased
	}
	limit := w.set.Retry.until(w)
	if t.After(limit) && t != never {
		return w.exhausted(w.last)
	}
	defer w.meter.Throttled.Leave(w.meter.Throttled.Enter())
	for {
		now := time.Now()
		if w.expire(now); len(w.in) == 0 {
			return errNothingLeft
		}
		if !now.Before(t) {
			return nil
		}
		if !now.Before(limit) {
			return w.exhausted(w.last)
		}
		if came, err := w.sleep(ctx, c, earliest(t, limit, w.nextDeadline())); came || err != nil {
			return err
		}
	}
}

// sleep is wait without a look at the clock. It reports whether c delivered.
func (w *write) sleep(ctx context.Context, c <-chan struct{}, t time.Time) (came bool, err error) {
	var alarm <-chan time.Time
	if t != never {
		timer := time.NewTimer(time.Until(t))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-alarm:
		return false, nil
	case <-c:
		return true, nil
	case <-w.release:
		return false, ErrReleased
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func earliest(first time.Time, more ...time.Time) time.Time {
	for _, t := range more {
		if t.Before(first) {
			first = t
		}
	}
	return first
}
