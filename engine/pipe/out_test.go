package pipe

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/record"
)

// TestSecondDecision: a second decision about an event in one step changes
// nothing but a count, and makes the step incomplete. The next step is another.
func TestSecondDecision(t *testing.T) {
	l := NewLedger(Window{}, nil)
	o := NewOut(1)
	second := []func(e *Event){
		o.Emit, o.Filter, o.Unrouted, o.Hold,
		func(e *Event) { o.Fail(e, errors.New("no")) },
		func(e *Event) { o.Split(e, []record.Body{e.Body, e.Body}) },
	}
	for i, again := range second {
		events, _ := read(l, "p", 0, 1)
		o.Reset()
		o.Emit(events[0])
		if !o.Complete(1) {
			t.Errorf("%d: one decision about one event is not complete: %+v", i, o.Counts())
		}
		c := o.Copy(events[0])
		o.Emit(c)
		if !o.Complete(1) || len(o.Port(0)) != 2 {
			t.Errorf("%d: the copy is not counted: %+v", i, o.Counts())
		}
		again(events[0])
		if got := o.Counts(); o.Complete(1) || got.Double != 1 || got.Decided != 2 || len(o.Port(0)) != 2 || len(o.Filtered())+len(o.Failed()) != 0 {
			t.Errorf("%d: after a second decision: %+v", i, got)
		}
		o.Reset()
		o.Emit(events[0])
		if got := o.Counts(); !o.Complete(1) || got.Double != 0 {
			t.Errorf("%d: in the next step: %+v", i, got)
		}
	}
}

// TestSplitIntoNothing: an event without parts is filtered.
func TestSplitIntoNothing(t *testing.T) {
	l := NewLedger(Window{}, nil)
	events, _ := read(l, "p", 0, 1)
	o := NewOut(1)
	o.Split(events[0], nil)
	if len(o.Filtered()) != 1 || !o.Complete(1) {
		t.Errorf("filtered %d, counts %+v", len(o.Filtered()), o.Counts())
	}
}

// TestForkAll: the forks of a batch are instances of their own.
func TestForkAll(t *testing.T) {
	l := NewLedger(Window{}, nil)
	a, _ := read(l, "p", 0, 3)
	b, _ := read(l, "q", 0, 2)
	both := append(append([]*Event{}, a...), b...)
	forks := ForkAll(both)
	Settle(both, Delivered)
	if got := l.Tally(); got.OpenEvents != 5 || got.Acked != 0 {
		t.Fatalf("while the forks are open: %+v", got)
	}
	Settle(forks[:4], Delivered)
	Settle(forks[4:], Failed)
	if got := l.Tally(); got.OpenEvents != 0 || got.Acked != 4 || got.Nacked != 1 {
		t.Errorf("at the end: %+v, want 4 acked and 1 nacked", got)
	}
}

// TestMergeKeepsIdentity: what is merged has the first parent's identity, time
// and state.
func TestMergeKeepsIdentity(t *testing.T) {
	l := NewLedger(Window{}, nil)
	events, _ := read(l, "p", 40, 3)
	events[0].MarkDead()
	events[0].SetMeta("k", "v")
	o := NewOut(1)
	for _, e := range events {
		o.Hold(e)
	}
	m := o.Merge(events, record.FromText([]byte("all")))
	if v, _ := m.Meta("k"); !m.Dead() || v != "v" || m.ID() != events[0].ID() || m.Origin() != events[0].Origin() || m.Time() != events[0].Time() || m.Source() != "src" {
		t.Errorf("merged: dead %v, meta %q, %s of %s at %v", m.Dead(), v, m.ID(), m.Origin(), m.Time())
	}
	if !o.Complete(3) || o.Counts().Merged != 2 {
		t.Errorf("counts %+v", o.Counts())
	}
}

// TestMixedMessages: only messages with a token are answered.
func TestMixedMessages(t *testing.T) {
	a := &answers{got: map[any]Outcome{}}
	l := NewLedger(Window{}, a)
	var b Batch
	b.Reset(l, "src", 1)
	b.Add(record.FromText([]byte("plain")), 1)
	b.Begin("asks")
	b.Add(record.FromText([]byte("asked")), 2)
	b.End()
	b.Add(record.FromText([]byte("plain")), 3)
	events, _, g := b.Take(time.Now())
	l.Count(g)
	SettleEmpty(g)
	Settle(events, Delivered)
	if got := l.Tally(); len(a.got) != 1 || a.got["asks"] != Delivered || got.Read != 3 || got.Acked != 3 {
		t.Errorf("answers %v, tally %+v", a.got, got)
	}
}

func TestWindowOfBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger(Window{Bytes: 2 * (EventOverhead + 4)}, nil)
		first, g := read(l, "p", 0, 1)
		if err := l.Acquire(t.Context()); err != nil || g.Bytes() != EventOverhead+4 {
			t.Fatalf("with room: %v, %d bytes", err, g.Bytes())
		}
		read(l, "p", 1, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Acquire(ctx); err == nil {
			t.Error("acquired with a full window of bytes")
		}
		Settle(first, Delivered)
		if err := l.Acquire(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestEventsAreUsedAgain: a batch may get the memory of events that are settled,
// never that of events that are open, and they begin as new.
func TestEventsAreUsedAgain(t *testing.T) {
	l := NewLedger(Window{}, nil)
	var b Batch
	open, reused := map[*Event]bool{}, 0
	seen := map[*Event]bool{}
	for round := range 200 {
		b.Reset(l, "src", uint64(round+1))
		for range 50 {
			b.Add(record.FromText([]byte("line")), 1)
		}
		events, _, g := b.Take(time.Now())
		l.Count(g)
		for i, e := range events {
			if open[e] {
				t.Fatalf("round %d: event %d is in the memory of one that is open", round, i)
			}
			if e.Dead() {
				t.Fatalf("round %d: event %d begins as a dead letter", round, i)
			}
			if seen[e] {
				reused++
			}
			seen[e], open[e] = true, true
			e.MarkDead()
		}
		if round%3 == 0 {
			continue // stays open
		}
		for _, e := range events {
			delete(open, e)
		}
		Settle(events, Delivered)
	}
	if got := l.Tally(); reused == 0 || got.Acked != 133*50 {
		t.Errorf("%d of the events used memory again, tally %+v", reused, got)
	}
}
