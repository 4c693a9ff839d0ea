package guard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// TestConcurrencyWaitEnds: with a stop, with a release, and with a place; none is
// lost by it.
func TestConcurrencyWaitEnds(t *testing.T) {
	f := func(end func(g *Sink, cancel context.CancelFunc), want error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			f := &far{answer: func(context.Context, []*pipe.Event) error { time.Sleep(time.Minute); return nil }}
			g := guarding(f, Settings{Concurrency: Concurrency{Max: 1}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go g.Write(t.Context(), batch(1))
			synctest.Wait()
			start := time.Now()
			time.AfterFunc(10*time.Second, func() { end(g, cancel) })
			if _, err := g.Write(ctx, batch(1)); !errors.Is(err, want) || time.Since(start) != 10*time.Second {
				t.Errorf("got %v after %v, want %v after 10s", err, time.Since(start), want)
			}
			time.Sleep(time.Hour)
			g.gate.mu.Lock()
			defer g.gate.mu.Unlock()
			if g.gate.inside != 0 || len(g.gate.line) != 0 {
				t.Errorf("%d inside and %d in line at the end", g.gate.inside, len(g.gate.line))
			}
		})
	}
	f(func(_ *Sink, cancel context.CancelFunc) { cancel() }, context.Canceled)
	f(func(g *Sink, _ context.CancelFunc) { g.Release() }, ErrReleased)
}

// TestGateStorm: whoever comes, goes, gives up and changes the limit, there are
// never more inside than the limit, and all who stay get in.
func TestGateStorm(t *testing.T) {
	g := newGate(Concurrency{Max: 8, Adaptive: true})
	var mu sync.Mutex
	inside := 0
	var all sync.WaitGroup
	for seed := range uint64(16) {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for range 2000 {
				p := g.enter()
				if p.came != nil {
					if r.IntN(4) == 0 {
						g.withdraw(p)
						continue
					}
					<-p.came
				}
				mu.Lock()
				inside++
				if inside > 8 {
					t.Errorf("%d inside", inside)
				}
				mu.Unlock()
				mu.Lock()
				inside--
				mu.Unlock()
				g.leave(p, time.Duration(r.IntN(1000)), verdict(r.IntN(3)))
			}
		})
	}
	all.Wait()
	if g.inside != 0 || len(g.line) != 0 {
		t.Errorf("%d inside and %d in line at the end", g.inside, len(g.line))
	}
}

// model is a far side that can work on so many batches at a time.
type model struct {
	capacity int
	latency  time.Duration
	noise    float64 // of the latency
	refuse   bool    // says 429 beyond its capacity; else those beyond wait for the others

	mu     sync.Mutex // guards inside
	inside int
	slots  chan struct{}
}

func (m *model) answer(ctx context.Context, _ []*pipe.Event) error {
	d := time.Duration(float64(m.latency) * (1 + m.noise*rand.NormFloat64()))
	if !m.refuse {
		m.slots <- struct{}{}
		time.Sleep(max(d, m.latency/10))
		<-m.slots
		return nil
	}
	m.mu.Lock()
	m.inside++
	over := m.inside > m.capacity
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.inside--
		m.mu.Unlock()
	}()
	time.Sleep(max(d, m.latency/10))
	if over {
		return asks(0)
	}
	return nil
}

// TestAdaptiveFindsTheCapacity: from 1 it climbs to what the far side bears and
// stays within 15 % of it, whether that refuses what is too much or gets slower,
// and whether or not its times vary.
func TestAdaptiveFindsTheCapacity(t *testing.T) {
	f := func(m *model) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			m.slots = make(chan struct{}, m.capacity)
			g := guarding(&far{answer: m.answer}, Settings{Concurrency: Concurrency{Max: 100, Adaptive: true}, Retry: steady(10 * time.Millisecond)})
			sum, n := 0.0, 0.0
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() {
					for ctx.Err() == nil {
						g.Write(ctx, batch(1))
					}
				})
			}
			time.Sleep(time.Minute)
			for range 600 {
				time.Sleep(100 * time.Millisecond)
				sum, n = sum+float64(g.Limit()), n+1
			}
			cancel()
			all.Wait()
			if mean := sum / n; math.Abs(mean/float64(m.capacity)-1) > .15 {
				t.Errorf("capacity %d, refuses %v, noise %v: the limit is %.1f on average", m.capacity, m.refuse, m.noise, mean)
			}
		})
	}
	for _, noise := range []float64{0, .1, .3} {
		for _, capacity := range []int{10, 40} {
			f(&model{capacity: capacity, latency: 50 * time.Millisecond, noise: noise, refuse: true})
			f(&model{capacity: capacity, latency: 50 * time.Millisecond, noise: noise})
		}
	}
}

