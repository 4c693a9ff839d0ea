package guard

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// torture asks for the long form of tests.
var torture = os.Getenv("PIPECTL_TORTURE") != ""

// TestHold: what was given up is written again after a pause that grows as
// between attempts, whatever limits them; it ends with a stop and a release.
func TestHold(t *testing.T) {
	throttled := asks(20 * time.Second)
	f := func(err error, attempt int, end func(g *Sink, cancel context.CancelFunc), took time.Duration, want error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			var meter pipe.Meter
			g := New(&far{}, Settings{Retry: Retry{Initial: time.Second, Max: 30 * time.Second, MaxAttempts: 2, MaxElapsed: time.Second}}, Options{Log: quiet, Meter: &meter})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if end != nil {
				time.AfterFunc(500*time.Millisecond, func() { end(g, cancel) })
			}
			start := time.Now()
			if got := g.Hold(ctx, err, attempt); !errors.Is(got, want) || time.Since(start) != took || meter.Throttled.Total() != took {
				t.Errorf("%v before attempt %d: got %v after %v (throttled %v), want %v after %v", err, attempt, got, time.Since(start), meter.Throttled.Total(), want, took)
			}
		})
	}
	f(errDown, 2, nil, time.Second, nil)
	f(errDown, 4, nil, 4*time.Second, nil)
	f(errDown, 100, nil, 30*time.Second, nil)
	f(throttled, 2, nil, 20*time.Second, nil)
	f(pipe.Classed(pipe.Permanent, errDown), 2, nil, 30*time.Second, nil)
	f(errDown, 9, func(_ *Sink, cancel context.CancelFunc) { cancel() }, 500*time.Millisecond, context.Canceled)
	f(errDown, 9, func(g *Sink, _ context.CancelFunc) { g.Release() }, 500*time.Millisecond, ErrReleased)
	released := guarding(&far{}, Settings{Retry: steady(time.Hour)})
	released.Release()
	released.Release()
	if err := released.Hold(t.Context(), errDown, 2); !errors.Is(err, ErrReleased) {
		t.Errorf("got %v of a released guard", err)
	}
}

// TestBudgetHasABound: a long quiet time and many writes save up no more than the
// burst.
func TestBudgetHasABound(t *testing.T) {
	f := func(what string, before func(b *budget)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			b := newBudget(Budget{Ratio: 1, Burst: 5})
			b.take(time.Now())
			before(b)
			n := 0
			for n < 100 {
				if _, ok := b.take(time.Now()); !ok {
					break
				}
				n++
			}
			if n != 5 {
				t.Errorf("%s: %d retries at once, want 5", what, n)
			}
		})
	}
	f("quiet", func(*budget) { time.Sleep(time.Hour) })
	f("writes", func(b *budget) {
		for range 100 {
			b.deposit()
		}
	})
}

// TestBudgetWakesTheNext: two writes that pay before the first who waits has looked
// leave one note; he passes it on.
func TestBudgetWakesTheNext(t *testing.T) {
	b := newBudget(Budget{Ratio: 1, Burst: 2})
	now := time.Now()
	b.take(now)
	b.take(now)
	b.wait(2)
	b.deposit()
	b.deposit()
	for i := range 2 {
		select {
		case <-b.more:
		default:
			t.Fatalf("number %d is not woken", i+1)
		}
		if _, ok := b.take(now); !ok {
			t.Fatalf("number %d gets no retry", i+1)
		}
	}
	select {
	case <-b.more:
		t.Error("somebody is woken for nothing")
	default:
	}
}

