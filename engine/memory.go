package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/pipe"
)

// The memory budget bounds what a pipeline holds as a whole: what is queued in
// its edges and what its nodes have in hand, in accounted bytes. Its rules:
//
//  1. Only sources wait for memory, and only before they read, when they have
//     nothing in hand. Stages, sinks and edges never do. So what is inside can
//     always go on and out, and nobody who waits has what another one waits for.
//  2. The bounds of each edge stay as they are: whatever the budget is, a dead sink
//     holds no more than its own edges may. The budget adds no queue and moves
//     nothing from one edge to another.
//  3. Each source has a share of its own, which is kept free for it: half of the
//     budget divided by the number of sources. A source with less than that in
//     flight may read whatever the others hold; the other half is for who comes
//     first. So sources whose sinks are dead cannot starve one whose sink works.
//  4. What a stage keeps until it has enough (a batch) does not count: it waits for
//     more events, which must not wait for it. Its own limits bound it.
//  5. What one read brings is not torn apart: every source may pass the budget by
//     what it has just read, about 64 KiB or one event.
//
// Because of rule 2 a budget that is at least what `validate` prints as the worst
// case is only felt when nodes have much in hand. limits.memory is always that
// large. A budget that comes from elsewhere (the memory of a container) may be
// smaller; then a source can wait for a branch of its own whose sink is dead.
const (
	memoryPoll  = 5 * time.Millisecond // how often a source that waits for memory looks
	memoryLease = 4 << 20              // bytes a source reads, at most, before it looks again,
	memoryPart  = 4                    // and no more than one so-many-th of what is free
	memoryShown = time.Second          // a wait that is longer is logged,
	memoryAgain = time.Minute          // at most so often
)

// Memory is what a pipeline holds, in accounted bytes.
type Memory struct {
	Budget   int64 `json:"budget_bytes"`      // the most it should hold; 0 when there is no budget
	Reserved int64 `json:"reserved_bytes"`    // queued in edges, and in the hands of nodes
	Waiting  int   `json:"waiting,omitempty"` // sources that do not read now because of it
}

// budget keeps a pipeline within its memory.
type budget struct {
	advise func(limit int64) int64 // Options.Memory
	known  atomic.Uint64           // the generation that limit and share are of
	limit  atomic.Int64            // bytes, 0 when there is none
	share  atomic.Int64            // bytes that each source may have in flight in any case
	wait   pipe.Clock              // of all sources

	mu     sync.Mutex // guards what follows
	sizes  map[*node]recent
	logged time.Time
}

// recent is how large the events are that a node takes.
type recent struct {
	taken edge.Count // when it was worked out
	mean  int64      // bytes, of those taken then
}

// refresh works out the budget anew after a reload.
func (e *Engine) refreshBudget() {
	b := &e.budget
	now, before := e.generation.Load(), b.known.Load()
	if now == before || !b.known.CompareAndSwap(before, now) {
		return
	}
	e.shape.RLock()
	limit, sources := int64(e.cfg.Limits.Memory), int64(len(e.graph.sources))
	e.shape.RUnlock()
	if b.advise != nil {
		limit = b.advise(limit)
	}
	b.limit.Store(limit)
	b.share.Store(max(1, limit/2/max(1, sources)))
}

// acquire waits until the source may read: until its window has room, and until
// there is memory. It returns the error of reading when that ends first.
func (s *sourceNode) acquire() error {
	if err := s.ledger.Acquire(s.reading); err != nil || s.fits() {
		return err
	}
	b := &s.eng.budget
	defer b.wait.Leave(b.wait.Enter())
	defer s.short.Leave(s.short.Enter())
	tick := time.NewTicker(memoryPoll)
	defer tick.Stop()
	for began := time.Now(); !s.fits(); {
		select {
		case <-tick.C:
		case <-s.reading.Done():
			return s.reading.Err()
		}
		if time.Since(began) >= memoryShown {
			s.eng.tellShort()
		}
	}
	return s.reading.Err()
}

