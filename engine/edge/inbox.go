package edge

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// lowerShare says which part of the events is kept for edges of lower priority
// while they have some: one in lowerShare.
const lowerShare = 8

// state is what an Inbox knows about one of its edges.
type state uint8

const (
	empty    state = iota
	ready          // it has events
	finished       // it is closed and empty
)

// Inbox joins the edges that end at one node, whose workers receive from all of
// them. Edges of equal priority get equal shares of the events, those of higher
// priority come first, except for one event in eight that is kept for the
// others. The order of each edge is kept. With one edge an Inbox is that edge.
//
// A worker parks only when no edge is ready, which mu makes exact: an edge
// reports each change between empty, ready and finished while it holds its own
// lock.
type Inbox struct {
	only atomic.Pointer[Edge] // when there is no other, nil otherwise; changed with turn held

	turn sync.Mutex // held while one worker picks events; guards plan
	plan plan

	mu       sync.Mutex // guards what follows; see Locking in edge.go
	start    time.Time
	members  []member
	ready    int // how many members are ready
	finished int // how many are finished
	reranked bool
	nudges   uint64 // how often waiting workers were called away
	workers  waitlist
	carried  time.Duration // idle time before the last Set
	base     time.Duration // what the present place of waiting had counted then
}

type member struct {
	edge     *Edge
	priority int
	state    state
}

// NewInbox joins edges. An edge belongs to one Inbox at most and is then only
// received from through it.
func NewInbox(edges ...*Edge) *Inbox {
	b := &Inbox{start: time.Now()}
	b.Set(edges...)
	return b
}

// Set makes edges the edges of the inbox, whatever they were before: those that
// stay keep their order and what they hold. Workers that wait are called away
// for a moment (they receive 0 events and no error). An edge that is left out
// must be empty and closed, or nobody takes its events any more.
func (b *Inbox) Set(edges ...*Edge) {
	b.turn.Lock()
	defer b.turn.Unlock()
	before := b.only.Load()
	if before != nil && len(edges) == 1 && edges[0] == before {
		return
	}
	for i := range b.members { // they report no more
		q := b.members[i].edge
		q.mu.Lock()
		q.inbox = nil
		q.mu.Unlock()
	}
	idle, _ := b.Idle()
	var only *Edge
	var base time.Duration
	if len(edges) == 1 {
		only, edges = edges[0], nil
		base = only.Snapshot().Idle
	}
	b.mu.Lock()
	if only == nil {
		base = b.workers.total(b.now())
	}
	b.members, b.ready, b.finished, b.reranked = make([]member, len(edges)), 0, 0, true
	for i, q := range edges {
		b.members[i].edge = q
	}
	b.carried, b.base = idle, base
	b.only.Store(only)
	b.nudges++
	b.workers.wakeAll()
	b.mu.Unlock()
	for i, q := range edges {
		q.join(b, i)
	}
	if before != nil && before != only {
		before.nudge()
	}
}

