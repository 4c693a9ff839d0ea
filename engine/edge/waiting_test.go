package edge

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

type reentrant struct{ f func() }

func (r reentrant) MessageDone(*pipe.Group, any, pipe.Outcome) { r.f() }
func (r reentrant) GroupDone(*pipe.Group)                      { r.f() }

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 3, Policy: Block}, Options{})
		var all []<-chan sent
		for range 3 {
			all = append(all, sending(t.Context(), q, some(&x, 3)))
		}
		q.Close()
		q.Close()
		counts := 0
		for _, done := range all {
			s := ended(t, done)
			if counts += s.n; s.n < 3 && s.err != ErrClosed {
				t.Errorf("sent %+v, want ErrClosed", s)
			}
		}
		if n, err := q.Send(t.Context(), some(&x, 1)); counts != 3 || n != 0 || err != ErrClosed {
			t.Errorf("sent %d events; then %d, %v", counts, n, err)
		}
		if n := q.Offer(some(&x, 1)); n != 0 {
			t.Errorf("a closed edge took %d offered events", n)
		}
		if got := received(t, q, 9); len(got) != 3 {
			t.Errorf("received %v after Close", got)
		}
		if n, err := q.Recv(t.Context(), make([]*pipe.Event, 1)); n != 0 || err != ErrClosed {
			t.Errorf("received %d, %v from an empty closed edge", n, err)
		}
	})
}

// TestCloseFreesReceivers checks that all receivers learn of the end, whether the
// edge was empty or not.
func TestCloseFreesReceivers(t *testing.T) {
	for _, last := range []int{0, 1, 5} {
		synctest.Test(t, func(t *testing.T) {
			var x ends
			var wg sync.WaitGroup
			var got atomic.Int64
			q := New("q", Settings{Events: 9, Policy: Block}, Options{})
			for range 3 {
				wg.Go(func() {
					dst := make([]*pipe.Event, 2)
					for {
						n, err := q.Recv(context.Background(), dst)
						if err != nil {
							return
						}
						got.Add(int64(n))
					}
				})
			}
			synctest.Wait()
			q.Offer(some(&x, last))
			q.Close()
			wg.Wait() // panics, as a deadlock, if one was forgotten
			if got.Load() != int64(last) {
				t.Errorf("received %d events, want %d", got.Load(), last)
			}
		})
	}
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 4, Policy: Block}, Options{})
		done := sending(t.Context(), q, some(&x, 6))
		events := q.Drain()
		if got := positions(events); !slices.Equal(got, []int64{1, 2, 3, 4}) {
			t.Errorf("drained %v", got)
		}
		if s := ended(t, done); s.n != 4 || s.err != ErrClosed {
			t.Errorf("sent %+v", s)
		}
		if s := balanced(t, q); s.Returned != (Count{4, 800}) || s.Queued != (Count{}) || !s.Closed {
			t.Errorf("after Drain: %+v", s)
		}
		if _, err := q.Recv(t.Context(), make([]*pipe.Event, 1)); err != ErrClosed {
			t.Errorf("received %v", err)
		}
		if len(x.list) != 0 {
			t.Errorf("Drain settled %v, which is for its caller", x.list)
		}
	})
}

func TestCancelKeepsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 4, Policy: Block}, Options{})
		ctx, cancel := context.WithCancelCause(t.Context())
		done := sending(ctx, q, some(&x, 6))
		cancel(errors.New("enough"))
		if s := ended(t, done); s.n != 4 || s.err != context.Canceled {
			t.Errorf("sent %+v", s)
		}
		if n, err := q.Send(ctx, some(&x, 2)); n != 0 || err != context.Canceled {
			t.Errorf("a cancelled Send to a full edge: %d, %v", n, err)
		}
		received(t, q, 4)
		if n, err := q.Send(ctx, some(&x, 2)); n != 2 || err != nil {
			t.Errorf("a cancelled Send that fits: %d, %v", n, err)
		}
		if n, err := q.Recv(ctx, make([]*pipe.Event, 9)); n != 2 || err != nil {
			t.Errorf("a cancelled Recv of what is there: %d, %v", n, err)
		}
	})
}

// TestCancelledHeadHandsOn checks that a producer that gives up just when it is
// woken passes the room on.
func TestCancelledHeadHandsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 1, Policy: Block}, Options{})
		q.Offer(some(&x, 1))
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			first := sending(ctx, q, some(&x, 1))
			second := sending(t.Context(), q, some(&x, 1))
			q.mu.Lock() // so that neither is before the other
			cancel()
			q.take(make([]*pipe.Event, 1))
			q.mu.Unlock()
			synctest.Wait()
			if s := <-first; s.n == 1 { // it did not see that it should give up
				received(t, q, 1)
			}
			if s := ended(t, second); s.n != 1 {
				t.Fatalf("sent %+v", s)
			}
		}
	})
}

