package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// open prepares all components: sinks, then stages, then sources, so that
// nothing is read before it can be delivered.
func (e *Engine) open() error {
	for _, n := range e.graph.all() {
		c, err := e.openInTime(n.common(), n.component())
		if err != nil {
			return err
		}
		e.keepCloser(c)
	}
	return nil
}

// openInTime prepares a component at the start. One that ignores a stop meanwhile
// is left behind, so that the end does not wait for it.
func (e *Engine) openInTime(n *node, component any) (closer, error) {
	type result struct {
		closer
		err error
	}
	done := make(chan result, 1)
	go func() {
		c, err := e.openOne(e.working, n, component, nil)
		done <- result{c, err}
	}()
	select {
	case x := <-done:
		return x.closer, x.err
	case <-e.working.Done():
	}
	select {
	case x := <-done:
		return x.closer, x.err
	case <-time.NewTimer(stopGrace).C:
	}
	n.log.Warn("gave up opening a component that ignores the stop")
	go func() { // should it still come: nobody wants it any more
		if x := <-done; x.err == nil {
			e.closeLate(x.closer)
		}
	}()
	return closer{}, &NodeError{Node: n.cfg.Name, Kind: n.cfg.Kind, Err: errors.New("it did not open before the stop")}
}

// openOne prepares a component of n and returns how to close it. Predecessor is
// the running component whose place it takes, nil at the start.
func (e *Engine) openOne(ctx context.Context, n *node, component, predecessor any) (closer, error) {
	if o, ok := component.(pipe.Opener); ok {
		env := pipe.Env{Node: n.cfg.Name, Pipeline: e.cfg.Name, Log: n.log, MaxEventBytes: int(e.cfg.Limits.MaxEventBytes),
			Meter: &n.meter, Predecessor: predecessor, Inside: inside{e}}
		err, _ := n.guarded(func() error { return o.Open(ctx, env) })
		if err != nil {
			return closer{}, &NodeError{Node: n.cfg.Name, Kind: n.cfg.Kind, Err: err}
		}
	}
	return closer{node: n, component: component}, nil
}

func (e *Engine) keepCloser(c closer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opened = append(e.opened, c)
}

// dropCloser takes a component out of what the end closes, and returns how to
// close it; ok is false when that was taken out already.
func (e *Engine) dropCloser(component any) (c closer, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.opened, func(c closer) bool { return c.component == component })
	if i < 0 {
		return closer{}, false
	}
	c = e.opened[i]
	e.opened = slices.Delete(e.opened, i, i+1)
	return c, true
}

// start starts the workers: consumers before producers.
func (e *Engine) start() {
	for _, n := range e.graph.all() {
		n.start()
	}
}

func (s *sinkNode) start() {
	s.done.Add(1)
	go s.run()
}

func (s *stageNode) start() {
	for range max(1, s.cfg.Workers) {
		w := s.newWorker()
		s.done.Add(1)
		s.running.Add(1)
		go w.run()
	}
	s.done.Add(1)
	go func() { // the last worker out closes the door
		defer s.done.Done()
		s.running.Wait()
		s.closeOutputs()
	}()
}

// wait waits until every worker has ended, or, after a stop and its grace,
// gives up those that hang.
func (e *Engine) wait() {
	all := make(chan struct{})
	go func() {
		defer close(all)
		for e.waitOnce() {
		}
	}()
	select {
	case <-all:
		return
	case <-e.working.Done():
	}
	select {
	case <-all:
	case <-time.After(stopGrace):
		e.giveUp()
	}
}

// waitOnce waits for the nodes of this moment. It reports whether a reload has
// added others meanwhile; if not, nothing can be added any more.
func (e *Engine) waitOnce() (again bool) {
	e.shape.RLock()
	nodes := e.nodes()
	e.shape.RUnlock()
	for _, n := range nodes {
		n.done.Wait()
	}
	e.shape.Lock()
	defer e.shape.Unlock()
	for _, n := range e.nodes() {
		if !slices.Contains(nodes, n) {
			return true
		}
	}
	e.sealed = true
	return false
}

// giveUp takes the events out of the hands of workers that do not come back.
func (e *Engine) giveUp() {
	e.shape.Lock()
	defer e.shape.Unlock()
	e.sealed = true
	for _, n := range e.nodes() {
		n.giveUp()
	}
}

