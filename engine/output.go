package engine

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/pipe"
)

// link is an edge in its place: from a port of a node to a node.
type link struct {
	*edge.Edge
	from, to *node
	port     string
	taps     atomic.Pointer[[]*Tap] // nil when nobody looks
	retiring atomic.Bool            // a reload has taken it out; what it holds is still to come
}

// output is a port of a node: the edges that start there. They may change while
// workers send.
type output struct {
	node *node
	name string
	fan  atomic.Pointer[fan]

	sending atomic.Int64 // events of sends that are going on

	mu     sync.Mutex // guards what follows, and changes of fan
	closed bool       // the node sends no more
	before []*fan     // retired ones with sends that are going on
}

// fan is the edges of an output at one time. It never changes; a reload puts
// another in its place. Every send is under one fan as a whole.
type fan struct {
	links   []*link
	senders atomic.Int64  // sends that are going on
	retired atomic.Bool   // another fan is in its place
	quiet   chan struct{} // closed once it is retired and nobody sends
	once    sync.Once
}

func newOutput(n *node, name string) *output {
	o := &output{node: n, name: name}
	o.fan.Store(&fan{quiet: make(chan struct{})})
	return o
}

// enter returns the present fan, which is kept until leave.
func (o *output) enter() *fan {
	for {
		f := o.fan.Load()
		f.senders.Add(1)
		if o.fan.Load() == f {
			return f
		}
		f.leave()
	}
}

func (f *fan) leave() {
	if f.senders.Add(-1) == 0 && f.retired.Load() {
		f.once.Do(func() { close(f.quiet) })
	}
}

// attach puts other edges in the place of the present ones, and returns the fans
// that somebody still sends to: an edge that was taken out may be closed once
// all of them are quiet. Edges that are new here are closed at once when the
// node has ended.
func (o *output) attach(links []*link) (before []*fan) {
	o.mu.Lock()
	defer o.mu.Unlock()
	old := o.fan.Swap(&fan{links: links, quiet: make(chan struct{})})
	old.retired.Store(true)
	if old.senders.Load() == 0 {
		old.once.Do(func() { close(old.quiet) })
	}
	o.before = slices.DeleteFunc(append(o.before, old), (*fan).isQuiet)
	if o.closed {
		for _, l := range links {
			l.Close()
		}
	}
	return slices.Clone(o.before)
}

func (f *fan) isQuiet() bool {
	select {
	case <-f.quiet:
		return true
	default:
		return false
	}
}

// inUse reports whether the node sends here now.
func (o *output) inUse() bool {
	return o == o.node.failed || slices.Contains(o.node.ports(), o)
}

// links returns the edges that start here now.
func (o *output) links() []*link { return o.fan.Load().links }

// connected reports whether an edge starts here.
func (o *output) connected() bool { return len(o.links()) > 0 }

// send hands events on, waiting where an edge makes it wait. What no edge took
// because ctx ended or the edge failed is returned to its source.
func (o *output) send(ctx context.Context, events []*pipe.Event) {
	if len(events) == 0 {
		return
	}
	f := o.enter()
	defer f.leave()
	o.sendUnder(ctx, f, events)
}

// sendUnder is send with a fan that was entered before.
func (o *output) sendUnder(ctx context.Context, f *fan, events []*pipe.Event) {
	o.sending.Add(int64(len(events)))
	defer o.sending.Add(-int64(len(events)))
	if o != o.node.failed && len(f.links) > 0 {
		o.node.count.out.Add(int64(len(events)))
	}
	switch {
	case len(f.links) == 0: // an optional port that nobody listens to
		o.node.count.filtered.Add(int64(len(events)))
		o.node.count.unrouted.Add(int64(len(events)))
		pipe.Settle(events, pipe.Filtered)
	case len(f.links) == 1:
		o.sendOne(ctx, f.links[0], events)
	default:
		o.fanOut(ctx, f.links, events)
	}
}

func (o *output) sendOne(ctx context.Context, l *link, events []*pipe.Event) {
	l.show(events)
	k, err := l.Send(ctx, events)
	o.rest(l, events[k:], err)
}

// fanOut gives every edge its own instance of each event. Branches that need
// not wait are served first; then the node waits for room in one after the
// other, a few events at a time, and serves those that have got room meanwhile
// in between: so the slowest branch sets the pace, and no branch runs dry
// because the node waits at another.
func (o *output) fanOut(ctx context.Context, links []*link, events []*pipe.Event) {
	branches := make([][]*pipe.Event, len(links))
	branches[0] = events
	for i := 1; i < len(branches); i++ {
		branches[i] = pipe.ForkAll(events)
	}
	o.node.count.created.Add(int64(len(events) * (len(branches) - 1)))
	for i, l := range links {
		l.show(branches[i])
	}
	for {
		waiting, most := -1, 0
		for i, l := range links {
			if len(branches[i]) == 0 {
				continue
			}
			branches[i] = branches[i][l.Offer(branches[i]):]
			if len(branches[i]) > most {
				waiting, most = i, len(branches[i])
			}
		}
		if waiting < 0 {
			return
		}
		l, turn := links[waiting], branches[waiting]
		turn = turn[:min(len(turn), fanTurn)]
		k, err := l.Send(ctx, turn)
		if branches[waiting] = branches[waiting][k:]; err != nil {
			o.rest(l, branches[waiting], err)
			branches[waiting] = nil
		}
	}
}

// fanTurn is how many events a node waits for at one branch before it looks at
// the others again.
const fanTurn = 8

// rest ends what an edge did not take.
func (o *output) rest(l *link, left []*pipe.Event, err error) {
	if len(left) > 0 {
		o.node.settleReturned(left)
	}
	if err == edge.ErrFailed {
		o.node.eng.failWith(&EdgeError{Edge: l.ID(), Timeout: l.Settings().Timeout})
	}
}

// close says that the node sends no more.
func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, l := range o.links() {
		l.Close()
	}
}