// TestBudgetShare: once the burst is spent, retries are a tenth of the writes, and
// what comes back of the burst.
func TestBudgetShare(t *testing.T) {
	minutes := 10
	if torture {
		minutes = 600
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(Budget{Ratio: .1, Burst: 10})
		for range 10 {
			b.take(time.Now())
		}
		writes, retries := 0, 0
		for end := time.Now().Add(time.Duration(minutes) * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			b.deposit()
			writes++
			for rand.IntN(2) == 0 {
				if _, ok := b.take(time.Now()); ok {
					retries++
				}
			}
		}
		want := .1*float64(writes) + float64(10*minutes)
		if got := float64(retries); got > want+1 || got < .99*want {
			t.Errorf("%d retries of %d writes in %d minutes, want %.0f and no more", retries, writes, minutes, want)
		}
	})
}

// TestDeadlineOfOneCutsNothing: an attempt goes on while one of its events is
// worth it, and what it confirms is written.
func TestDeadlineOfOneCutsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guarding(&far{answer: func(ctx context.Context, _ []*pipe.Event) error {
			select {
			case <-time.After(6 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}, Settings{Deadline: 10 * time.Second, Retry: steady(time.Second)})
		if attempts, err := g.Write(t.Context(), aged(6*time.Second, 2*time.Second)); err != nil || attempts != 1 {
			t.Errorf("%d attempts, %v", attempts, err)
		}
	})
}

// TestErrorOfTheRest: what stays after a partial failure and is given up while it
// waits has the error of its own. A wait that would be too long is not begun.
func TestErrorOfTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guarding(&far{answer: fails(&pipe.PartialError{Items: []pipe.ItemError{{Index: 1, Err: errDown}}})},
			Settings{Retry: Retry{Initial: time.Hour, Max: time.Hour, MaxElapsed: time.Second}})
		start := time.Now()
		_, err := g.Write(t.Context(), batch(2))
		if took := time.Since(start); took != 0 {
			t.Errorf("it waited %v for an attempt that comes too late", took)
		}
		var part *pipe.PartialError
		if !errors.As(err, &part) || len(part.Items) != 1 || !errors.Is(part.Items[0].Err, errDown) {
			t.Errorf("got %v, want event 1 to have failed with what the far side says", err)
		}
	})
}

// TestCall: what is no sink is guarded as one is.
func TestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(nil, Settings{Timeout: 2 * time.Second, Deadline: time.Minute, Retry: steady(time.Second)}, Options{Log: quiet})
		in, calls := aged(0, 0, 0), 0
		attempts, err := g.Call(t.Context(), in, func(ctx context.Context, some []*pipe.Event) error {
			switch calls++; calls {
			case 1:
				return errDown
			case 2:
				return &pipe.PartialError{Items: []pipe.ItemError{{Index: 2, Err: errDown}}}
			case 3:
				<-ctx.Done() // the timeout
				return ctx.Err()
			}
			if len(some) != 1 || some[0] != in[2] {
				t.Errorf("called with %d events, want the last one itself", len(some))
			}
			return nil
		})
		if err != nil || attempts != 4 {
			t.Errorf("%d attempts, %v", attempts, err)
		}
	})
}

// TestBreakerNeedsSuccesses: however long it takes.
func TestBreakerNeedsSuccesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := usual()
		set.MinHalfOpen, set.Ramp = time.Millisecond, time.Millisecond
		b := newTestBreaker(set)
		b.feed(10, time.Second, bad)
		time.Sleep(8 * time.Second)
		for step, want := range []float64{.02, .05, .25} {
			if n := b.feed(4, time.Hour, good); n != 4 {
				t.Fatalf("%d attempts were let through", n)
			}
			if got := b.status(time.Now()).Share; got != want {
				t.Fatalf("step %d: after 4 successes it lets %v through, want %v", step, got, want)
			}
			b.feed(1, time.Hour, good)
		}
		b.is(t, Closed)
	})
}

