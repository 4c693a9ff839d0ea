package sources

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestGateStorm lets many requests with little patience fight for few places.
func TestGateStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{limit: 5, room: 20}
		var mu sync.Mutex
		inside, most, answers := 0, 0, map[turn]int{}
		var all sync.WaitGroup
		for range 2000 {
			all.Go(func() {
				time.Sleep(rand.N(10 * time.Second))
				ctx, cancel := context.WithTimeout(t.Context(), rand.N(time.Second))
				defer cancel()
				answer := g.enter(ctx, rand.N(500*time.Millisecond))
				mu.Lock()
				answers[answer]++
				if answer != turnCame {
					mu.Unlock()
					return
				}
				inside++
				most = max(most, inside)
				mu.Unlock()
				time.Sleep(rand.N(60 * time.Millisecond))
				mu.Lock()
				inside--
				mu.Unlock()
				g.leave()
			})
		}
		all.Wait()
		if in, waiting, peak := g.load(); in != 0 || waiting != 0 || peak != 5 || most != 5 {
			t.Errorf("after the storm: %d inside, %d waiting, want none; at most %d by its own count, %d by ours, want 5", in, waiting, peak, most)
		}
		for _, kind := range []turn{turnCame, turnNoRoom, turnLate, turnLeft} {
			if answers[kind] == 0 {
				t.Errorf("the storm did not bring about answer %d: %v", kind, answers)
			}
		}
	})
}

func TestGateIsFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{limit: 1, room: 10}
		g.enter(t.Context(), 0)
		var order []int
		for i := range 10 {
			go func() {
				g.enter(t.Context(), time.Hour)
				order = append(order, i)
				g.leave()
			}()
			synctest.Wait()
		}
		g.leave()
		synctest.Wait()
		for i, who := range order {
			if i != who {
				t.Fatalf("served in the order %v", order)
			}
		}
		if len(order) != 10 {
			t.Errorf("%d of 10 were served", len(order))
		}
	})
}

func TestGateShutsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{limit: 1, room: 10}
		g.enter(t.Context(), 0)
		answers := make(chan turn, 3)
		for range 3 {
			go func() { answers <- g.enter(t.Context(), time.Hour) }()
		}
		synctest.Wait()
		g.shut()
		for range 3 {
			if got := <-answers; got != turnShut {
				t.Errorf("who waited got %d, want %d", got, turnShut)
			}
		}
		if got := g.enter(t.Context(), time.Hour); got != turnShut {
			t.Errorf("who came later got %d, want %d", got, turnShut)
		}
		g.leave()
		if in, waiting, _ := g.load(); in != 0 || waiting != 0 {
			t.Errorf("%d inside, %d waiting, want none", in, waiting)
		}
	})
}

// drainTime measures how long it takes until all who are ahead now have left.
func drainTime(g *gate) time.Duration {
	began := time.Now()
	for {
		if in, waiting, _ := g.load(); in+waiting == 0 {
			return time.Since(began)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestRetryAfterIsTheDrainTime(t *testing.T) {
	f := func(limit, room int, hold time.Duration, idle time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			g := &gate{limit: limit, room: room}
			var over atomic.Bool
			var all sync.WaitGroup
			defer all.Wait()
			visit := func() {
				if g.enter(t.Context(), time.Hour) == turnCame {
					time.Sleep(hold/2 + rand.N(hold))
					g.leave()
				}
			}
			visit() // a quiet time before the flood says nothing about the pace
			time.Sleep(idle)
			for range limit + room {
				all.Go(func() {
					for !over.Load() { // who is refused or served comes back at once: always full
						visit()
						time.Sleep(time.Millisecond)
					}
				})
			}
			time.Sleep(25 * time.Second)
			over.Store(true)
			in, waiting, _ := g.load()
			said := g.retryAfter(time.Second)
			shortest, longest := 1<<30, 0
			for range 200 {
				s := retrySeconds(said)
				shortest, longest = min(shortest, s), max(longest, s)
			}
			took := drainTime(g)
			if ratio := said.Seconds() / took.Seconds(); ratio < 0.8 || ratio > 1.2 {
				t.Errorf("%d inside and %d waiting: said %v, took %v", in, waiting, said, took)
			}
			if lo, hi := said.Seconds()*0.95-1, said.Seconds()*1.05+1; float64(shortest) < lo || float64(longest) > hi {
				t.Errorf("%v became %d to %d seconds", said, shortest, longest)
			}
			if said > 5*time.Second && shortest == longest {
				t.Errorf("%v became %d seconds every time: clients would come back together", said, shortest)
			}
		})
	}
	f(8, 92, 800*time.Millisecond, 0)               // 10 a second, 100 ahead: 10s
	f(8, 92, 800*time.Millisecond, time.Hour)       // the same after an idle hour
	f(64, 256, time.Second, 20*time.Second)         // 64 a second, 320 ahead: 5s
	f(1, 600, 10*time.Millisecond, 0)               // 100 a second, 6s
	f(4, 200, 500*time.Millisecond, 40*time.Second) // 8 a second, 25s
	f(100, 1000, 1500*time.Millisecond, 0)          // 67 a second, 16s
}

// TestRetryPaceCountsFullTimesOnly: what happens while there are places to spare says
// nothing about how fast the pipeline can be.
func TestRetryPaceCountsFullTimesOnly(t *testing.T) {
	var p drainPace
	now := time.Unix(0, 0)
	step := func(d time.Duration) time.Time { now = now.Add(d); return now }
	for range 30 { // half a second full, with one leaving every 100 ms; half a second not
		p.fill(now)
		for range 5 {
			p.left(step(100 * time.Millisecond))
		}
		p.ease(now)
		for range 50 {
			p.left(step(10 * time.Millisecond))
		}
	}
	if got := p.rate(now); got < 9 || got > 11 {
		t.Errorf("got %.1f a second, want 10", got)
	}
	if got := p.rate(now.Add(time.Hour)); got < 9 || got > 11 {
		t.Errorf("an hour later: got %.1f a second, want 10 still", got)
	}
}

func TestRetryAfterWhileNothingLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{limit: 2, room: 0}
		f := func(want time.Duration) {
			t.Helper()
			if got := g.retryAfter(5 * time.Second); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		f(5 * time.Second) // nothing is known
		g.enter(t.Context(), 0)
		g.enter(t.Context(), 0)
		f(5 * time.Second)
		time.Sleep(40 * time.Second)
		f(40 * time.Second) // as long as it has lasted
		time.Sleep(time.Hour)
		f(latestRetry)
		g.leave() // one in an hour
		g.enter(t.Context(), 0)
		f(latestRetry)
		g.leave()
		g.leave()
		f(soonestRetry) // nobody is ahead
	})
}

func TestRetrySecondsIsAtLeastOne(t *testing.T) {
	for range 100 {
		if got := retrySeconds(time.Nanosecond); got != 1 {
			t.Fatalf("got %d, want 1", got)
		}
	}
}
