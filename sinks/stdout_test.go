package sinks

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// console is an output that can hang, break, and be looked at.
type console struct {
	mu    sync.Mutex // guards what follows
	buf   bytes.Buffer
	calls int
	room  int // bytes that fit before it fails with err
	err   error
	hang  chan struct{}
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	hang := c.hang
	c.mu.Unlock()
	if hang != nil {
		<-hang
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.err == nil {
		return c.buf.Write(p)
	}
	n, _ := c.buf.Write(p[:min(c.room, len(p))])
	c.room -= n
	if n < len(p) {
		return n, c.err
	}
	return n, nil
}

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

func stdoutTo(t testing.TB, c *console) *Stdout {
	return fresh(t, "stdout", func(s *Stdout) { s.out = c })
}

func TestStdoutConformance(t *testing.T) {
	of := func(sink pipe.Sink) *console { return sink.(*Stdout).out.(*console) }
	pipetest.Sink(t, pipetest.SinkCase{
		New:     func(t *testing.T) pipe.Sink { return stdoutTo(t, &console{}) },
		Written: func(_ *testing.T, sink pipe.Sink) []string { return splitLines(of(sink).text()) },
		Hang: func(_ *testing.T, sink pipe.Sink) func() {
			c, hang := of(sink), make(chan struct{})
			c.mu.Lock()
			c.hang = hang
			c.mu.Unlock()
			return sync.OnceFunc(func() {
				c.mu.Lock()
				c.hang = nil
				c.mu.Unlock()
				close(hang)
			})
		},
		Break: func(_ *testing.T, sink pipe.Sink) func() {
			c := of(sink)
			set := func(err error) {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.err, c.room = err, 0
			}
			set(syscall.EIO)
			return func() { set(nil) }
		},
	})
}

func TestStdoutWritesABatchAtOnce(t *testing.T) {
	c := &console{}
	s := stdoutTo(t, c)
	open(t, s)
	write(t, s, numbered(0, 256)...)
	if c.calls != 1 {
		t.Errorf("256 lines took %d writes, want 1", c.calls)
	}
	write(t, s, "text", `{"b":  1, "a":2}`) // an unchanged event is the bytes that came
	if want := joined(numbered(0, 256)) + "text\n{\"b\":  1, \"a\":2}\n"; c.text() != want {
		t.Errorf("got %.200q, want %.200q", c.text(), want)
	}
}

func TestStdoutWithRoomForAPart(t *testing.T) {
	f := func(room int, written []string, text string) {
		t.Helper()
		c := &console{err: syscall.ENOSPC, room: room}
		s := stdoutTo(t, c)
		open(t, s)
		lines := []string{"aaaa", "bbbb", "cccc"}
		err := s.Write(t.Context(), batch(t, lines...))
		var part *pipe.PartialError
		switch {
		case len(written) == 0:
			wantError(t, err, pipe.Fatal, "stdout: no space left on device")
		case !errors.As(err, &part) || len(part.Items) != 3-len(written) || part.Items[0].Index != len(written):
			t.Fatalf("room for %d bytes: got %v, want failures from event %d on", room, err, len(written))
		}
		c.err = nil
		write(t, s, lines[len(written):]...)
		if c.text() != text {
			t.Errorf("room for %d bytes: got %q, want %q", room, c.text(), text)
		}
	}
	f(0, nil, "aaaa\nbbbb\ncccc\n")
	f(5, []string{"aaaa"}, "aaaa\nbbbb\ncccc\n")
	f(7, []string{"aaaa"}, "aaaa\nbb\nbbbb\ncccc\n") // the torn part gets a line of its own
	f(10, []string{"aaaa", "bbbb"}, "aaaa\nbbbb\ncccc\n")
	f(3, nil, "aaa\naaaa\nbbbb\ncccc\n")
}

// TestStdoutClosedByReader is `pipectl run | head`: it needs a process of its own,
// whose standard output is a pipe.
func TestStdoutClosedByReader(t *testing.T) {
	if os.Getenv("PIPECTL_TEST_STDOUT") != "" {
		signal.Ignore(syscall.SIGPIPE) // as the pipectl command does
		s := fresh[*Stdout](t, "stdout", nil)
		open(t, s)
		for {
			if err := s.Write(context.Background(), batch(t, numbered(0, 1000)...)); err != nil {
				var part *pipe.PartialError
				if errors.As(err, &part) { // some lines were out before the reader left
					err = part.Items[0].Err
				}
				os.Stderr.WriteString("class " + string(pipe.ClassOf(err, "")) + ": " + err.Error() + "\n")
				return
			}
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestStdoutClosedByReader$")
	cmd.Env = append(os.Environ(), "PIPECTL_TEST_STDOUT=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 12)
	if _, err := io.ReadFull(out, first); err != nil || string(first) != "line 000000\n" {
		t.Errorf("got %q, %v", first, err)
	}
	out.Close()
	cmd.Wait() // the testing package cannot print its verdict either
	if want := "class fatal: stdout was closed by the reader\n"; stderr.String() != want {
		t.Errorf("got %q, want %q", stderr.String(), want)
	}
}

func TestStdoutCloseGivesUp(t *testing.T) {
	c := &console{hang: make(chan struct{})}
	s := stdoutTo(t, c)
	if err := s.Open(t.Context(), pipetest.Env()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Write(ctx, batch(t, "a")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("write: got %v, want the end of its context", err)
	}
	if err := s.Close(ctx); err == nil || !strings.Contains(err.Error(), "does not read") {
		t.Errorf("close: got %v", err)
	}
	close(c.hang)
}

func TestStdoutCSVHeaderOnce(t *testing.T) {
	c := &console{}
	s := fresh(t, "stdout", func(s *Stdout) { s.out, s.Codec = c, codec.CSV() })
	open(t, s)
	write(t, s, `{"a":1}`)
	write(t, s, `{"a":2}`)
	if want := "a\n1\n2\n"; c.text() != want {
		t.Errorf("got %q, want %q", c.text(), want)
	}
}
