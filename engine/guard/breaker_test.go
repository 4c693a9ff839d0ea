package guard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// usual are settings of a breaker for tests.
func usual() Breaker {
	return Breaker{Ratio: .5, Window: 10 * time.Second, MinRequests: 10, Wait: 5 * time.Second, MaxWait: 100 * time.Second,
		Fraction: .02, Probe: time.Second, MinHalfOpen: 10 * time.Second, Successes: 5, Ramp: 10 * time.Second}
}

func newTestBreaker(set Breaker) *breaker { return newBreaker(set, quiet, &Record{}) }

// feed makes attempts that all have one result, spread over a time, and returns
// how many were let through.
func (b *breaker) feed(n int, over time.Duration, v verdict) (through int) {
	for range n {
		time.Sleep(over / time.Duration(n))
		if ticket, at, err := b.ask(time.Now()); err == nil && at.IsZero() {
			through++
			b.result(time.Now(), ticket, v, errDown)
		}
	}
	return through
}

func (b *breaker) is(t *testing.T, want State) {
	t.Helper()
	if got := b.status(time.Now()).State; got != want {
		t.Fatalf("the breaker is %v, want %v", got, want)
	}
}

// TestBreakerOpens: it takes enough attempts, enough of them failed, within the
// window.
func TestBreakerOpens(t *testing.T) {
	f := func(what string, want State, feed func(b *breaker)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			b := newTestBreaker(usual())
			feed(b)
			if got := b.status(time.Now()).State; got != want {
				t.Errorf("%s: the breaker is %v, want %v", what, got, want)
			}
		})
	}
	f("too few", Closed, func(b *breaker) { b.feed(9, time.Second, bad) })
	f("enough", Open, func(b *breaker) { b.feed(10, time.Second, bad) })
	f("too small a part", Closed, func(b *breaker) { b.feed(11, time.Second, good); b.feed(10, time.Second, bad) })
	f("just enough of a part", Open, func(b *breaker) { b.feed(10, time.Second, good); b.feed(10, time.Second, bad) })
	f("not within the window", Closed, func(b *breaker) { b.feed(60, 90*time.Second, bad) })
	f("successes that are too old", Open, func(b *breaker) {
		b.feed(1000, time.Second, good)
		time.Sleep(11 * time.Second)
		b.feed(10, time.Second, bad)
	})
	f("neither", Closed, func(b *breaker) { b.feed(1000, time.Second, neither) })
}

// TestBreakerHalfOpen takes it all the way back: the fraction, the least time, the
// successes in a row, the ramp.
func TestBreakerHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBreaker(usual())
		b.feed(100, 10*time.Second, good) // 10 a second are usual
		b.feed(120, 900*time.Millisecond, bad)
		b.is(t, Open)
		if n := b.feed(100, 4*time.Second, good); n != 0 {
			t.Fatalf("%d attempts were let through", n)
		}
		time.Sleep(10 * time.Second)
		b.is(t, HalfOpen)
		share := func(what string, d time.Duration, low, high int) {
			t.Helper()
			if n := b.feed(int(d/(10*time.Millisecond)), d, good); n < low || n > high {
				t.Errorf("%s: %d attempts in %v, want %d to %d", what, n, d, low, high)
			}
		}
		share("half-open", 9*time.Second, 9, 10) // 2 % of 10 a second is less than the probe each second
		b.is(t, HalfOpen)
		if got := b.status(time.Now()).Share; got != .02 {
			t.Errorf("lets %v through before the least time is over", got)
		}
		share("the last second", 2*time.Second, 1, 3)
		if got := b.status(time.Now()).Share; got != .05 {
			t.Errorf("lets %v through, want the first step of the ramp", got)
		}
		share("a twentieth", 9*time.Second, 8, 10)
		share("more", 3*time.Second, 3, 8)
		if got := b.status(time.Now()).Share; got != .25 {
			t.Errorf("lets %v through, want the second step of the ramp", got)
		}
		share("a quarter", 6*time.Second, 13, 17) // of 10 a second
		b.is(t, HalfOpen)
		share("all", 6*time.Second, 100, 600)
		b.is(t, Closed)
	})
}

