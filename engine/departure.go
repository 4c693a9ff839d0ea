package engine

import (
	"context"
	"slices"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// departure is what one reload has taken out of the pipeline: it ends in the
// background. What it holds goes on to where it was going; what is still there
// after a time is returned.
type departure struct {
	nodes []anyNode
	links []*link
}

// lookEvery is how often a departure looks whether its edges are empty.
const lookEvery = 2 * time.Millisecond

// end waits until everything has ended, ends by force what has not within
// patience, and enters it into the books.
func (d *departure) end(e *Engine, patience time.Duration) {
	for _, n := range d.nodes {
		if s, ok := n.(*sourceNode); ok {
			s.drain()
			s.stopRead()
			s.poke()
		}
	}
	if !d.wait(e.working, patience) {
		d.stop(e)
		d.wait(e.working, stopGrace)
		for _, n := range d.nodes {
			n.common().giveUp()
		}
	}
	if d.waitForOthers(e.working) {
		d.settle(e)
	}
}

// waitForOthers waits until the nodes that stay have taken what is left in the
// edges that lead to them. It is false when ctx ends first.
func (d *departure) waitForOthers(ctx context.Context) bool {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for slices.ContainsFunc(d.links, func(l *link) bool { return !l.Finished() }) {
		d.advance()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return ctx.Err() == nil
}

// wait waits until no node of d runs any more, every edge is empty and every
// event that a source of d has read is settled. It is false when ctx ends or
// patience is over first.
func (d *departure) wait(ctx context.Context, patience time.Duration) bool {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for _, n := range d.nodes {
			n.common().done.Wait()
		}
	}()
	over := time.NewTimer(patience)
	defer over.Stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		d.advance()
		select {
		case <-stopped:
			if d.empty() {
				return true
			}
		default:
		}
		select {
		case <-tick.C:
		case <-over.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// advance lets the nodes that stay go over from edges of d that are empty to
// those that have come in their place.
func (d *departure) advance() {
	for _, l := range d.links {
		if n := l.to; !n.hasLeft(d) && l.Finished() {
			n.life.Lock()
			n.promote()
			n.life.Unlock()
		}
	}
}

func (d *departure) empty() bool {
	for _, l := range d.links {
		if !l.Finished() {
			return false
		}
	}
	for _, n := range d.nodes {
		if s, ok := n.(*sourceNode); ok && s.ledger.Tally().OpenEvents > 0 {
			return false
		}
	}
	return true
}

// stop ends by force what has not ended by itself.
func (d *departure) stop(e *Engine) {
	left := int64(0)
	for _, n := range d.nodes {
		n.common().stop()
	}
	for _, l := range d.links {
		if slices.ContainsFunc(d.nodes, func(n anyNode) bool { return n.common() == l.to }) {
			events := l.Drain()
			left += int64(len(events))
			e.returned.Add(int64(len(events)))
			pipe.Settle(events, pipe.Returned)
		}
	}
	if left > 0 {
		e.log.Warn("a branch that was taken out did not end in time; what it held is returned", "events", left)
	}
}

// settle closes the components of d and enters its figures into the account of
// what has left the pipeline.
func (d *departure) settle(e *Engine) {
	ctx, cancel := context.WithTimeout(e.always, closing)
	defer cancel()
	for _, n := range d.nodes {
		if s, ok := n.(*sourceNode); ok {
			if err := s.finalCommit(ctx); err != nil {
				s.log.Warn("position of a source that was taken out not saved", "error", err)
			}
		}
		if c, ok := e.dropCloser(n.component()); ok && !c.node.hung.Load() {
			e.closeUnused(c)
		}
	}
	e.shape.Lock()
	defer e.shape.Unlock()
	if e.sealed {
		return // the end of the pipeline has counted them
	}
	e.leaving = slices.DeleteFunc(e.leaving, func(x *departure) bool { return x == d })
	for _, n := range d.nodes {
		n.common().stop()
		n.common().addEnds(&e.gone)
		e.gone.Created += n.common().count.created.Load()
		if s, ok := n.(*sourceNode); ok {
			e.gone.Read += s.ledger.Tally().Read
		}
	}
	for _, l := range d.links {
		t := l.Snapshot()
		e.gone.Dropped += t.DroppedTotal().Events
		l.from.blockedBefore.Add(int64(t.Blocked))
		l.closeTaps()
	}
	d.advance()
}

func (n *node) hasLeft(d *departure) bool {
	return slices.ContainsFunc(d.nodes, func(x anyNode) bool { return x.common() == n })
}
