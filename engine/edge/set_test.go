package edge

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// TestInboxSetCallsWorkersAway changes the edges of an inbox under parked
// workers, in every direction, and sends through an edge that is new there.
func TestInboxSetCallsWorkersAway(t *testing.T) {
	f := func(before, after int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			edges := make([]*Edge, 6)
			for i := range edges {
				edges[i] = New("e", Settings{Events: 4, Policy: Block}, Options{})
			}
			b := NewInbox(edges[:before]...)
			got := make(chan int)
			away := 0
			go func() {
				dst := make([]*pipe.Event, 1)
				for {
					n, err := b.Recv(t.Context(), dst)
					if err != nil {
						return
					}
					if n == 0 {
						away++
						continue
					}
					got <- n
				}
			}()
			synctest.Wait() // it waits at the edges of before
			b.Set(edges[6-after:]...)
			synctest.Wait()
			if away != 1 {
				t.Errorf("%d edges, then %d: the worker was called away %d times", before, after, away)
			}
			edges[5].Send(t.Context(), []*pipe.Event{{}})
			select {
			case <-got:
			case <-time.After(time.Second):
				t.Errorf("%d edges, then %d: the worker does not see the new one", before, after)
			}
			for _, q := range edges {
				q.Close()
			}
			synctest.Wait()
			if !b.Finished() {
				t.Errorf("%d edges, then %d: not finished", before, after)
			}
		})
	}
	for before := 1; before <= 3; before++ {
		for after := 1; after <= 3; after++ {
			f(before, after)
		}
	}
}

// TestInboxSetLateWorker is the worker that has seen the edges of the inbox, and
// comes to them when the inbox has others.
func TestInboxSetLateWorker(t *testing.T) {
	f := func(what string, before, after int, closed bool, recv func(*Inbox, *Edge, []*pipe.Event) error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			edges := []*Edge{New("q", Settings{Events: 4, Policy: Block}, Options{}), New("r", Settings{Events: 4, Policy: Block}, Options{})}
			b := NewInbox(edges[:before]...)
			b.Set(edges[:after]...)
			if closed {
				edges[0].Close()
			}
			done := make(chan error, 1)
			go func() { done <- recv(b, edges[0], make([]*pipe.Event, 1)) }()
			synctest.Wait()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("%s: got %v, want to be sent away", what, err)
				}
			default:
				t.Errorf("%s: parks", what)
			}
			for _, q := range edges {
				q.Close()
			}
			synctest.Wait()
		})
	}
	only := func(b *Inbox, q *Edge, dst []*pipe.Event) error {
		_, err := b.recvOnly(context.Background(), q, dst, nil)
		return err
	}
	several := func(b *Inbox, _ *Edge, dst []*pipe.Event) error {
		_, err := b.recvSeveral(context.Background(), dst, nil)
		return err
	}
	f("at one of several edges", 1, 2, false, only)
	f("at one of several edges that is closed", 1, 2, true, only)
	f("where one is left", 2, 1, false, several)
}

// TestInboxSetAfterTheEnd replaces the only edge, which is over, while a worker
// is about to hear that it is.
func TestInboxSetAfterTheEnd(t *testing.T) {
	for range 2000 {
		q, r := New("q", Settings{Events: 4, Policy: Block}, Options{}), New("r", Settings{Events: 4, Policy: Block}, Options{})
		b := NewInbox(q)
		b.Set(q, r) // as a reload does it: the new one comes before the old one is closed
		var worker sync.WaitGroup
		received := 0
		worker.Go(func() {
			dst := make([]*pipe.Event, 4)
			for {
				n, err := b.Recv(context.Background(), dst)
				received += n
				if err != nil {
					return
				}
			}
		})
		q.Close()
		b.Set(r)
		r.Send(context.Background(), []*pipe.Event{{}})
		r.Close()
		worker.Wait()
		if received != 1 {
			t.Fatalf("received %d events, want 1: the worker took the end of one edge for the end of all", received)
		}
	}
}

// TestInboxSetStorm moves an inbox between sets of edges while all of them are
// in use: everything arrives, in the order of each edge.
func TestInboxSetStorm(t *testing.T) {
	const edges, each = 5, 4000
	all := make([]*Edge, edges)
	for i := range all {
		all[i] = New("e", Settings{Events: 16, Policy: Block}, Options{})
	}
	b := NewInbox(all[0])
	var producers, workers sync.WaitGroup
	owner := map[*pipe.Event]int{}
	sent := make([][]*pipe.Event, edges)
	for i := range all {
		sent[i] = make([]*pipe.Event, each)
		for k := range sent[i] {
			sent[i][k] = &pipe.Event{}
			owner[sent[i][k]] = i*each + k
		}
		producers.Go(func() {
			for rest := sent[i]; len(rest) > 0; {
				k := min(len(rest), 1+rand.IntN(20))
				all[i].Send(context.Background(), rest[:k])
				rest = rest[k:]
			}
		})
	}
	var mu sync.Mutex
	var got []*pipe.Event
	for range 3 {
		workers.Go(func() {
			dst := make([]*pipe.Event, 8)
			for {
				mu.Lock() // so that got has the order in which events were taken
				ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
				n, err := b.Recv(ctx, dst)
				cancel()
				got = append(got, dst[:n]...)
				mu.Unlock()
				if err == ErrClosed {
					return
				}
			}
		})
	}
	for range 300 {
		n := 1 + rand.IntN(edges)
		b.Set(all[:n]...)
		idle, _ := b.Idle()
		time.Sleep(50 * time.Microsecond)
		if later, _ := b.Idle(); later < idle {
			t.Errorf("idle time went back from %v to %v", idle, later)
		}
	}
	b.Set(all...)
	producers.Wait()
	for _, q := range all {
		q.Close()
	}
	workers.Wait()
	if len(got) != edges*each {
		t.Fatalf("got %d events, want %d", len(got), edges*each)
	}
	last := make([]int, edges)
	for _, e := range got {
		n := owner[e]
		if i := n / each; n%each != last[i] {
			t.Fatalf("edge %d: event %d came after %d", i, n%each, last[i]-1)
		} else {
			last[i]++
		}
	}
}

// TestLift frees the producers of an edge whose consumer never comes.
func TestLift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New("q", Settings{Events: 2, Bytes: 500, Policy: Block}, Options{})
		sent := make(chan int)
		for range 3 {
			go func() {
				n, _ := q.Send(t.Context(), []*pipe.Event{{}, {}, {}})
				sent <- n
			}()
		}
		synctest.Wait()
		q.Lift()
		for range 3 {
			if n := <-sent; n != 3 {
				t.Errorf("%d of 3 were taken", n)
			}
		}
		q.Close()
		if s := q.Snapshot(); s.Queued.Events != 9 || s.Balance() != nil {
			t.Errorf("%d queued, want all 9; %v", s.Queued.Events, s.Balance())
		}
	})
}
