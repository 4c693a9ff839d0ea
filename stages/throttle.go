package stages

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"golang.org/x/time/rate"
)

func init() { pipe.RegisterStage("throttle", func() pipe.Stage { return &Throttle{} }) }

// Throttle hands events on no faster than a rate, and holds up those before it:
// nothing is dropped here. What becomes of the events that queue up is for the
// edge in front of it to say.
//
//	stages:
//	  slowly: {type: throttle, rate: 500/s, burst: 20}
//
// Example:
//
//	type: throttle
//	rate: 500/s
//	burst: 50
type Throttle struct {
	// Rate is how many events go on per unit of time, on average: 500/s, 30/m or
	// 10/h. Several workers share it.
	Rate pipe.Rate `yaml:"rate" required:"true" above:"0/s"`

	// Burst is how many events may go on at once after a quiet time, at least 1.
	// The default, 0, means what comes in 10 ms: 1 up to 100/s, 10 at 1000/s. A
	// burst much smaller than that cannot keep up a high rate, because timers
	// are not fine enough; raise it to let short peaks through undelayed.
	Burst int `yaml:"burst" min:"0"`

	limiter *rate.Limiter
	waits   *pipe.Clock
}

// Validate checks the rate and the burst.
func (t *Throttle) Validate() error {
	var errs []error
	if t.Rate <= 0 {
		errs = append(errs, fieldError("rate", "such as 500/s", "must be above 0"))
	}
	if t.Burst < 0 {
		errs = append(errs, fieldError("burst", "0 means what comes in 10 ms", "must be at least 0, got %d", t.Burst))
	}
	return errors.Join(errs...)
}

// Open starts with a full burst.
func (t *Throttle) Open(_ context.Context, env pipe.Env) error {
	if env.Meter != nil {
		t.waits = &env.Meter.Throttled
	}
	t.limiter = rate.NewLimiter(rate.Limit(t.Rate), t.MaxBatch())
	return nil
}

// MaxBatch returns the burst: events that go on together never exceed it.
func (t *Throttle) MaxBatch() int {
	const most = 1 << 20 // of the default only: what the engine hands over is far below it
	if t.Burst > 0 {
		return t.Burst
	}
	return max(1, int(min(float64(t.Rate)/100, most)))
}

// Process waits until the rate allows the events, at most a burst at a time.
func (t *Throttle) Process(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
	for len(in) > 0 {
		n := min(len(in), t.MaxBatch())
		if err := t.wait(ctx, n); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("waiting for the rate of %v would outlast the timeout: %w", t.Rate, context.DeadlineExceeded)
		}
		for _, e := range in[:n] {
			out.Emit(e)
		}
		in = in[n:]
	}
	return nil
}

// wait waits until the rate allows n events.
func (t *Throttle) wait(ctx context.Context, n int) error {
	if ctx.Err() == nil && t.limiter.AllowN(time.Now(), n) {
		return nil
	}
	defer t.waits.Leave(t.waits.Enter())
	return t.limiter.WaitN(ctx, n)
}

// RateLimit returns the rate, in events a second.
func (t *Throttle) RateLimit() float64 { return float64(t.Rate) }
