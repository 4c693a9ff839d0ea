package engine

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// stageNode runs a stage with one or more workers.
type stageNode struct {
	node
	doing   atomic.Pointer[stageJob]
	line    *turnstile // orders the workers' results; nil when they need not be
	elapsed latencies  // of single calls of the stage
}

// stageJob is a stage with its settings: what a reload replaces as a whole.
type stageJob struct {
	stage   pipe.Stage
	holder  pipe.Holder // nil unless the stage keeps events
	batch   int         // most events a step takes
	timeout time.Duration
	to      []*output // by port of this stage
	job
}

func newStageJob(n *node, st pipe.Stage, c *config.Node, outs []*output) *stageJob {
	j := &stageJob{stage: st, batch: maxBatch, timeout: c.Timeout.D(), to: outs, job: newJob(n.working)}
	j.holder, _ = st.(pipe.Holder)
	if p, ok := st.(pipe.Paced); ok {
		j.batch = min(maxBatch, max(1, p.MaxBatch()))
	}
	if j.timeout > 0 {
		j.batch = 1 // the timeout is per event
	}
	return j
}

// worker is one goroutine of a stage with what it reuses.
type worker struct {
	*stageNode
	*stageJob // what it does now
	hand      *hand
	out       *pipe.Out
	buf       []*pipe.Event
	loose     []*pipe.Event // undecided events of the step
	thin      thinning
	due       time.Time   // the holder's deadline that alarm is set for
	alarm     *time.Timer // nil until the holder has a deadline
}

func (s *stageNode) newWorker() *worker {
	w := &worker{stageNode: s, hand: &hand{}}
	s.addHand(w.hand)
	w.take(s.doing.Load())
	return w
}

// take begins to work on j.
func (w *worker) take(j *stageJob) {
	j.join()
	w.stageJob = j
	w.out = pipe.NewOut(len(j.to))
	w.buf = make([]*pipe.Event, j.batch)
}

