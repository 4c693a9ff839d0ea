package edge

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// sent is how a Send in the background ended.
type sent struct {
	n    int
	err  error
	took time.Duration
}

// sending calls Send in the background.
func sending(ctx context.Context, q *Edge, events []*pipe.Event) <-chan sent {
	done := make(chan sent, 1)
	go func() {
		start := time.Now()
		n, err := q.Send(ctx, events)
		done <- sent{n, err, time.Since(start)}
	}()
	synctest.Wait()
	return done
}

// waiting fails unless the Send has not ended yet.
func waiting(t *testing.T, done <-chan sent) {
	t.Helper()
	synctest.Wait()
	select {
	case s := <-done:
		t.Fatalf("the producer came back with %+v", s)
	default:
	}
}

// ended returns how the Send ended, which it must have.
func ended(t *testing.T, done <-chan sent) sent {
	t.Helper()
	synctest.Wait()
	select {
	case s := <-done:
		return s
	default:
		t.Fatal("the producer is still waiting")
		panic("unreachable")
	}
}

// over is a context that is done.
var over, _ = context.WithDeadline(context.Background(), time.Time{})

// received takes up to n events, of which one must be there.
func received(t *testing.T, q *Edge, n int) []int64 {
	t.Helper()
	dst := make([]*pipe.Event, n)
	k, err := q.Recv(over, dst)
	if err != nil {
		t.Fatal(err)
	}
	pos := positions(dst[:k])
	pipe.Settle(dst[:k], pipe.Delivered)
	return pos
}

func TestShrinkWhileBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 100, Policy: Block}, Options{})
		done := sending(t.Context(), q, some(&x, 150))
		q.Apply(Settings{Events: 10, Policy: Block}, 2)
		waiting(t, done)
		if s := balanced(t, q); s.Queued.Events != 100 || s.Utilization != 10 || s.Generation != 2 {
			t.Fatalf("after the shrink: %+v", s)
		}
		received(t, q, 90) // leaves as many as the new bound
		waiting(t, done)
		if s := balanced(t, q); s.Queued.Events != 10 {
			t.Fatalf("%d events are queued, want 10", s.Queued.Events)
		}
		next := int64(91)
		for range 50 {
			if got := received(t, q, 1); got[0] != next {
				t.Fatalf("got event %v, want %d", got, next)
			}
			next++
			if s := balanced(t, q); s.Queued.Events > 10 {
				t.Fatalf("%d events are queued, more than the bound", s.Queued.Events)
			}
			synctest.Wait()
		}
		if s := ended(t, done); s.n != 150 || s.err != nil {
			t.Fatalf("sent %+v", s)
		}
	})
}

func TestShrinkEvicts(t *testing.T) {
	var x ends
	q := New("q", Settings{Events: 10, Policy: Block}, Options{})
	q.Offer(some(&x, 10))
	q.Apply(Settings{Events: 6, Policy: Block, OnShrink: Evict, OnDrop: Nack}, 2)
	q.Apply(Settings{Events: 6, Bytes: 700, Policy: Block, OnShrink: Evict}, 3)
	s := balanced(t, q)
	if s.Evicted[Resized] != (Count{7, 1400}) || s.Queued != (Count{3, 600}) {
		t.Errorf("evicted %+v, queued %+v; want 7 and 3 events", s.Evicted[Resized], s.Queued)
	}
	if x.count(pipe.Refused) != 4 || x.count(pipe.Dropped) != 3 {
		t.Errorf("events ended as %v; want 4 refused, 3 dropped", x.list)
	}
	q.Apply(Settings{Events: 6, Bytes: 10, Policy: Block, OnShrink: Evict}, 4)
	if s := balanced(t, q); s.Queued.Events != 1 {
		t.Errorf("%d events are queued, want the one that may be too large", s.Queued.Events)
	}
	if got := received(t, q, 9); !slices.Equal(got, []int64{10}) {
		t.Errorf("got %v, want the newest", got)
	}
}

func TestBlockToDropFreesProducers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 5, Policy: Block}, Options{})
		var all []<-chan sent
		for range 3 {
			all = append(all, sending(t.Context(), q, some(&x, 10)))
		}
		q.Apply(Settings{Events: 5, Policy: DropNewest}, 2)
		for _, done := range all {
			if s := ended(t, done); s.n != 10 || s.err != nil {
				t.Errorf("sent %+v", s)
			}
		}
		if s := balanced(t, q); s.Refused[Newest].Events != 25 || x.count(pipe.Dropped) != 25 {
			t.Errorf("dropped %+v and settled %d, want 25", s.Refused, x.count(pipe.Dropped))
		}
	})
}

func TestDropToBlockStopsLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 5, Policy: DropNewest}, Options{})
		q.Send(t.Context(), some(&x, 7))
		q.Apply(Settings{Events: 5, Policy: Block}, 2)
		done := sending(t.Context(), q, some(&x, 1))
		waiting(t, done)
		received(t, q, 1)
		ended(t, done)
		if s := balanced(t, q); s.DroppedTotal().Events != 2 {
			t.Errorf("dropped %+v, want 2", s.DroppedTotal())
		}
	})
}

// TestSettlesBeforeSleeping checks that a producer that has to wait tells the
// sources of what was dropped before it sleeps.
func TestSettlesBeforeSleeping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 4, Policy: Block, Age: time.Minute}, Options{})
		q.Offer(some(&x, 4))
		time.Sleep(time.Minute)
		done := sending(t.Context(), q, some(&x, 5))
		waiting(t, done)
		if x.count(pipe.Dropped) != 4 {
			t.Errorf("while a producer sleeps, events ended as %v", x.list)
		}
		received(t, q, 1)
		ended(t, done)
	})
}

// TestOutOfLock checks that sources are told, and keys are asked for, without the
// edge's lock: both call the edge.
func TestOutOfLock(t *testing.T) {
	var q *Edge
	busy := reentrant{func() { q.Snapshot() }}
	s := Settings{Events: 2, Policy: DropOldest}
	q = New("q", s, Options{})
	q.Send(t.Context(), read(busy, time.Now(), "q", 1, 200, 200, 200))
	s.Policy, s.Base, s.Min = Sample, 0.5, 0.5
	s.Key = func(*pipe.Event) (uint64, bool) { q.Snapshot(); return 0, true }
	q.Apply(s, 2)
	q.Send(t.Context(), read(busy, time.Now(), "q", 1, 200, 200, 200))
	s.Events, s.OnShrink, s.Age = 1, Evict, time.Nanosecond
	q.Apply(s, 3)
	q.Close()
	q.Recv(t.Context(), make([]*pipe.Event, 1))
	if s := balanced(t, q); s.DroppedTotal().Events != 6 {
		t.Errorf("dropped %+v, want 6", s.DroppedTotal())
	}
}
