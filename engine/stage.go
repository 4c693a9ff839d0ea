package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/guard"
	"github.com/pipectl/pipectl/engine/pipe"
)

// stageNode runs a stage with one or more workers.
type stageNode struct {
	node
	doing   atomic.Pointer[stageJob]
	line    *turnstile   // orders the workers' results; nil when they need not be
	elapsed latencies    // of single calls of the stage
	due     atomic.Int64 // Unix time in ns at which a holder flushes
	calls   guard.Record // of all attempts, of a stage that calls out
	broken  atomic.Bool  // too many calls hang: what still comes is returned
	running sync.WaitGroup
}

// stageJob is a stage with its settings: what a reload replaces as a whole.
type stageJob struct {
	stage   pipe.Stage
	holder  pipe.Holder // nil unless the stage keeps events
	batch   int         // most events a step takes
	timeout time.Duration
	guard   *guard.Sink // nil unless the stage calls out
	to      []*output   // by port of this stage
	letters config.DeadLetters

	stuckLimit int // calls that may be left behind
	job
}

func (s *stageNode) newJob(st pipe.Stage, c *config.Node, outs []*output) *stageJob {
	j := &stageJob{stage: st, batch: maxBatch, timeout: c.Timeout.D(), to: outs, letters: c.DeadLetters, stuckLimit: c.MaxStuck, job: newJob(s.working)}
	j.holder, _ = st.(pipe.Holder)
	if p, ok := st.(pipe.Paced); ok {
		j.batch = min(maxBatch, max(1, p.MaxBatch()))
	}
	if j.timeout > 0 {
		j.batch = 1 // the timeout is per event
	}
	if _, calls := st.(pipe.Caller); calls {
		s.guardCalls(j, c)
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
	attempts  int         // most calls that the step made for one of its events

	began    int64                  // since when it is alive
	turn     uint64                 // of the step
	spare    []pipe.Event           // copies of the events of the step, if it has a timeout
	observed func(*pipe.Out, error) // tells the observer how the step has ended; nil for nobody
	late     *lateStep              // what it begins with; nil for most
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
	w.began = w.alive.Enter()
	defer w.leave()
	if !w.resume() {
		return
	}
	for w.renew() {
		n, turn, over := w.receiveTurn()
		in := w.buf[:n] // a reload may give the worker another buffer meanwhile
		if n > 0 && w.broken.Load() {
			w.refuse(in, turn)
		} else if n > 0 && !w.step(in, turn) {
			return
		}
		clear(in) // what is done must not stay in memory
		if w.keeper() != nil && !w.flush(over) {
			return
		}
		if over {
			return
		}
	}
}

// leave ends the worker. One that was left behind is out already.
func (w *worker) leave() {
	if w.hand.isFenced() {
		w.cameBack(w.stage)
		return
	}
	w.returnKept()
	w.job.leave()
	w.alive.Leave(w.began)
	w.running.Done()
	w.done.Done()
}

// renew goes over to another job if a reload has given the node one. It is false
// when the worker was given up meanwhile.
func (w *worker) renew() bool {
	next := w.doing.Load()
	if next == w.stageJob {
		return true
	}
	if w.keeper() != nil && !w.flush(true) {
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
	if w.keeper() == nil {
		return nil
	}
	if due := w.holder.Deadline(); !due.Equal(w.due) {
		w.due = due
		w.stageNode.due.Store(due.UnixNano())
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
	w.turn = turn
	if w.line != nil {
		defer w.nextTurn()
	}
	for first := true; ; first = false {
		w.hand.take(in)
		w.out.Reset()
		w.attempts = 0
		err := w.decide(in)
		if !w.hand.give() {
			return false
		}
		if w.observed != nil {
			w.observed(w.out, err)
			w.observed = nil
		}
		if first && w.line != nil {
			w.awaitTurn(turn)
		}
		if err == nil || !w.takenAway() {
			w.conclude(in)
			return !w.hand.lost()
		}
		rest := w.out.Undecided(nil, in)
		w.conclude(slices.DeleteFunc(slices.Clone(in), func(e *pipe.Event) bool { return slices.Contains(rest, e) }))
		if len(rest) == 0 {
			return !w.hand.lost()
		}
		if !w.renew() {
			return false
		}
		in = rest
	}
}

// decide lets the stage decide about the events of the step; those of a worker
// that was left behind have failed.
func (w *worker) decide(in []*pipe.Event) error {
	if late := w.late; late != nil {
		w.late, w.observed = nil, late.done
		return late.fail(w)
	}
	if o := w.eng.observer; o != nil {
		w.observed = o.Step(w.cfg.Name, pipe.KindStage, in)
	}
	return w.process(in)
}

// nextTurn ends the worker's turn, unless another one has it now.
func (w *worker) nextTurn() {
	if !w.hand.lost() {
		w.line.next()
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
func (w *worker) takenAway() bool { return w.gone() && w.working.Err() == nil }

// process calls the stage. After a panic the undecided events are tried one by
// one, so that only the one that causes it fails.
func (w *worker) process(in []*pipe.Event) error {
	if w.timeout > 0 {
		w.keepSpare(in)
	}
	err, panicked := w.ask(in)
	if err == nil || err == errLate {
		return err
	}
	w.loose = w.out.Undecided(w.loose[:0], in)
	if !panicked || len(in) == 1 {
		w.failUndecided(w.loose, err, panicked)
		return err
	}
	for _, e := range w.loose {
		if w.gone() {
			return err // left undecided: returned, or for the next stage
		}
		one := []*pipe.Event{e}
		if err, panicked := w.ask(one); err == errLate {
			return err
		} else if err != nil && len(w.out.Undecided(nil, one)) > 0 {
			w.failUndecided(one, err, panicked)
		}
	}
	return err
}

func (w *worker) failUndecided(events []*pipe.Event, err error, panicked bool) {
	if w.gone() && !panicked {
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

// call calls the stage once.
func (w *worker) call(above context.Context, in []*pipe.Event) (err error, panicked bool) {
	ctx := above
	if w.timeout > 0 {
		limited, end := w.limited(ctx)
		defer end()
		ctx = limited
	}
	began := time.Now()
	err, panicked = w.guarded(func() error { return w.stage.Process(ctx, in, w.out) })
	if w.timeout > 0 && w.hand.lost() {
		return errLate, false
	}
	w.elapsed.observe(time.Since(began), 1)
	if err != nil && !panicked && ctx.Err() != nil && above.Err() == nil {
		err = pipe.Classed(pipe.Retryable, fmt.Errorf("no result within timeout %v: %w", w.timeout, err))
	}
	return err, panicked
}

// conclude settles and sends what the step decided.
func (w *worker) conclude(in []*pipe.Event) {
	w.complete(in)
	w.dispatch()
	w.fail(w.working, w.holdBack(w.out.Failed()), max(1, w.attempts))
}

// complete decides about what the step did not decide about: it is returned if
// work is being stopped, and has failed otherwise.
func (w *worker) complete(in []*pipe.Event) {
	given := len(in)
	w.out.Enter()
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
}

// audit checks the books of the step: what was given and made was decided about.
func (w *worker) audit(given int) {
	c := w.out.Counts()
	if d := int64(given) + c.Created + c.Released - c.Merged - c.Decided; d != 0 {
		w.count.unbalanced.Add(max(d, -d))
	}
	w.count.double.Add(c.Double)
}

// dispatch settles and sends what has not failed.
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
}

// flush lets a holder emit what is due.
func (w *worker) flush(final bool) bool {
	due := w.holder.Deadline()
	stopped := w.working.Err() != nil
	if !final && !w.eng.isDraining() && (due.IsZero() || time.Now().Before(due)) {
		return true
	}
	w.out.Reset()
	ctx, end := w.working, func() {}
	if w.timeout > 0 {
		w.spare, w.observed = w.spare[:0], nil
		ctx, end = w.limited(ctx)
	}
	err, _ := w.guarded(func() error { return w.holder.Flush(ctx, w.out, final || w.eng.isDraining()) })
	end()
	if !w.hand.give() {
		return false
	}
	if err != nil && !stopped {
		w.eng.failWith(&NodeError{Node: w.cfg.Name, Kind: pipe.KindStage, Err: err})
	}
	w.conclude(nil)
	return true
}
