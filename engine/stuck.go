package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/guard"
	"github.com/pipectl/pipectl/engine/pipe"
)

// A call that ignores its context would hold up everything behind it. One that
// has a timeout is left behind instead: its worker loses its events, its turn and
// its place to another one, and whatever it does after that concerns nobody. It
// may still look at its events, so
//
//   - what goes on are copies that were made before the call,
//   - the memory behind them is not used again (pipe.Pin),
//   - its Out, its buffers and its worker are not used again,
//   - nothing that it has made is in the books (pipe.Out.Enter),
//   - its component is not closed before it has come back.
//
// The same is done for sinks by their guard: see guard.Options.Left.

// strays are the calls of a node that were left behind.
type strays struct {
	mu     sync.Mutex // guards what follows
	by     map[any]int
	total  int64
	closes map[any]func() // closes a component that was replaced, once it is free
}

// add counts a call of component and returns how many of the node there are now.
func (s *strays) add(component any) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[any]int{}
	}
	s.by[component]++
	s.total++
	return s.count()
}

func (s *strays) count() (n int) {
	for _, k := range s.by {
		n += k
	}
	return n
}

// figures returns how many calls are left behind now, and how many were ever.
func (s *strays) figures() (now int, ever int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count(), s.total
}

// back counts a call that has come back.
func (s *strays) back(component any) {
	s.mu.Lock()
	var free func()
	if s.by[component]--; s.by[component] == 0 {
		delete(s.by, component)
		free = s.closes[component]
		delete(s.closes, component)
	}
	s.mu.Unlock()
	if free != nil {
		free()
	}
}

// in reports whether a call of component has not come back. If then is not nil it
// is called when the last one has.
func (s *strays) in(component any, then func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by[component] == 0 {
		return false
	}
	if then != nil {
		if s.closes == nil {
			s.closes = map[any]func(){}
		}
		s.closes[component] = then
	}
	return true
}

// leaveBehindCall counts a call that ignores its timeout. The error says that it
// is one too many.
func (n *node) leaveBehindCall(component any, timeout time.Duration, most int) error {
	now := n.strays.add(component)
	if now <= most {
		n.log.Warn("a call ignores its timeout: it is left behind, and its result will be thrown away",
			"timeout", timeout, "left_behind", now, "max_stuck", most)
		return nil
	}
	return pipe.Classed(pipe.Fatal, fmt.Errorf("%d calls ignore their timeout of %v and never end, max_stuck is %d: restart the pipeline, and find out what they wait for", now, timeout, most))
}

// cameBack counts a call that was left behind and has ended after all.
func (n *node) cameBack(component any) {
	n.strays.back(component)
	n.log.Info("a call that was left behind has come back; its result is thrown away")
}

// closeUnused closes a component that was replaced: now, or when the last call of
// it that was left behind has come back.
func (e *Engine) closeUnused(c closer) {
	if c.node != nil && c.node.strays.in(c.component, e.later(func() { e.closeLate(c) })) {
		c.node.log.Warn("a replaced component is still in use by a call that was left behind; it is closed when that ends")
		return
	}
	e.closeLate(c)
}

// errLate is what a call came to that was left behind meanwhile.
var errLate = errors.New("left behind")

// lateStep is a step whose worker was left behind, for the one in its place.
type lateStep struct {
	events []*pipe.Event // copies, as they were before the call
	turn   uint64
	taken  bool                   // a reload had taken the stage away: the next one decides about the events
	done   func(*pipe.Out, error) // of the observer
	err    error
}

// fail fails what the step was about.
func (l *lateStep) fail(w *worker) error {
	for _, e := range l.events {
		w.out.Fail(e, l.err)
	}
	return l.err
}

// keepSpare copies events, for the case that the call about them must be left behind.
func (w *worker) keepSpare(in []*pipe.Event) {
	w.spare = w.spare[:0]
	for _, e := range in {
		w.spare = append(w.spare, *e)
	}
}

// limited returns the context of a call that may take so long, and what ends it.
// If the call ignores it the worker is left behind.
func (w *worker) limited(ctx context.Context) (context.Context, func()) {
	limited, cancel := context.WithTimeout(ctx, w.timeout)
	call := w.hand.begin(time.Now().Add(w.timeout + guard.Grace))
	timer := time.AfterFunc(w.timeout+guard.Grace, func() { w.leaveBehind(call) })
	return limited, func() {
		timer.Stop()
		w.hand.finish()
		cancel()
	}
}

// leaveBehind puts another worker in the place of this one, unless its call has
// ended or work is being stopped.
func (w *worker) leaveBehind(call uint64) {
	if w.working.Err() != nil || !w.hand.fence(call) {
		return
	}
	component, holder := w.stage, w.holder != nil
	late := &lateStep{turn: w.turn, taken: w.takenAway(), done: w.observed,
		err: pipe.Classed(pipe.Retryable, fmt.Errorf("no result within timeout %v, which the call ignores: it is left behind", w.timeout))}
	for i := range w.spare {
		late.events = append(late.events, &w.spare[i])
	}
	pipe.Pin(late.events)
	err := w.leaveBehindCall(component, w.timeout, w.stuckLimit)
	if holder {
		err = pipe.Classed(pipe.Fatal, fmt.Errorf("a call ignores its timeout of %v and never ends; a stage that keeps events has one worker, which cannot be replaced: restart the pipeline", w.timeout))
		w.loseKept()
	}
	if err != nil {
		w.broken.Store(true)
		w.eng.failWith(&NodeError{Node: w.cfg.Name, Kind: pipe.KindStage, Err: err})
	}
	w.elapsed.observe(w.timeout+guard.Grace, 1)
	next := &worker{stageNode: w.stageNode, hand: &hand{}, late: late}
	next.hand.take(late.events)
	w.replaceHand(w.hand, next.hand)
	w.alive.Leave(w.began)
	next.take(w.doing.Load())
	w.job.leave()
	go next.run()
}

// loseKept counts what a holder keeps that cannot be reached any more. Its sources
// are never told: they keep it.
func (w *worker) loseKept() {
	if held := w.count.held.Swap(0); held > 0 {
		w.eng.gaveUp.Store(true)
		w.count.returned.Add(held)
	}
}

// resume does what is left of the step of a worker that was left behind. It is
// false when this one was left behind, too, or given up.
func (w *worker) resume() bool {
	late := w.late
	if late == nil {
		return true
	}
	switch {
	case len(late.events) == 0: // it was a flush
		w.late = nil
		w.hand.give()
		return true
	case !late.taken || w.broken.Load():
		return w.step(late.events, late.turn)
	}
	w.late = nil
	if late.done != nil {
		late.done(w.out, context.Canceled) // it has not failed
	}
	return w.step(late.events, late.turn)
}

// keeper returns the stage if it keeps events and may still be asked.
func (w *worker) keeper() pipe.Holder {
	if w.holder == nil || w.broken.Load() {
		return nil
	}
	return w.holder
}

// refuse returns events of a stage that does not work any more.
func (w *worker) refuse(in []*pipe.Event, turn uint64) {
	w.settleReturned(in)
	if w.line != nil {
		w.awaitTurn(turn)
		w.line.next()
	}
}

// replaceHand puts next in the place of old.
func (n *node) replaceHand(old, next *hand) {
	n.life.Lock()
	defer n.life.Unlock()
	n.hands = append(slices.DeleteFunc(n.hands, func(h *hand) bool { return h == old }), next)
}