// TestAdaptiveBounds: never above max, never below min, and only up when the
// limit was reached.
func TestAdaptiveBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &model{capacity: 1000, latency: 10 * time.Millisecond, refuse: true}
		g := guarding(&far{answer: slow.answer}, Settings{Concurrency: Concurrency{Max: 6, Min: 2, Adaptive: true}, Retry: steady(time.Millisecond)})
		throughout(t, 1, time.Minute, func(ctx context.Context) { g.Write(ctx, batch(1)) })
		if got := g.Limit(); got != 2 {
			t.Errorf("one writer raised the limit from 2 to %d", got)
		}
		throughout(t, 20, time.Minute, func(ctx context.Context) { g.Write(ctx, batch(1)) })
		if got := g.gate.climb.top; got != 6 {
			t.Errorf("the limit is %d, want the most, 6", got)
		}
		slow.capacity = 0
		throughout(t, 20, time.Minute, func(ctx context.Context) { g.Write(ctx, batch(1)) })
		if got := g.Limit(); got != 2 {
			t.Errorf("the limit is %d, want the least, 2", got)
		}
	})
}

// TestAdaptiveCutsOnce: many failures of one moment are one cut: those that had
// begun under the old limit say nothing about the new one.
func TestAdaptiveCutsOnce(t *testing.T) {
	g := newGate(Concurrency{Max: 20, Min: 1, Adaptive: true})
	g.bound(20)
	g.climb.top = 20
	var inside []*place
	for range 20 {
		inside = append(inside, g.enter())
	}
	for _, p := range inside {
		g.leave(p, time.Second, bad)
	}
	if got := g.allowed(); got != 18 {
		t.Errorf("20 failures of one moment cut the limit from 20 to %d, want 18", got)
	}
}

// TestFixedConcurrencyStays: without adaptive nothing moves the limit.
func TestFixedConcurrencyStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guarding(&far{answer: fails(errDown)}, Settings{Concurrency: Concurrency{Max: 7}, Retry: steady(time.Millisecond)})
		throughout(t, 7, time.Minute, func(ctx context.Context) { g.Write(ctx, batch(1)) })
		if got := g.Limit(); got != 7 {
			t.Errorf("the limit is %d, want 7", got)
		}
	})
}

// TestBatchFollowsLatency: it finds the size of a batch that takes as long as it
// should, from below, and again when the far side becomes slower.
func TestBatchFollowsLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		each := time.Millisecond
		f := &far{answer: func(_ context.Context, in []*pipe.Event) error {
			time.Sleep(20*time.Millisecond + time.Duration(len(in))*each)
			return nil
		}}
		g := guarding(f, Settings{Batch: Batch{Events: 5000, Bytes: 1 << 30, Target: 220 * time.Millisecond}})
		run := func(want int) {
			t.Helper()
			for range 100 {
				n, _ := g.Batch()
				confirmed(t, g, n)
			}
			if n, _ := g.Batch(); math.Abs(float64(n)/float64(want)-1) > .15 {
				t.Errorf("batches of %d, want about %d", n, want)
			}
		}
		if n, _ := g.Batch(); n != 1 {
			t.Errorf("it begins with %d", n)
		}
		run(200)
		each = 10 * time.Millisecond
		run(20)
		each = time.Microsecond
		run(5000)
	})
}

// TestBatchLearnsFromFullOnes only, and shrinks after a timeout.
func TestBatchLearnsFromFullOnes(t *testing.T) {
	z := newSizer(Batch{Events: 1000, Target: time.Second, Min: 10})
	f := func(n int, took time.Duration, v verdict, want int) {
		t.Helper()
		if z.observe(n, took, v); z.size() != want {
			t.Errorf("after %d events in %v (%v): size %d, want %d", n, took, v, z.size(), want)
		}
	}
	f(9, time.Millisecond, good, 10)
	f(10, time.Millisecond, good, 20)
	f(20, 600*time.Millisecond, good, 22)
	f(22, 950*time.Millisecond, good, 22)
	f(22, time.Millisecond, bad, 22) // a refusal says nothing about the size
	f(22, time.Millisecond, neither, 22)
	f(22, 10*time.Second, neither, 22)
	f(22, 10*time.Second, bad, 11)
	f(11, 10*time.Second, bad, 10)
	f(10, time.Hour, bad, 10)
	for range 20 {
		z.observe(z.size(), time.Millisecond, good)
	}
	f(1000, time.Millisecond, good, 1000)
	f(1000, 1250*time.Millisecond, good, 800)
	f(1000, 1250*time.Millisecond, good, 800) // it was written before the cut
	if fixed := newSizer(Batch{Events: 50}); fixed.size() != 50 {
		t.Error(fmt.Sprint("without a target the size is ", fixed.size()))
	}
}
