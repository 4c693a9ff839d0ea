package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// stageNode runs a stage with one or more workers.
type stageNode struct {
	node
	stage  pipe.Stage
	holder pipe.Holder // nil unless the stage keeps events
	batch  int         // most events a step takes
	line   *turnstile  // orders the workers' results; nil when they need not be
}

// worker is one goroutine of a stage with what it reuses.
type worker struct {
	*stageNode
	hand  *hand
	out   *pipe.Out
	buf   []*pipe.Event
	loose []*pipe.Event // undecided events of the step
	thin  thinning
	due   time.Time   // the holder's deadline that alarm is set for
	alarm *time.Timer // nil until the holder has a deadline
}

func (s *stageNode) newWorker() *worker {
	w := &worker{stageNode: s, hand: &hand{}, out: pipe.NewOut(len(s.outs)), buf: make([]*pipe.Event, s.batch)}
	s.hands = append(s.hands, w.hand)
	return w
}

// run takes steps until the edges are closed and empty or work is stopped.
func (w *worker) run() {
	defer w.done.Done()
	defer w.returnKept()
	for {
		n, turn, over := w.take()
		if n > 0 && !w.step(w.buf[:n], turn) {
			return
		}
		if w.holder != nil && !w.flush(over) {
			return
		}
		if over {
			return
		}
	}
}

// returnKept ends what a holder kept and did not give back at the end.
func (w *worker) returnKept() {
	if !w.hand.give() {
		return // given up: giveUp has counted them
	}
	if kept := w.out.TakeKept(); len(kept) > 0 {
		w.count.held.Add(-int64(len(kept)))
		w.settleReturned(kept)
	}
}

// take receives events and, with ordered workers, a place in the line.
func (w *worker) take() (n int, turn uint64, over bool) {
	if w.line == nil {
		n, over = w.receive(w.eng.working, w.buf, w.wakeAt())
		return n, 0, over
	}
	if !w.line.enter(w.eng.working) {
		return 0, 0, true
	}
	n, over = w.receive(w.eng.working, w.buf, nil)
	return n, w.line.leave(n > 0), over
}

// wakeAt returns the channel that ends a wait when the holder wants to flush.
func (w *worker) wakeAt() <-chan time.Time {
	if w.holder == nil {
		return nil
	}
	if due := w.holder.Deadline(); !due.Equal(w.due) {
		w.due = due
		if w.alarm != nil {
			w.alarm.Stop()
		}
		if !due.IsZero() {
			w.alarm = time.AfterFunc(time.Until(due), w.poke)
		}
	}
	return w.wake
}

// step processes one batch. It is false when the worker was given up meanwhile.
func (w *worker) step(in []*pipe.Event, turn uint64) bool {
	w.hand.take(in)
	w.out.Reset()
	w.process(in)
	if !w.hand.give() {
		return false
	}
	if w.line != nil {
		w.line.await(w.eng.working, turn) // false: work is stopped, order has no meaning any more
		defer w.line.next()
	}
	w.conclude(in)
	return true
}

// process calls the stage. After a panic the undecided events are tried one by
// one, so that only the one that causes it fails.
func (w *worker) process(in []*pipe.Event) {
	err, panicked := w.call(in)
	if err == nil {
		return
	}
	w.loose = w.out.Undecided(w.loose[:0], in)
	if !panicked || len(in) == 1 {
		w.failUndecided(w.loose, err, panicked)
		return
	}
	for _, e := range w.loose {
		if w.eng.working.Err() != nil {
			return // left undecided: returned
		}
		one := []*pipe.Event{e}
		if err, panicked := w.call(one); err != nil && len(w.out.Undecided(nil, one)) > 0 {
			w.failUndecided(one, err, panicked)
		}
	}
}

