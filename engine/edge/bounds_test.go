package edge

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// TestOversize offers events just below, at and above the byte bound to an empty
// edge and to one that is not, under every policy.
func TestOversize(t *testing.T) {
	const bound = 400
	type want struct {
		queued []int64 // positions; 1 is there before, 2 is offered, 3 after it
		reason Reason  // of the one that was dropped, if there was one
		waits  bool    // the offered event waits
	}
	keep := func(pos ...int64) want { return want{queued: pos, reason: Reasons} }
	drop := func(r Reason, pos ...int64) want { return want{queued: pos, reason: r} }
	wait := want{queued: []int64{1}, reason: Reasons, waits: true}
	table := []struct {
		policy Policy
		size   int  // of the offered event
		first  bool // there is one of 200 bytes before it
		want   want
	}{
		{Block, bound - 1, false, keep(2)},
		{Block, bound, false, keep(2)},
		{Block, bound + 1, false, keep(2)},
		{Block, bound - 200, true, keep(1, 2)},
		{Block, bound - 199, true, wait},
		{Block, bound + 1, true, wait},
		{DropNewest, bound + 1, false, keep(2)},
		{DropNewest, bound - 200, true, keep(1, 2)},
		{DropNewest, bound - 199, true, drop(Newest, 1)},
		{DropNewest, bound, true, drop(Newest, 1)},
		{DropNewest, bound + 1, true, drop(Oversize, 1)},
		{DropOldest, bound + 1, false, keep(2)},
		{DropOldest, bound - 200, true, keep(1, 2)},
		{DropOldest, bound - 199, true, drop(Oldest, 2)},
		{DropOldest, bound + 1, true, drop(Oldest, 2)},
		{DropRandom, bound + 1, false, keep(2)},
		{DropRandom, bound - 200, true, keep(1, 2)},
		{DropRandom, bound + 1, true, drop(Oversize, 1)},
		{Sample, bound + 1, false, keep(2)},
		{Sample, bound - 200, true, keep(1, 2)},
		{Sample, bound - 199, true, drop(Newest, 1)},
		{Sample, bound + 1, true, drop(Oversize, 1)},
	}
	for _, c := range table {
		t.Run(fmt.Sprintf("%s/%d/%v", c.policy, c.size, c.first), func(t *testing.T) {
			var x ends
			q := New("q", Settings{Events: 9, Bytes: bound, Policy: c.policy, Base: 1, Min: 1}, Options{})
			if c.first {
				q.Offer(sized(&x, 1, 200))
			}
			n := q.Offer(read(&x, time.Now(), "q", 2, c.size))
			if n == 0 != c.want.waits {
				t.Errorf("took %d events", n)
			}
			s := balanced(t, q)
			for r := range Reasons {
				if d := s.Dropped(r).Events; d == 1 != (r == c.want.reason) {
					t.Errorf("dropped %d as %v", d, r)
				}
			}
			oversized := c.size > bound && !c.want.waits && slices.Contains(c.want.queued, 2)
			if s.Oversized == 1 != oversized || s.Oversized > 1 {
				t.Errorf("%d events count as oversized, want %v", s.Oversized, oversized)
			}
			if got := received(t, q, 9); !slices.Equal(got, c.want.queued) {
				t.Errorf("queued %v, want %v", got, c.want.queued)
			}
		})
	}
}

// TestOversizeWaitsAlone checks that a large event is admitted once the edge is
// empty, and that smaller ones do not starve it.
func TestOversizeWaitsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 9, Bytes: 400, Policy: Block}, Options{})
		q.Offer(sized(&x, 2, 200))
		large := sending(t.Context(), q, read(&x, time.Now(), "q", 3, 1000))
		small := make([]<-chan sent, 5)
		for i := range small {
			small[i] = sending(t.Context(), q, read(&x, time.Now(), "q", 4+int64(i), 200))
		}
		time.Sleep(time.Second)
		received(t, q, 1)
		waiting(t, large)
		received(t, q, 1)
		if s := ended(t, large); s.n != 1 {
			t.Fatalf("the large event: %+v", s)
		}
		if s := balanced(t, q); s.Queued != (Count{1, 1000}) || s.Oversized != 1 {
			t.Fatalf("queued %+v, oversized %d", s.Queued, s.Oversized)
		}
		for range 6 {
			received(t, q, 1)
			synctest.Wait()
		}
		for _, done := range small {
			ended(t, done)
		}
	})
}

