package guard

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// The tests of this file are about mistakes that are often published with these
// mechanisms.

// TestTrapRetryAfterWithoutCap: the far side asks for a year.
func TestTrapRetryAfterWithoutCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := usual()
		b.MinRequests = 1
		s := &script{answers: []answer{fails(asks(365 * 24 * time.Hour)), ok}}
		g := New(s, Settings{Retry: Retry{Initial: time.Second, Max: 30 * time.Second}, Breaker: &b, Batch: Batch{Events: 1}}, Options{Log: quiet})
		start := time.Now()
		confirmed(t, g, 1)
		if got := time.Since(start); got > 100*time.Second {
			t.Errorf("it waited %v, want no longer than retry.max and breaker.max_wait", got)
		}
	})
}

// TestTrapWindowNotComparedOrLeaking: the count of what is in flight is compared
// before an attempt, and given back after any end of it: success, failure, panic,
// timeout, cancellation.
func TestTrapWindowNotComparedOrLeaking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		s := &far{}
		s.answer = func(ctx context.Context, _ []*pipe.Event) error {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
			switch n.Add(1) % 5 {
			case 0:
				panic("boom")
			case 1:
				return errDown
			case 2:
				return pipe.Classed(pipe.Permanent, errDown)
			case 3:
				<-ctx.Done() // the timeout
				return ctx.Err()
			}
			return nil
		}
		g := guarding(s, Settings{Concurrency: Concurrency{Max: 4}, Timeout: 50 * time.Millisecond, Retry: steady(time.Millisecond)})
		throughout(t, 20, 5*time.Second, func(ctx context.Context) {
			defer func() { recover() }()
			short, cancel := context.WithTimeout(ctx, time.Duration(1+n.Load()%90)*time.Millisecond)
			defer cancel()
			g.Write(short, batch(1))
		})
		if s.peak != 4 {
			t.Errorf("%d attempts at a time, want 4 and no more", s.peak)
		}
		if g.gate.inside != 0 || len(g.gate.line) != 0 {
			t.Errorf("%d inside and %d in line at the end", g.gate.inside, len(g.gate.line))
		}
	})
}

// TestTrapRateLimiterForgetsItsWait: one that does not advance its clock after a
// wait gives twice the rate.
func TestTrapRateLimiterForgetsItsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guarding(&far{}, Settings{Rate: Rate{Events: 100, Burst: 1}})
		start := time.Now()
		for range 1000 {
			confirmed(t, g, 1)
		}
		if got := 999 / time.Since(start).Seconds(); math.Abs(got/100-1) > .01 {
			t.Errorf("%.1f events a second, want 100", got)
		}
	})
}

// TestTrapSemaphoreReleasedEarly: a place is held until the work is done. Calls of a
// sink are counted once more beside the places, so this one calls for itself.
func TestTrapSemaphoreReleasedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &far{answer: func(context.Context, []*pipe.Event) error { time.Sleep(time.Second); return nil }}
		g := guarding(s, Settings{Concurrency: Concurrency{Max: 10}})
		throughout(t, 50, 10*time.Second, func(context.Context) { g.Call(context.Background(), batch(1), s.Write) })
		if s.peak != 10 {
			t.Errorf("%d writes at a time, want 10", s.peak)
		}
	})
}

// TestTrapBreakerNeverForgets: one failure in a thousand never opens it, however
// many there have been.
func TestTrapBreakerNeverForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBreaker(usual())
		for range 1000 {
			b.feed(999, 10*time.Second, good)
			b.feed(1, 10*time.Millisecond, bad)
		}
		b.is(t, Closed)
	})
}

// TestTrapOneSuccessCloses: it takes several in a row and some time.
func TestTrapOneSuccessCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBreaker(usual())
		b.feed(10, time.Second, bad)
		time.Sleep(8 * time.Second)
		if n := b.feed(1, 0, good); n != 1 {
			t.Fatal("no probe")
		}
		b.is(t, HalfOpen)
		b.feed(20, time.Second, good)
		b.is(t, HalfOpen)
	})
}

