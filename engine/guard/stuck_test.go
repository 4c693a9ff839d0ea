package guard

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// borne is a far side that bears so many calls at a time.
type borne struct {
	far
	calls int
}

func (b *borne) MaxConcurrent() int { return b.calls }

// TestLeftBehind: a call that ignores its time limit is left behind a second later,
// with events of its own; the attempt has failed and the sink is never called more
// often at a time than it bears, by whichever guard.
func TestLeftBehind(t *testing.T) {
	f := func(bears int, took time.Duration, text string, left int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			free, in := make(chan struct{}), batch(3)
			s := &borne{calls: bears}
			var given atomic.Pointer[[]*pipe.Event]
			hang := true
			s.answer = func(_ context.Context, events []*pipe.Event) error {
				given.Store(&events)
				if hang {
					<-free
				}
				return nil
			}
			now := 0
			var back atomic.Int32
			o := Options{Log: quiet, Left: func() error { now++; return nil }, Back: func() { back.Add(1) }}
			set := Settings{Timeout: 2 * time.Second, Retry: Retry{MaxAttempts: 2, Initial: 1, Max: 1}, Batch: Batch{Events: 10, Bytes: 1 << 20}}
			g := New(s, set, o)
			start := time.Now()
			_, err := g.Write(t.Context(), in)
			synctest.Wait()
			if err == nil || !strings.Contains(err.Error(), text) || time.Since(start).Round(time.Millisecond) != took || now != left {
				t.Errorf("bears %d: %v after %v, %d left behind", bears, err, time.Since(start), now)
			}
			if g := *given.Load(); g[0] == in[0] || &g[0] == &in[0] {
				t.Errorf("bears %d: a call that may be left behind has the events of the others", bears)
			}
			o.Predecessor = g
			hang = false
			_, err = New(s, set, o).Write(t.Context(), in)
			if full := bears == left; full != (err != nil) {
				t.Errorf("bears %d: the next guard writes with %v while %d hang", bears, err, left)
			}
			close(free)
			synctest.Wait()
			if s.peak > bears || int(back.Load()) != left || len(g.calls.slots) != 0 || g.calls.stray.Load() != 0 {
				t.Errorf("bears %d: %d calls at a time, %d of %d came back", bears, s.peak, back.Load(), left)
			}
			confirmed(t, g, 3)
		})
	}
	f(1, 5*time.Second, "1 of its calls ignore their time limit", 1)
	f(2, 6*time.Second, "is left behind", 2)
	f(5, 6*time.Second, "is left behind", 2)
}

// TestLeftBehindTooMany: the error of Left is that of the events, and not repeated.
func TestLeftBehindTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free, enough := make(chan struct{}), errors.New("enough")
		s := &far{answer: func(context.Context, []*pipe.Event) error { <-free; return nil }}
		g := New(s, Settings{Timeout: time.Second, Retry: steady(time.Second), Batch: Batch{Events: 10, Bytes: 1 << 20}},
			Options{Log: quiet, Left: func() error { return pipe.Classed(pipe.Fatal, enough) }})
		n, err := g.Write(t.Context(), batch(1))
		if !errors.Is(err, enough) || pipe.ClassOf(err, pipe.Retryable) != pipe.Fatal || n != 1 {
			t.Errorf("%d attempts, error %v", n, err)
		}
		close(free)
	})
}

// TestComesInTheGrace: what comes after the time limit and before the grace is over
// counts.
func TestComesInTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &far{answer: func(context.Context, []*pipe.Event) error { time.Sleep(2900 * time.Millisecond); return nil }}
		left := 0
		g := New(s, Settings{Timeout: 2 * time.Second, Retry: steady(time.Second), Batch: Batch{Events: 10, Bytes: 1 << 20}},
			Options{Log: quiet, Left: func() error { left++; return nil }})
		if n, err := g.Write(t.Context(), batch(1)); n != 1 || err != nil || left != 0 {
			t.Errorf("%d attempts, %d left behind, error %v", n, left, err)
		}
	})
}