// run takes steps until the edges are closed and empty or work is stopped.
func (w *worker) run() {
	defer w.done.Done()
	defer w.alive.Leave(w.alive.Enter())
	defer func() { w.job.leave() }()
	defer w.returnKept()
	for w.renew() {
		n, turn, over := w.receiveTurn()
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

// renew goes over to another job if a reload has given the node one. It is false
// when the worker was given up meanwhile.
func (w *worker) renew() bool {
	next := w.doing.Load()
	if next == w.stageJob {
		return true
	}
	if w.holder != nil && !w.flush(true) {
		return false
	}
	w.dropKept() // nothing, unless the old stage has a bug
	old := w.stageJob
	w.take(next)
	old.leave()
	return true
}

// returnKept ends what a holder kept and did not give back at the end.
func (w *worker) returnKept() {
	if !w.hand.give() {
		return // given up: giveUp has counted them
	}
	w.dropKept()
}

func (w *worker) dropKept() {
	if kept := w.out.TakeKept(); len(kept) > 0 {
		w.count.held.Add(-int64(len(kept)))
		w.settleReturned(kept)
	}
}

// receiveTurn receives events and, with ordered workers, a place in the line.
func (w *worker) receiveTurn() (n int, turn uint64, over bool) {
	buf := w.buf[:w.batch]
	if w.line == nil {
		n, over = w.receive(w.working, buf, w.wakeAt())
		return n, 0, over
	}
	if !w.enter() {
		return 0, 0, true
	}
	if w.doing.Load() != w.stageJob { // another worker was called away, and this one is next
		return 0, w.line.leave(false), false
	}
	n, over = w.receive(w.working, buf, nil)
	return n, w.line.leave(n > 0), over
}

// enter waits at the door of the line, which is idle time.
func (w *worker) enter() bool {
	if w.line.tryEnter() {
		return true
	}
	defer w.meter.Idle.Leave(w.meter.Idle.Enter())
	return w.line.enter(w.working)
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
// When a reload takes the stage away in the middle, the next one decides about
// the rest.
func (w *worker) step(in []*pipe.Event, turn uint64) bool {
	if w.line != nil {
		defer w.line.next()
	}
	for first := true; ; first = false {
		w.hand.take(in)
		w.out.Reset()
		var done func(*pipe.Out, error)
		if o := w.eng.observer; o != nil {
			done = o.Step(w.cfg.Name, pipe.KindStage, in)
		}
		err := w.process(in)
		if !w.hand.give() {
			return false
		}
		if done != nil {
			done(w.out, err)
		}
		if first && w.line != nil {
			w.awaitTurn(turn)
		}
		if err == nil || !w.takenAway() {
			w.conclude(in)
			return true
		}
		rest := w.out.Undecided(nil, in)
		w.conclude(slices.DeleteFunc(slices.Clone(in), func(e *pipe.Event) bool { return slices.Contains(rest, e) }))
		if len(rest) == 0 {
			return true
		}
		if !w.renew() {
			return false
		}
		in = rest
	}
}

// awaitTurn waits until the batches before are handed on, or work is stopped:
// then order has no meaning any more. While the worker whose turn it is waits for
// room, the others do too.
func (w *worker) awaitTurn(turn uint64) {
	if w.line.isNow(turn) {
		return
	}
	began, blocked := time.Now(), w.waited()
	w.line.await(w.working, turn)
	w.blockedBefore.Add(int64(max(0, min(w.waited()-blocked, time.Since(began)))))
}

// waited returns how long the node has waited for room in its edges.
func (n *node) waited() (d time.Duration) {
	for _, o := range append([]*output{n.failed}, n.ports()...) {
		for _, l := range o.links() {
			d += l.Snapshot().Blocked
		}
	}
	return d
}

// takenAway reports whether a reload, and not a stop, has ended the job.
func (w *worker) takenAway() bool { return w.job.over() && w.working.Err() == nil }

// process calls the stage. After a panic the undecided events are tried one by
// one, so that only the one that causes it fails.
func (w *worker) process(in []*pipe.Event) error {
	err, panicked := w.call(in)
	if err == nil {
		return nil
	}
	w.loose = w.out.Undecided(w.loose[:0], in)
	if !panicked || len(in) == 1 {
		w.failUndecided(w.loose, err, panicked)
		return err
	}
	for _, e := range w.loose {
		if w.job.over() {
			return err // left undecided: returned, or for the next stage
		}
		one := []*pipe.Event{e}
		if err, panicked := w.call(one); err != nil && len(w.out.Undecided(nil, one)) > 0 {
			w.failUndecided(one, err, panicked)
		}
	}
	return err
}

func (w *worker) failUndecided(events []*pipe.Event, err error, panicked bool) {
	if w.job.over() && !panicked {
		return // stopping is not failing: left undecided
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
	ctx := w.job.ctx
	if w.timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, w.timeout)
		defer cancel()
		ctx = limited
	}
	began := time.Now()
	err, panicked = w.guarded(func() error { return w.stage.Process(ctx, in, w.out) })
	w.elapsed.observe(time.Since(began), 1)
	if err != nil && !panicked && ctx.Err() != nil && w.job.ctx.Err() == nil {
		err = pipe.Classed(pipe.Retryable, fmt.Errorf("no result within timeout %v: %w", w.timeout, err))
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
	case w.working.Err() != nil:
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
	w.thin.apply(w.out, len(w.to))
	for i, o := range w.to {
		o.send(w.working, w.out.Port(i))
	}
	w.fail(w.working, w.out.Failed(), 1)
}

// flush lets a holder emit what is due.
func (w *worker) flush(final bool) bool {
	due := w.holder.Deadline()
	stopped := w.working.Err() != nil
	if !final && !w.eng.isDraining() && (due.IsZero() || time.Now().Before(due)) {
		return true
	}
	w.out.Reset()
	err, _ := w.guarded(func() error { return w.holder.Flush(w.working, w.out, final || w.eng.isDraining()) })
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
