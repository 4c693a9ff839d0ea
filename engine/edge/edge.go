// Package edge is the bounded queue between two nodes of a pipeline: the place
// where pressure is felt, where it is answered, and where it is counted.
//
// An Edge is a bounded channel built the way Go builds its own (a mutex, a ring
// and two lists of parked goroutines) with four verbs added: weigh, evict,
// resize and explain.
//
// # Locking
//
//  1. mu guards everything in an Edge. No critical section waits or calls out:
//     sampling keys are worked out before it, and dropped events are settled after
//     it, before the goroutine parks.
//  2. Every decision about an event is made in one critical section, under one
//     generation of settings.
//  3. All waiting is a select on the waiter's own channel, on ctx.Done and, where
//     a timeout or an age asks for it, on a timer. Whoever makes room wakes the
//     head of the producers; whoever adds events wakes the head of the
//     receivers; whoever leaves a list wakes the next head, if there is still
//     something to have. Apply wakes every producer, Close wakes everybody.
//  4. A woken producer takes its turn itself, so a running one may overtake it:
//     that is cheap, and fair while it goes fast. When the head has waited as long
//     as barging, the edge becomes strict for strictFor: only the head is served,
//     and a turn is as long as the smallest batch that waits, so that every
//     producer gets the same number of events.
//  5. The clock is read when a goroutine parks, wakes or leaves, for a snapshot,
//     and with an age once per Recv and per Send to a full edge; never otherwise.
//  6. Locks nest in one direction: Inbox.turn, Edge.mu, Inbox.mu.
//  7. An Inbox may get other edges while workers wait in it: Inbox.Set calls them
//     away, and a worker that still goes to an edge that is now one of several
//     finds that in Edge.inbox before it parks.
package edge

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// ErrClosed is returned by Send on a closed edge, and by Recv once a closed edge
// is empty.
var ErrClosed = errors.New("edge is closed")

// ErrFailed is returned by Send when an event waited for Timeout and Then is Fail.
var ErrFailed = errors.New("edge was full for the whole timeout")

// barging is how long the head of the waiting producers may be overtaken by
// running ones, and strictFor how long it then goes in strict order. Strict order
// all the time would cost a goroutine switch an event.
const (
	barging   = int64(time.Millisecond)
	strictFor = barging / 2
)

// Options are what an edge is made with besides its settings.
type Options struct {
	// Generation is the generation of the configuration the settings come from.
	Generation uint64
}

// Edge is a bounded queue of events with a policy for when it is full. All
// methods may be called from any goroutine.
type Edge struct {
	id    string
	start time.Time

	mu         sync.Mutex // guards what follows
	rules      rules
	applied    uint64 // how often settings were put in force
	generation uint64
	seed       uint64
	rng        *rand.Rand
	rateText   rateText

	ring   ring
	bytes  int64 // accounted size of the queued events
	closed bool

	producers  waitlist
	receivers  waitlist
	strict     bool // only the head of producers may be admitted, see Locking
	strictTill int64
	tripped    bool // Block has timed out and nothing has fitted since
	lossy      bool // Block has timed out and the edge was not empty since

	inbox    *Inbox // nil unless the edge is one of several of an Inbox
	slot     int    // its place in inbox
	reported state  // what inbox was last told
	nudges   uint64 // how often waiting receivers were called away

	counts counts
}

// New makes an edge. id is its name in logs and metrics: "parse->out".
func New(id string, s Settings, o Options) *Edge {
	q := &Edge{id: id, start: time.Now()}
	q.use(compile(s), o.Generation)
	return q
}

// ID returns the edge's name.
func (q *Edge) ID() string { return q.id }

// Settings returns the settings now in force.
func (q *Edge) Settings() Settings {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.rules.Settings
}

// now is the edge's clock, in nanoseconds since New.
func (q *Edge) now() int64 { return int64(time.Since(q.start)) }

// use puts settings in force.
func (q *Edge) use(r rules, generation uint64) {
	if q.rng == nil || r.Seed != q.rules.Seed {
		q.seed = r.Seed
		if q.seed == 0 {
			q.seed = rand.Uint64()
		}
		q.rng = rand.New(rand.NewPCG(q.seed, 1))
	}
	q.rules, q.generation = r, generation
	q.applied++
	q.tripped = false
	if q.closed {
		q.rules.freeEvents = -1
	}
}

// Applied says what an edge held when other settings were put in force.
type Applied struct {
	Carried int           // events that were queued and stay
	Evicted int           // events that OnShrink: Evict dropped
	Waiting int           // producers that waited and decide again
	Paused  time.Duration // how long the edge was locked
}

// Apply puts other settings in force. It neither waits nor fails, and by itself
// it loses nothing: queued events stay unless OnShrink is Evict. Waiting
// producers decide again under the new settings, with their timeout counted from
// when they began to wait. Settings that Validate refuses panic.
func (q *Edge) Apply(s Settings, generation uint64) Applied {
	r := compile(s)
	var d drops
	q.mu.Lock()
	began := q.now()
	a := Applied{Carried: q.ring.n, Waiting: q.producers.n}
	q.use(r, generation)
	if s.OnShrink == Evict {
		for q.ring.n > s.Events || q.bytes > r.limit && q.ring.n > 1 {
			q.evict(q.ring.popHead(), Resized, &d)
		}
	}
	a.Evicted, a.Carried = a.Carried-q.ring.n, q.ring.n
	q.producers.wakeAll()
	q.wakeReceiver()
	if q.inbox != nil {
		q.inbox.rank(q.slot, s.Priority)
	}
	a.Paused = time.Duration(q.now() - began)
	q.mu.Unlock()
	d.settle()
	return a
}

// Lift takes the bounds away for what is being sent at this moment, before an
// edge that is not part of the pipeline any more is closed: its producers must
// not wait for a consumer that may be dead. The policy stays.
func (q *Edge) Lift() {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.rules.Settings
	s.Events, s.Bytes = math.MaxInt, 0
	q.use(compile(s), q.generation)
	q.producers.wakeAll()
}

// Finished reports whether the edge is closed and empty.
func (q *Edge) Finished() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && q.ring.n == 0
}

// nudge calls the waiting receivers away: their Recv returns 0 and nil.
func (q *Edge) nudge() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.nudges++
	q.receivers.wakeAll()
}

// Close says that nothing more will be sent. What is queued can still be
// received; waiting producers get ErrClosed and keep what was not admitted.
// Closing twice is allowed.
func (q *Edge) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.close()
	q.wakeReceiver()
}

func (q *Edge) close() {
	q.closed = true
	q.rules.freeEvents = -1
	q.producers.wakeAll()
}

// Drain closes the edge and returns everything that was queued, for a stop that
// cannot wait. The events are the caller's to settle and count as returned.
func (q *Edge) Drain() []*pipe.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.close()
	events := make([]*pipe.Event, q.ring.n)
	q.ring.pop(events)
	q.counts.returned.add(len(events), q.bytes)
	q.bytes = 0
	q.wakeReceiver()
	return events
}

// wakeProducer wakes the head of the producers if there may be room for it.
func (q *Edge) wakeProducer() {
	if w := q.producers.head; w != nil && (q.ring.n < q.rules.Events || q.closed) {
		w.wake()
	}
}

// wakeReceiver wakes the head of the receivers if there is something for it:
// events, or the end.
func (q *Edge) wakeReceiver() {
	if q.inbox != nil {
		q.report()
	}
	w := q.receivers.head
	switch {
	case w == nil:
	case q.ring.n > 0:
		w.wake()
	case q.closed:
		q.receivers.wakeAll()
	}
}
