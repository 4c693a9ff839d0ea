package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
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
}

// run reads until the input ends or reading is stopped.
func (s *sourceNode) run() {
	defer s.done.Done()
	defer s.closeOutputs()
	var b pipe.Batch
	for seq := uint64(1); ; seq++ {
		if s.ledger.Acquire(s.eng.reading) != nil {
			return
		}
		b.Reset(s.ledger, s.cfg.Name, seq)
		err, _ := s.guarded(func() error { return s.src.Read(s.eng.reading, &b) })
		s.hand(&b)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return
		case s.eng.reading.Err() != nil:
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
	pipe.SettleEmpty(g)
	s.outs[0].send(s.eng.working, events)
	s.fail(s.eng.working, failed, 1)
}

// commitLoop hands settled positions to the source until stop is closed.
func (s *sourceNode) commitLoop(stop <-chan struct{}) {
	c, ok := s.src.(pipe.Committer)
	if !ok {
		return
	}
	tick := time.NewTicker(commitEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.commit(s.eng.working, c, s.ledger.Marks()); err != nil {
				s.log.Warn("position not saved; it is tried again", "error", err)
			}
		case <-stop:
			return
		}
	}
}

// finalCommit saves what is settled at the end.
func (s *sourceNode) finalCommit(ctx context.Context) error {
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
