package guard

import (
	"context"
	"time"
)

// Hold waits before a batch that was given up with err is written after all: as
// long as before the attempt with this number, from 2 on, whatever the limits of
// the retries are. It ends early with an error when ctx ends, and with ErrReleased
// when the guard is released.
func (s *Sink) Hold(ctx context.Context, err error, attempt int) error {
	if s.Released() {
		return ErrReleased
	}
	endless := s.set.Retry
	endless.MaxAttempts, endless.MaxElapsed = 0, 0
	wait, again := endless.next(err, attempt-1)
	if !again {
		wait = endless.Max // what failed for good is not to be hurried
	}
	defer s.meter.Throttled.Leave(s.meter.Throttled.Enter())
	t := time.NewTimer(wait)
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
