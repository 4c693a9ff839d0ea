package guard

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// Rate bounds what a sink sends, each attempt counted.
type Rate struct {
	Events     float64 // a second, 0 = no limit
	Burst      int     // events at once; 0 = what comes in a second
	Bytes      int64   // accounted bytes a second, 0 = no limit
	BurstBytes int64   // bytes at once; 0 = what comes in a second
}

// limiter is the rate limit of a sink; either half may be nil.
type limiter struct{ events, bytes *rate.Limiter }

func newLimiter(set Rate) *limiter {
	l := &limiter{}
	if set.Events > 0 {
		l.events = bucket(set.Events, int64(set.Burst))
	}
	if set.Bytes > 0 {
		l.bytes = bucket(float64(set.Bytes), set.BurstBytes)
	}
	return l
}

func bucket(perSecond float64, burst int64) *rate.Limiter {
	const most = 1 << 30
	if burst <= 0 {
		burst = int64(max(1, min(perSecond, most)))
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(min(burst, most)))
}

// inherit goes on where another limiter is, with the new rates.
func (l *limiter) inherit(old *limiter) {
	l.events, l.bytes = goOn(old.events, l.events), goOn(old.bytes, l.bytes)
}

func goOn(old, next *rate.Limiter) *rate.Limiter {
	if old == nil || next == nil {
		return next
	}
	old.SetLimit(next.Limit())
	old.SetBurst(next.Burst())
	return old
}

func (l *limiter) burst() int        { return burstOf(l.events) }
func (l *limiter) burstBytes() int64 { return int64(burstOf(l.bytes)) }

func burstOf(l *rate.Limiter) int {
	if l == nil {
		return 0
	}
	return l.Burst()
}

// awaitRate waits until the rate allows what is to be written.
func (w *write) awaitRate(ctx context.Context) error {
	if w.paid {
		return nil
	}
	if w.rate.events != nil {
		if err := w.pay(ctx, w.rate.events, len(w.in)); err != nil {
			return err
		}
	}
	if w.rate.bytes != nil {
		n := 0
		for _, e := range w.in {
			n += e.Size()
		}
		if err := w.pay(ctx, w.rate.bytes, n); err != nil {
			return err
		}
	}
	w.paid = true
	return nil
}

// pay waits for n tokens, a burst at a time. What is not waited for to the end is
// given back.
func (w *write) pay(ctx context.Context, l *rate.Limiter, n int) error {
	for n > 0 {
		now := time.Now()
		part := min(n, max(1, l.Burst()))
		r := l.ReserveN(now, part)
		if d := r.DelayFrom(now); d > 0 {
			if err := w.wait(ctx, nil, now.Add(d)); err != nil {
				r.Cancel()
				return err
			}
		}
		n -= part
	}
	return nil
}
