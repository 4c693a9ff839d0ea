package edge

import (
	"math/bits"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

const (
	smallRing   = 64               // slots that a ring never goes below
	shrinkAfter = 10 * time.Second // of using at most a quarter, the ring gives memory back
)

// ring is a queue of events in one power-of-two slice. It grows by doubling and
// clears the slots it gives up, so that nothing is kept alive by accident.
type ring struct {
	buf  []*pipe.Event
	head int
	n    int

	most  int   // the largest n since the last call of trim
	quiet int64 // since when at most a quarter was used, in nanoseconds of the edge's clock
}

func (r *ring) slot(i int) int { return (r.head + i) & (len(r.buf) - 1) }

func (r *ring) at(i int) *pipe.Event { return r.buf[r.slot(i)] }

// push appends events at the tail.
func (r *ring) push(events []*pipe.Event) {
	n := r.n + len(events)
	if n > len(r.buf) {
		r.resize(n)
	}
	tail := r.slot(r.n)
	copied := copy(r.buf[tail:], events)
	copy(r.buf, events[copied:])
	r.n = n
	if n > r.most {
		r.most = n
	}
}

// pop moves len(dst) events from the head to dst; there must be as many.
func (r *ring) pop(dst []*pipe.Event) {
	first := r.buf[r.head:min(r.head+len(dst), len(r.buf))]
	copied := copy(dst, first)
	clear(first)
	rest := r.buf[:len(dst)-copied]
	copy(dst[copied:], rest)
	clear(rest)
	r.head = r.slot(len(dst))
	r.n -= len(dst)
}

// popHead removes the oldest event.
func (r *ring) popHead() *pipe.Event {
	e := r.buf[r.head]
	r.buf[r.head] = nil
	r.head = r.slot(1)
	r.n--
	return e
}

// remove takes out event i and keeps the order of the others, moving the
// smaller part of them.
func (r *ring) remove(i int) *pipe.Event {
	gap := r.slot(i)
	e := r.buf[gap]
	if i < r.n/2 {
		if r.head > gap { // the part wraps around
			copy(r.buf[1:gap+1], r.buf)
			gap = len(r.buf) - 1
			r.buf[0] = r.buf[gap]
		}
		copy(r.buf[r.head+1:gap+1], r.buf[r.head:])
		r.popHead()
		return e
	}
	last := r.slot(r.n - 1)
	if last < gap {
		copy(r.buf[gap:], r.buf[gap+1:])
		gap = 0
		r.buf[len(r.buf)-1] = r.buf[0]
	}
	copy(r.buf[gap:last], r.buf[gap+1:])
	r.buf[last] = nil
	r.n--
	return e
}

// detach gives the last n events memory of their own.
func (r *ring) detach(n int) {
	for i := r.n - min(n, r.n); i < r.n; i++ {
		s := r.slot(i)
		r.buf[s] = r.buf[s].Detach()
	}
}

// resize moves the events to a slice with room for at least n.
func (r *ring) resize(n int) {
	buf := make([]*pipe.Event, 1<<bits.Len(uint(max(n, smallRing)-1)))
	if r.n > 0 {
		copied := copy(buf, r.buf[r.head:min(r.head+r.n, len(r.buf))])
		copy(buf[copied:], r.buf[:r.n-copied])
	}
	r.buf, r.head = buf, 0
}

// trim gives memory back when little of it was used for a while. It is called
// now and then, with the time.
func (r *ring) trim(now int64) {
	most := r.most
	r.most = r.n
	if len(r.buf) <= smallRing || most > len(r.buf)/4 {
		r.quiet = now
	} else if now-r.quiet >= int64(shrinkAfter) {
		r.quiet = now
		r.resize(2 * most)
	}
}