func (n *node) giveUp() {
	n.life.Lock()
	hands := n.hands
	n.life.Unlock()
	for _, h := range hands {
		if events := h.abandon(); len(events) > 0 {
			n.leaveBehind()
			n.log.Warn("gave up a worker that ignores the stop", "events", len(events))
			n.count.returned.Add(int64(len(events)))
			pipe.Abandon(events)
		}
	}
	// A holder that hangs keeps its events out of reach: they are counted, and
	// their sources are never told.
	if held := n.count.held.Swap(0); held > 0 {
		n.leaveBehind()
		n.count.returned.Add(held)
	}
}

// leaveBehind marks a node whose worker may still be at work. Parts and copies
// that a stage has made in that step are lost to the books of its sources.
func (n *node) leaveBehind() {
	n.hung.Store(true)
	if n.cfg.Kind == pipe.KindStage {
		n.eng.gaveUp.Store(true)
	}
}

// settleRest returns what is still queued once no worker takes it any more.
func (e *Engine) settleRest() {
	e.shape.Lock()
	defer e.shape.Unlock()
	e.sealed = true
	for _, q := range e.links() {
		if left := q.Drain(); len(left) > 0 {
			pipe.Settle(left, pipe.Returned)
			e.returned.Add(int64(len(left)))
		}
	}
}

// closing is how long components get to commit and close after a stop.
const closing = 500 * time.Millisecond

// finishUp saves the settled positions and closes the components. Both together
// end with the drain deadline, and soon after a stop; who hangs is left behind.
func (e *Engine) finishUp() {
	ctx, cancel := context.WithTimeout(e.always, e.timeLeft())
	defer cancel()
	defer context.AfterFunc(e.working, func() { time.AfterFunc(closing, cancel) })()
	done := make(chan error, 1)
	go func() { done <- e.commitAndClose(ctx) }() // one after another, never two at a time
	select {
	case err := <-done:
		if err != nil {
			e.record(err)
		}
	case <-ctx.Done():
		e.log.Warn("a component did not save its position or close in time")
	}
	e.finish()
	e.stopWork()
	e.mu.Lock()
	e.settled = true
	e.mu.Unlock()
	e.background.Wait()
}

func (e *Engine) commitAndClose(ctx context.Context) error {
	var errs []error
	for _, s := range e.everySource() {
		errs = append(errs, s.finalCommit(ctx))
	}
	e.stopRead()
	for {
		e.mu.Lock()
		n := len(e.opened)
		if n == 0 {
			e.mu.Unlock()
			return errors.Join(errs...)
		}
		c := e.opened[n-1]
		e.opened = e.opened[:n-1]
		e.mu.Unlock()
		if !c.node.hung.Load() && !c.node.strays.in(c.component, nil) {
			errs = append(errs, c.shut(ctx))
		}
	}
}

// timeLeft is how long closing may take.
func (e *Engine) timeLeft() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.working.Err() != nil:
		return closing
	case e.drainBy.IsZero():
		return e.shutdownTimeout()
	}
	return max(closing, time.Until(e.drainBy))
}

// everySource returns the sources, those that are leaving included.
func (e *Engine) everySource() []*sourceNode {
	e.shape.RLock()
	defer e.shape.RUnlock()
	all := slices.Clone(e.graph.sources)
	for _, d := range e.leaving {
		for _, n := range d.nodes {
			if s, ok := n.(*sourceNode); ok {
				all = append(all, s)
			}
		}
	}
	return all
}

// shut closes one component.
func (c closer) shut(ctx context.Context) error {
	if c.cancel != nil {
		defer c.cancel()
	}
	component, ok := c.component.(pipe.Closer)
	if !ok {
		return nil
	}
	if err, _ := c.node.guarded(func() error { return component.Close(ctx) }); err != nil {
		return fmt.Errorf("%s: close: %w", c.node.cfg.Name, err)
	}
	return nil
}

// finish fixes the outcome.
func (e *Engine) finish() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = time.Now()
	if e.deadline != nil {
		e.deadline.Stop()
	}
	switch {
	case e.failure != nil:
		e.state = Failed
	case e.leftBehind():
		e.state = Stopped
	default:
		e.state = Drained
	}
}