// TestBreakerTurnIsGivenBack: a probe that never was made, because what should
// have been it was stopped while it waited for something else, leaves its turn to
// the next one.
func TestBreakerTurnIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := usual()
		set.MinRequests, set.Probe = 1, time.Hour
		down := true
		s := &far{}
		s.answer = func(context.Context, []*pipe.Event) error {
			if down {
				return errDown
			}
			return nil
		}
		g := guarding(s, Settings{Breaker: &set, Rate: Rate{Events: 1, Burst: 10}, Retry: Retry{MaxAttempts: 1}})
		g.Write(t.Context(), batch(1))
		down = false
		time.Sleep(8 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.Write(ctx, batch(20)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		start := time.Now()
		confirmed(t, g, 1)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("the next probe went after %v, want without waiting for an hour", took)
		}
	})
}

// TestUsualIsWithoutFailures: the pace of an outage, when most attempts fail, is
// not the usual one.
func TestUsualIsWithoutFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBreaker(usual())
		feed := func(d time.Duration, v ...verdict) {
			for i := range int(d / (10 * time.Millisecond)) {
				time.Sleep(10 * time.Millisecond)
				b.window.add(time.Now(), v[i%len(v)])
			}
		}
		feed(time.Minute, good)
		before := b.window.usual
		feed(time.Minute, good, bad, bad, bad)
		if before < 99 || before > 101 || b.window.usual != before {
			t.Errorf("usual were %v a second, and after a bad minute %v; want 100", before, b.window.usual)
		}
	})
}

// TestGateIsFair: who waits longest comes first.
func TestGateIsFair(t *testing.T) {
	g := newGate(Concurrency{Max: 1})
	first := g.enter()
	line := []*place{g.enter(), g.enter(), g.enter()}
	g.leave(first, 0, good)
	for i, p := range line {
		select {
		case <-p.came:
			g.leave(p, 0, good)
		default:
			t.Fatalf("number %d in line is not the next", i+1)
		}
	}
}

// TestGateLateWithdrawal: who gives up in the moment his place comes gives it back.
func TestGateLateWithdrawal(t *testing.T) {
	g := newGate(Concurrency{Max: 1})
	first, late, next := g.enter(), g.enter(), g.enter()
	g.leave(first, 0, good)
	g.withdraw(late)
	select {
	case <-next.came:
	default:
		t.Error("the next in line does not get it")
	}
	if g.leave(next, 0, good); g.inside != 0 {
		t.Errorf("%d inside", g.inside)
	}
}

// TestRatePaysOnce: what the breaker sends back after the rate limit has let it
// through does not pay for that attempt again.
func TestRatePaysOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guarding(&far{}, Settings{Rate: Rate{Events: 1, Burst: 10}})
		w := write{Sink: g, in: batch(10)}
		start := time.Now()
		for range 3 {
			if err := w.awaitRate(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("one attempt waited %v for what it had paid for", took)
		}
	})
}

// TestImpossiblePartialFailures: a sink that reports what cannot be has a bug, and
// its report is worth nothing: the batch fails, and is not retried.
func TestImpossiblePartialFailures(t *testing.T) {
	f := func(indexes ...int) {
		t.Helper()
		part := &pipe.PartialError{}
		for _, i := range indexes {
			part.Items = append(part.Items, pipe.ItemError{Index: i, Err: errDown})
		}
		s := &far{answer: fails(part)}
		attempts, err := guarding(s, Settings{Retry: Retry{MaxAttempts: 3, Initial: 1, Max: 1}}).Write(t.Context(), batch(2))
		if attempts != 1 || pipe.ClassOf(err, "") != pipe.Permanent {
			t.Errorf("%v of 2 events: %d attempts, %v", indexes, attempts, err)
		}
	}
	f()
	f(2)
	f(-1)
	f(1, 1)
	f(0, 1, 0)
}

// TestReleasedWaitsForNothing: not even for what comes at once.
func TestReleasedWaitsForNothing(t *testing.T) {
	g := guarding(&far{answer: fails(errDown)}, Settings{Retry: Retry{}})
	g.Release()
	if attempts, err := g.Write(t.Context(), batch(1)); attempts != 1 || !errors.Is(err, ErrReleased) {
		t.Errorf("%d attempts, %v; want one, and what is left is for the next guard", attempts, err)
	}
}
