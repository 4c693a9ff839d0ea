package engine

import (
	"context"

	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/pipe"
)

// output is a port of a node: the edges that start there.
type output struct {
	node  *node
	name  string
	edges []*edge.Edge
}

// send hands events on, waiting where an edge makes it wait. What no edge took
// because ctx ended or the edge failed is returned to its source.
func (o *output) send(ctx context.Context, events []*pipe.Event) {
	if o != o.node.failed && len(o.edges) > 0 {
		o.node.count.out.Add(int64(len(events)))
	}
	switch {
	case len(events) == 0:
	case len(o.edges) == 0: // an optional port that nobody listens to
		o.node.count.filtered.Add(int64(len(events)))
		o.node.count.unrouted.Add(int64(len(events)))
		pipe.Settle(events, pipe.Filtered)
	case len(o.edges) == 1:
		o.sendOne(ctx, o.edges[0], events)
	default:
		o.fanOut(ctx, events)
	}
}

func (o *output) sendOne(ctx context.Context, e *edge.Edge, events []*pipe.Event) {
	k, err := e.Send(ctx, events)
	o.rest(e, events[k:], err)
}

// fanOut gives every edge its own instance of each event. Branches that need
// not wait are served first, so that a full one holds its siblings back by at
// most this batch.
func (o *output) fanOut(ctx context.Context, events []*pipe.Event) {
	branches := make([][]*pipe.Event, len(o.edges))
	branches[0] = events
	for i := 1; i < len(branches); i++ {
		branches[i] = pipe.ForkAll(events)
	}
	o.node.count.created.Add(int64(len(events) * (len(branches) - 1)))
	for i, e := range o.edges {
		branches[i] = branches[i][e.Offer(branches[i]):]
	}
	for i, e := range o.edges {
		if len(branches[i]) > 0 {
			k, err := e.Send(ctx, branches[i])
			o.rest(e, branches[i][k:], err)
		}
	}
}

// rest ends what an edge did not take.
func (o *output) rest(e *edge.Edge, left []*pipe.Event, err error) {
	if len(left) > 0 {
		o.node.settleReturned(left)
	}
	if err == edge.ErrFailed {
		o.node.eng.failWith(&EdgeError{Edge: e.ID(), Timeout: e.Settings().Timeout})
	}
}

func (o *output) close() {
	for _, e := range o.edges {
		e.Close()
	}
}
