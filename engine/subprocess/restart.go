package subprocess

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is how long to wait before a command that ended is started again: from
// one second, doubled each time, up to a minute, each with up to a fifth taken
// off at random. A run of more than a minute begins anew. The zero value is ready.
type Backoff struct{ next time.Duration }

const (
	firstWait = time.Second
	mostWait  = time.Minute
	longRun   = time.Minute
)

// Wait waits after a run that took so long, or until ctx ends.
func (b *Backoff) Wait(ctx context.Context, run time.Duration) error {
	timer := time.NewTimer(b.after(run))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Backoff) after(run time.Duration) time.Duration {
	if run >= longRun || b.next == 0 {
		b.next = firstWait
	}
	wait := b.next
	b.next = min(2*b.next, mostWait)
	return wait - time.Duration(rand.Int64N(int64(wait)/5+1))
}
