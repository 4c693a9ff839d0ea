package edge

import (
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// decide settles the fate of c.events one by one, in order, until one has to
// wait, the edge fails, or the turn is over.
func (q *Edge) decide(c *call) {
	c.taken, c.refused, c.cutoff = 0, 0, time.Time{}
	if q.rules.Policy == Sample {
		q.sample(c)
	} else {
		for len(c.events) > 0 && (q.fill(c) || c.most > 0 && (q.expire(c) || q.overflow(c))) {
		}
	}
	if q.sparse(c) {
		q.ring.detach(c.taken)
	}
}

// fill admits the events that fit, and reports whether there were any.
func (q *Edge) fill(c *call) bool {
	k := min(len(c.events), c.most, q.rules.Events-q.ring.n)
	if k <= 0 {
		return false
	}
	room := q.rules.limit - q.bytes
	var size int64
	for i, e := range c.events[:k] {
		s := int64(e.Size())
		if size+s > room && (i > 0 || q.ring.n > 0) { // alone, even a large one is admitted
			k = i
			break
		}
		size += s
	}
	if k == 0 {
		return false
	}
	q.tripped = false
	q.admit(c.events[:k], size)
	c.most -= k
	c.took(k)
	return true
}

// overflow decides about an event that does not fit. It is false when the event
// has to wait or the edge fails.
func (q *Edge) overflow(c *call) bool {
	switch q.rules.Policy {
	case Block:
		return q.timeOut(c)
	case DropOldest:
		q.replaceOldest(c, Oldest)
	case DropRandom:
		q.replaceRandom(c)
	case DropNewest:
		q.refuse(c, q.newest(c.events[0]))
	default:
		panic("BUG: no such policy: " + string(q.rules.Policy))
	}
	return true
}

// timeOut is Block's overflow. An event waits once; while the edge is tripped
// the events after it do not.
func (q *Edge) timeOut(c *call) bool {
	if !c.late && (c.waited || !q.tripped) {
		return false
	}
	q.tripped = true
	switch q.rules.Then {
	case DropNewest:
		q.lossy = true
		q.refuse(c, TimedOut)
	case DropOldest:
		q.replaceOldest(c, TimedOut)
	default:
		c.failed = true
		return false
	}
	return true
}

// newest is the reason why an offered event is dropped: that it came last, or
// that it is too large to be queued together with others.
func (q *Edge) newest(e *pipe.Event) Reason {
	if int64(e.Size()) > q.rules.limit {
		return Oversize
	}
	return Newest
}

// replaceOldest evicts from the head until the event fits, then admits it. When
// a bound was lowered below the fill, it evicts only what keeps the fill from
// growing.
func (q *Edge) replaceOldest(c *call, r Reason) {
	most, limit := q.bounds()
	size := int64(c.events[0].Size())
	for q.ring.n > 0 && (q.ring.n >= most || q.bytes+size > limit) {
		q.evict(q.ring.popHead(), r, &c.drops)
	}
	q.squeezeIn(c, size)
}

// replaceRandom drops events chosen uniformly from the queued and the offered
// one, until the offered one fits or is itself chosen. One that only fits into
// an empty edge is dropped, rather than everything else for its sake.
func (q *Edge) replaceRandom(c *call) {
	size := int64(c.events[0].Size())
	if size > q.rules.limit {
		q.refuse(c, Oversize)
		return
	}
	most, limit := q.bounds()
	for q.ring.n >= most || q.bytes+size > limit {
		i := q.rng.IntN(q.ring.n + 1)
		if i == q.ring.n {
			q.refuse(c, Random)
			return
		}
		q.evict(q.ring.remove(i), Random, &c.drops)
	}
	q.squeezeIn(c, size)
}

// bounds are the bounds of the edge, or its fill where that is larger.
func (q *Edge) bounds() (events int, bytes int64) {
	return max(q.rules.Events, q.ring.n), max(q.rules.limit, q.bytes)
}

// squeezeIn admits an event for which others were evicted.
func (q *Edge) squeezeIn(c *call, size int64) {
	q.admit(c.events[:1], size)
	c.took(1)
}

// took takes the first k events off c, which were admitted.
func (c *call) took(k int) {
	c.events = c.events[k:]
	c.taken += k
	c.waited, c.late = false, false
}

// admit queues events that together have the given size.
func (q *Edge) admit(events []*pipe.Event, size int64) {
	q.ring.push(events)
	q.bytes += size
	q.counts.offered.add(len(events), size)
	q.counts.admitted.add(len(events), size)
	if q.bytes > q.rules.limit && q.ring.n == 1 {
		q.counts.oversize++
	}
	if q.ring.n > q.counts.peak {
		q.counts.peak = q.ring.n
	}
}

// refuse drops the next offered event.
func (q *Edge) refuse(c *call, r Reason) {
	e := c.events[0]
	q.counts.offered.add(1, int64(e.Size()))
	q.counts.refused[r].add(1, int64(e.Size()))
	c.drops.add(e, q.rules.outcome)
	c.events = c.events[1:]
	c.refused++
	c.waited, c.late = false, false
}

// evict drops an event that was just taken out of the ring.
func (q *Edge) evict(e *pipe.Event, r Reason, d *drops) {
	size := int64(e.Size())
	q.bytes -= size
	q.counts.evicted[r].add(1, size)
	d.add(e, q.rules.outcome)
}

// expire drops what is too old at the head of a full edge, or else the offered
// event if that is too old. It reports whether anything was.
func (q *Edge) expire(c *call) bool {
	if q.rules.Age == 0 {
		return false
	}
	if c.cutoff.IsZero() {
		c.cutoff = time.Now().Add(-q.rules.Age)
	}
	before := q.ring.n
	for q.ring.n > 0 && expired(q.ring.at(0), c.cutoff) {
		q.evict(q.ring.popHead(), Expired, &c.drops)
	}
	if q.ring.n < before {
		q.wakeProducer() // there may be more room than this event needs
		return true
	}
	if expired(c.events[0], c.cutoff) {
		q.refuse(c, Expired)
		return true
	}
	return false
}

// expired reports whether e was read at or before cutoff. An event without a
// time never expires.
func expired(e *pipe.Event, cutoff time.Time) bool {
	t := e.Time()
	return !t.After(cutoff) && !t.IsZero()
}

// untilExpiry returns after which time e will be older than age.
func untilExpiry(e *pipe.Event, age time.Duration) time.Duration {
	t := e.Time()
	if t.IsZero() {
		return never
	}
	return max(0, time.Until(t.Add(age)))
}

// sparse reports whether this turn queued few events of a batch whose other
// events are gone. Each would keep the read buffer and the slab of its whole
// batch alive, so they get memory of their own. Under Block most batches are
// admitted in the end, so this is only asked after a timeout.
func (q *Edge) sparse(c *call) bool {
	if c.taken == 0 || 2*c.taken >= len(c.all) {
		return false
	}
	switch q.rules.Policy {
	case DropNewest, Sample:
		return true
	case Block:
		return q.lossy && len(c.events) > 0 || c.refused > 0
	}
	return false
}
