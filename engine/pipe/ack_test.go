package pipe

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/record"
)

// read makes a counted group of n one-event messages, as the engine does.
func read(l *Ledger, partition string, base int64, n int) ([]*Event, *Group) {
	var b Batch
	b.Reset(l, "src", 1)
	b.From(partition, base+1)
	for i := range n {
		b.Add(record.FromText([]byte("line")), base+int64(i)+1)
	}
	events, _, g := b.Take(time.Now())
	l.Count(g)
	SettleEmpty(g)
	return events, g
}

func TestOutcomeOrder(t *testing.T) {
	for o := Delivered; o <= Failed; o++ {
		want := o == Delivered || o == Filtered || o == DeadLettered || o == Dropped || o == Discarded
		if got := o.Acked(); got != want {
			t.Errorf("%v: acked %v, want %v", o, got, want)
		}
	}
}

// TestWorstOfDescendants forks one message at random and settles the instances
// in random order: its result is the worst outcome, once, after the last one.
func TestWorstOfDescendants(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := NewLedger(Window{}, nil)
		events, g := read(l, "p", 0, 1)
		open := events
		for range r.IntN(8) {
			open = append(open, Fork(open[r.IntN(len(open))]))
		}
		r.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
		worst := Delivered
		for i, e := range open {
			if tally := l.Tally(); tally.OpenEvents != 1 || tally.Acked+tally.Nacked+tally.Returned != 0 {
				t.Fatalf("seed %d: settled after %d of %d instances: %+v", seed, i, len(open), tally)
			}
			o := Outcome(r.IntN(int(Failed) + 1))
			worst = max(worst, o)
			Settle([]*Event{e}, o)
		}
		acked, nacked, returned := g.Tally()
		got := fmt.Sprint(acked, nacked, returned)
		want := map[bool]string{true: "1 0 0"}[worst.Acked()]
		if worst == Returned {
			want = "0 0 1"
		} else if worst > Returned {
			want = "0 1 0"
		}
		if got != want {
			t.Fatalf("seed %d: worst %v: acked, nacked, returned %s, want %s", seed, worst, got, want)
		}
	}
}

// TestSettleRace settles the branches of shared messages from many goroutines.
func TestSettleRace(t *testing.T) {
	l := NewLedger(Window{}, nil)
	const n, branches = 2000, 4
	events, _ := read(l, "p", 0, n)
	paths := [branches][]*Event{events}
	for b := 1; b < branches; b++ {
		for _, e := range events {
			paths[b] = append(paths[b], Fork(e))
		}
	}
	var wg sync.WaitGroup
	for b := range branches {
		wg.Go(func() {
			for i := 0; i < n; i += 50 {
				Settle(paths[b][i:i+50], Outcome(b))
			}
		})
	}
	wg.Wait()
	if got := l.Tally(); got.Acked != n || got.OpenEvents != 0 || got.OpenGroups != 0 {
		t.Errorf("tally %+v, want %d acked and nothing open", got, n)
	}
}

func TestSecondOutcomePanics(t *testing.T) {
	l := NewLedger(Window{}, nil)
	events, _ := read(l, "p", 0, 1)
	Settle(events, Delivered)
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "second outcome") {
			t.Errorf("got %v, want a panic about a second outcome", r)
		}
	}()
	Settle(events, Filtered)
}

func TestMergeSettlesParents(t *testing.T) {
	l := NewLedger(Window{}, nil)
	events, _ := read(l, "p", 0, 3)
	o := NewOut(1)
	for _, e := range events {
		o.Hold(e)
	}
	m := o.Merge(events, record.FromText([]byte("all")))
	other := Fork(m)
	Settle([]*Event{m}, Delivered)
	if got := l.Tally().Acked; got != 0 {
		t.Fatalf("acked %d while a copy of the merged event is open", got)
	}
	Settle([]*Event{other}, Failed)
	if got := l.Tally().Nacked; got != 3 {
		t.Errorf("nacked %d, want all 3 parents", got)
	}
}

