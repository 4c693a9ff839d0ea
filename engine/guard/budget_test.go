package guard

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// TestBudgetBounds: in any minute, retries are at most the burst, what comes back
// of it, and the part of the writes, however many writers fail.
func TestBudgetBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var writes atomic.Int64
		f := &far{answer: func(ctx context.Context, _ []*pipe.Event) error {
			time.Sleep(10 * time.Millisecond)
			if writes.Add(1)%2 == 0 { // every other attempt fails
				return errDown
			}
			return nil
		}}
		g := guarding(f, Settings{Retry: Retry{Initial: time.Millisecond, Max: 5 * time.Millisecond, Jitter: 1, Budget: Budget{Ratio: .1, Burst: 20}}, Concurrency: Concurrency{Max: 16}})
		throughout(t, 16, 2*time.Minute, func(ctx context.Context) { g.Write(ctx, batch(1)) })
		start := f.at[0].Add(time.Minute) // the burst is spent
		retries, all := g.record.Retries(), int64(f.calls())
		firsts := all - retries
		allowed := float64(20) + 2*20 + .1*float64(firsts)
		if float64(retries) > allowed+1 || float64(retries) < .8*allowed {
			t.Errorf("%d retries of %d attempts, want nearly %.0f and no more", retries, all, allowed)
		}
		if n := f.since(start); n == 0 {
			t.Error("nothing was written in the second minute")
		}
	})
}

// TestBudgetOfASinkThatIsDown: without any write the burst comes back within a
// minute: the sink is still tried, and not more than that.
func TestBudgetOfASinkThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{answer: fails(errDown)}
		g := guarding(f, Settings{Retry: Retry{Initial: time.Millisecond, Max: time.Millisecond, Budget: Budget{Ratio: .1, Burst: 30}}, Concurrency: Concurrency{Max: 8}})
		start := time.Now()
		throughout(t, 8, 10*time.Minute, func(ctx context.Context) { g.Write(ctx, batch(1)) })
		if n := f.since(start.Add(5*time.Minute - 1)); n < 149 || n > 151 {
			t.Errorf("%d attempts in the second five minutes, want 30 a minute", n)
		}
		if g.Budget() > .1 {
			t.Errorf("%v of the budget is left", g.Budget())
		}
	})
}

// TestBudgetIsRefilledByWrites: a write gives its part back at once, and who
// waits for it is woken.
func TestBudgetIsRefilledByWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		f := &far{answer: func(_ context.Context, in []*pipe.Event) error {
			if down.Load() && len(in) == 2 {
				return errDown
			}
			return nil
		}}
		g := guarding(f, Settings{Retry: Retry{Initial: time.Millisecond, Max: time.Millisecond, Budget: Budget{Ratio: .5, Burst: 1}}, Concurrency: Concurrency{Max: 2}})
		done := make(chan time.Duration)
		go func() {
			start := time.Now()
			confirmed(t, g, 2)
			done <- time.Since(start)
		}()
		time.Sleep(time.Second)
		down.Store(false)
		confirmed(t, g, 1)
		confirmed(t, g, 1)
		if took := <-done; took != time.Second {
			t.Errorf("the retry came after %v, want at once when two writes had paid for it", took)
		}
		if g.Budget() > .2 {
			t.Errorf("%v of the budget is left, want nearly none", g.Budget())
		}
	})
}

// TestBudgetWaitEnds: it ends with a stop and with a release.
func TestBudgetWaitEnds(t *testing.T) {
	f := func(end func(g *Sink, cancel context.CancelFunc), want error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			g := guarding(&far{answer: fails(errDown)}, Settings{Retry: Retry{Initial: 1, Max: 1, Budget: Budget{Ratio: .1, Burst: 1}}})
			start := time.Now()
			time.AfterFunc(10*time.Second, func() { end(g, cancel) })
			if _, err := g.Write(ctx, batch(1)); !errors.Is(err, want) || time.Since(start) != 10*time.Second {
				t.Errorf("got %v after %v, want %v after 10s", err, time.Since(start), want)
			}
		})
	}
	f(func(_ *Sink, cancel context.CancelFunc) { cancel() }, context.Canceled)
	f(func(g *Sink, _ context.CancelFunc) { g.Release() }, ErrReleased)
}

// TestMaxElapsedBoundsEveryWait: the waits for the budget, the breaker and a place
// count like those between attempts.
func TestMaxElapsedBoundsEveryWait(t *testing.T) {
	f := func(what string, set Settings) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			set.Retry.Initial, set.Retry.Max, set.Retry.MaxElapsed = 1, 1, 10*time.Second
			s := &far{answer: fails(errDown)}
			g := guarding(s, set)
			start := time.Now()
			_, err := g.Write(t.Context(), batch(1))
			if took := time.Since(start); !errors.Is(err, errDown) || took > 10*time.Second {
				t.Errorf("%s: got %v after %v, want the sink's error within 10s", what, err, took)
			}
		})
	}
	f("budget", Settings{Retry: Retry{Budget: Budget{Ratio: .1, Burst: 1}}})
	f("breaker", Settings{Breaker: &Breaker{Ratio: .5, Window: time.Second, MinRequests: 1, Wait: time.Hour, MaxWait: time.Hour,
		Fraction: .05, Probe: time.Second, MinHalfOpen: time.Second, Successes: 1, Ramp: time.Second}})
}
