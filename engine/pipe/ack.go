package pipe

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// Outcome is how an instance ended. A message's result is the largest outcome
// of its instances; up to Discarded the source may forget the message.
type Outcome uint8

// The outcomes, from best to worst.
const (
	Delivered    Outcome = iota // a sink confirmed it
	Filtered                    // a stage chose to end it
	DeadLettered                // a sink behind a failed port confirmed it
	Dropped                     // an edge dropped it, on_drop: ack
	Discarded                   // it failed, and on_error: drop says to go on
	Returned                    // nobody decided: shutdown or crash; the source keeps it
	Refused                     // an edge dropped it, on_drop: nack
	Failed                      // it failed
)

// Acked reports whether the source may forget a message with this result.
func (o Outcome) Acked() bool { return o <= Discarded }

func (o Outcome) String() string {
	names := [...]string{"delivered", "filtered", "dead_lettered", "dropped", "discarded", "returned", "refused", "failed"}
	if int(o) < len(names) {
		return names[o]
	}
	return "unknown"
}

// Acks is told about settled messages. The engine implements it; calls come
// from whichever goroutine settled last and must not block.
type Acks interface {
	// MessageDone is called once per message of a batch that has tokens.
	MessageDone(g *Group, token any, result Outcome)
	// GroupDone is called once, when every message of g is settled.
	GroupDone(g *Group)
}

// Group is what a source handed over in one batch: its messages (origins), each
// with a count of open instances and the worst outcome so far.
type Group struct {
	acks      Acks
	source    string
	partition string
	line      int64 // line number of the first message, 0 if there are no lines
	seq       uint64
	read      time.Time
	origins   []origin
	tokens    []any    // nil, or one per message
	weights   []int32  // nil, or the events read per message
	chunks    []*Chunk // memory to be used again once all is settled
	slabs     []*slab
	cells     *Piece[[]uint32]
	events    int64        // events read
	bytes     int64        // accounted bytes read
	open      atomic.Int64 // messages not settled
	resident  atomic.Int64 // instances in the memory of chunks and slabs
	pinned    atomic.Bool  // somebody may look at them after they are settled
}

type origin struct {
	open  int32 // instances without an outcome; atomic while there are several
	worst atomic.Uint32
	pos   int64
}

func (g *Group) where() string {
	if g.partition != "" {
		return g.partition
	}
	return g.source
}

// Partition returns the partition (file, topic partition) the group was read from.
func (g *Group) Partition() string { return g.partition }

// Events returns how many events the source read in this group.
func (g *Group) Events() int64 { return g.events }

// Bytes returns the accounted bytes the source read in this group.
func (g *Group) Bytes() int64 { return g.bytes }

// Tally sums the events of a group by what the source does with them:
// acked, nacked (failed or refused) and returned. Call it once GroupDone.
func (g *Group) Tally() (acked, nacked, returned int64) {
	for i := range g.origins {
		w := int64(1)
		if g.weights != nil {
			w = int64(g.weights[i])
		}
		switch o := Outcome(g.origins[i].worst.Load()); {
		case o.Acked():
			acked += w
		case o == Returned:
			returned += w
		default:
			nacked += w
		}
	}
	return acked, nacked, returned
}

// Prefix returns the position after the last message of the leading run that is
// settled and acked, and whether that run is the whole group.
func (g *Group) Prefix() (pos int64, some, whole bool) {
	for i := range g.origins {
		o := &g.origins[i]
		if atomic.LoadInt32(&o.open) != 0 || !Outcome(o.worst.Load()).Acked() {
			return pos, some, false
		}
		pos, some = o.pos, true
	}
	return pos, some, true
}

// finish records an outcome of one instance of message i and reports whether
// it was the last one.
func (g *Group) finish(i uint32, o Outcome) bool {
	m := &g.origins[i]
	for {
		w := m.worst.Load()
		if uint32(o) <= w || m.worst.CompareAndSwap(w, uint32(o)) {
			break
		}
	}
	if atomic.LoadInt32(&m.open) == 1 { // ours is the only one left: nobody else can touch it
		m.open = 0
	} else if atomic.AddInt32(&m.open, -1) != 0 {
		return false
	}
	if g.tokens != nil {
		g.acks.MessageDone(g, g.tokens[i], Outcome(m.worst.Load()))
	}
	return true
}

