package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/guard"
	"github.com/pipectl/pipectl/engine/pipe"
)

// sinkNode collects batches and writes them.
type sinkNode struct {
	node
	doing    atomic.Pointer[sinkJob]
	*sinkJob              // what its worker does now; only the worker reads it
	writes   guard.Record // of all attempts
	ages     latencies    // of confirmed events, since their source read them
	broken   atomic.Bool  // a failure ended the pipeline: what still comes is returned
	hand     hand
	buf      []*pipe.Event
	dead     []*pipe.Event // dead letters of the batch being settled
}

// sinkJob is a sink with its settings: what a reload replaces as a whole.
type sinkJob struct {
	sink   pipe.Sink
	guard  *guard.Sink
	batch  config.Batch
	filled bool   // waits for more events until batch.Interval is over
	close  func() // closes the sink before it is replaced; nil when the next job has the same
	job
}

func (s *sinkNode) newJob(sink pipe.Sink, c *config.Node) *sinkJob {
	return &sinkJob{sink: sink, batch: c.Batch, filled: c.Batch.Interval > 0, job: newJob(s.working),
		guard: guard.New(sink, c.Timeout.D(), retry(c.Retry), guard.Options{Log: s.log, Record: &s.writes, Meter: &s.meter})}
}

// take begins to work on j.
func (s *sinkNode) take(j *sinkJob) {
	j.join()
	s.sinkJob = j
	size := maxBatch
	if j.filled || j.batch.Events < maxBatch {
		size = max(1, j.batch.Events)
	}
	s.buf = make([]*pipe.Event, size)
}

// run writes batches until the edges are closed and empty or work is stopped.
func (s *sinkNode) run() {
	defer s.done.Done()
	defer s.alive.Leave(s.alive.Enter())
	defer s.closeOutputs()
	defer func() { s.sinkJob.leave() }()
	for {
		s.renew()
		n, over := s.collect()
		for rest := s.buf[:n]; len(rest) > 0; {
			s.renew()
			done, ok := s.step(rest, s.fit(rest))
			if !ok {
				return
			}
			rest = rest[done:]
		}
		if over {
			return
		}
	}
}

// renew goes over to another job if a reload has given the node one: the old
// sink is closed before the new one writes, so that both may have the same file.
func (s *sinkNode) renew() {
	for next := s.doing.Load(); next != s.sinkJob; next = s.doing.Load() {
		old := s.sinkJob
		s.take(next)
		if old == nil {
			continue
		}
		if old.close != nil {
			old.close()
		}
		old.leave()
	}
}

// collect fills a batch: what is there when no batch is configured, else up to
// its limits, waiting no longer than its interval, and not at all while draining.
func (s *sinkNode) collect() (n int, over bool) {
	s.hand.take(nil)
	n, over = s.receive(s.working, s.buf, nil)
	if !s.filled || n == 0 || over {
		return n, over
	}
	select {
	case <-s.wake: // left over from the batch before
	default:
	}
	due := time.Now().Add(s.batch.Interval.D())
	defer time.AfterFunc(s.batch.Interval.D(), s.poke).Stop()
	bytes := int64(0)
	for counted := 0; !over; {
		for ; counted < n; counted++ {
			bytes += int64(s.buf[counted].Size())
		}
		if n >= len(s.buf) || bytes >= int64(s.batch.Bytes) || s.eng.isDraining() {
			break
		}
		s.hand.take(s.buf[:n])
		var k int
		k, over = s.receive(s.working, s.buf[n:], s.wake)
		n += k
		if k == 0 || !time.Now().Before(due) {
			break // the interval is over, or the pipeline drains
		}
	}
	return n, over
}

// fit returns how many events one write may take: as many as the batch has room
// and bytes for, and at least one.
func (s *sinkNode) fit(in []*pipe.Event) int {
	in = in[:min(len(in), max(1, s.batch.Events))]
	bytes := int64(0)
	for i, e := range in {
		if bytes += int64(e.Size()); bytes > int64(s.batch.Bytes) && i > 0 {
			return i
		}
	}
	return len(in)
}