// TestBreakerRefusing lets exactly each n-th through, and one each interval.
func TestBreakerRefusing(t *testing.T) {
	f := func(fraction float64, each time.Duration, low, high int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			set := usual()
			set.WhenOpen, set.Fraction, set.MinHalfOpen = Refuse, fraction, time.Hour
			b := newTestBreaker(set)
			b.feed(100, 5*time.Second, bad)
			time.Sleep(8 * time.Second)
			const n = 1000
			if got := b.feed(n, n*each, good); got < low || got > high {
				t.Errorf("%v of %d attempts each %v: %d let through, want %d to %d", fraction, n, each, got, low, high)
			}
		})
	}
	f(.02, time.Millisecond, 20, 20)
	f(.05, time.Millisecond, 50, 50)
	f(.01, time.Millisecond, 10, 10)
	f(.03, time.Millisecond, 29, 30)            // rounded so that it is never more
	f(.02, 2*time.Second, 1000, 1000)           // few come: each is the probe of its interval
	f(.02, 250*time.Millisecond, 250-5, 250+21) // four a second come: one of them is
}

// TestBreakerReopens: one failure on the way back is enough, in any step, and it
// stays open for longer each time, up to the most; once closed it begins anew.
func TestBreakerReopens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBreaker(usual())
		b.feed(10, time.Second, bad)
		last := time.Duration(0)
		for i := range 8 {
			b.is(t, Open)
			wait := time.Until(b.status(time.Now()).Until)
			low := min(time.Duration(5<<i)*time.Second, 100*time.Second*2/3)
			if wait < low || wait > min(low*3/2+time.Millisecond, 100*time.Second) || wait <= last && i < 5 {
				t.Errorf("the %d. time it stays open for %v, after %v before; want %v to half as long again", i+1, wait, last, low)
			}
			last = wait
			time.Sleep(wait)
			if i == 3 { // far on the ramp
				b.feed(25, 25*time.Second, good)
				if got := b.status(time.Now()).Share; got != .25 {
					t.Fatalf("lets %v through", got)
				}
			}
			b.feed(1, time.Second, bad)
		}
		time.Sleep(101 * time.Second)
		b.feed(100, 100*time.Second, good)
		b.is(t, Closed)
		b.feed(100, time.Second, bad)
		if wait := time.Until(b.status(time.Now()).Until); wait > 8*time.Second {
			t.Errorf("after it had closed it stays open for %v", wait)
		}
	})
}

// TestBreakerRetryAfter: what the far side asks for is a floor, the longest wait
// a cap.
func TestBreakerRetryAfter(t *testing.T) {
	f := func(asked, low, high time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			set := usual()
			set.MinRequests = 1
			b := newTestBreaker(set)
			ticket, _, _ := b.ask(time.Now())
			b.result(time.Now(), ticket, bad, asks(asked))
			if wait := time.Until(b.status(time.Now()).Until); wait < low || wait > high {
				t.Errorf("asked for %v it waits %v, want %v to %v", asked, wait, low, high)
			}
		})
	}
	f(0, 5*time.Second, 7500*time.Millisecond)
	f(time.Second, 5*time.Second, 7500*time.Millisecond)
	f(60*time.Second, 60*time.Second, 66*time.Second)
	f(24*time.Hour, 100*time.Second, 100*time.Second)
}

// TestBreakerLateResults: what was let through before it changed says nothing.
func TestBreakerLateResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := usual()
		set.MinHalfOpen, set.Successes = time.Millisecond, 1
		b := newTestBreaker(set)
		late, _, _ := b.ask(time.Now())
		b.feed(10, time.Second, bad)
		for range 20 {
			b.result(time.Now(), late, good, nil)
		}
		b.is(t, Open)
		time.Sleep(8 * time.Second)
		probe, _, err := b.ask(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		b.result(time.Now(), late, bad, errDown)
		b.is(t, HalfOpen)
		time.Sleep(time.Second)
		b.result(time.Now(), probe, good, nil)
		if got := b.status(time.Now()).Share; got != .05 {
			t.Errorf("lets %v through after the success of its probe", got)
		}
	})
}

