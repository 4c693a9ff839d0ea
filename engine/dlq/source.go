package dlq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/pipectl/pipectl/engine/pipe"
)

// mostPerRead is how many letters one Read returns at most.
const mostPerRead = 256

// Source is a source of the events of chosen dead letters: each exactly as it was
// before the node where it failed, metadata and identity included.
type Source struct {
	from  *Selection
	node  string // only letters of this node; empty for all
	pace  *rate.Limiter
	total int64

	next int     // the file to be opened next
	now  *Reader // the file that is read, nil between two
	shut bool    // closed: nothing is read any more
	read atomic.Int64
}

// Source returns a source of the letters that failed at node, or of all when it
// is empty. pace, which several may share, bounds letters per second; nil does not.
func (s *Selection) Source(node string, pace *rate.Limiter) *Source {
	total := s.Chosen
	if node != "" {
		total = s.Nodes[node]
	}
	return &Source{from: s, node: node, pace: pace, total: total}
}

// ticket is a letter on its way through the pipeline.
type ticket struct {
	past     pipe.Past
	done     *Done
	from, to int64
}

// Past returns who the event was.
func (t *ticket) Past() *pipe.Past { return &t.past }

// Read appends the events of the next letters. Each is a message of its own.
func (s *Source) Read(ctx context.Context, b *pipe.Batch) error {
	for b.Messages() < mostPerRead {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := s.open()
		if err != nil {
			return err
		}
		if s.pace != nil && b.Messages() > 0 && !s.pace.Allow() {
			return nil
		} else if s.pace != nil && b.Messages() == 0 {
			if err := s.pace.Wait(ctx); err != nil {
				return err
			}
		}
		switch more, err := s.take(b, p); {
		case err != nil:
			return err
		case !more && b.Messages() > 0:
			return nil // a batch is of one file
		}
	}
	return nil
}

// open opens the next file unless one is open. It returns io.EOF after the last.
func (s *Source) open() (*picked, error) {
	if s.shut {
		return nil, errors.New("the source is closed")
	}
	for s.now == nil {
		if s.next == len(s.from.files) {
			return nil, io.EOF
		}
		p := &s.from.files[s.next]
		s.next++
		if p.end == 0 {
			continue // nothing of it is meant
		}
		var err error
		if s.now, err = newReader(p.path, p.file, p.size); err != nil {
			return nil, err
		}
	}
	return &s.from.files[s.next-1], nil
}

// take appends the next chosen letter of the open file to b. more is false at
// the end of the file.
func (s *Source) take(b *pipe.Batch, p *picked) (more bool, err error) {
	for {
		f, err := s.now.Next()
		if err != nil || f.From >= p.end {
			return false, s.leave(err)
		}
		if s.now.Print() != p.done.print {
			return false, fmt.Errorf("%s is another file than before: it was replaced while it was to be replayed", p.path)
		}
		if f.Bad != nil || s.node != "" && f.Node != s.node || !s.from.choice.Again && p.done.Has(f.From) {
			continue
		}
		if ok, err := s.from.wants(&f); err != nil || !ok {
			if err != nil {
				return false, err
			}
			continue
		}
		s.hand(b, &f, p)
		return true, nil
	}
}

// leave closes the file that was read to its end, or as far as it was read when
// the letters were chosen.
func (s *Source) leave(err error) error {
	if err == io.EOF || len(s.from.Truncated) > 0 {
		err = nil // it was said already
	}
	err = errors.Join(err, s.now.Close())
	s.now = nil
	return err
}

// hand makes the event of a letter.
func (s *Source) hand(b *pipe.Batch, f *Found, p *picked) {
	t := &ticket{done: p.done, from: f.From, to: f.To,
		past: pipe.Past{ID: f.ID, Source: f.Source, Origin: f.Origin, Position: f.Position, First: f.FirstTime, Replays: f.Replays + 1}}
	b.From(p.path, 0)
	b.Begin(t)
	e := b.Add(f.Event, f.To)
	for _, m := range slices.Backward(f.Metadata) {
		e.SetMeta(m.Key, m.Value)
	}
	b.End()
	s.read.Add(1)
}

// Settled notes how a letter has ended.
func (s *Source) Settled(token any, result pipe.Outcome) {
	if t, ok := token.(*ticket); ok {
		s.from.settle(t, result)
	}
}

// Traits says that letters stay where they are until they are settled.
func (s *Source) Traits() pipe.Traits {
	return pipe.Traits{Replays: true, Finite: true, Total: s.total}
}

// Progress returns how many letters were read and how many there are.
func (s *Source) Progress() (done, total int64) { return s.read.Load(), s.total }

// Close closes the file that is open.
func (s *Source) Close(context.Context) error {
	s.shut = true
	if s.now == nil {
		return nil
	}
	err := s.now.Close()
	s.now = nil
	return err
}
