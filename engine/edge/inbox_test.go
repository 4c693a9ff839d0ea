package edge

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// backlogged is an inbox of edges that are always full: shares says how many
// events each gave of about 20,000.
func backlogged(t *testing.T, take int, priorities ...int) (shares []float64) {
	t.Helper()
	var edges []*Edge
	fills := make([]func(), len(priorities))
	for i, p := range priorities {
		q := New(fmt.Sprint(i), Settings{Events: 500, Policy: Block, Priority: p}, Options{})
		batch := read(&ends{}, time.Now(), fmt.Sprint(i), 0, slices.Repeat([]int{200}, 500)...)
		fills[i] = func() { q.Offer(batch) }
		edges = append(edges, q)
	}
	in := NewInbox(edges...)
	dst := make([]*pipe.Event, take)
	shares = make([]float64, len(priorities))
	total := 0
	for total < 20_000 {
		for _, f := range fills {
			f()
		}
		n, err := in.Recv(t.Context(), dst)
		if n == 0 || err != nil {
			t.Fatalf("received %d, %v", n, err)
		}
		for _, e := range dst[:n] {
			shares[int(e.Source()[0]-'0')]++
		}
		total += n
	}
	for i := range shares {
		shares[i] /= float64(total)
	}
	return shares
}

// TestInboxShares checks the shares of edges that always have events.
func TestInboxShares(t *testing.T) {
	f := func(priorities []int, want ...float64) {
		t.Helper()
		for _, take := range []int{1, 2, 7, 64, 128, 400} {
			got := backlogged(t, take, priorities...)
			for i := range want {
				if math.Abs(got[i]-want[i]) > 0.01*want[i]+0.001 {
					t.Errorf("priorities %v, %d at a time: shares %.4f, want %.4f", priorities, take, got, want)
					break
				}
			}
		}
	}
	f([]int{0, 0}, 1./2, 1./2)
	f([]int{3, 3, 3}, 1./3, 1./3, 1./3)
	f([]int{1, 0}, 7./8, 1./8)
	f([]int{0, 5, 5}, 1./8, 7./16, 7./16)
	f([]int{0, 2, 1}, 1./64, 7./8, 7./64)
}

// TestInboxLeavesNothingIdle checks that an edge that is alone in having events
// gets everything, whatever its priority.
func TestInboxLeavesNothingIdle(t *testing.T) {
	var x ends
	a := New("a", Settings{Events: 100, Policy: Block, Priority: 5}, Options{})
	b := New("b", Settings{Events: 100, Policy: Block}, Options{})
	c := New("c", Settings{Events: 100, Policy: Block}, Options{})
	in := NewInbox(a, b, c)
	dst := make([]*pipe.Event, 50)
	for _, q := range []*Edge{a, b, c} {
		q.Offer(some(&x, 80))
		for _, want := range []int{50, 30} {
			if n, err := in.Recv(t.Context(), dst); n != want || err != nil {
				t.Errorf("only %s has events: received %d, %v; want %d", q.ID(), n, err, want)
			}
		}
	}
	a.Offer(some(&x, 10))
	b.Offer(some(&x, 3))
	c.Offer(some(&x, 80))
	if n, err := in.Recv(t.Context(), dst); n != 50 || err != nil {
		t.Errorf("received %d, %v; want a full batch from all", n, err)
	}
	for want, q := range map[int64]*Edge{90: a, 83: b} {
		if s := balanced(t, q); s.Delivered.Events != want {
			t.Errorf("%s delivered %d, want %d", q.ID(), s.Delivered.Events, want)
		}
	}
}

