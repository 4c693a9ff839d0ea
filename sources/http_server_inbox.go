package sources

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// post is a request that holds a place and has been decoded.
type post struct {
	events []record.Body
	meta   [][2]string       // for all events
	client *client           // where it is counted; nil when nobody counts
	taken  chan bool         // one slot: whether the pipeline took the events
	result chan pipe.Outcome // one slot: how they ended
}

// inbox holds the posts that Read has not taken yet. It needs no bound of its
// own: each post holds a place of the gate.
type inbox struct {
	wake chan struct{} // one slot: there is something to take

	mu     sync.Mutex // guards what follows
	queue  []*post
	closed bool
}

// put adds a post, or reports false when the inbox is shut.
func (q *inbox) put(p *post) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.queue = append(q.queue, p)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// take removes the first post, or returns nil.
func (q *inbox) take() *post {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		return nil
	}
	p := q.queue[0]
	q.queue = slices.Delete(q.queue, 0, 1)
	return p
}

// withdraw removes p, or reports false when somebody else has done so.
func (q *inbox) withdraw(p *post) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.queue, p)
	if i < 0 {
		return false
	}
	q.queue = slices.Delete(q.queue, i, i+1)
	return true
}

// shut takes no more posts and gives back those that nobody has taken.
func (q *inbox) shut() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, p := range q.queue {
		p.taken <- false
	}
	q.queue = nil
}

// bodyReaders are the requests whose bodies are arriving: a drain does not wait
// for slow clients.
type bodyReaders struct {
	mu     sync.Mutex // guards what follows
	open   map[*http.ResponseController]bool
	closed bool
}

// begin gives a body until deadline to arrive; nil means that it may, and that end
// must follow.
func (r *bodyReaders) begin(c *http.ResponseController, deadline time.Time) *refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return closing()
	}
	if c.SetReadDeadline(deadline) != nil { // the connection is gone
		return endedEarly()
	}
	r.open[c] = true
	return nil
}

// end says that a body is here, or given up.
func (r *bodyReaders) end(c *http.ResponseController) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
	if !r.closed {
		c.SetReadDeadline(time.Time{})
	}
}

// interrupt makes all reads of bodies fail, now and later.
func (r *bodyReaders) interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for c := range r.open {
		c.SetReadDeadline(time.Unix(1, 0))
	}
}

func (r *bodyReaders) interrupted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}
