package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/guard"
	"github.com/pipectl/pipectl/engine/pipe"
)

// sinkNode collects batches and writes them.
type sinkNode struct {
	node
	doing  atomic.Pointer[sinkJob]
	writes guard.Record  // of all attempts
	ages   latencies     // of confirmed events, since their source read them
	broken atomic.Bool   // a failure ended the pipeline: what still comes is returned
	door   chan struct{} // holds a token while a writer collects
	crew   crew
}

// sinkJob is a sink with its settings: what a reload replaces as a whole.
type sinkJob struct {
	sink    pipe.Sink
	guard   *guard.Sink
	batch   config.Batch
	letters config.DeadLetters
	timeout time.Duration
	filled  bool      // waits for more events until batch.Interval is over
	close   func()    // closes the sink before it is replaced; nil when the next job has the same; read it once left is closed
	closed  sync.Once // of close
	job

	successor *sinkJob // the one in its place, once another is
}

func (s *sinkNode) newJob(sink pipe.Sink, c *config.Node) *sinkJob {
	o := guard.Options{Log: s.log, Record: &s.writes, Meter: &s.meter,
		Left: func() error { return s.leaveBehindCall(sink, c.Timeout.D(), c.MaxStuck) }, Back: func() { s.cameBack(sink) }}
	if now := s.doing.Load(); now != nil && now.sink == sink {
		o.Predecessor = now.guard
	}
	return &sinkJob{sink: sink, batch: c.Batch, letters: c.DeadLetters, timeout: c.Timeout.D(), filled: c.Batch.Interval > 0, job: newJob(s.working), guard: guard.New(sink, guards(c), o)}
}

// writer is one goroutine of a sink with what it reuses. There are as many as
// writes may go on at a time.
type writer struct {
	*sinkNode
	*sinkJob // what it does now; nil before it began
	hand     *hand
	buf      []*pipe.Event
	dead     []*pipe.Event // dead letters of the batch being settled
	surplus  bool          // one too many: it goes
}

// take begins to work on j.
func (w *writer) take(j *sinkJob) {
	j.join()
	w.sinkJob = j
	size := maxBatch
	if j.filled || j.batch.Events < maxBatch {
		size = max(1, j.batch.Events)
	}
	w.buf = make([]*pipe.Event, size)
}

// run writes batches until the edges are closed and empty, work is stopped, or
// fewer writers are wanted.
func (w *writer) run() {
	defer w.done.Done()
	defer w.alive.Leave(w.alive.Enter())
	defer w.dismiss()
	defer func() { w.leaveJob(w.sinkJob) }()
	for {
		w.renew()
		if !w.muster(w.guard.Limit()) {
			return
		}
		n, over := w.collect()
		in := w.buf[:n] // a reload may give the writer another buffer meanwhile
		for rest := in; len(rest) > 0; {
			w.renew()
			done, ok := w.step(rest, w.fit(rest))
			if !ok {
				return
			}
			rest = rest[done:]
		}
		clear(in) // what is done must not stay in memory
		if over {
			w.crew.finish()
			return
		}
	}
}

// renew goes over to another job if a reload has given the node one: the old
// sink is closed before the new one writes, so that both may have the same file.
func (w *writer) renew() {
	for next := w.doing.Load(); next != w.sinkJob; next = w.doing.Load() {
		old := w.sinkJob
		w.take(next)
		if old == nil {
			continue
		}
		w.leaveJob(old)
		for ; old != next; old = old.successor { // of several reloads, those in between never wrote
			if old.close != nil {
				w.awaitClosed(old)
			}
		}
	}
}

// awaitClosed waits until all writers have left a sink that was replaced, and it
// is closed.
func (w *writer) awaitClosed(old *sinkJob) {
	defer w.meter.Throttled.Leave(w.meter.Throttled.Enter())
	select {
	case <-old.left:
		old.shut()
	case <-w.working.Done():
	}
}

// leaveJob ends the writer's work on j. The last one out closes the sink if it
// was replaced.
func (w *writer) leaveJob(j *sinkJob) {
	j.leave()
	j.shutIfLeft()
}

// shutIfLeft closes a sink that was replaced if nobody works on it any more.
func (j *sinkJob) shutIfLeft() {
	select {
	case <-j.left:
		j.shut()
	default:
	}
}

// shut closes a sink that was replaced, once nobody works on it. All who call it
// wait until that is done.
func (j *sinkJob) shut() {
	if j.close != nil {
		j.closed.Do(j.close)
	}
}

// collect fills a batch: what is there when no batch is configured, else up to
// its limits, waiting no longer than its interval, and not at all while draining.
func (w *writer) collect() (n int, over bool) {
	w.hand.take(nil)
	if !w.enterDoor() {
		return 0, true
	}
	defer w.leaveDoor()
	if w.doing.Load() != w.sinkJob { // another writer was called away, and this one is next
		return 0, false
	}
	size, most := w.guard.Batch()
	buf := w.buf[:min(len(w.buf), max(1, size))]
	n, over = w.receive(w.working, buf, nil)
	if !w.filled || n == 0 || over {
		return n, over
	}
	select {
	case <-w.wake: // left over from the batch before
	default:
	}
	due := time.Now().Add(w.batch.Interval.D())
	defer time.AfterFunc(w.batch.Interval.D(), w.poke).Stop()
	bytes := int64(0)
	for counted := 0; !over; {
		for ; counted < n; counted++ {
			bytes += int64(buf[counted].Size())
		}
		if n >= len(buf) || bytes >= most || w.eng.isDraining() {
			break
		}
		w.hand.take(buf[:n])
		w.hand.wait(due)
		var k int
		k, over = w.receive(w.working, buf[n:], w.wake)
		n += k
		if k == 0 || !time.Now().Before(due) {
			break // the interval is over, or the pipeline drains
		}
	}
	return n, over
}

