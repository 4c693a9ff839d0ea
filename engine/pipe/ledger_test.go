package pipe

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/record"
)

// TestLowWaterMark settles groups of two partitions in random order with random
// outcomes and holds the marks against a plain model: the mark of a partition
// is the end of the leading run of acked messages, and never moves back.
func TestLowWaterMark(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 9))
		l := NewLedger(Window{}, nil)
		outcome := map[string][]int{} // per partition and message: -1 open, else outcome
		type open struct {
			e    *Event
			part string
			i    int
		}
		var all []open
		for range 1 + r.IntN(12) {
			p := fmt.Sprint("p", r.IntN(2))
			base := len(outcome[p])
			events, _ := read(l, p, int64(base), 1+r.IntN(5))
			for i, e := range events {
				outcome[p] = append(outcome[p], -1)
				all = append(all, open{e, p, base + i})
			}
		}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		stop := len(all) - r.IntN(3)*r.IntN(len(all))/2
		last := map[string]int64{}
		for _, x := range all[:stop] {
			o := Outcome(r.IntN(3))
			if r.IntN(25) == 0 {
				o = Returned
			}
			outcome[x.part][x.i] = int(o)
			Settle([]*Event{x.e}, o)
			for _, m := range l.Marks() {
				if m.Position <= last[m.Partition] {
					t.Fatalf("seed %d: %s moved from %d to %d", seed, m.Partition, last[m.Partition], m.Position)
				}
				last[m.Partition] = m.Position
				if lim := prefix(outcome[m.Partition]); m.Position > lim {
					t.Fatalf("seed %d: %s committed %d, settled only to %d", seed, m.Partition, m.Position, lim)
				}
			}
		}
		for _, m := range l.FinalMarks() {
			last[m.Partition] = m.Position
		}
		for p, o := range outcome {
			if want := prefix(o); last[p] != want {
				t.Fatalf("seed %d: final mark of %s is %d, want %d of %v", seed, p, last[p], want, o)
			}
		}
	}
}

func prefix(outcomes []int) int64 {
	for i, o := range outcomes {
		if o < 0 || !Outcome(o).Acked() {
			return int64(i)
		}
	}
	return int64(len(outcomes))
}

func TestWindowIsComparedBeforeReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger(Window{Events: 10}, nil)
		first, _ := read(l, "p", 0, 6)
		second, _ := read(l, "p", 6, 4)
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() { got <- l.Acquire(ctx) }()
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("acquired credit with a full window")
		}
		Settle(second, Delivered)
		synctest.Wait()
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		read(l, "p", 10, 4)
		go func() { got <- l.Acquire(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-got; err == nil {
			t.Error("a cancelled wait must say so")
		}
		Settle(first, Delivered)
	})
}

func BenchmarkSettle(b *testing.B) {
	for _, n := range []int{1, 128} {
		b.Run(fmt.Sprint("batch", n), func(b *testing.B) {
			l := NewLedger(Window{}, nil)
			for i := 0; i < b.N; i += n {
				events, _ := read(l, "p", int64(i), n)
				Settle(events, Delivered)
			}
		})
	}
}

// TestMemoryIsUsedAgain: a buffer goes back to its supply once all events in it
// are settled or detached, not before, and never after a return.
func TestMemoryIsUsedAgain(t *testing.T) {
	f := func(what string, free bool, end func(events []*Event)) {
		t.Helper()
		l, chunks := NewLedger(Window{}, nil), NewChunks(100)
		var b Batch
		b.Reset(l, "src", 1)
		k := chunks.Get()
		b.Keep(k)
		k.Release()
		for range 3 {
			b.Add(record.FromText(k.Mem[:10]), 0)
		}
		events, _, g := b.Take(time.Now())
		l.Count(g)
		end(events)
		if got := chunks.Get() == k; got != free {
			t.Errorf("%s: used again %v, want %v", what, got, free)
		}
	}
	f("settled", true, func(e []*Event) { Settle(e, Delivered) })
	f("settled one by one", true, func(e []*Event) {
		for i := range e {
			Settle(e[i:i+1], Outcome(i))
		}
	})
	f("one open", false, func(e []*Event) { Settle(e[1:], Delivered) })
	f("one detached", true, func(e []*Event) { e[0].Detach(); Settle(e[1:], Delivered) })
	f("one detached and settled, one open", false, func(e []*Event) {
		Settle([]*Event{e[0].Detach()}, Delivered)
		Settle(e[1:2], Delivered)
	})
	f("detached twice", true, func(e []*Event) { e[0].Detach().Detach(); Settle(e[1:], Delivered) })
	f("a fork open", false, func(e []*Event) { Fork(e[0]); Settle(e, Delivered) })
	f("all forked, forks open", false, func(e []*Event) { ForkAll(e); Settle(e, Delivered) })
	f("all forked, all settled", true, func(e []*Event) { Settle(ForkAll(e), Failed); Settle(e, Delivered) })
	f("fork of a detached", true, func(e []*Event) { Fork(e[0].Detach()); Settle(e[1:], Delivered) })
	f("returned", false, func(e []*Event) { Settle(e[:1], Returned); Settle(e[1:], Delivered) })
	f("split", false, func(e []*Event) {
		o := NewOut(1)
		o.Split(e[0], []record.Body{e[0].Body, e[0].Body})
		o.Enter()
		Settle(e, Delivered)
	})
}

// TestIndexesAreNotShared: a batch without JSON gives its index memory back, and
// the arena must not go on using it for the batches after it.
func TestIndexesAreNotShared(t *testing.T) {
	l := NewLedger(Window{}, nil)
	var b Batch
	next := func(raw string) []*Event {
		b.Reset(l, "src", 1)
		if body, err := record.FromJSON([]byte(raw), &b.Arena); err == nil {
			b.Add(body, 0)
		} else {
			b.Add(record.FromText([]byte(raw)), 0)
		}
		events, _, g := b.Take(time.Now())
		l.Count(g)
		return slices.Clone(events)
	}
	Settle(next(`{"a":1}`), Delivered)
	Settle(next("no JSON"), Delivered)
	open := next(`{"a":"first","b":"C"}`)
	next(`{"a longer name":12345,"y":"D"}`)
	a := open[0].Body.Field("a")
	if got := a.String(); got != "first" {
		t.Errorf("an event in flight changed: a is %q, want %q", got, "first")
	}
}