func (g *Group) release(n int64) {
	if n > 0 && g.open.Add(-n) == 0 {
		g.acks.GroupDone(g)
	}
}

// DoubleSettles counts second outcomes for one instance: always 0 unless the
// engine has a bug. Under `go test` a second outcome panics instead.
var DoubleSettles atomic.Int64

// Settle gives every event its one outcome. It is called by the engine, never
// by a component; the events must not be used afterwards.
func Settle(events []*Event, o Outcome) {
	for len(events) > 0 {
		events = settleRun(events, o, true)
	}
}

// Abandon returns events that a worker still holds and may still look at: they
// are settled as Settle does, but not written to. The engine makes sure that the
// worker cannot settle them a second time.
func Abandon(events []*Event) {
	for len(events) > 0 {
		events = settleRun(events, Returned, false)
	}
}

// settleRun settles the leading events that are of one group and returns the rest.
func settleRun(events []*Event, o Outcome, mark bool) []*Event {
	g := events[0].group
	messages, residents, n := int64(0), int64(0), 0
	for _, e := range events {
		if e.group != g {
			break
		}
		n++
		if e.settled {
			doubleSettle(e, o)
			continue
		}
		if mark {
			e.settled = true
		}
		if !e.detached {
			residents++
		}
		if g != nil && g.finish(e.index, o) {
			messages++
		}
	}
	if g != nil {
		if o == Returned {
			g.pinned.Store(true)
		}
		g.release(messages)
		g.depart(residents)
	}
	return events[n:]
}

// Pin keeps the memory of events, and of what they were made of, from being used
// again once they are settled: for a call that was left behind and still looks at
// it. The engine calls it before it settles them.
func Pin(events []*Event) {
	for _, e := range events {
		if e.group == nil {
			continue
		}
		e.group.pinned.Store(true)
		if m, ok := e.group.acks.(*merged); ok {
			Pin(m.parents)
		}
	}
}

func doubleSettle(e *Event, o Outcome) {
	DoubleSettles.Add(1)
	if testing.Testing() {
		panic(fmt.Sprintf("BUG: second outcome %v for event %s of %s", o, e.ID(), e.Origin()))
	}
}

// Fork returns another instance of e for another path; both must be settled.
// The new instance shares the bytes of the body and the metadata.
func Fork(e *Event) *Event {
	c := *e
	atomic.AddInt32(&e.group.origins[e.index].open, 1)
	if !e.detached {
		e.group.resident.Add(1)
	}
	return &c
}

// ForkAll forks a whole batch into one allocation.
func ForkAll(events []*Event) []*Event {
	slab := make([]Event, len(events))
	forks := make([]*Event, len(events))
	for i := 0; i < len(events); {
		g, residents := events[i].group, int64(0)
		for ; i < len(events) && events[i].group == g; i++ {
			e := events[i]
			slab[i] = *e
			forks[i] = &slab[i]
			atomic.AddInt32(&g.origins[e.index].open, 1)
			if !e.detached {
				residents++
			}
		}
		g.resident.Add(residents)
	}
	return forks
}

// merged settles the parents of an event that several were folded into.
type merged struct{ parents []*Event }

func (m *merged) MessageDone(*Group, any, Outcome) {}

func (m *merged) GroupDone(g *Group) { Settle(m.parents, Outcome(g.origins[0].worst.Load())) }

// merge makes one new event that carries all the parents: they are settled with
// its result. The event's identity and time are the first parent's.
func merge(parents []*Event) *Event {
	first := parents[0]
	g := &Group{acks: &merged{parents: parents}, origins: make([]origin, 1), events: 1}
	if p := first.group; p != nil {
		g.source, g.partition, g.read, g.seq = p.source, p.partition, p.read, p.seq
		g.origins[0].pos = first.offset()
		if token, ok := first.token().(Replayed); ok {
			g.tokens = []any{token} // the identity is the first parent's; nobody is told the result
		}
		if p.line > 0 {
			g.line = p.line + int64(first.index)
		}
	}
	g.origins[0].open = 1
	g.open.Store(1)
	g.resident.Store(1)
	e := &Event{group: g, meta: first.meta, dead: first.dead}
	return e
}
