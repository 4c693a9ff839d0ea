package guard

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// TestOrder: the order of the guards, as the package says it. Each case has two
// of them that both have a say, and the outer one has it.
func TestOrder(t *testing.T) {
	f := func(what string, test func(t *testing.T)) {
		t.Run(what, func(t *testing.T) { synctest.Test(t, test) })
	}
	open := func() *Breaker {
		set := usual()
		set.MinRequests, set.Wait, set.MaxWait = 1, 20*time.Second, 20*time.Second
		return &set
	}
	f("deadline before retry", func(t *testing.T) {
		g := guarding(&far{answer: fails(errDown)}, Settings{Deadline: 10 * time.Second, Retry: steady(time.Hour)})
		start := time.Now()
		_, err := g.Write(t.Context(), aged(0))
		if got := fmt.Sprint(lost(t, err)); got != "[0]" || time.Since(start) != 10*time.Second {
			t.Errorf("lost %s after %v", got, time.Since(start))
		}
	})
	f("retry before breaker", func(t *testing.T) { // a refusal is not retried, and is no attempt
		set := open()
		set.WhenOpen = Refuse
		g := guarding(&far{answer: fails(errDown)}, Settings{Breaker: set, Retry: steady(time.Second)})
		if attempts, err := g.Write(t.Context(), batch(1)); attempts != 1 || err == nil {
			t.Errorf("%d attempts, %v", attempts, err)
		}
	})
	f("breaker before rate limit", func(t *testing.T) { // what is refused is not paid for
		set := open()
		set.WhenOpen = Refuse
		g := guarding(&far{answer: fails(errDown)}, Settings{Breaker: set, Rate: Rate{Events: 1, Burst: 10}, Retry: steady(time.Second)})
		start := time.Now()
		for range 100 {
			g.Write(t.Context(), batch(10))
		}
		if got := time.Since(start); got > time.Second {
			t.Errorf("100 refusals took %v", got)
		}
	})
	f("rate limit before concurrency", func(t *testing.T) { // nobody holds a place while he waits for the rate
		s := &far{}
		g := guarding(s, Settings{Rate: Rate{Events: 1, Burst: 1}, Concurrency: Concurrency{Max: 1}})
		go g.Write(t.Context(), batch(100))
		synctest.Wait()
		if n := g.gate.taken(); n != 0 {
			t.Errorf("%d places are taken", n)
		}
		time.Sleep(time.Hour)
	})
	f("concurrency before timeout", func(t *testing.T) { // waiting for a place is not part of an attempt
		s := &far{answer: func(context.Context, []*pipe.Event) error { time.Sleep(4 * time.Second); return nil }}
		g := guarding(s, Settings{Timeout: 5 * time.Second, Concurrency: Concurrency{Max: 1}, Retry: Retry{MaxAttempts: 1, Initial: 1, Max: 1}})
		done := make(chan error)
		for range 3 {
			go func() { _, err := g.Write(t.Context(), batch(1)); done <- err }()
		}
		for range 3 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	f("the breaker has the last word", func(t *testing.T) { // it opens while an attempt waits behind it
		var down atomic.Bool
		s := &far{}
		s.answer = func(context.Context, []*pipe.Event) error {
			time.Sleep(time.Second)
			if down.Load() {
				return errDown
			}
			return nil
		}
		g := guarding(s, Settings{Breaker: open(), Concurrency: Concurrency{Max: 1}, Retry: steady(time.Minute)})
		down.Store(true)
		start := time.Now()
		done := make(chan bool)
		for range 2 {
			go func() { g.Write(t.Context(), batch(1)); done <- true }()
		}
		time.Sleep(2 * time.Second)
		down.Store(false)
		<-done
		<-done
		if n := s.calls(); n != 3 || s.at[1].Sub(start) < 14*time.Second {
			t.Errorf("%d attempts, the second after %v; want it not before the breaker is half-open", n, s.at[1].Sub(start))
		}
	})
}

// TestTakesOver: a guard goes on with what its predecessor knows, and one that is
// never used takes nothing.
func TestTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := Settings{Retry: Retry{Initial: 1, Max: 1, Budget: Budget{Ratio: .1, Burst: 10}}, Rate: Rate{Events: 1, Burst: 10},
			Concurrency: Concurrency{Max: 10, Adaptive: true}, Batch: Batch{Events: 100, Bytes: 1 << 20, Target: time.Second}}
		b := usual()
		b.MinRequests, b.Wait, b.MaxWait = 3, time.Minute, time.Minute
		set.Breaker = &b
		old := New(&script{answers: []answer{fails(errDown)}}, set, Options{Log: quiet})
		old.gate.climb.top = 10
		old.gate.bound(10)
		old.sizer.store(42)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		old.Write(ctx, batch(2))
		if got := old.Limit(); got != 7 {
			t.Fatalf("the limit of before is %d, want 7: three failures, three cuts", got)
		}

		next := set
		next.Rate, next.Concurrency.Max, next.Batch.Events = Rate{Events: 2, Burst: 10}, 5, 30
		New(&script{}, next, Options{Log: quiet, Predecessor: old}) // refused: never used
		g := New(&script{answers: []answer{ok}}, next, Options{Log: quiet, Predecessor: old})
		if st, _ := g.BreakerStatus(); st.State != Open || !st.Until.Equal(old.breaker.until) {
			t.Errorf("the breaker is %v until %v, want open until %v", st.State, st.Until, old.breaker.until)
		}
		if g.Budget() != old.Budget() || g.Budget() == 1 {
			t.Errorf("%v of the budget is left, want %v", g.Budget(), old.Budget())
		}
		if got := g.Limit(); got != 5 {
			t.Errorf("the limit is %d, want that of before, which was more, within its bounds", got)
		}
		if n, _ := g.Batch(); n != 10 || g.sizer.size() != 30 {
			t.Errorf("batches of %d (%d), want that of before within its bounds, and no more than the burst", n, g.sizer.size())
		}
		if g.rate.events != old.rate.events || g.rate.events.Limit() != 2 {
			t.Error("the rate limit begins anew, or with the old rate")
		}
		time.Sleep(time.Hour)
		confirmed(t, g, 1)
		if other := New(&script{}, Settings{}, Options{Log: quiet, Predecessor: old}); other.Limit() != 1 || other.Budget() < .9 {
			t.Errorf("without guards: limit %d, budget %v", other.Limit(), other.Budget())
		}
		plain := New(&script{}, Settings{Batch: Batch{Events: 10}}, Options{Log: quiet})
		if _, has := New(&script{}, set, Options{Log: quiet, Predecessor: plain}).BreakerStatus(); !has {
			t.Error("no breaker")
		}
	})
}

// taken returns how many are inside.
func (g *gate) taken() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside
}

// TestPanicLeavesNothing: a sink that panics gives back what its attempt held.
func TestPanicLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := usual()
		g := guarding(&far{answer: func(context.Context, []*pipe.Event) error { panic("boom") }},
			Settings{Breaker: &b, Concurrency: Concurrency{Max: 1, Adaptive: false}})
		for range 3 {
			func() {
				defer func() { recover() }()
				g.Write(t.Context(), batch(1))
			}()
		}
		if g.gate.inside != 0 {
			t.Error("a place is still taken")
		}
		if got := g.record.Results()[string(pipe.Poison)]; got != 3 {
			t.Errorf("%d attempts on record", got)
		}
	})
}