// fits reports whether there is memory for another read of the source.
func (s *sourceNode) fits() bool {
	if s.credit.Load() > 0 {
		return true
	}
	e := s.eng
	e.refreshBudget()
	limit, share := e.budget.limit.Load(), e.budget.share.Load()
	if limit == 0 {
		s.credit.Store(memoryLease)
		return true
	}
	if s.ledger.Tally().OpenBytes < share {
		return true
	}
	e.shape.RLock()
	free, sources, open := limit, max(1, int64(len(e.graph.sources))), int64(0)
	for _, other := range e.graph.sources {
		bytes := other.ledger.Tally().OpenBytes
		if open += bytes; other != s { // its share, and what it has leave to read
			free -= max(0, share-bytes, min(other.credit.Load(), limit/memoryPart/sources))
		}
	}
	reserved, kept := e.reserved(e.holdings())
	e.shape.RUnlock()
	// An event on its way from an edge to a hand, or from a hand to its end, is in
	// neither for a moment. Nothing that is not settled leaves the ledgers.
	free -= max(reserved, open-kept)
	credit := min(memoryLease, free/memoryPart/sources)
	s.credit.Store(credit)
	return credit > 0
}

// spend takes what was read off the source's credit.
func (s *sourceNode) spend(bytes int64) {
	s.credit.Add(-bytes)
	s.holds.Store(bytes)
}

// holdings is what edges have queued and have handed out.
type holdings struct {
	queued int64
	taken  map[*node]edge.Count // by each node from all its edges, ever
}

func (h *holdings) add(l *link, st *edge.Stats) {
	h.queued += st.Queued.Bytes
	t := h.taken[l.to]
	h.taken[l.to] = edge.Count{Events: t.Events + st.Delivered.Events, Bytes: t.Bytes + st.Delivered.Bytes}
}

// holdings asks every edge. It is called with shape held.
func (e *Engine) holdings() *holdings {
	h := &holdings{taken: map[*node]edge.Count{}}
	for _, l := range e.links() {
		st := l.Snapshot()
		h.add(l, &st)
	}
	return h
}

// reserved adds what nodes have in hand to what is queued. For sources it is known;
// for others it is their number of events times the mean size of those they took
// last, since nobody but its worker may look at an event. kept is what stages keep
// until they have enough. It is called with shape held.
func (e *Engine) reserved(h *holdings) (bytes, kept int64) {
	bytes = h.queued
	b := &e.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	sizes := make(map[*node]recent, len(h.taken))
	for n, taken := range h.taken {
		r := b.sizes[n]
		if events := taken.Events - r.taken.Events; events > 0 {
			r.mean = max(0, taken.Bytes-r.taken.Bytes) / events
		}
		r.taken = taken
		sizes[n] = r
		bytes += r.mean * (n.held() + n.sending())
		kept += r.mean * n.count.held.Load()
	}
	b.sizes = sizes
	for _, s := range e.graph.sources {
		bytes += s.holds.Load()
	}
	return bytes, kept
}

// sending returns how many events its workers are handing on: some of them may be
// in an edge already.
func (n *node) sending() (events int64) {
	for _, o := range append([]*output{n.failed}, n.ports()...) {
		events += o.sending.Load()
	}
	return events
}

// memory returns the figures for a Status. It is called with shape held.
func (e *Engine) memory(h *holdings) Memory {
	reserved, _ := e.reserved(h)
	return Memory{Budget: e.budget.limit.Load(), Reserved: reserved, Waiting: e.budget.wait.Waiting()}
}

// tellShort logs that sources wait for memory, and who holds it.
func (e *Engine) tellShort() {
	b := &e.budget
	b.mu.Lock()
	again := time.Since(b.logged) >= memoryAgain
	if again {
		b.logged = time.Now()
	}
	b.mu.Unlock()
	if !again {
		return
	}
	e.shape.RLock()
	h, largest := e.holdings(), e.largestQueues(3)
	reserved, _ := e.reserved(h)
	e.shape.RUnlock()
	e.log.Warn("the memory budget is used up, so sources do not read; they go on when sinks have taken what is queued",
		"budget", about(b.limit.Load()), "reserved", about(reserved), "largest", largest)
}

// largestQueues names the n edges that hold most. It is called with shape held.
func (e *Engine) largestQueues(n int) string {
	type queue struct {
		id    string
		bytes int64
	}
	var all []queue
	for _, l := range e.links() {
		if b := l.Snapshot().Queued.Bytes; b > 0 {
			all = append(all, queue{l.ID(), b})
		}
	}
	slices.SortStableFunc(all, func(x, y queue) int { return cmp.Compare(y.bytes, x.bytes) })
	var parts []string
	for _, q := range all[:min(n, len(all))] {
		parts = append(parts, fmt.Sprintf("edge %s %s", q.id, about(q.bytes)))
	}
	return strings.Join(parts, ", ")
}

// about writes a number of bytes with few digits.
func about(bytes int64) string {
	unit := int64(1 << 20)
	for unit > 1 && bytes < 10*unit {
		unit >>= 10
	}
	return pipe.Size(bytes / unit * unit).String()
}