// CallAway makes workers that wait for events return: they receive 0 events and
// no error.
func (b *Inbox) CallAway() {
	if q := b.only.Load(); q != nil {
		q.nudge()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nudges++
	b.workers.wakeAll()
}

// join makes the edge the slot-th of several.
func (q *Edge) join(b *Inbox, slot int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.inbox != nil {
		panic("BUG: edge " + q.id + " is in two inboxes")
	}
	q.inbox, q.slot, q.reported = b, slot, empty
	b.rank(slot, q.rules.Priority)
	q.report()
}

// Finished reports whether all edges of the inbox are closed and empty.
func (b *Inbox) Finished() bool {
	if q := b.only.Load(); q != nil {
		return q.Finished()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.finished == len(b.members) && b.only.Load() == nil
}

// report tells the inbox when the edge's state has changed. It is called with
// the edge's lock held.
func (q *Edge) report() {
	s := empty
	switch {
	case q.ring.n > 0:
		s = ready
	case q.closed:
		s = finished
	}
	if s != q.reported {
		q.reported = s
		q.inbox.set(q.slot, s)
	}
}

func (b *Inbox) set(slot int, s state) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := &b.members[slot]
	switch m.state {
	case ready:
		b.ready--
	case finished:
		b.finished--
	}
	m.state = s
	switch s {
	case ready:
		b.ready++
		b.wakeWorker()
	case finished:
		b.finished++
		if b.finished == len(b.members) {
			b.workers.wakeAll()
		}
	}
}

func (b *Inbox) rank(slot, priority int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members[slot].priority, b.reranked = priority, true
}

// wakeWorker wakes the first worker that waits, if there is something for it.
func (b *Inbox) wakeWorker() {
	if w := b.workers.head; w != nil && b.ready > 0 {
		w.wake()
	}
}

// Recv is Edge.Recv over all edges of the inbox; dst may be filled from several.
// It returns ErrClosed once all of them are closed and empty.
func (b *Inbox) Recv(ctx context.Context, dst []*pipe.Event) (n int, err error) {
	return b.RecvUntil(ctx, dst, nil)
}

// RecvUntil is Recv that also returns when wake delivers, then with 0 and nil.
func (b *Inbox) RecvUntil(ctx context.Context, dst []*pipe.Event, wake <-chan time.Time) (n int, err error) {
	if q := b.only.Load(); q != nil {
		return b.recvOnly(ctx, q, dst, wake)
	}
	return b.recvSeveral(ctx, dst, wake)
}

// recvOnly is RecvUntil when q is the only edge, or was.
func (b *Inbox) recvOnly(ctx context.Context, q *Edge, dst []*pipe.Event, wake <-chan time.Time) (n int, err error) {
	if n, err = q.RecvUntil(ctx, dst, wake); err == ErrClosed && b.only.Load() != q {
		err = nil // it is not the only one any more
	}
	return n, err
}

// recvSeveral is RecvUntil when there are several edges, or were.
func (b *Inbox) recvSeveral(ctx context.Context, dst []*pipe.Event, wake <-chan time.Time) (n int, err error) {
	var w *waiter
	why := called
	b.mu.Lock()
	nudged := b.nudges
	for {
		if b.ready > 0 && len(dst) > 0 {
			b.mu.Unlock()
			n = b.pick(dst)
			b.mu.Lock()
		}
		if n > 0 || b.over() || why != called || len(dst) == 0 || b.nudges != nudged || b.only.Load() != nil {
			break
		}
		if b.ready > 0 { // it came, or expired, while we were picking
			continue
		}
		if w == nil {
			w = b.workers.join(b.now())
		}
		b.mu.Unlock()
		why = w.wait(ctx.Done(), wake)
		b.mu.Lock()
		w.rise(why)
	}
	switch {
	case n > 0:
	case why == cancelled:
		err = ctx.Err()
	case b.over():
		err = ErrClosed
	}
	if w != nil {
		b.workers.leave(w, b.now())
	}
	b.wakeWorker()
	b.mu.Unlock()
	return n, err
}

func (b *Inbox) now() int64 { return int64(time.Since(b.start)) }

// over reports whether all of several edges are closed and empty.
func (b *Inbox) over() bool { return b.finished == len(b.members) && b.only.Load() == nil }

// Idle returns how long workers waited for events, waits in progress included,
// and how many wait now.
func (b *Inbox) Idle() (total time.Duration, workers int) {
	for {
		only := b.only.Load()
		if only != nil { // its lock is not taken under mu, see Locking
			s := only.Snapshot()
			total, workers = s.Idle, s.Receivers
		}
		b.mu.Lock()
		if only == nil {
			total, workers = b.workers.total(b.now()), b.workers.n
		}
		total += b.carried - b.base
		same := b.only.Load() == only
		b.mu.Unlock()
		if same {
			return total, workers
		}
	}
}

// pick takes up to len(dst) events as the plan says; another worker may have
// taken them all.
func (b *Inbox) pick(dst []*pipe.Event) int {
	var d drops
	b.turn.Lock()
	b.mu.Lock()
	if b.reranked {
		b.reranked = false
		b.plan = newPlan(b.members)
	}
	for i := range b.members {
		b.plan.ready[i] = b.members[i].state == ready
	}
	b.mu.Unlock()
	n := b.plan.take(0, dst, &d)
	b.turn.Unlock()
	d.settle()
	return n
}

// plan is the order in which edges are asked.
type plan struct {
	ready   []bool // by slot: it may have events
	classes []class
}

// class is the edges of one priority.
type class struct {
	edges []*Edge
	slots []int
	next  int // whose turn it is
	debt  int // events taken while lower classes had some, not yet made good
}

func newPlan(members []member) plan {
	p := plan{ready: make([]bool, len(members))}
	order := make([]int, len(members))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return members[j].priority - members[i].priority })
	for n, i := range order {
		if n == 0 || members[i].priority != members[order[n-1]].priority {
			p.classes = append(p.classes, class{})
		}
		c := &p.classes[len(p.classes)-1]
		c.edges, c.slots = append(c.edges, members[i].edge), append(c.slots, i)
	}
	return p
}

// take fills dst from the classes at and below level.
func (p *plan) take(level int, dst []*pipe.Event, d *drops) (n int) {
	if level == len(p.classes) || len(dst) == 0 {
		return 0
	}
	c := &p.classes[level]
	if !p.readyBelow(level) {
		c.debt = 0
		return p.takeClass(c, dst, d)
	}
	if owed := min(c.debt/(lowerShare-1), len(dst)); owed > 0 {
		n = p.take(level+1, dst[:owed], d)
		c.debt -= n * (lowerShare - 1)
	}
	own := p.takeClass(c, dst[n:], d)
	c.debt += own
	n += own
	if n < len(dst) { // the class has no more: the others may have the rest
		c.debt = 0
		n += p.take(level+1, dst[n:], d)
	}
	return n
}

func (p *plan) readyBelow(level int) bool {
	for i := level + 1; i < len(p.classes); i++ {
		for _, slot := range p.classes[i].slots {
			if p.ready[slot] {
				return true
			}
		}
	}
	return false
}

// takeClass fills dst from the edges of one class in equal parts, and lets those
// that have more fill what is left.
func (p *plan) takeClass(c *class, dst []*pipe.Event, d *drops) (n int) {
	for n < len(dst) {
		got := p.takeRound(c, dst[n:], d)
		if got == 0 {
			break
		}
		n += got
	}
	return n
}

// takeRound asks each edge of a class once. When the parts cannot be equal, the
// first ones get one more and the next round begins after these.
func (p *plan) takeRound(c *class, dst []*pipe.Event, d *drops) (n int) {
	left := p.countReady(c)
	if left == 0 {
		return 0
	}
	more, first := len(dst)%left, c.next
	for k := range c.edges {
		i := (first + k) % len(c.edges)
		if !p.ready[c.slots[i]] {
			continue
		}
		part := (len(dst) - n + left - 1) / left
		got := c.edges[i].poll(dst[n:n+part], d)
		p.ready[c.slots[i]] = got == part
		n += got
		left--
		if more--; more == 0 {
			c.next = (i + 1) % len(c.edges)
		}
		if n == len(dst) {
			break
		}
	}
	return n
}

func (p *plan) countReady(c *class) (n int) {
	for _, slot := range c.slots {
		if p.ready[slot] {
			n++
		}
	}
	return n
}