// fit returns how many events one write may take: as many as the batch has room
// and bytes for, and at least one.
func (w *writer) fit(in []*pipe.Event) int {
	size, most := w.guard.Batch()
	in = in[:min(len(in), max(1, size))]
	bytes := int64(0)
	for i, e := range in {
		if bytes += int64(e.Size()); bytes > most && i > 0 {
			return i
		}
	}
	return len(in)
}

// step writes the first k events in hand and settles them. It returns how many
// that were: none when a reload has taken the sink away, and the next one has to
// write them. ok is false when the worker was given up meanwhile, with all that
// is in its hand.
func (w *writer) step(held []*pipe.Event, k int) (settled int, ok bool) {
	in := held[:k]
	if w.broken.Load() {
		w.settleReturned(in)
		return k, true
	}
	w.hand.take(held)
	if w.timeout > 0 {
		w.hand.wait(time.Now().Add(w.timeout + guard.Grace))
	}
	var done func(*pipe.Out, error)
	if o := w.eng.observer; o != nil {
		done = o.Step(w.cfg.Name, pipe.KindSink, in)
	}
	attempts := 1
	err, panicked := w.guarded(func() (err error) {
		attempts, err = w.deliver(w.job.ctx, in)
		return err
	})
	if !w.hand.give() {
		return 0, false
	}
	if done != nil && w.takenAway(err) {
		done(nil, context.Canceled) // it has not failed
	} else if done != nil {
		done(nil, err)
	}
	var part *pipe.PartialError
	switch {
	case err == nil:
		w.confirm(in)
	case errors.As(err, &part):
		return w.partial(in, part, attempts), true
	case w.working.Err() != nil:
		w.settleReturned(in)
	case w.takenAway(err):
		return 0, true
	default:
		w.failAll(in, err, attempts)
	}
	if panicked && w.panics.spend(time.Now()) {
		w.eng.failWith(&NodeError{Node: w.cfg.Name, Kind: pipe.KindSink,
			Err: fmt.Errorf("more than %d panics in a minute, last: %w", panicsPerMinute, err)})
	}
	return k, true
}

// takenAway reports whether err is that of a write which a reload, and not the
// sink or a stop, has ended.
func (w *writer) takenAway(err error) bool {
	return w.working.Err() == nil && (errors.Is(err, guard.ErrReleased) || w.job.over() && errors.Is(err, context.Canceled))
}

// confirm settles written events.
func (w *writer) confirm(in []*pipe.Event) {
	w.age(in)
	if !slices.ContainsFunc(in, (*pipe.Event).Dead) {
		w.count.delivered.Add(int64(len(in)))
		pipe.Settle(in, pipe.Delivered)
		return
	}
	w.dead = w.dead[:0]
	live := in[:0:len(in)]
	for _, e := range in {
		if e.Dead() {
			w.dead = append(w.dead, e)
		} else {
			live = append(live, e)
		}
	}
	w.count.delivered.Add(int64(len(live)))
	w.count.deadLettered.Add(int64(len(w.dead)))
	pipe.Settle(live, pipe.Delivered)
	pipe.Settle(w.dead, pipe.DeadLettered)
}

// partial settles a batch of which some events failed. It returns how many events
// of in are settled; those that the next sink has to write are moved behind them.
func (w *writer) partial(in []*pipe.Event, part *pipe.PartialError, attempts int) (settled int) {
	slices.SortFunc(part.Items, func(a, b pipe.ItemError) int { return a.Index - b.Index })
	failures := make([]pipe.Failure, 0, len(part.Items))
	good := make([]*pipe.Event, 0, len(in))
	var open, again []*pipe.Event
	next := 0
	for i, e := range in {
		if next == len(part.Items) || part.Items[next].Index != i {
			good = append(good, e)
			continue
		}
		err := part.Items[next].Err
		next++
		switch {
		case w.working.Err() != nil && errors.Is(err, context.Canceled):
			open = append(open, e) // stopping is not failing
		case w.takenAway(err):
			again = append(again, e)
		default:
			failures = append(failures, pipe.Failure{Event: e, Err: err})
		}
	}
	copy(in[len(in)-len(again):], again)
	w.confirm(good)
	w.settleReturned(open)
	w.failEvents(failures, attempts)
	return len(in) - len(again)
}

// age notes how long ago the sources have read the events; those of one batch of
// a source have the same time.
func (w *writer) age(in []*pipe.Event) {
	now := time.Now()
	for i := 0; i < len(in); {
		read, first := in[i].Time(), i
		for i++; i < len(in) && in[i].Time() == read; i++ {
		}
		if !read.IsZero() {
			w.ages.observe(now.Sub(read), int64(i-first))
		}
	}
}

func (w *writer) failAll(in []*pipe.Event, err error, attempts int) {
	failures := make([]pipe.Failure, len(in))
	for i, e := range in {
		failures[i] = pipe.Failure{Event: e, Err: err}
	}
	w.failEvents(failures, attempts)
}

func (w *writer) failEvents(failures []pipe.Failure, attempts int) {
	if w.fail(w.working, failures, attempts) {
		w.broken.Store(true)
	}
}