func TestSplitKeepsMessageOpen(t *testing.T) {
	l := NewLedger(Window{}, nil)
	events, _ := read(l, "p", 0, 1)
	o := NewOut(1)
	bodies := []record.Body{record.FromText([]byte("a")), record.FromText([]byte("b")), record.FromText([]byte("c"))}
	o.Split(events[0], bodies)
	o.Enter()
	parts := o.Port(0)
	ids := map[string]bool{}
	for i, p := range parts {
		ids[p.ID()] = true
		if got, want := string(p.Body.AppendText(nil)), string(rune('a'+i)); got != want {
			t.Errorf("part %d is %q, want %q", i, got, want)
		}
	}
	if len(ids) != 3 {
		t.Errorf("%d distinct ids, want 3", len(ids))
	}
	Settle(parts[:2], Delivered)
	if l.Tally().Acked != 0 {
		t.Error("acked before the last part")
	}
	Settle(parts[2:], Delivered)
	if l.Tally().Acked != 1 {
		t.Error("not acked after the last part")
	}
}

// answers records what a Settler is told.
type answers struct {
	mu  sync.Mutex // guards got
	got map[any]Outcome
}

func (a *answers) Settled(token any, o Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, twice := a.got[token]; twice {
		panic("answered twice")
	}
	a.got[token] = o
}

func TestMessagesWithTokens(t *testing.T) {
	a := &answers{got: map[any]Outcome{}}
	l := NewLedger(Window{}, a)
	var b Batch
	b.Reset(l, "http", 1)
	b.Begin("two")
	b.Add(record.FromText([]byte("1")), 0)
	b.Add(record.FromText([]byte("2")), 0)
	b.End()
	b.Begin("none")
	b.End()
	b.Begin("one")
	b.Add(record.FromText([]byte("3")), 0)
	b.End()
	events, _, g := b.Take(time.Now())
	l.Count(g)
	SettleEmpty(g)
	if a.got["none"] != Filtered || len(a.got) != 1 {
		t.Fatalf("after the read: %v, want only the empty message, as filtered", a.got)
	}
	Settle(events[:1], Delivered)
	if len(a.got) != 1 {
		t.Fatal("a message of two was answered after one")
	}
	Settle(events[1:2], Refused)
	Settle(events[2:], Delivered)
	if a.got["two"] != Refused || a.got["one"] != Delivered {
		t.Errorf("answers %v, want two: refused, one: delivered", a.got)
	}
	if got := l.Tally(); got.Read != 3 || got.Acked != 1 || got.Nacked != 2 {
		t.Errorf("tally %+v, want 3 read, 1 acked, 2 nacked", got)
	}
}

// TestEachMessageWithToken: what is added after Each is a message with that token
// each, beside those that have none.
func TestEachMessageWithToken(t *testing.T) {
	told := map[any][]Outcome{}
	l := NewLedger(Window{}, settled(func(token any, o Outcome) { told[token] = append(told[token], o) }))
	var b Batch
	b.Reset(l, "dir", 1)
	b.Add(record.FromText([]byte("0")), 1)
	b.Each("a")
	b.Add(record.FromText([]byte("1")), 2)
	b.Fail(record.FromText([]byte("2")), 3, fmt.Errorf("broken"))
	b.Each(nil)
	b.AddText([]byte("3"), 4)
	events, failed, g := b.Take(time.Now())
	l.Count(g)
	SettleEmpty(g)
	Settle(events, Delivered)
	Settle([]*Event{failed[0].Event}, DeadLettered)
	if len(told) != 1 || fmt.Sprint(told["a"]) != "[delivered dead_lettered]" {
		t.Errorf("told %v, want the two results of a", told)
	}
	if got := l.Tally(); got.Read != 4 || got.Acked != 4 || g.Events() != 4 {
		t.Errorf("tally %+v, want 4 read and acked", got)
	}
	b.Reset(l, "dir", 2)
	b.Add(record.FromText([]byte("4")), 5)
	events, _, g = b.Take(time.Now())
	l.Count(g)
	if Settle(events, Delivered); len(told["a"]) != 2 {
		t.Error("the token outlived its batch")
	}
}

