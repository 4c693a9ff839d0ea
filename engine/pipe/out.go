package pipe

import (
	"errors"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/pipectl/pipectl/engine/record"
)

// Out collects what a stage decides. Every event given to Process needs exactly
// one of Emit, EmitTo, Filter, Fail, Split or Hold; one without any is failed by the
// engine ("stage gave no outcome"), never forgotten and never acked.
//
// An Out belongs to one worker and is valid only during the call it is passed to.
type Out struct {
	// Arena owns memory for edited bodies; pass it to record functions.
	Arena record.Arena

	step     uint64 // marks the events that were decided about in this step
	decided  int64
	ports    [][]*Event
	filtered []*Event
	failed   []Failure
	unrouted int64
	created  int64
	merged   int64
	held     int64
	released int64
	double   int64
	scratch  []byte
	copies   []*Event            // made by Copy in this step
	extra    []growth            // instances that Settle must wait for, not entered yet
	kept     map[*Event]struct{} // held beyond their step; nil until Hold
}

// NewOut makes an Out with n output ports. Only the engine and tests call it.
func NewOut(n int) *Out {
	o := &Out{ports: make([][]*Event, n)}
	o.Reset()
	return o
}

// steps numbers the steps of all workers, so that a mark of one is not taken
// for a mark of another.
var steps atomic.Uint64

// decide marks e as decided about. It is false when it already was.
func (o *Out) decide(e *Event) bool {
	if e.decided == o.step {
		o.double++
		return false
	}
	e.decided = o.step
	o.decided++
	return true
}

// Emit hands e on through the main output.
func (o *Out) Emit(e *Event) { o.EmitTo(0, e) }

// EmitTo hands e on through port i, in the order of Router.Ports.
func (o *Out) EmitTo(i int, e *Event) {
	if e.decided == o.step {
		o.double++
		return
	}
	e.decided = o.step
	o.decided++
	if n, ok := e.Body.Whole(); ok && e.meta == nil {
		e.size = uint32(min(EventOverhead+n, 1<<32-1))
	} else {
		e.Weigh()
	}
	o.ports[i] = append(o.ports[i], e)
}

// Filter ends e: the stage chose not to hand it on. Its source is acked.
func (o *Out) Filter(e *Event) {
	if o.decide(e) {
		o.filtered = append(o.filtered, e)
	}
}

// Unrouted ends e like Filter and counts it as unrouted: no case took it.
func (o *Out) Unrouted(e *Event) {
	if o.decide(e) {
		o.filtered = append(o.filtered, e)
		o.unrouted++
	}
}

// Fail ends e with an error. It leaves through the node's failed port as a dead
// letter, or on_error decides. e.Body must be as it was before the stage.
func (o *Out) Fail(e *Event, err error) {
	if !o.decide(e) {
		return
	}
	if err == nil {
		err = errors.New("stage failed the event without saying why")
	}
	o.failed = append(o.failed, Failure{e, err})
}

// Copy returns another instance of e for another port (route's mode all). The
// copy needs an EmitTo of its own; e needs its own verdict too.
func (o *Out) Copy(e *Event) *Event {
	c := *e
	c.decided = 0
	o.created++
	o.copies = append(o.copies, &c)
	return &c
}

// Split ends e by emitting one event per body in its place, in order, through
// the main output. No bodies means filtered.
func (o *Out) Split(e *Event, bodies []record.Body) {
	if len(bodies) == 0 {
		o.Filter(e)
		return
	}
	if e.decided == o.step {
		o.double++
		return
	}
	o.grow(e, len(bodies)-1)
	o.created += int64(len(bodies) - 1)
	proto := *e
	e.Body = bodies[0]
	o.EmitTo(0, e)
	for i := 1; i < len(bodies); i++ {
		c := proto
		c.Body, c.split = bodies[i], proto.split*31+uint32(i)
		o.EmitTo(0, &c)
	}
}

// Hold keeps e in the stage beyond this call. The stage must later give it to
// Release or Merge, at the latest in Flush. Only a Holder may hold.
func (o *Out) Hold(e *Event) {
	if o.decide(e) {
		o.held++
		if o.kept == nil {
			o.kept = map[*Event]struct{}{}
		}
		o.kept[e] = struct{}{}
	}
}

// Release gives a held event back, so that it can be emitted, filtered or failed.
func (o *Out) Release(e *Event) *Event {
	e.decided = 0
	delete(o.kept, e)
	o.released++
	return e
}