// step writes the first k events in hand and settles them. It returns how many
// that were: none when a reload has taken the sink away, and the next one has to
// write them. ok is false when the worker was given up meanwhile, with all that
// is in its hand.
func (s *sinkNode) step(held []*pipe.Event, k int) (settled int, ok bool) {
	in := held[:k]
	if s.broken.Load() {
		s.settleReturned(in)
		return k, true
	}
	s.hand.take(held)
	var done func(*pipe.Out, error)
	if o := s.eng.observer; o != nil {
		done = o.Step(s.cfg.Name, pipe.KindSink, in)
	}
	attempts := 1
	err, panicked := s.guarded(func() (err error) {
		attempts, err = s.guard.Write(s.job.ctx, in)
		return err
	})
	if !s.hand.give() {
		return 0, false
	}
	if done != nil && s.takenAway(err) {
		done(nil, context.Canceled) // it has not failed
	} else if done != nil {
		done(nil, err)
	}
	var part *pipe.PartialError
	switch {
	case err == nil:
		s.confirm(in)
	case errors.As(err, &part):
		return s.partial(in, part, attempts), true
	case s.working.Err() != nil:
		s.settleReturned(in)
	case s.takenAway(err):
		return 0, true
	default:
		s.failAll(in, err, attempts)
	}
	if panicked && s.panics.spend(time.Now()) {
		s.eng.failWith(&NodeError{Node: s.cfg.Name, Kind: pipe.KindSink,
			Err: fmt.Errorf("more than %d panics in a minute, last: %w", panicsPerMinute, err)})
	}
	return k, true
}

// takenAway reports whether err is that of a write which a reload, and not the
// sink or a stop, has ended.
func (s *sinkNode) takenAway(err error) bool {
	return s.working.Err() == nil && (errors.Is(err, guard.ErrReleased) || s.job.over() && errors.Is(err, context.Canceled))
}

// confirm settles written events.
func (s *sinkNode) confirm(in []*pipe.Event) {
	s.age(in)
	if !slices.ContainsFunc(in, (*pipe.Event).Dead) {
		s.count.delivered.Add(int64(len(in)))
		pipe.Settle(in, pipe.Delivered)
		return
	}
	s.dead = s.dead[:0]
	live := in[:0:len(in)]
	for _, e := range in {
		if e.Dead() {
			s.dead = append(s.dead, e)
		} else {
			live = append(live, e)
		}
	}
	s.count.delivered.Add(int64(len(live)))
	s.count.deadLettered.Add(int64(len(s.dead)))
	pipe.Settle(live, pipe.Delivered)
	pipe.Settle(s.dead, pipe.DeadLettered)
}

// partial settles a batch of which some events failed. It returns how many events
// of in are settled; those that the next sink has to write are moved behind them.
func (s *sinkNode) partial(in []*pipe.Event, part *pipe.PartialError, attempts int) (settled int) {
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
		case s.working.Err() != nil && errors.Is(err, context.Canceled):
			open = append(open, e) // stopping is not failing
		case s.takenAway(err):
			again = append(again, e)
		default:
			failures = append(failures, pipe.Failure{Event: e, Err: err})
		}
	}
	copy(in[len(in)-len(again):], again)
	s.confirm(good)
	s.settleReturned(open)
	s.failEvents(failures, attempts)
	return len(in) - len(again)
}

// age notes how long ago the sources have read the events; those of one batch of
// a source have the same time.
func (s *sinkNode) age(in []*pipe.Event) {
	now := time.Now()
	for i := 0; i < len(in); {
		read, first := in[i].Time(), i
		for i++; i < len(in) && in[i].Time() == read; i++ {
		}
		if !read.IsZero() {
			s.ages.observe(now.Sub(read), int64(i-first))
		}
	}
}

func (s *sinkNode) failAll(in []*pipe.Event, err error, attempts int) {
	failures := make([]pipe.Failure, len(in))
	for i, e := range in {
		failures[i] = pipe.Failure{Event: e, Err: err}
	}
	s.failEvents(failures, attempts)
}

func (s *sinkNode) failEvents(failures []pipe.Failure, attempts int) {
	if len(failures) == 0 {
		return
	}
	if !s.failed.connected() && !s.dropFailed.Load() {
		s.broken.Store(true)
	}
	s.fail(s.working, failures, attempts)
}
