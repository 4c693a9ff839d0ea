package edge

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// chunk reads 256 events out of one buffer of 64 KiB, as a file source does.
func chunk(b *pipe.Batch) []*pipe.Event {
	b.Reset(ignore{}, "chunks", 0)
	buf := make([]byte, 1<<16)
	for ; len(buf) > 0; buf = buf[256:] {
		b.Add(record.FromText(buf[:256:256]), 1)
	}
	events, _, _ := b.Take(time.Now())
	return events
}

// ignore is an Acks that does nothing.
type ignore struct{}

func (ignore) MessageDone(*pipe.Group, any, pipe.Outcome) {}
func (ignore) GroupDone(*pipe.Group)                      {}

// heap returns the bytes in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestSparseSurvivors fills edges with events of which each is the only one left
// of its buffer. If they kept their buffers there would be 32 MiB of them.
func TestSparseSurvivors(t *testing.T) {
	const events = 512
	f := func(t *testing.T, s Settings) {
		t.Helper()
		s.Events = events
		before := heap()
		q := New("q", s, Options{})
		dst := make([]*pipe.Event, 1)
		var b pipe.Batch
		send := func() { q.Send(t.Context(), slices.Clone(chunk(&b))) }
		for balanced(t, q).Queued.Events < events {
			send()
		}
		for range events {
			q.Recv(t.Context(), dst)
			for full := balanced(t, q).Admitted.Events; balanced(t, q).Admitted.Events == full; {
				send()
			}
		}
		dst[0], b = nil, pipe.Batch{}
		used := heap() - before
		t.Logf("%s %g %s: %d KiB for %d events", s.Policy, s.Base, s.Then, used>>10, events)
		if used > 6<<20 {
			t.Errorf("%s: %d events of 256 bytes keep %d KiB alive", s.Policy, events, used>>10)
		}
		runtime.KeepAlive(q)
	}
	f(t, Settings{Policy: DropNewest})
	f(t, Settings{Policy: Sample, Base: 1, Min: 1})
	f(t, Settings{Policy: Sample, Base: 0.004, Min: 0.004, Seed: 1})
	synctest.Test(t, func(t *testing.T) {
		f(t, Settings{Policy: Block, Timeout: time.Second, Then: DropNewest})
	})
}

// TestNoGarbage checks that moving events allocates nothing.
func TestNoGarbage(t *testing.T) {
	if raced {
		t.Skip("the race detector makes sync.Pool forget things")
	}
	f := func(name string, s Settings) {
		t.Helper()
		q := New("q", s, Options{})
		events, dst := some(&ends{}, 128), make([]*pipe.Event, 128)
		other := New("other", s, Options{})
		in := NewInbox(q, other)
		n := testing.AllocsPerRun(100, func() {
			q.Send(t.Context(), events)
			other.Send(t.Context(), events[:5])
			for got := 0; got < 133; {
				k, _ := in.Recv(t.Context(), dst)
				got += k
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	f("block", Settings{Events: 1024, Bytes: 1 << 20, Policy: Block})
	f("age", Settings{Events: 1024, Policy: Block, Age: time.Hour})
	f("sample", Settings{Events: 1024, Policy: Sample, Base: 1, Min: 0.1, Threshold: 0.8})
	f("keyed", Settings{Events: 200, Policy: Sample, Base: 1, Min: 1, Key: func(e *pipe.Event) (uint64, bool) {
		return uint64(e.Position()), true
	}})
}

// TestRing compares a ring with a slice.
func TestRing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var q ring
	var want []*pipe.Event
	own := map[*pipe.Event]bool{} // have memory of their own
	for i := range alone(20_000) {
		switch op := r.IntN(10); {
		case op < 4:
			events := some(&ends{}, r.IntN(40))
			q.push(events)
			want = append(want, events...)
		case op < 6:
			dst := make([]*pipe.Event, r.IntN(len(want)+1))
			q.pop(dst)
			if !slices.Equal(dst, want[:len(dst)]) {
				t.Fatalf("step %d: popped other events", i)
			}
			want = want[len(dst):]
		case op < 9 && len(want) > 0:
			k := r.IntN(len(want))
			if q.remove(k) != want[k] {
				t.Fatalf("step %d: removed another event", i)
			}
			want = slices.Delete(slices.Clone(want), k, k+1)
		case len(want) > 0:
			k := r.IntN(5)
			q.detach(k)
			for j := max(0, len(want)-k); j < len(want); j++ {
				if q.at(j) == want[j] && !own[want[j]] || q.at(j).Position() != want[j].Position() {
					t.Fatalf("step %d: event %d was not detached", i, j)
				}
				want[j] = q.at(j)
				own[want[j]] = true
			}
		}
		if q.n != len(want) || len(q.buf) > 2*max(smallRing, q.most) {
			t.Fatalf("step %d: %d events in %d slots, want %d", i, q.n, len(q.buf), len(want))
		}
		for j := range q.buf { // slots out of use must not keep events alive
			if j >= q.n && q.at(j) != nil || j < q.n && q.at(j) != want[j] {
				t.Fatalf("step %d: slot %d of %d is wrong", i, j, q.n)
			}
		}
	}
}

// TestRingShrinks checks that a burst's memory is given back once it was not
// needed for a while, and not before.
func TestRingShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 100_000, Policy: Block}, Options{})
		slots := func(want int) {
			t.Helper()
			q.Snapshot()
			if len(q.ring.buf) != want {
				t.Errorf("%d slots, want %d", len(q.ring.buf), want)
			}
		}
		time.Sleep(time.Hour)
		q.Offer(some(&x, 10_000))
		slots(16384)
		received(t, q, 10_000)
		slots(16384)
		time.Sleep(shrinkAfter - 1)
		slots(16384)
		q.Offer(some(&x, 1000))
		received(t, q, 1000)
		time.Sleep(time.Nanosecond)
		slots(2048)
		time.Sleep(shrinkAfter)
		slots(64)
	})
}
