package sinks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSink("stdout", func() pipe.Sink { return &Stdout{Codec: codec.Lines(), out: os.Stdout} })
}

// Stdout writes events to the standard output. They are confirmed when the
// kernel has them: what a program behind a pipe has not read yet is lost when
// that program ends. When it closes the pipe, the pipeline ends with exit 1.
//
// Example:
//
//	type: stdout
//	codec: ndjson
type Stdout struct {
	// Codec is the format. The default, lines, writes text as it is and objects as
	// one line of JSON each.
	Codec codec.Codec `yaml:"codec"`

	out  io.Writer
	enc  *codec.Encoder
	buf  []byte
	ends []int // where the events in buf end
	torn bool  // the output ends in the middle of an event

	work    chan []byte
	results chan written // one slot
	waiting bool         // a result of an earlier, cancelled Write is still to come
}

// written is the result of one write to the output.
type written struct {
	n    int
	want int
	err  error
}

// Open starts the goroutine that writes: a write to a pipe that nobody reads
// cannot be cancelled, but waiting for it can.
func (s *Stdout) Open(context.Context, pipe.Env) error {
	s.enc = s.Codec.NewEncoder()
	s.work, s.results = make(chan []byte), make(chan written, 1)
	go func(work <-chan []byte, results chan<- written) {
		defer close(results)
		for p := range work {
			n, err := s.out.Write(p)
			results <- written{n, len(p), err}
		}
	}(s.work, s.results)
	return nil
}

// Write writes in with one system call, or a few when it is large.
func (s *Stdout) Write(ctx context.Context, in []*pipe.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.settleLast(ctx); err != nil {
		return err
	}
	var bad []pipe.ItemError
	s.start()
	first := 0 // of the events in buf
	for i, e := range in {
		var err error
		if s.buf, err = s.enc.Append(s.buf, e); err != nil {
			bad = append(bad, pipe.ItemError{Index: i, Err: err})
		}
		s.ends = append(s.ends, len(s.buf))
		if len(s.buf) < flushSize && i < len(in)-1 {
			continue
		}
		if n, err := s.flush(ctx); err != nil {
			return failFrom(first+n, len(in), bad, err)
		}
		first = i + 1
		s.start()
	}
	if len(bad) > 0 {
		return &pipe.PartialError{Items: bad}
	}
	return nil
}

// start begins a new buffer; after a torn event, on a line of its own.
func (s *Stdout) start() {
	s.buf, s.ends = reuse(s.buf), s.ends[:0]
	if s.torn && s.Codec.Type != codec.TypeRaw {
		s.buf = append(s.buf, '\n')
	}
}

// flush writes buf. With an error, n is how many of its events are written whole.
func (s *Stdout) flush(ctx context.Context) (n int, err error) {
	if len(s.buf) == 0 {
		return 0, nil
	}
	s.work <- s.buf // the goroutine is idle: settleLast has seen to it
	s.waiting = true
	select {
	case r := <-s.results:
		return s.result(r)
	case <-ctx.Done():
		return 0, ctx.Err() // buf stays the goroutine's until settleLast
	}
}

func (s *Stdout) result(r written) (n int, err error) {
	s.waiting = false
	if r.err == nil {
		s.torn = false
		return len(s.ends), nil
	}
	whole := 0
	for n < len(s.ends) && s.ends[n] <= r.n {
		whole = s.ends[n]
		n++
	}
	s.torn = s.torn && r.n == 0 || r.n > whole
	if errors.Is(r.err, syscall.EPIPE) {
		return n, pipe.Classed(pipe.Fatal, errors.New("stdout was closed by the reader"))
	}
	if errors.Is(r.err, syscall.ENOSPC) {
		return n, pipe.Classed(pipe.Fatal, fmt.Errorf("stdout: %w: free space or write to another disk", cause(r.err)))
	}
	return n, pipe.Classed(pipe.Retryable, fmt.Errorf("stdout: %w", cause(r.err)))
}

// settleLast waits for a write that an earlier call gave up on.
func (s *Stdout) settleLast(ctx context.Context) error {
	if !s.waiting {
		return nil
	}
	select {
	case r := <-s.results:
		s.ends = s.ends[:0]
		_, err := s.result(r)
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close waits for the last write. When nobody reads the output it gives up at
// the end of ctx.
func (s *Stdout) Close(ctx context.Context) error {
	if s.work == nil {
		return nil
	}
	close(s.work)
	for {
		select {
		case _, ok := <-s.results:
			if !ok {
				return nil
			}
		case <-ctx.Done():
			return errors.New("stdout: the reader does not read: what was written last may not arrive")
		}
	}
}

// failFrom fails the events from index from on, and those of bad before it.
func failFrom(from, n int, bad []pipe.ItemError, err error) error {
	if from == 0 {
		return err
	}
	items := make([]pipe.ItemError, 0, len(bad)+n-from)
	for _, it := range bad {
		if it.Index < from {
			items = append(items, it)
		}
	}
	for i := from; i < n; i++ {
		items = append(items, pipe.ItemError{Index: i, Err: err})
	}
	return &pipe.PartialError{Items: items}
}

// cause takes the operation and the path off an error of package os: the
// message names them already.
func cause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