// TestInboxPriorityChanges checks that Apply changes the order of edges.
func TestInboxPriorityChanges(t *testing.T) {
	var x ends
	low, high := Settings{Events: 100, Policy: Block}, Settings{Events: 100, Policy: Block, Priority: 9}
	a, b := New("a", low, Options{}), New("b", high, Options{})
	in := NewInbox(a, b)
	a.Offer(some(&x, 100))
	b.Offer(some(&x, 100))
	dst := make([]*pipe.Event, 20)
	in.Recv(t.Context(), dst)
	a.Apply(high, 2)
	b.Apply(low, 2)
	in.Recv(t.Context(), dst)
	if n, m := balanced(t, a).Delivered.Events, balanced(t, b).Delivered.Events; n != 20 || m != 20 {
		t.Errorf("the edges delivered %d and %d, want one batch each", n, m)
	}
}

// TestInboxEnds checks closing, draining and what was there before.
func TestInboxEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		s := Settings{Events: 100, Policy: Block}
		a, b, c := New("a", s, Options{}), New("b", s, Options{}), New("c", s, Options{})
		a.Offer(some(&x, 3))
		b.Close()
		in := NewInbox(a, b, c)
		f := func(want int, wantErr error) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if n, err := in.Recv(ctx, make([]*pipe.Event, 9)); n != want || err != wantErr {
				t.Errorf("received %d, %v; want %d, %v", n, err, want, wantErr)
			}
		}
		f(3, nil)
		f(0, context.DeadlineExceeded)
		a.Offer(some(&x, 2))
		a.Close()
		f(2, nil)
		f(0, context.DeadlineExceeded)
		c.Offer(some(&x, 2))
		pipe.Settle(c.Drain(), pipe.Returned)
		f(0, ErrClosed)
		f(0, ErrClosed)
	})
}

// TestInboxFreesWorkers checks that all workers learn of the end.
func TestInboxFreesWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Settings{Events: 100, Policy: Block}
		a, b := New("a", s, Options{}), New("b", s, Options{})
		in := NewInbox(a, b)
		errs := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := in.Recv(context.Background(), make([]*pipe.Event, 1))
				errs <- err
			}()
		}
		time.Sleep(time.Second)
		if idle, workers := in.Idle(); idle != 3*time.Second || workers != 3 {
			t.Errorf("idle for %v, %d workers", idle, workers)
		}
		a.Close()
		b.Close()
		for range 3 {
			if err := <-errs; err != ErrClosed {
				t.Error(err)
			}
		}
	})
}

// TestInboxExpiry checks that events that are too old are not handed out, and do
// not keep a worker from waiting.
func TestInboxExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		s := Settings{Events: 100, Policy: Block, Age: time.Second}
		a, b := New("a", s, Options{}), New("b", s, Options{})
		in := NewInbox(a, b)
		a.Offer(some(&x, 5))
		b.Offer(some(&x, 5))
		time.Sleep(time.Second)
		go func() {
			time.Sleep(time.Second)
			b.Offer(some(&x, 2))
		}()
		if n, err := in.Recv(t.Context(), make([]*pipe.Event, 9)); n != 2 || err != nil {
			t.Errorf("received %d, %v; want the two fresh ones", n, err)
		}
		if x.count(pipe.Dropped) != 10 {
			t.Errorf("dropped %d, want 10", x.count(pipe.Dropped))
		}
	})
}

// TestInboxFreesProducers checks that taking through an inbox makes room.
func TestInboxFreesProducers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		s := Settings{Events: 2, Policy: Block}
		a, b := New("a", s, Options{}), New("b", s, Options{})
		in := NewInbox(a, b)
		done := sending(t.Context(), a, some(&x, 10))
		dst := make([]*pipe.Event, 3)
		for got := 0; got < 10; {
			n, err := in.Recv(t.Context(), dst)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
		ended(t, done)
	})
}

func TestEdgeInTwoInboxes(t *testing.T) {
	s := Settings{Events: 1, Policy: Block}
	a, b := New("a", s, Options{}), New("b", s, Options{})
	NewInbox(a, b)
	defer func() {
		if recover() == nil {
			t.Error("an edge can be in two inboxes")
		}
	}()
	NewInbox(b, New("c", s, Options{}))
}
