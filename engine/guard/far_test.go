package guard

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// far is a far side that many may write to. It answers as told and keeps count.
type far struct {
	answer func(ctx context.Context, in []*pipe.Event) error // nil confirms

	mu           sync.Mutex // guards what follows
	inside, peak int
	at           []time.Time // when each call came
	sizes        []int
}

func (f *far) Write(ctx context.Context, in []*pipe.Event) error {
	f.mu.Lock()
	f.inside++
	f.peak = max(f.peak, f.inside)
	f.at, f.sizes = append(f.at, time.Now()), append(f.sizes, len(in))
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.inside--
		f.mu.Unlock()
	}()
	if f.answer == nil {
		return nil
	}
	return f.answer(ctx, in)
}

func (f *far) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.at)
}

// since returns how many calls came after t.
func (f *far) since(t time.Time) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, at := range f.at {
		if at.After(t) {
			n++
		}
	}
	return n
}

var errDown = errors.New("connection refused")

// asks is the error of a far side that asks to wait.
func asks(d time.Duration) error {
	return &pipe.Error{Class: pipe.Throttled, Err: errors.New("503"), RetryAfter: d}
}

func guarding(s pipe.Sink, set Settings) *Sink {
	if set.Batch.Events == 0 {
		set.Batch = Batch{Events: 1000, Bytes: 1 << 30}
	}
	return New(s, set, Options{Log: quiet})
}

// steady is a retry without chance.
func steady(d time.Duration) Retry { return Retry{Initial: d, Max: d} }

// confirmed writes n events and expects them to be confirmed.
func confirmed(t testing.TB, g *Sink, n int) {
	t.Helper()
	if _, err := g.Write(t.Context(), batch(n)); err != nil {
		t.Errorf("got %v, want a confirmation", err)
	}
}

// throughout calls f in so many goroutines again and again for a time.
func throughout(t testing.TB, goroutines int, d time.Duration, f func(ctx context.Context)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for ctx.Err() == nil {
				f(ctx)
			}
		})
	}
	all.Wait()
}

// aged makes one event of each age: how long ago its source has read it.
func aged(ages ...time.Duration) (events []*pipe.Event) {
	for i, age := range ages {
		var b pipe.Batch
		b.Reset(nil, "in", uint64(i))
		b.AddText([]byte("x"), 0)
		read, _, _ := b.Take(time.Now().Add(-age))
		events = append(events, read...)
	}
	return events
}

// lost returns the indexes of the events that a write has lost.
func lost(t testing.TB, err error) (at []int) {
	t.Helper()
	var part *pipe.PartialError
	if err != nil && !errors.As(err, &part) {
		t.Fatalf("got %v, want a partial failure", err)
	}
	if part != nil {
		for _, it := range part.Items {
			at = append(at, it.Index)
		}
	}
	return at
}