// TestTrapHalfOpenLetsEveryoneIn: of many that have waited, one probes.
func TestTrapHalfOpenLetsEveryoneIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		s := &far{answer: func(context.Context, []*pipe.Event) error {
			time.Sleep(5 * time.Millisecond)
			if down.Load() {
				return errDown
			}
			return nil
		}}
		set := usual()
		g := guarding(s, Settings{Breaker: &set, Concurrency: Concurrency{Max: 64}, Retry: steady(100 * time.Millisecond)})
		start := time.Now()
		go throughout(t, 64, 30*time.Second, func(ctx context.Context) { g.Write(ctx, batch(1)) })
		time.Sleep(2 * time.Second) // it has opened
		down.Store(false)
		time.Sleep(11 * time.Second) // half-open for at least five of them
		from := s.since(start.Add(2 * time.Second))
		if st, _ := g.BreakerStatus(); st.State != HalfOpen || from > 12 || from < 4 {
			t.Errorf("%v, and %d of 64 writers got through within 11s, want one a second once half-open", st.State, from)
		}
		time.Sleep(30 * time.Second)
	})
}

// TestTrapFullSpeedRestart: after an outage the far side gets a twentieth, then a
// quarter, then all: never all at once.
func TestTrapFullSpeedRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		s := &far{answer: func(context.Context, []*pipe.Event) error {
			time.Sleep(10 * time.Millisecond)
			if down.Load() {
				return errDown
			}
			return nil
		}}
		set := usual()
		g := guarding(s, Settings{Breaker: &set, Concurrency: Concurrency{Max: 10}, Retry: steady(100 * time.Millisecond)})
		go throughout(t, 10, 3*time.Minute, func(ctx context.Context) { g.Write(ctx, batch(1)) })
		time.Sleep(30 * time.Second) // a thousand a second
		down.Store(true)
		time.Sleep(15 * time.Second)
		down.Store(false)
		back := time.Now()
		last, shares := 0, []float64{}
		for time.Since(back) < time.Minute {
			time.Sleep(time.Second)
			now := s.since(back)
			shares = append(shares, float64(now-last)/1000)
			last = now
		}
		steps := map[float64]bool{}
		for _, x := range shares {
			for _, step := range []float64{0, .02, .05, .25, 1} {
				if math.Abs(x-step) < .2*step+.005 {
					steps[step] = true
				}
			}
		}
		if !steps[.02] || !steps[.05] || !steps[.25] || !steps[1] {
			t.Errorf("shares of the usual traffic, by second: %.2v", shares)
		}
		for i := 1; i < len(shares); i++ {
			if shares[i] > .9 && shares[i-1] < .2 {
				t.Errorf("from %.2f to %.2f within a second", shares[i-1], shares[i])
			}
		}
		time.Sleep(3 * time.Minute)
	})
}

// TestTrapBatchPutBackLosesItems: a batch that fails again and again, whole and in
// parts, is confirmed whole in the end, each event once.
func TestTrapBatchPutBackLosesItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := map[*pipe.Event]int{}
		calls := 0
		s := &far{}
		s.answer = func(_ context.Context, in []*pipe.Event) error {
			var part pipe.PartialError
			calls++
			if calls%3 == 0 {
				return errDown
			}
			for i, e := range in {
				if (i+calls)%2 == 0 {
					part.Items = append(part.Items, pipe.ItemError{Index: i, Err: errDown})
				} else {
					got[e]++
				}
			}
			if len(part.Items) > 0 {
				return &part
			}
			return nil
		}
		g := guarding(s, Settings{Retry: steady(time.Second)})
		in := batch(200)
		if _, err := g.Write(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		for i, e := range in {
			if got[e] != 1 {
				t.Fatalf("event %d was written %d times", i, got[e])
			}
		}
	})
}

// TestTrapLateConfirmationIsRepeated: what the sink confirms after its time is
// written: it is not written again.
func TestTrapLateConfirmationIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []answer{func(ctx context.Context, _ []*pipe.Event) error { <-ctx.Done(); return nil }}}
		if attempts, err := New(s, Settings{Timeout: time.Second, Retry: steady(time.Second)}, Options{Log: quiet}).Write(t.Context(), batch(1)); err != nil || attempts != 1 {
			t.Errorf("%d attempts, %v", attempts, err)
		}
	})
}
