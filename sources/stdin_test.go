package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// counted counts what is read from it.
type counted struct {
	io.Reader
	n atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func newStdin(in io.Reader) *Stdin { return &Stdin{Codec: codec.Lines(), in: in} }

func TestStdinConformance(t *testing.T) {
	var input strings.Builder
	var want []string
	for i := range 50_000 {
		want = append(want, fmt.Sprintf("line %d", i))
		input.WriteString(want[i] + "\n")
	}
	pipetest.Source(t, func() pipe.Source {
		return newStdin(&counted{Reader: strings.NewReader(input.String())})
	}, pipetest.SourceOptions{
		Want:     want,
		Taken:    func(s pipe.Source) int64 { return s.(*Stdin).in.(*counted).n.Load() },
		MaxAhead: pumpBuffer,
	})
}

// A pipe that stays open: nothing ends by itself, and a blocked read must not
// hold up the end.
func TestStdinConformanceOfAPipe(t *testing.T) {
	writers := map[pipe.Source]*os.File{}
	pipetest.Source(t, func() pipe.Source {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s := newStdin(r)
		writers[s] = w
		t.Cleanup(func() { r.Close(); w.Close() })
		return s
	}, pipetest.SourceOptions{
		Want:    []string{"a", "", "b"},
		Endless: true,
		Feed:    func(s pipe.Source) { io.WriteString(writers[s], "a\n\r\nb\nunfinished") },
	})
}

func TestStdinGivesOneLineAtOnce(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := pipetest.Pull(t, newStdin(r))
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for i := range 3 {
		want := fmt.Sprint("line ", i)
		io.WriteString(w, want+"\n")
		if got, err := p.Read(ctx); err != nil || !slices.Equal(texts(got), []string{want}) {
			t.Fatalf("got %q, %v", texts(got), err)
		}
	}
	io.WriteString(w, "without a line break")
	w.Close()
	got, err := p.Read(ctx)
	if err != nil || !slices.Equal(texts(got), []string{"without a line break"}) || got[0].Origin != "node:4" {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := p.Read(ctx); err != io.EOF {
		t.Errorf("got %v, want the end", err)
	}
}

// A read that cannot be interrupted holds up neither Read nor Close, and what
// it brings later is delivered if somebody still reads.
func TestStdinBlockedRead(t *testing.T) {
	in, out := io.Pipe() // has no deadlines
	s := newStdin(in)
	p := pipetest.Pull(t, s)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := p.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		cancel()
	}
	go io.WriteString(out, "late\n")
	if got, err := p.Read(t.Context()); err != nil || !slices.Equal(texts(got), []string{"late"}) {
		t.Errorf("got %q, %v", texts(got), err)
	}
	p.Close() // while the pump waits for more
	out.Close()
	<-s.pump.done
}

func TestStdinReportsErrors(t *testing.T) {
	broken := errors.New("connection reset")
	p := pipetest.Pull(t, newStdin(io.MultiReader(strings.NewReader("a\n"), brokenReader{broken})))
	defer p.Close()
	if got, err := p.Read(t.Context()); err != nil || !slices.Equal(texts(got), []string{"a"}) {
		t.Errorf("got %q, %v", texts(got), err)
	}
	if _, err := p.Read(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v, want the error", err)
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

func TestStdinDeclares(t *testing.T) {
	c, _ := pipe.Lookup(pipe.KindSource, "stdin")
	s := c.New().(*Stdin)
	if tr := s.Traits(); tr.Replays || !tr.Finite || tr.Why != "stdin cannot be read again" {
		t.Errorf("got %+v", tr)
	}
	if s.in != os.Stdin || s.Validate() != nil {
		t.Errorf("got %+v, %v", s, s.Validate())
	}
	s.Codec.Delimiter = ";"
	if err := s.Validate(); err == nil || err.Error() != "codec.delimiter: only codec csv has a delimiter, not lines" {
		t.Errorf("got %v", err)
	}
}