// TestBreakerCancelled: a probe that a stop or a reload has ended was none: the
// next one goes at once, and its end counts neither way.
func TestBreakerCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBreaker(usual())
		b.feed(10, time.Second, bad)
		time.Sleep(8 * time.Second)
		for range 3 {
			probe, at, err := b.ask(time.Now())
			if err != nil || !at.IsZero() {
				t.Fatalf("a probe has to wait until %v: %v", at, err)
			}
			b.result(time.Now(), probe, neither, context.Canceled)
			b.is(t, HalfOpen)
		}
		if b.streak != 0 {
			t.Errorf("%d successes", b.streak)
		}
	})
}

// TestBreakerHolds: in front of an open breaker a write waits, loses nothing, and
// is written when the far side works again. All the while it is throttled.
func TestBreakerHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		f := &far{answer: func(context.Context, []*pipe.Event) error {
			if time.Since(start) < time.Minute {
				return errDown
			}
			return nil
		}}
		set := usual()
		set.MinRequests = 2
		var meter pipe.Meter
		g := New(f, Settings{Breaker: &set, Retry: steady(time.Second), Batch: Batch{Events: 10}}, Options{Log: quiet, Meter: &meter})
		confirmed(t, g, 3)
		if n := f.calls(); n > 8 {
			t.Errorf("%d attempts in a minute", n)
		}
		if got := g.record.Opened(); got < 3 {
			t.Errorf("it opened %d times", got)
		}
		if waited, took := meter.Throttled.Total(), time.Since(start); waited != took {
			t.Errorf("throttled for %v of %v", waited, took)
		}
	})
}

// TestBreakerRefuses: what comes to an open breaker fails at once, as the far
// side has failed, and says so; attempts tells how often it was tried.
func TestBreakerRefuses(t *testing.T) {
	f := func(when WhenOpen, cause error, class pipe.Class) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			s := &far{answer: fails(cause)}
			set := usual()
			set.MinRequests, set.WhenOpen = 3, when
			g := guarding(s, Settings{Breaker: &set, Retry: steady(time.Second)})
			attempts, err := g.Write(t.Context(), batch(2))
			if attempts != 3 || pipe.ClassOf(err, "") != class || !errors.Is(err, cause) || !strings.Contains(err.Error(), "breaker is open") {
				t.Errorf("the first write: %d attempts, class %s, %v", attempts, pipe.ClassOf(err, ""), err)
			}
			start := time.Now()
			if attempts, err := g.Write(t.Context(), batch(2)); attempts != 0 || err == nil || time.Since(start) != 0 {
				t.Errorf("the second write: %d attempts in %v, %v", attempts, time.Since(start), err)
			}
		})
	}
	f(Refuse, pipe.Classed(pipe.Retryable, errDown), pipe.Retryable)
	f(Refuse, asks(time.Second), pipe.Throttled)
	f(Stop, asks(time.Second), pipe.Fatal)
}