// TestBusyWorkerHandsOn checks that a worker that takes a part and then works on
// it for ever leaves the rest to the others.
func TestBusyWorkerHandsOn(t *testing.T) {
	for edges := range 2 {
		synctest.Test(t, func(t *testing.T) {
			s := Settings{Events: 100, Policy: Block}
			all := []*Edge{New("a", s, Options{}), New("b", s, Options{})}[:edges+1]
			in := NewInbox(all...)
			got := make(chan int, 3)
			for range 3 {
				go func() {
					n, _ := in.Recv(t.Context(), make([]*pipe.Event, 1))
					got <- n
				}()
			}
			synctest.Wait()
			all[0].Offer(some(&ends{}, 3))
			synctest.Wait()
			if len(got) != 3 {
				t.Errorf("%d edges: %d of 3 workers got an event", edges+1, len(got))
			}
		})
	}
}

func TestRecvUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 4, Policy: Block}, Options{})
		for _, in := range []*Inbox{NewInbox(q), NewInbox(New("a", q.Settings(), Options{}), New("b", q.Settings(), Options{}))} {
			start := time.Now()
			dst := make([]*pipe.Event, 4)
			if n, err := in.RecvUntil(t.Context(), dst, time.After(time.Second)); n != 0 || err != nil || time.Since(start) != time.Second {
				t.Errorf("got %d, %v after %v", n, err, time.Since(start))
			}
			if idle, workers := in.Idle(); idle != time.Second || workers != 0 {
				t.Errorf("idle for %v, %d workers", idle, workers)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if n, err := in.Recv(ctx, dst); n != 0 || err != context.DeadlineExceeded {
				t.Errorf("got %d, %v", n, err)
			}
			if n, err := in.Recv(ctx, nil); n != 0 || err != nil {
				t.Errorf("got %d, %v for no room", n, err)
			}
		}
		q.Offer(some(&x, 2))
		past := make(chan time.Time, 1)
		past <- time.Now()
		if n, err := q.RecvUntil(t.Context(), make([]*pipe.Event, 4), past); n != 2 || err != nil {
			t.Errorf("got %d, %v, want the events that are there", n, err)
		}
	})
}

// TestHeadDoesNotStarve checks that an event that needs much room gets it, though
// another producer fills every gap with a small one at once.
func TestHeadDoesNotStarve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 100, Bytes: 2000, Policy: Block}, Options{})
		q.Offer(some(&x, 10))
		large := sending(t.Context(), q, sized(&x, 1, 1500))
		small := some(&x, 1)
		for range 50 {
			q.Recv(over, make([]*pipe.Event, 1))
			q.Offer(small)
			time.Sleep(100 * time.Microsecond)
		}
		if s := ended(t, large); s.n != 1 || s.took > 5*time.Millisecond {
			t.Errorf("sent %+v", s)
		}
	})
}

// TestCancelStorm has 32 producers give up after moments, and the edge must go on.
func TestCancelStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New("q", Settings{Events: 8, Policy: Block}, Options{})
		stop, cancel := context.WithCancel(t.Context())
		for p := range 32 {
			r := rand.New(rand.NewPCG(uint64(p), 5))
			batch := some(&ends{}, 1+p%3)
			go func() {
				for stop.Err() == nil {
					ctx, cancel := context.WithTimeout(stop, time.Duration(1+r.IntN(50))*time.Microsecond)
					q.Send(ctx, batch)
					cancel()
				}
			}()
		}
		dst := make([]*pipe.Event, 1)
		for range rounds(5000) {
			if n, _ := q.Recv(t.Context(), dst); n != 1 {
				t.Fatal("nothing received")
			}
			time.Sleep(20 * time.Microsecond)
		}
		cancel()
		synctest.Wait()
		if s := balanced(t, q); s.Producers != 0 || s.Waits.Count == 0 {
			t.Errorf("left behind: %+v", s)
		}
	})
}

// TestNoLostWakeUp sets up edges at random, alone or behind an inbox: when
// everybody sleeps and somebody wants events, there must be none.
func TestNoLostWakeUp(t *testing.T) {
	for seed := range uint64(rounds(2000)) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			ctx, cancel := context.WithCancel(t.Context())
			edges := make([]*Edge, 1+r.IntN(3))
			var in, out atomic.Int64
			var wg sync.WaitGroup
			for i := range edges {
				q := New("q", Settings{Events: 1 + r.IntN(8), Bytes: int64(200 * r.IntN(6)), Policy: Block}, Options{})
				edges[i] = q
				for range 1 + r.IntN(4) {
					batch := some(&ends{}, 1+r.IntN(30))
					wg.Go(func() {
						n, _ := q.Send(ctx, batch)
						in.Add(int64(n))
					})
				}
			}
			inbox := NewInbox(edges...)
			for range 1 + r.IntN(3) {
				dst := make([]*pipe.Event, 1+r.IntN(5))
				wg.Go(func() {
					for {
						n, err := inbox.Recv(ctx, dst)
						if err != nil {
							return
						}
						out.Add(int64(n))
					}
				})
			}
			synctest.Wait()
			for _, q := range edges {
				if s := balanced(t, q); s.Queued.Events != 0 || s.Producers != 0 {
					t.Errorf("seed %d: %d events and %d producers wait for idle consumers", seed, s.Queued.Events, s.Producers)
				}
			}
			cancel()
			wg.Wait()
			if in.Load() != out.Load() {
				t.Errorf("seed %d: sent %d, received %d", seed, in.Load(), out.Load())
			}
		})
	}
}
