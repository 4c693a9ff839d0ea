package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// commitEvery is how often a source's settled position is handed to it.
const commitEvery = time.Second

// sourceNode reads events and hands them on.
type sourceNode struct {
	node
	src    pipe.Source
	ledger *pipe.Ledger
	traits pipe.Traits

	reading  context.Context // ends when it must stop reading
	stopRead context.CancelFunc
	stopSave chan struct{} // ends commitLoop
	saving   sync.WaitGroup

	credit atomic.Int64 // bytes that it may read before it asks the memory budget again
	holds  atomic.Int64 // bytes of the batch that it is handing on
	short  pipe.Clock   // waited for memory
}

// start begins to read and to save what is settled.
func (s *sourceNode) start() {
	s.done.Add(1)
	go s.run()
	s.saving.Go(s.commitLoop)
}

// run reads until the input ends or reading is stopped.
func (s *sourceNode) run() {
	defer s.done.Done()
	defer s.alive.Leave(s.alive.Enter())
	defer s.closeOutputs()
	var b pipe.Batch
	for seq := uint64(1); ; seq++ {
		if s.acquire() != nil {
			return
		}
		b.Reset(s.ledger, s.cfg.Name, seq)
		err, _ := s.guarded(func() error { return s.src.Read(s.reading, &b) })
		s.hand(&b)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return
		case s.reading.Err() != nil:
			return
		default:
			s.eng.failWith(&NodeError{Node: s.cfg.Name, Kind: pipe.KindSource, Err: err})
			return
		}
	}
}

// hand counts what was read and sends it.
func (s *sourceNode) hand(b *pipe.Batch) {
	events, failed, g := b.Take(time.Now())
	if b.Messages() == 0 {
		return
	}
	s.ledger.Count(g)
	s.spend(g.Bytes())
	defer s.holds.Store(0)
	pipe.SettleEmpty(g)
	if o := s.eng.observer; o != nil && len(events) > 0 {
		if done := o.Step(s.cfg.Name, pipe.KindSource, events); done != nil {
			done(nil, nil)
		}
	}
	s.ports()[0].send(s.working, events)
	s.fail(s.working, failed, 1)
}

// commitLoop hands settled positions to the source until stopSave is closed.
func (s *sourceNode) commitLoop() {
	c, ok := s.src.(pipe.Committer)
	if !ok {
		return
	}
	tick := time.NewTicker(commitEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.commit(s.working, c, s.ledger.Marks()); err != nil {
				s.log.Warn("position not saved; it is tried again", "error", err)
			}
		case <-s.stopSave:
			return
		}
	}
}

// finalCommit saves what is settled at the end.
func (s *sourceNode) finalCommit(ctx context.Context) error {
	select {
	case <-s.stopSave:
	default:
		close(s.stopSave)
	}
	s.saving.Wait()
	c, ok := s.src.(pipe.Committer)
	if !ok {
		return nil
	}
	if err := s.commit(ctx, c, s.ledger.FinalMarks()); err != nil {
		return fmt.Errorf("source %s: position not saved, events since the last save will be read again: %w", s.cfg.Name, err)
	}
	return nil
}

func (s *sourceNode) commit(ctx context.Context, c pipe.Committer, marks []pipe.Mark) error {
	if len(marks) == 0 {
		return nil
	}
	err, _ := s.guarded(func() error { return c.Commit(ctx, marks) })
	return err
}

// drain tells the source that it must not take input any more.
func (s *sourceNode) drain() {
	if d, ok := s.src.(pipe.Drainer); ok {
		_, _ = s.guarded(func() error { d.Drain(); return nil }) // a panic is logged and counted
	}
}