// TestOneSlot runs every policy with room for one event.
func TestOneSlot(t *testing.T) {
	f := func(s Settings, want ...int64) {
		t.Helper()
		var x ends
		s.Events, s.Seed = 1, 1
		q := New("q", s, Options{})
		n := q.Offer(some(&x, 3))
		got := received(t, q, 9)
		if !slices.Equal(got, want) {
			t.Errorf("%s: received %v, want %v", s.Policy, got, want)
		}
		if s := balanced(t, q); s.PeakEvents != 1 || s.Offered.Events != int64(n) {
			t.Errorf("%s: %+v", s.Policy, s)
		}
	}
	f(Settings{Policy: Block}, 1)
	f(Settings{Policy: DropNewest}, 1)
	f(Settings{Policy: DropOldest}, 3)
	f(Settings{Policy: DropRandom}, 2)
	f(Settings{Policy: Sample, Base: 1, Min: 1}, 1)
	f(Settings{Policy: Sample, Base: 1, Min: 0.001, Threshold: 0.9}, 1)
}

// TestShrunkEdgeNeverGrows checks that after a shrink drop-oldest and drop-random
// take no more than they give.
func TestShrunkEdgeNeverGrows(t *testing.T) {
	for _, policy := range []Policy{DropOldest, DropRandom} {
		for _, s := range []Settings{{Events: 3}, {Events: 20, Bytes: 500}} {
			var x ends
			q := New("q", Settings{Events: 20, Policy: Block}, Options{})
			q.Offer(some(&x, 10))
			s.Policy = policy
			q.Apply(s, 2)
			for i := range 5 {
				if n, err := q.Send(context.Background(), some(&x, 1)); n != 1 || err != nil {
					t.Fatalf("%s: sent %d, %v", policy, n, err)
				}
				if got := balanced(t, q).Queued.Events; got != 10 {
					t.Errorf("%s %+v: %d events queued after %d more, want 10 as before", policy, s, got, i+1)
				}
			}
		}
	}
}

// TestOffer checks that Offer takes what Send would take without waiting.
func TestOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 4, Policy: Block}, Options{})
		if n := q.Offer(some(&x, 6)); n != 4 {
			t.Errorf("a block edge took %d, want what fits", n)
		}
		if n := q.Offer(some(&x, 6)); n != 0 {
			t.Errorf("a full block edge took %d", n)
		}
		if s := balanced(t, q); s.Offered.Events != 4 || s.Waits.Count != 0 {
			t.Errorf("offers count as %+v", s)
		}
		for _, p := range []Policy{DropNewest, DropOldest, DropRandom} {
			q.Apply(Settings{Events: 4, Policy: p}, 2)
			if n := q.Offer(some(&x, 6)); n != 6 {
				t.Errorf("a %s edge took %d of 6", p, n)
			}
		}
		q.Apply(Settings{Events: 100, Policy: Block}, 3)
		q.strict = true // as when others have waited for long
		if n := q.Offer(some(&x, 1)); n != 0 {
			t.Errorf("an offer overtook producers that had waited for long")
		}
	})
}

// TestDroppedOutcomes checks what sources are told, for each reason.
func TestDroppedOutcomes(t *testing.T) {
	for _, on := range []OnDrop{"", Ack, Nack} {
		want := pipe.Dropped
		if on == Nack {
			want = pipe.Refused
		}
		for _, s := range []Settings{
			{Policy: DropOldest}, {Policy: DropNewest}, {Policy: DropRandom},
			{Policy: Sample, Base: 0.5, Min: 0.5}, {Policy: Sample, Base: 1, Min: 1},
			{Policy: Block, Timeout: time.Second, Then: DropNewest},
			{Policy: Block, Timeout: time.Second, Then: DropOldest},
		} {
			synctest.Test(t, func(t *testing.T) {
				var x ends
				s.Events, s.OnDrop, s.Seed = 4, on, 9
				q := New("q", s, Options{})
				q.Send(t.Context(), some(&x, 40))
				d := balanced(t, q).DroppedTotal().Events
				if x.count(want) != int(d) || len(x.list) != int(d) || d < 30 {
					t.Errorf("%+v: %d dropped, %v", s, d, x.list)
				}
			})
		}
	}
}
