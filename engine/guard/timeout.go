package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// limited is one call of the sink under the time limit. An attempt also ends
// when the last of its events has reached the deadline.
func (w *write) limited(ctx context.Context) error {
	end := w.lastDeadline()
	if w.set.Timeout > 0 {
		end = earliest(end, time.Now().Add(w.set.Timeout))
	}
	if end == never {
		return w.unlimited(ctx)
	}
	limited, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	err := w.bounded(limited, end)
	switch {
	case err == nil || limited.Err() == nil || pipe.ClassOf(err, pipe.Retryable) == pipe.Fatal:
		return err
	case ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		return ctx.Err() // a call that was left behind while something else has ended the write
	case ctx.Err() != nil:
		return err
	case end == w.lastDeadline():
		return pipe.Classed(pipe.Retryable, fmt.Errorf("no answer before the deadline: %w", err))
	}
	return pipe.Classed(pipe.Retryable, fmt.Errorf("no answer within timeout %v: %w", w.set.Timeout, err))
}
