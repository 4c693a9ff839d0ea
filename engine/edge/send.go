package edge

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Send offers events in order and waits where the policy says so. It returns how
// many it took, be they admitted or dropped: the rest stays the caller's. With
// n < len(events) the error is ErrClosed, ErrFailed or ctx.Err(). What needs no
// wait is taken even when ctx is done. Events that were taken must not be
// touched again; the slice is the caller's.
func (q *Edge) Send(ctx context.Context, events []*pipe.Event) (n int, err error) {
	q.mu.Lock()
	if q.admitWhole(events) {
		q.mu.Unlock()
		return len(events), nil
	}
	c := call{all: events, events: events}
	wait, err := q.offer(&c)
	if wait {
		err = q.await(ctx, &c)
	}
	return len(events) - len(c.events), err
}

// Offer is Send without the waiting: it takes what would not have to wait and
// returns how many that were. The events after these need a Send.
func (q *Edge) Offer(events []*pipe.Event) (n int) {
	q.mu.Lock()
	if q.admitWhole(events) {
		q.mu.Unlock()
		return len(events)
	}
	c := call{all: events, events: events}
	if wait, _ := q.offer(&c); wait {
		q.mu.Unlock()
		c.end()
	}
	return len(events) - len(c.events)
}

// call is one Send or Offer under way.
type call struct {
	all    []*pipe.Event // what it was called with
	events []*pipe.Event // what is left of it
	keys   *[]sampleKey  // of the last so many of all
	keyed  uint64        // Edge.applied when keys were made
	drops  drops

	most    int   // how many may be admitted in this turn
	waited  bool  // events[0] has waited
	late    bool  // events[0] has waited as long as it may
	failed  bool  // events[0] is why the edge failed
	began   int64 // when events[0] began to wait, in the edge's clock
	cutoff  time.Time
	taken   int // admitted in this turn
	refused int // refused in this turn
}

const unlimited = math.MaxInt

// admitWhole is the path of nearly every batch: it fits, and nobody is before it.
func (q *Edge) admitWhole(events []*pipe.Event) bool {
	if q.ring.n+len(events) > q.rules.freeEvents || q.strict {
		return false
	}
	size := sizeOf(events)
	if q.bytes+size > q.rules.freeBytes {
		return false
	}
	q.tripped = false
	q.admit(events, size)
	if q.inbox != nil || q.receivers.head != nil {
		q.wakeReceiver()
	}
	return true
}

// offer decides what can be decided now. It is called with the lock held and
// gives it up, unless the next event has to wait.
func (q *Edge) offer(c *call) (wait bool, err error) {
	q.relock(c)
	switch {
	case q.closed:
		err = ErrClosed
	case q.strict && q.rules.Policy == Block && !q.tripped && len(c.events) > 0:
		return true, nil // behind those who wait already
	default:
		c.most = unlimited
		q.decide(c)
		q.wakeReceiver()
		if c.failed {
			err = ErrFailed
		} else if len(c.events) > 0 {
			return true, nil
		}
	}
	q.mu.Unlock()
	c.end()
	return false, err
}

// await parks until the rest of c is decided, or cannot be. It is called with
// the lock held and gives it up.
func (q *Edge) await(ctx context.Context, c *call) (err error) {
	now := q.now()
	w := q.producers.join(now)
	c.began = now
	for len(c.events) > 0 && err == nil {
		c.waited = true
		w.left = len(c.events)
		timer := w.arm(q.patience(w, c, now))
		q.mu.Unlock()
		c.drops.settle()
		why := w.wait(ctx.Done(), timer)
		w.disarm()
		q.mu.Lock()
		q.relock(c)
		w.rise(why)
		now = q.now()
		switch {
		case q.closed:
			err = ErrClosed
		case why == cancelled:
			err = ctx.Err()
		default:
			err = q.turn(w, c, now)
		}
	}
	q.counts.waits.observe(q.producers.leave(w, now))
	q.newHead(now)
	q.mu.Unlock()
	c.end()
	return err
}

// turn lets the producer w go on, if it may.
func (q *Edge) turn(w *waiter, c *call, now int64) error {
	head, block := q.producers.head == w, q.rules.Policy == Block
	c.late = block && q.rules.Timeout > 0 && now-c.began >= int64(q.rules.Timeout)
	long := head && block && now-w.since >= barging
	if long && q.strict {
		q.strictTill = now + strictFor
	}
	ordered := q.strict && block && !c.late
	if ordered && !head {
		return nil
	}
	c.most = unlimited
	if ordered {
		c.most = q.producers.smallest()
	}
	before := len(c.events)
	q.decide(c)
	q.wakeReceiver()
	if c.failed {
		return ErrFailed
	}
	switch left := len(c.events); {
	case left == 0: // await leaves the list
	case left < before:
		c.began, w.left = now, left
		q.producers.rotate(w, now)
		q.newHead(now)
	case long:
		q.strict, q.strictTill = true, now+strictFor
	}
	return nil
}

// newHead is called when the list of producers has another head, and wakes it if
// there is room, or if it has to watch over what expires now.
func (q *Edge) newHead(now int64) {
	w := q.producers.head
	q.strict = w != nil && q.rules.Policy == Block && now < q.strictTill
	q.wakeProducer()
	if w != nil && q.rules.Age > 0 {
		w.wake()
	}
}

// patience returns how long the producer w may sleep: until its timeout, and at
// the head also until an event expires and makes room.
func (q *Edge) patience(w *waiter, c *call, now int64) time.Duration {
	d := never
	if q.rules.Policy == Block && q.rules.Timeout > 0 {
		d = q.rules.Timeout - time.Duration(now-c.began)
	}
	if age := q.rules.Age; age > 0 && q.producers.head == w {
		d = min(d, untilExpiry(c.events[0], age))
		if q.ring.n > 0 {
			d = min(d, untilExpiry(q.ring.at(0), age))
		}
	}
	return d
}

// drops are events whose end is decided and that wait for the lock to be gone.
type drops struct {
	list    *[]*pipe.Event
	outcome pipe.Outcome
}

var dropLists = sync.Pool{New: func() any { return new([]*pipe.Event) }}

func (d *drops) add(e *pipe.Event, o pipe.Outcome) {
	if d.list == nil {
		d.list, d.outcome = dropLists.Get().(*[]*pipe.Event), o
	}
	*d.list = append(*d.list, e)
}

// settle tells the sources. It is called without any lock.
func (d *drops) settle() {
	if d.list == nil {
		return
	}
	pipe.Settle(*d.list, d.outcome)
	clear(*d.list)
	*d.list = (*d.list)[:0]
	dropLists.Put(d.list)
	d.list = nil
}

func sizeOf(events []*pipe.Event) (size int64) {
	for _, e := range events {
		size += int64(e.Size())
	}
	return size
}
