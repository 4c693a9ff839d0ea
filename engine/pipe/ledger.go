package pipe

import (
	"context"
	"sync"
	"time"
)

// Ledger is the account of one source: what was read, how it ended, how much is
// still open, and up to which position each partition is settled. It
// implements Acks for the groups of that source.
type Ledger struct {
	// Settler, when not nil, is told about each message begun with a token.
	Settler Settler

	mu      sync.Mutex // guards what follows
	windows map[string]*window
	tally   Tally
	limit   Window
	waiting chan struct{} // closed when credit may be free again; nil when nobody waits

	waits Clock // of Acquire
}

// Window bounds the unsettled events of a source; 0 means no bound.
type Window struct {
	Events int64
	Bytes  int64
}

// Tally are the counts of a source, in events.
type Tally struct {
	Read, Acked, Nacked, Returned int64
	OpenEvents, OpenBytes         int64
	OpenGroups                    int
}

// window is the groups of one partition in the order they were read.
type window struct {
	groups  []*Group // head first; done groups leave from the head
	head    int
	done    map[*Group]bool
	mark    int64
	marked  bool // mark is new since the last Marks
	stopped bool // something before the rest was not acked: the mark stays
}

// NewLedger makes the account of one source.
func NewLedger(limit Window, s Settler) *Ledger {
	return &Ledger{Settler: s, windows: map[string]*window{}, limit: limit}
}

// Count enters a group before its events are sent.
func (l *Ledger) Count(g *Group) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.windows[g.partition]
	if w == nil {
		w = &window{done: map[*Group]bool{}}
		l.windows[g.partition] = w
	}
	w.groups = append(w.groups, g)
	l.tally.Read += g.events
	l.tally.OpenEvents += g.events
	l.tally.OpenBytes += g.bytes
	l.tally.OpenGroups++
}

// MessageDone passes the result on to the source.
func (l *Ledger) MessageDone(_ *Group, token any, result Outcome) {
	if l.Settler != nil && token != nil {
		l.Settler.Settled(token, result)
	}
}

// GroupDone enters the result of a group and moves the mark of its partition.
func (l *Ledger) GroupDone(g *Group) {
	acked, nacked, returned := g.Tally()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.Acked += acked
	l.tally.Nacked += nacked
	l.tally.Returned += returned
	l.tally.OpenEvents -= g.events
	l.tally.OpenBytes -= g.bytes
	l.tally.OpenGroups--
	if w := l.windows[g.partition]; w != nil {
		w.settle(g)
	}
	l.wake()
}

func (w *window) settle(g *Group) {
	if w.head < len(w.groups) && w.groups[w.head] != g {
		w.done[g] = true
		return
	}
	for next := g; ; next = w.groups[w.head] {
		w.advance(next)
		w.groups[w.head] = nil
		w.head++
		if w.head == len(w.groups) || !w.done[w.groups[w.head]] {
			break
		}
		delete(w.done, w.groups[w.head])
	}
	if w.head == len(w.groups) {
		w.groups, w.head = w.groups[:0], 0
	} else if w.head > 64 && w.head*2 > len(w.groups) {
		n := copy(w.groups, w.groups[w.head:])
		clear(w.groups[n:])
		w.groups, w.head = w.groups[:n], 0
	}
}

func (w *window) advance(g *Group) {
	if w.stopped {
		return
	}
	pos, some, whole := g.Prefix()
	if some && (pos > w.mark || !w.marked && w.mark == 0) {
		w.mark, w.marked = pos, true
	}
	w.stopped = !whole
}

// Marks returns the positions that moved since the last call.
func (l *Ledger) Marks() []Mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	var marks []Mark
	for p, w := range l.windows {
		if w.marked {
			w.marked = false
			marks = append(marks, Mark{p, w.mark})
		}
		if w.head == len(w.groups) && !w.stopped {
			delete(l.windows, p) // files come and go: keep only what has something open
		}
	}
	return marks
}

// FinalMarks adds to Marks what is settled at the head of groups that are still
// open: call it when the pipeline has stopped and nothing settles any more.
func (l *Ledger) FinalMarks() []Mark {
	l.mu.Lock()
	for _, w := range l.windows {
		if w.head < len(w.groups) {
			w.advance(w.groups[w.head])
		}
	}
	l.mu.Unlock()
	return l.Marks()
}

// Tally returns the counts of this moment.
func (l *Ledger) Tally() Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally
}

// Acquire waits until the source may read: until its unsettled events and bytes
// are below the window. It returns ctx.Err() when ctx ends first.
func (l *Ledger) Acquire(ctx context.Context) error {
	for {
		l.mu.Lock()
		t, lim := l.tally, l.limit
		if (lim.Events <= 0 || t.OpenEvents < lim.Events) && (lim.Bytes <= 0 || t.OpenBytes < lim.Bytes) {
			l.mu.Unlock()
			return ctx.Err()
		}
		if l.waiting == nil {
			l.waiting = make(chan struct{})
		}
		wait := l.waiting
		l.mu.Unlock()
		began := l.waits.Enter()
		select {
		case <-wait:
		case <-ctx.Done():
		}
		l.waits.Leave(began)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// wake lets a source that waits for credit look again.
func (l *Ledger) wake() {
	if l.waiting != nil {
		close(l.waiting)
		l.waiting = nil
	}
}

// Limit changes the window. A source that waits for credit looks again.
func (l *Ledger) Limit(w Window) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = w
	l.wake()
}

// Window returns the window in force.
func (l *Ledger) Window() Window {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit
}

// Waited returns how long the source has waited for credit, a wait that goes on
// included, and whether it waits now.
func (l *Ledger) Waited() (total time.Duration, now bool) {
	return l.waits.Total(), l.waits.Waiting() > 0
}
