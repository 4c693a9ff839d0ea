package guard

import (
	"context"
	"errors"
	"math/rand/v2"
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
	Budget      Budget
}

// DefaultRetry is what a sink gets that says nothing.
var DefaultRetry = Retry{Initial: 100 * time.Millisecond, Max: 30 * time.Second, Jitter: 1, Budget: DefaultBudget}

// again waits before the next attempt. It returns why there is none.
func (w *write) again(ctx context.Context, err error) error {
	if ctx.Err() != nil { // an error that comes with a stop is the stop's
		return ctx.Err()
	}
	wait, again := w.set.Retry.next(err, w.attempts)
	if !again {
		return w.exhausted(err)
	}
	if w.record.failing.CompareAndSwap(false, true) {
		w.log.Warn("sink fails, retrying", "error", err, "next_attempt_in", wait.Round(time.Millisecond))
	}
	if err := w.wait(ctx, nil, time.Now().Add(wait)); err != nil {
		return err
	}
	return w.awaitBudget(ctx)
}

// over reports whether err is not worth another attempt.
func (r *Retry) over(err error, attempts int) bool {
	class := pipe.ClassOf(err, pipe.Retryable)
	if class != pipe.Retryable && class != pipe.Throttled {
		return true
	}
	return r.MaxAttempts > 0 && attempts >= r.MaxAttempts
}

// until returns when the attempts of w must be over.
func (r *Retry) until(w *write) time.Time {
	if r.MaxElapsed <= 0 || w.attempts == 0 {
		return never
	}
	return w.began.Add(r.MaxElapsed)
}

// next says how long to wait before the next attempt, and whether there is one;
// that it comes within MaxElapsed is up to the wait.
func (r *Retry) next(err error, attempts int) (time.Duration, bool) {
	if r.over(err, attempts) {
		return 0, false
	}
	bound := r.Max
	if shift := attempts - 1; shift < 32 && r.Initial<<shift > 0 {
		bound = min(bound, r.Initial<<shift)
	}
	wait := bound
	if random := time.Duration(float64(bound) * r.Jitter); random > 0 {
		wait = bound - random + rand.N(random)
	}
	return max(wait, min(retryAfter(err), r.Max)), true
}

// retryAfter returns how long the far side asks to wait, 0 when it does not.
func retryAfter(err error) time.Duration {
	var e *pipe.Error
	if errors.As(err, &e) {
		return max(0, e.RetryAfter)
	}
	return 0
}
