package edge

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// TestTimeoutTrips checks that a thousand events cost one timeout, until one fits.
func TestTimeoutTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 5, Policy: Block, Timeout: 3 * time.Second, Then: DropNewest}, Options{})
		if s := ended(t, sendingFor(t, 3*time.Second, q, some(&x, 1000))); s.n != 1000 || s.took != 3*time.Second {
			t.Fatalf("a thousand events: %+v", s)
		}
		s := balanced(t, q)
		if s.Refused[TimedOut].Events != 995 || !s.Tripped {
			t.Fatalf("dropped %+v, tripped %v; want 995 by timeout", s.Refused, s.Tripped)
		}
		if s := ended(t, sending(t.Context(), q, some(&x, 10))); s.took != 0 {
			t.Fatalf("a tripped edge made a producer wait: %+v", s)
		}
		received(t, q, 1)
		// The first fits and untrips the edge, the second waits again.
		if s := ended(t, sendingFor(t, 3*time.Second, q, some(&x, 5))); s.took != 3*time.Second || s.n != 5 {
			t.Fatalf("after it fitted once: %+v", s)
		}
		if s := balanced(t, q); s.Refused[TimedOut].Events != 995+10+4 {
			t.Fatalf("dropped %+v, want 1009", s.Refused[TimedOut])
		}
	})
}

// sendingFor is sending, and then d passes.
func sendingFor(t *testing.T, d time.Duration, q *Edge, events []*pipe.Event) <-chan sent {
	done := sending(t.Context(), q, events)
	time.Sleep(d)
	return done
}

// TestTimeoutIsPerEvent checks that a batch waits no less than its events would
// one by one: a consumer that makes progress in time loses nothing.
func TestTimeoutIsPerEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 1, Policy: Block, Timeout: 3 * time.Second, Then: DropNewest}, Options{})
		done := sending(t.Context(), q, some(&x, 11))
		for range 10 {
			time.Sleep(2 * time.Second)
			received(t, q, 1)
		}
		if s := ended(t, done); s.n != 11 || s.took != 20*time.Second {
			t.Fatalf("sent %+v", s)
		}
		if s := balanced(t, q); s.DroppedTotal().Events != 0 {
			t.Fatalf("dropped %+v", s.DroppedTotal())
		}
	})
}

// TestTimeoutOverApply checks that a timeout counts from when the wait began,
// however often the settings change.
func TestTimeoutOverApply(t *testing.T) {
	f := func(want time.Duration, changes ...time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			var x ends
			s := Settings{Events: 1, Policy: Block, Timeout: changes[0], Then: DropNewest}
			q := New("q", s, Options{})
			done := sending(t.Context(), q, some(&x, 2))
			for _, d := range changes[1:] {
				time.Sleep(2 * time.Second)
				s.Timeout = d
				q.Apply(s, 2)
			}
			time.Sleep(time.Minute)
			if s := ended(t, done); s.took != want || s.n != 2 {
				t.Errorf("timeouts %v: sent %+v, want it to take %v", changes, s, want)
			}
		})
	}
	const s = time.Second
	f(5*s, 5*s)
	f(5*s, 5*s, 5*s, 5*s)
	f(10*s, 5*s, 10*s)
	f(2*s, 5*s, 1*s)
	f(4*s, 5*s, 0, 3*s)
	f(7*s, 0, 7*s)
}

func TestTimeoutThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		s := Settings{Events: 3, Policy: Block, Timeout: time.Second, Then: Fail}
		q := New("q", s, Options{})
		if s := ended(t, sendingFor(t, time.Second, q, some(&x, 5))); s.n != 3 || s.err != ErrFailed || s.took != time.Second {
			t.Fatalf("then fail: %+v", s)
		}
		if s := ended(t, sending(t.Context(), q, some(&x, 5))); s.n != 0 || s.err != ErrFailed {
			t.Fatalf("then fail, tripped: %+v", s)
		}
		if len(x.list) != 0 || balanced(t, q).Offered.Events != 3 {
			t.Fatalf("a failed Send took events: %v", x.list)
		}
		s.Then = DropOldest
		q.Apply(s, 2)
		if s := ended(t, sendingFor(t, time.Second, q, read(&x, time.Now(), "q", 6, 200, 200))); s.n != 2 || s.took != time.Second {
			t.Fatalf("then drop-oldest: %+v", s)
		}
		if got := received(t, q, 9); !slices.Equal(got, []int64{3, 6, 7}) {
			t.Fatalf("then drop-oldest: got %v", got)
		}
		if s := balanced(t, q); s.Evicted[TimedOut].Events != 2 || !s.Tripped {
			t.Fatalf("then drop-oldest: %+v", s)
		}
	})
}

// TestAge checks that events leave when they are too old: when they are taken,
// when the edge is full, and while a producer waits.
func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		s := Settings{Events: 4, Policy: Block, Age: 10 * time.Second, OnDrop: Nack}
		q := New("q", s, Options{})
		q.Offer(some(&x, 2))
		time.Sleep(6 * time.Second)
		q.Offer(read(&x, time.Now(), "q", 3, 200, 200))
		done := sending(t.Context(), q, read(&x, time.Now(), "q", 5, 200))
		time.Sleep(4*time.Second - 1)
		waiting(t, done)
		if age := balanced(t, q).OldestAge; age != 10*time.Second-1 {
			t.Fatalf("the oldest event is %v old", age)
		}
		time.Sleep(time.Nanosecond)
		if s := ended(t, done); s.n != 1 || s.took != 4*time.Second {
			t.Fatalf("the wait for an event to expire: %+v", s)
		}
		if x.count(pipe.Refused) != 2 || balanced(t, q).Evicted[Expired].Events != 2 {
			t.Fatalf("expired: %v", x.list)
		}
		time.Sleep(6 * time.Second)
		dst := make([]*pipe.Event, 9)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if n, err := q.Recv(ctx, dst); n != 0 || err == nil {
			t.Fatalf("received %v, %v, but all are too old", positions(dst[:n]), err)
		}
		if x.count(pipe.Refused) != 5 || balanced(t, q).Queued.Events != 0 {
			t.Fatalf("expired: %v", x.list)
		}
		q.Offer(some(&x, 4))
		q.Offer(read(&x, time.Now().Add(-time.Hour), "q", 9, 200))
		if s := balanced(t, q); s.Refused[Expired].Events != 1 {
			t.Fatalf("offered to a full edge, an old event: %+v", s.Refused)
		}
	})
}

// TestAgeBehindTheHead checks that only the head of the producers watches over
// what expires, and that the next one does when it becomes the head.
func TestAgeBehindTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		s := Settings{Events: 1, Policy: Block, Age: time.Minute}
		q := New("q", s, Options{})
		q.Offer(some(&x, 1))
		ctx, cancel := context.WithCancel(t.Context())
		first := sending(ctx, q, some(&x, 1))
		second := sending(t.Context(), q, read(&x, time.Now().Add(-50*time.Second), "q", 7, 200))
		time.Sleep(time.Second)
		q.Apply(s, 2) // the head looks in vain, after a while: strict order
		if synctest.Wait(); !q.strict {
			t.Fatal("the order is not strict")
		}
		time.Sleep(20 * time.Second) // hangs if the second producer watched
		waiting(t, second)
		cancel()
		ended(t, first)
		if s := ended(t, second); s.n != 1 || balanced(t, q).Refused[Expired].Events != 1 {
			t.Errorf("sent %+v", s)
		}
		third := sending(t.Context(), q, some(&x, 1))
		time.Sleep(39 * time.Second)
		if s := ended(t, third); s.n != 1 || balanced(t, q).Evicted[Expired].Events != 1 {
			t.Errorf("sent %+v", s)
		}
	})
}