// TestBreakerWaitEnds: with a stop and with a release.
func TestBreakerWaitEnds(t *testing.T) {
	f := func(end func(g *Sink, cancel context.CancelFunc), want error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			set := usual()
			set.MinRequests, set.Wait, set.MaxWait = 1, time.Hour, time.Hour
			g := guarding(&far{answer: fails(errDown)}, Settings{Breaker: &set, Retry: steady(time.Second)})
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

// TestJudge: what counts for and against the far side.
func TestJudge(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	part := func(errs ...error) error {
		var p pipe.PartialError
		for i, err := range errs {
			p.Items = append(p.Items, pipe.ItemError{Index: i, Err: err})
		}
		return &p
	}
	poison := pipe.Classed(pipe.Poison, errors.New("bad"))
	f := func(ctx context.Context, err error, want verdict) {
		t.Helper()
		if got := judge(ctx, err, 2); got != want {
			t.Errorf("%v: got %v, want %v", err, got, want)
		}
	}
	f(t.Context(), nil, good)
	f(t.Context(), errDown, bad)
	f(t.Context(), asks(0), bad)
	f(t.Context(), context.DeadlineExceeded, bad)
	f(t.Context(), fmt.Errorf("taken away: %w", context.Canceled), neither)
	f(over, errDown, neither)
	f(t.Context(), poison, neither)
	f(t.Context(), pipe.Classed(pipe.Permanent, errDown), neither)
	f(t.Context(), errPanic, neither)
	f(t.Context(), part(errDown), good)
	f(t.Context(), part(poison), good)
	f(t.Context(), part(errDown, poison), bad)
	f(t.Context(), part(poison, poison), neither)
}

// TestHalfOpenShare: of what usually goes, a half-open breaker that holds lets 1
// to 5 % through, measured at the far side.
func TestHalfOpenShare(t *testing.T) {
	for _, fraction := range []float64{.01, .02, .05} {
		synctest.Test(t, func(t *testing.T) {
			var down atomic.Bool
			f := &far{answer: func(ctx context.Context, _ []*pipe.Event) error {
				time.Sleep(10 * time.Millisecond)
				if down.Load() {
					return errDown
				}
				return nil
			}}
			set := usual()
			set.Fraction, set.MinHalfOpen = fraction, 2*time.Hour
			g := guarding(f, Settings{Breaker: &set, Retry: steady(100 * time.Millisecond), Concurrency: Concurrency{Max: 4}})
			go func() {
				time.Sleep(time.Minute)
				down.Store(true)
				time.Sleep(20 * time.Second)
				down.Store(false)
			}()
			start := time.Now()
			var all sync.WaitGroup
			minutes := 2
			if torture {
				minutes = 60
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(minutes+4)*time.Minute)
			defer cancel()
			for range 4 {
				all.Go(func() {
					for ctx.Err() == nil {
						g.Write(ctx, batch(1))
					}
				})
			}
			time.Sleep(time.Minute)
			before := f.calls()
			time.Sleep(3*time.Minute - time.Since(start))
			from := f.calls()
			if st, _ := g.BreakerStatus(); st.State != HalfOpen {
				t.Fatalf("the breaker is %v", st.State)
			}
			time.Sleep(time.Duration(minutes) * time.Minute)
			share := float64(f.calls()-from) / float64(minutes) / float64(before)
			t.Logf("fraction %v: %.5f of the usual", fraction, share)
			if math.Abs(share/fraction-1) > .05 || share < .0095 || share > .0525 {
				t.Errorf("fraction %v: the far side gets %.4f of the usual %d a minute", fraction, share, before)
			}
			cancel()
			all.Wait()
		})
	}
}

// TestBreakerJitter: waits are uniform within their bounds (chi-square, 9 degrees
// of freedom, p = 0.001 at 27.88).
func TestBreakerJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 20000.0
		if torture {
			n = 500_000
		}
		var bins [10]float64
		set := usual()
		set.MinRequests = 1
		for range int(n) {
			b := newTestBreaker(set)
			ticket, _, _ := b.ask(time.Now())
			b.result(time.Now(), ticket, bad, errDown)
			over := time.Until(b.status(time.Now()).Until) - 5*time.Second // of 0 to 2.5s
			bins[min(9, int(over*10/(2500*time.Millisecond)))]++
		}
		chi := 0.0
		for _, x := range bins {
			chi += math.Pow(x-n/10, 2) / (n / 10)
		}
		t.Logf("chi-square %.1f of %.0f waits", chi, n)
		if chi > 27.88 {
			t.Errorf("chi-square %.1f over %v: not uniform", chi, bins)
		}
	})
}