// Merge folds held events into one new event with the given body, which is
// emitted through the main output. The parents are settled with its result.
// Merge keeps the slice.
func (o *Out) Merge(parents []*Event, body record.Body) *Event {
	m := merge(parents)
	m.Body = body
	for _, p := range parents {
		delete(o.kept, p)
	}
	o.released += int64(len(parents))
	o.merged += int64(len(parents)) - 1
	o.EmitTo(0, m)
	return m
}

// Scratch returns a byte slice of length 0 that is reused from call to call.
// Give the grown slice back with KeepScratch.
func (o *Out) Scratch() []byte { return o.scratch[:0] }

// KeepScratch keeps b's memory for the next Scratch.
func (o *Out) KeepScratch(b []byte) {
	if cap(b) > cap(o.scratch) && cap(b) <= 1<<20 {
		o.scratch = b
	}
}

// Counts are the parts of an Out's result that are numbers.
type Counts struct {
	Unrouted int64 // of the filtered, those that no case took
	Created  int64 // extra instances made by Copy and Split
	Merged   int64 // instances folded into another by Merge
	Held     int64 // events kept by Hold
	Released int64 // held events given back by Release or Merge
	Decided  int64 // decisions of all kinds
	Double   int64 // second decisions about one event: a bug of the stage
}

// Complete reports whether n given events and all that the step made of them
// were decided about exactly once. Engine only.
func (o *Out) Complete(n int) bool {
	return o.double == 0 && o.decided == int64(n)+o.created+o.released-o.merged
}

// FailUndecided fails the events of in that have no decision yet. Engine only.
func (o *Out) FailUndecided(in []*Event, err error) {
	for _, e := range in {
		if e.decided != o.step {
			o.Fail(e, err)
		}
	}
}

// growth is instances that a step has made of one event.
type growth struct {
	group    *Group
	index    uint32
	detached bool
	n        int32
}

func (o *Out) grow(e *Event, n int) {
	if n > 0 {
		o.extra = append(o.extra, growth{e.group, e.index, e.detached, int32(n)})
	}
}

// Enter enters what the step has made into the accounts of its messages. Until
// then nothing outside the Out knows of it, so a step whose result is thrown away
// has changed nothing. The engine calls it once the step is over and its
// result counts, before it settles or sends any event of it. Copies that the step
// made and then, because it panicked or failed, did not decide about are
// forgotten. Engine and tests only.
func (o *Out) Enter() {
	for _, c := range o.copies {
		if c.decided == o.step {
			o.grow(c, 1)
		} else {
			o.created--
		}
	}
	for _, x := range o.extra {
		atomic.AddInt32(&x.group.origins[x.index].open, x.n)
		if !x.detached {
			x.group.resident.Add(int64(x.n))
		}
	}
	clear(o.copies)
	clear(o.extra)
	o.copies, o.extra = o.copies[:0], o.extra[:0]
}

// TakeKept returns the events that are still held and forgets them: for a holder
// that ended without giving them back. Engine only.
func (o *Out) TakeKept() []*Event {
	kept := slices.Collect(maps.Keys(o.kept))
	o.kept = nil
	return kept
}

// Undecided appends to dst the events of in that have no decision yet. Engine only.
func (o *Out) Undecided(dst, in []*Event) []*Event {
	for _, e := range in {
		if e.decided != o.step {
			dst = append(dst, e)
		}
	}
	return dst
}

// Port returns the events emitted through port i. Engine and tests only.
func (o *Out) Port(i int) []*Event { return o.ports[i] }

// Ports returns how many ports there are.
func (o *Out) Ports() int { return len(o.ports) }

// Filtered returns the events that the stage ended. Engine and tests only.
func (o *Out) Filtered() []*Event { return o.filtered }

// Failed returns the failures. Engine and tests only.
func (o *Out) Failed() []Failure { return o.failed }

// Counts returns the numbers of this step. Engine and tests only.
func (o *Out) Counts() Counts {
	return Counts{o.unrouted, o.created, o.merged, o.held, o.released, o.decided, o.double}
}

// Reset empties the Out for the next step, keeping its memory. Engine only.
func (o *Out) Reset() {
	for i := range o.ports {
		clear(o.ports[i])
		o.ports[i] = o.ports[i][:0]
	}
	clear(o.filtered)
	clear(o.failed)
	clear(o.copies)
	clear(o.extra)
	o.copies, o.extra = o.copies[:0], o.extra[:0]
	o.filtered, o.failed = o.filtered[:0], o.failed[:0]
	o.unrouted, o.created, o.merged, o.held, o.released, o.double, o.decided = 0, 0, 0, 0, 0, 0, 0
	o.step = steps.Add(1)
}