func (w *worker) failUndecided(events []*pipe.Event, err error, panicked bool) {
	if w.eng.working.Err() != nil && !panicked {
		return // stopping is not failing: left undecided, returned
	}
	for _, e := range events {
		w.out.Fail(e, err)
	}
	if panicked && w.panics.spend(time.Now()) {
		w.eng.failWith(&NodeError{Node: w.cfg.Name, Kind: pipe.KindStage,
			Err: fmt.Errorf("more than %d panics in a minute, last: %w", panicsPerMinute, err)})
	}
}

func (w *worker) call(in []*pipe.Event) (err error, panicked bool) {
	ctx := w.eng.working
	if w.cfg.Timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, w.cfg.Timeout.D())
		defer cancel()
		ctx = limited
	}
	err, panicked = w.guarded(func() error { return w.stage.Process(ctx, in, w.out) })
	if err != nil && !panicked && ctx.Err() != nil && w.eng.working.Err() == nil {
		err = pipe.Classed(pipe.Retryable, fmt.Errorf("no result within timeout %v: %w", w.cfg.Timeout, err))
	}
	return err, panicked
}

// conclude settles and sends what the step decided. What it did not decide about
// is returned if work is being stopped, and has failed otherwise.
func (w *worker) conclude(in []*pipe.Event) {
	given := len(in)
	w.out.DropLostCopies()
	switch {
	case w.out.Complete(given):
	case w.eng.working.Err() != nil:
		w.loose = w.out.Undecided(w.loose[:0], in)
		given -= len(w.loose)
		w.settleReturned(w.loose)
	default:
		w.out.FailUndecided(in, errNoOutcome)
	}
	w.audit(given)
	w.dispatch()
}

// audit checks the books of the step: what was given and made was decided about.
func (w *worker) audit(given int) {
	c := w.out.Counts()
	if d := int64(given) + c.Created + c.Released - c.Merged - c.Decided; d != 0 {
		w.count.unbalanced.Add(max(d, -d))
	}
	w.count.double.Add(c.Double)
}

func (w *worker) dispatch() {
	c := w.out.Counts()
	w.count.created.Add(c.Created)
	w.count.merged.Add(c.Merged)
	w.count.held.Add(c.Held - c.Released)
	w.count.unrouted.Add(c.Unrouted)
	if f := w.out.Filtered(); len(f) > 0 {
		w.count.filtered.Add(int64(len(f)))
		pipe.Settle(f, pipe.Filtered)
	}
	w.thin.apply(w.out, len(w.outs))
	for i, o := range w.outs {
		o.send(w.eng.working, w.out.Port(i))
	}
	w.fail(w.eng.working, w.out.Failed(), 1)
}

// flush lets a holder emit what is due.
func (w *worker) flush(final bool) bool {
	due := w.holder.Deadline()
	stopped := w.eng.working.Err() != nil
	if !final && !w.eng.isDraining() && (due.IsZero() || time.Now().Before(due)) {
		return true
	}
	w.out.Reset()
	err, _ := w.guarded(func() error { return w.holder.Flush(w.eng.working, w.out, final || w.eng.isDraining()) })
	if !w.hand.give() {
		return false
	}
	if err != nil && !stopped {
		w.eng.failWith(&NodeError{Node: w.cfg.Name, Kind: pipe.KindStage, Err: err})
	}
	w.conclude(nil)
	return true
}

// thinning notices stages that let little through and copies what they do let
// through into memory of its own: otherwise one kept event in a hundred would
// pin the read buffers of all hundred.
type thinning struct{ seen, kept int }

const thinWindow = 2048

func (t *thinning) apply(out *pipe.Out, ports int) {
	kept := 0
	for i := range ports {
		kept += len(out.Port(i))
	}
	t.seen += kept + len(out.Filtered()) + len(out.Failed())
	t.kept += kept
	if t.seen > thinWindow {
		t.seen, t.kept = t.seen/2, t.kept/2
	}
	if t.kept*4 >= t.seen {
		return
	}
	for i := range ports {
		events := out.Port(i)
		for j, e := range events {
			events[j] = e.Detach()
		}
	}
}
