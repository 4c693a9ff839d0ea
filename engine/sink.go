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
	sink   pipe.Sink
	guard  *guard.Sink
	batch  config.Batch
	filled bool        // waits for more events until batch.Interval is over
	broken atomic.Bool // a failure ended the pipeline: what still comes is returned
	hand   hand
	buf    []*pipe.Event
	dead   []*pipe.Event // dead letters of the batch being settled
}

// run writes batches until the edges are closed and empty or work is stopped.
func (s *sinkNode) run() {
	defer s.done.Done()
	defer s.closeOutputs()
	for {
		n, over := s.collect()
		for rest := s.buf[:n]; len(rest) > 0; {
			k := s.fit(rest)
			if !s.step(rest, k) {
				return
			}
			rest = rest[k:]
		}
		if over {
			return
		}
	}
}

// collect fills a batch: what is there when no batch is configured, else up to
// its limits, waiting no longer than its interval, and not at all while draining.
func (s *sinkNode) collect() (n int, over bool) {
	s.hand.take(nil)
	n, over = s.receive(s.eng.working, s.buf, nil)
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
		k, over = s.receive(s.eng.working, s.buf[n:], s.wake)
		n += k
		if k == 0 || !time.Now().Before(due) {
			break // the interval is over, or the pipeline drains
		}
	}
	return n, over
}

// fit returns how many events one write may take: as many as the batch has bytes
// for, and at least one.
func (s *sinkNode) fit(in []*pipe.Event) int {
	bytes := int64(0)
	for i, e := range in {
		if bytes += int64(e.Size()); bytes > int64(s.batch.Bytes) && i > 0 {
			return i
		}
	}
	return len(in)
}

// step writes the first k events in hand and settles them. It is false when the
// worker was given up meanwhile, with all that is in its hand.
func (s *sinkNode) step(held []*pipe.Event, k int) bool {
	in := held[:k]
	if s.broken.Load() {
		s.settleReturned(in)
		return true
	}
	s.hand.take(held)
	attempts := 1
	err, panicked := s.guarded(func() (err error) {
		attempts, err = s.guard.Write(s.eng.working, in)
		return err
	})
	if !s.hand.give() {
		return false
	}
	var part *pipe.PartialError
	switch {
	case err == nil:
		s.confirm(in)
	case errors.As(err, &part):
		s.partial(in, part, attempts)
	case s.eng.working.Err() != nil:
		s.settleReturned(in)
	default:
		s.failAll(in, err, attempts)
	}
	if panicked && s.panics.spend(time.Now()) {
		s.eng.failWith(&NodeError{Node: s.cfg.Name, Kind: pipe.KindSink,
			Err: fmt.Errorf("more than %d panics in a minute, last: %w", panicsPerMinute, err)})
	}
	return true
}

// confirm settles written events.
func (s *sinkNode) confirm(in []*pipe.Event) {
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

func (s *sinkNode) partial(in []*pipe.Event, part *pipe.PartialError, attempts int) {
	slices.SortFunc(part.Items, func(a, b pipe.ItemError) int { return a.Index - b.Index })
	failures := make([]pipe.Failure, 0, len(part.Items))
	good := make([]*pipe.Event, 0, len(in))
	var open []*pipe.Event
	next := 0
	for i, e := range in {
		if next == len(part.Items) || part.Items[next].Index != i {
			good = append(good, e)
			continue
		}
		err := part.Items[next].Err
		next++
		if s.eng.working.Err() != nil && errors.Is(err, context.Canceled) {
			open = append(open, e) // stopping is not failing
			continue
		}
		failures = append(failures, pipe.Failure{Event: e, Err: err})
	}
	s.confirm(good)
	s.settleReturned(open)
	s.failEvents(failures, attempts)
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
	if s.failed == nil && s.cfg.OnError != config.OnErrorDrop {
		s.broken.Store(true)
	}
	s.fail(s.eng.working, failures, attempts)
}
