package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// open prepares all components: sinks, then stages, then sources, so that
// nothing is read before it can be delivered.
func (e *Engine) open() error {
	for _, s := range e.sinks {
		if err := e.openOne(&s.node, s.sink); err != nil {
			return err
		}
	}
	for _, s := range e.stages {
		if err := e.openOne(&s.node, s.stage); err != nil {
			return err
		}
	}
	for _, s := range e.sources {
		if err := e.openOne(&s.node, s.src); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) openOne(n *node, component any) error {
	if o, ok := component.(pipe.Opener); ok {
		env := pipe.Env{Node: n.cfg.Name, Pipeline: e.cfg.Name, Log: n.log, MaxEventBytes: int(e.cfg.Limits.MaxEventBytes)}
		err, _ := n.guarded(func() error { return o.Open(e.working, env) })
		if err != nil {
			return &NodeError{Node: n.cfg.Name, Kind: n.cfg.Kind, Err: err}
		}
	}
	if c, ok := component.(pipe.Closer); ok {
		e.opened = append(e.opened, closer{n, c.Close})
	}
	return nil
}

// start starts the workers: consumers before producers.
func (e *Engine) start() {
	for _, s := range e.sinks {
		s.done.Add(1)
		go s.run()
	}
	for _, s := range e.stages {
		s.start()
	}
	for _, s := range e.sources {
		s.done.Add(1)
		go s.run()
	}
}

func (s *stageNode) start() {
	var running sync.WaitGroup
	for range max(1, s.cfg.Workers) {
		w := s.newWorker()
		s.done.Add(1)
		running.Add(1)
		go func() {
			defer running.Done()
			w.run()
		}()
	}
	s.done.Add(1)
	go func() { // the last worker out closes the door
		defer s.done.Done()
		running.Wait()
		s.closeOutputs()
	}()
}

// wait waits until every worker has ended, or, after a stop and its grace,
// gives up those that hang.
func (e *Engine) wait() {
	stop := make(chan struct{})
	var commits sync.WaitGroup
	for _, s := range e.sources {
		commits.Go(func() { s.commitLoop(stop) })
	}
	defer commits.Wait()
	defer close(stop)
	all := make(chan struct{})
	go func() {
		for _, n := range e.nodes() {
			n.done.Wait()
		}
		close(all)
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

// giveUp takes the events out of the hands of workers that do not come back.
func (e *Engine) giveUp() {
	for _, n := range e.nodes() {
		for _, h := range n.hands {
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
	for _, q := range e.edges {
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
}

func (e *Engine) commitAndClose(ctx context.Context) error {
	var errs []error
	for _, s := range e.sources {
		errs = append(errs, s.finalCommit(ctx))
	}
	e.stopRead()
	for i := len(e.opened) - 1; i >= 0; i-- {
		if c := e.opened[i]; !c.node.hung.Load() {
			errs = append(errs, c.shut(ctx))
		}
	}
	return errors.Join(errs...)
}

// timeLeft is how long closing may take.
func (e *Engine) timeLeft() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.working.Err() != nil:
		return closing
	case e.drainBy.IsZero():
		return e.cfg.Shutdown.Timeout.D()
	}
	return max(closing, time.Until(e.drainBy))
}

// shut closes one component.
func (c closer) shut(ctx context.Context) error {
	if err, _ := c.node.guarded(func() error { return c.close(ctx) }); err != nil {
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
	case e.state == Stopping && e.leftBehind():
		e.state = Stopped
	default:
		e.state = Drained
	}
}
