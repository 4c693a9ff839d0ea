package pipetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// memorySink keeps lines in memory, in one of many wrong ways.
type memorySink struct {
	defect string

	mu      sync.Mutex // guards what follows
	lines   [][]byte
	pending [][]byte
	kept    []*pipe.Event
	broken  error
	hang    chan struct{} // closed when nothing hangs
}

func newMemorySink(defect string) *memorySink {
	free := make(chan struct{})
	close(free)
	return &memorySink{defect: defect, hang: free}
}

func (s *memorySink) MaxConcurrent() int {
	if s.defect == "no concurrency" {
		return 0
	}
	return 4
}

func (s *memorySink) Write(ctx context.Context, in []*pipe.Event) error {
	if s.defect == "refuses empty batches" && len(in) == 0 {
		return errors.New("nothing to write")
	}
	s.mu.Lock()
	hang := s.hang
	s.mu.Unlock()
	select {
	case <-hang:
	case <-ctx.Done():
		if s.defect == "confirms what it gave up" {
			return nil
		}
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		if s.defect == "leaves half a batch" && len(in) > 0 {
			s.lines = append(s.lines, in[0].Body.AppendText(nil))
		}
		return s.broken
	}
	return s.take(in)
}

func (s *memorySink) take(in []*pipe.Event) error {
	var bad []pipe.ItemError
	for i, e := range in {
		if !e.Body.IsText() {
			at := i
			if s.defect == "wrong index" {
				at++
			}
			bad = append(bad, pipe.ItemError{Index: at, Err: errors.New("no text")})
			continue
		}
		s.add(i, e)
	}
	switch {
	case s.defect == "empties the slice":
		clear(in)
	case s.defect == "partial error in disorder":
		slices.Reverse(bad)
	case s.defect == "forgets partial errors":
		bad = nil
	}
	if len(bad) > 0 {
		return &pipe.PartialError{Items: bad}
	}
	return nil
}

func (s *memorySink) add(i int, e *pipe.Event) {
	line := e.Body.AppendText(nil)
	switch s.defect {
	case "keeps events":
		s.kept = append(s.kept, e)
		return
	case "writes late":
		s.pending = append(s.pending, line)
		return
	case "writes to the bytes of events":
		raw := e.Body.Get(message).Bytes(nil)
		raw[0] ^= 0x20
		return
	case "loses the last of many":
		if i == 255 {
			return
		}
	case "writes twice":
		s.lines = append(s.lines, line)
	}
	s.lines = append(s.lines, line)
}

var message, _ = record.ParsePath("message")

func (s *memorySink) Close(context.Context) error {
	for _, e := range s.kept {
		s.lines = append(s.lines, e.Body.AppendText(nil))
	}
	s.lines, s.pending, s.kept = append(s.lines, s.pending...), nil, nil
	return nil
}

func memoryCase(defect string) SinkCase {
	set := func(f func(*memorySink)) func(*testing.T, pipe.Sink) func() {
		return func(_ *testing.T, sink pipe.Sink) func() {
			s := sink.(*memorySink)
			s.mu.Lock()
			defer s.mu.Unlock()
			f(s)
			hang := s.hang
			return sync.OnceFunc(func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.broken = nil
				select {
				case <-hang:
				default:
					close(hang)
				}
			})
		}
	}
	return SinkCase{
		New: func(*testing.T) pipe.Sink { return newMemorySink(defect) },
		Written: func(_ *testing.T, sink pipe.Sink) []string {
			s := sink.(*memorySink)
			s.mu.Lock()
			defer s.mu.Unlock()
			lines := make([]string, len(s.lines))
			for i, l := range s.lines {
				lines[i] = string(l)
			}
			return lines
		},
		Hang:      set(func(s *memorySink) { s.hang = make(chan struct{}) }),
		Break:     set(func(s *memorySink) { s.broken = pipe.Classed(pipe.Retryable, errors.New("broken")) }),
		TakesBack: true,
		Poison: func() record.Body {
			var a record.Arena
			b, err := record.FromJSON([]byte(`{"a":1}`), &a)
			if err != nil {
				panic(err)
			}
			return b
		},
	}
}

func TestSinkSuiteAcceptsGoodSink(t *testing.T) { Sink(t, memoryCase("")) }

func TestSinkSuiteFindsDefects(t *testing.T) {
	f := func(defect, want string) {
		t.Helper()
		var found []string
		for _, check := range sinkChecks {
			for _, err := range check.run(t, memoryCase(defect)) {
				found = append(found, err.Error())
			}
		}
		if all := strings.Join(found, "\n"); !strings.Contains(all, want) {
			t.Errorf("%s: found %.1000q, want %q", defect, all, want)
		}
	}
	f("refuses empty batches", "empty batch")
	f("keeps events", "lines are there")
	f("writes late", "lines are there")
	f("writes to the bytes of events", "changed the bytes")
	f("empties the slice", "changed the slice")
	f("loses the last of many", "lines are there")
	f("writes twice", "want")
	f("wrong index", "got failures at")
	f("partial error in disorder", "after")
	f("forgets partial errors", "got failures at []")
	f("leaves half a batch", "a line is there 2 times")
	f("confirms what it gave up", "nil from a Write whose destination took nothing")
	f("no concurrency", "must be at least 1")
}
