package edge

import (
	"context"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Recv moves 1 to len(dst) events from the head of the queue to dst and returns
// how many. It waits while the edge is empty, and returns ErrClosed once it is
// closed and empty, or ctx.Err(). What is queued is handed out even when ctx is
// done. Receivers that wait are served in the order they came.
func (q *Edge) Recv(ctx context.Context, dst []*pipe.Event) (n int, err error) {
	return q.RecvUntil(ctx, dst, nil)
}

// RecvUntil is Recv that also returns when wake delivers, then with 0 and nil.
// With events in the queue it does not look at wake.
func (q *Edge) RecvUntil(ctx context.Context, dst []*pipe.Event, wake <-chan time.Time) (n int, err error) {
	q.mu.Lock()
	if q.ring.n == 0 || q.rules.Age > 0 {
		return q.recvSlow(ctx, dst, wake)
	}
	n = q.take(dst)
	q.mu.Unlock()
	return n, nil
}

// recvSlow is called with the lock held and gives it up.
func (q *Edge) recvSlow(ctx context.Context, dst []*pipe.Event, wake <-chan time.Time) (n int, err error) {
	var w *waiter
	var d drops
	why, nudged := called, q.nudges
	for {
		n = q.takeFresh(dst, &d)
		if n > 0 || q.ring.n == 0 && q.closed || why != called || len(dst) == 0 {
			break
		}
		if q.nudges != nudged || q.inbox != nil {
			break // called away: the edge is one of several now
		}
		if w == nil {
			now := q.now()
			q.ring.trim(now)
			w = q.receivers.join(now)
		}
		q.mu.Unlock()
		d.settle()
		why = w.wait(ctx.Done(), wake)
		q.mu.Lock()
		w.rise(why)
	}
	switch {
	case n > 0:
	case why == cancelled:
		err = ctx.Err()
	case q.closed && q.ring.n == 0:
		err = ErrClosed
	}
	if w != nil {
		q.receivers.leave(w, q.now())
		q.wakeReceiver()
	}
	q.mu.Unlock()
	d.settle()
	return n, err
}

// take moves events from the head of a queue that is not empty.
func (q *Edge) take(dst []*pipe.Event) int {
	dst = dst[:min(len(dst), q.ring.n)]
	q.ring.pop(dst)
	size := q.bytes
	if q.ring.n > 0 {
		size = sizeOf(dst)
	}
	q.took(len(dst), size)
	return len(dst)
}

// takeFresh is take that leaves out what is too old; there may be nothing.
func (q *Edge) takeFresh(dst []*pipe.Event, d *drops) (n int) {
	if q.ring.n == 0 {
		return 0
	}
	if q.rules.Age == 0 {
		return q.take(dst)
	}
	cutoff := time.Now().Add(-q.rules.Age)
	var size int64
	for n < len(dst) && q.ring.n > 0 {
		e := q.ring.popHead()
		if expired(e, cutoff) {
			q.evict(e, Expired, d)
			continue
		}
		dst[n] = e
		n++
		size += int64(e.Size())
	}
	q.took(n, size)
	return n
}

// took accounts for events that were handed out, and for the room they left.
func (q *Edge) took(n int, size int64) {
	q.bytes -= size
	q.counts.delivered.add(n, size)
	if q.ring.n == 0 {
		q.lossy = false
	}
	if q.inbox != nil {
		q.report()
	}
	q.wakeProducer()
}

// poll takes what is there, for an Inbox.
func (q *Edge) poll(dst []*pipe.Event, d *drops) (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.takeFresh(dst, d)
}