// settled is a function as a Settler.
type settled func(token any, o Outcome)

func (f settled) Settled(token any, o Outcome) { f(token, o) }

func TestUndecidedNeverAcks(t *testing.T) {
	l := NewLedger(Window{}, nil)
	events, _ := read(l, "p", 0, 2)
	o := NewOut(1)
	o.Emit(events[0])
	o.FailUndecided(events, fmt.Errorf("nothing decided"))
	if len(o.Failed()) != 1 || o.Failed()[0].Event != events[1] {
		t.Fatalf("failed %v, want the forgotten event", o.Failed())
	}
}

// TestLateStepEntersNothing: what a step has made is nowhere in the books until it
// is entered: a step whose result is thrown away has changed nothing.
func TestLateStepEntersNothing(t *testing.T) {
	l := NewLedger(Window{}, nil)
	events, g := read(l, "p", 0, 1)
	own := *events[0] // what goes on
	o := NewOut(2)
	c := o.Copy(events[0])
	o.EmitTo(1, c)
	o.Split(events[0], []record.Body{record.FromText([]byte("a")), record.FromText([]byte("b"))})
	Settle([]*Event{&own}, Delivered)
	if got := l.Tally(); got.Acked != 1 || got.OpenEvents != 0 || g.resident.Load() != 0 {
		t.Errorf("tally %+v, %d in memory; want the message settled in spite of the step", got, g.resident.Load())
	}
}

// TestEnter: copies and parts that are entered must all be settled; a copy that was
// not decided about is forgotten.
func TestEnter(t *testing.T) {
	l := NewLedger(Window{}, nil)
	events, _ := read(l, "p", 0, 1)
	o := NewOut(2)
	o.Copy(events[0]) // and forgets it
	o.EmitTo(1, o.Copy(events[0]))
	o.Split(events[0], []record.Body{record.FromText([]byte("a")), record.FromText([]byte("b"))})
	o.Enter()
	if c := o.Counts(); c.Created != 2 || !o.Complete(1) {
		t.Errorf("counts %+v, want 2 made and all decided about", c)
	}
	Settle(o.Port(0), Delivered)
	if l.Tally().Acked != 0 {
		t.Error("acked while the copy is open")
	}
	Settle(o.Port(1), Delivered)
	if l.Tally().Acked != 1 {
		t.Error("not acked after the copy")
	}
}

// TestPin: the memory of pinned events is not used again, nor that of the events
// that they were made of.
func TestPin(t *testing.T) {
	f := func(name string, want bool, do func(b *Batch, events []*Event) []*Event) {
		t.Helper()
		chunks := NewChunks(16)
		l := NewLedger(Window{}, nil)
		var b Batch
		k := chunks.Get()
		b.Reset(l, "src", 1)
		b.Keep(k)
		b.AddText(append(k.Mem[:0], "one"...), 1)
		b.AddText(append(k.Mem[:3], "two"...), 2)
		events, _, g := b.Take(time.Now())
		l.Count(g)
		k.Release()
		Settle(do(&b, events), Delivered)
		if again := chunks.Get() == k; again != want {
			t.Errorf("%s: used again %v, want %v", name, again, want)
		}
	}
	f("settled", true, func(_ *Batch, e []*Event) []*Event { return e })
	f("pinned", false, func(_ *Batch, e []*Event) []*Event { Pin(e[1:]); return e })
	merged := func(e []*Event) *Event {
		o := NewOut(1)
		for _, x := range e {
			o.Hold(x)
		}
		return o.Merge(e, record.FromText([]byte("both")))
	}
	f("merged", true, func(_ *Batch, e []*Event) []*Event { return []*Event{merged(e)} })
	f("merged and pinned", false, func(_ *Batch, e []*Event) []*Event {
		m := []*Event{merged(e)}
		Pin(m)
		return m
	})
}
