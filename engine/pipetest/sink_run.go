package pipetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// sinkRun is one sink under test, with the account of what it was given.
type sinkRun struct {
	t      *testing.T // for the functions of the case; errors are collected
	c      SinkCase
	sink   pipe.Sink
	closed bool
	rng    *rand.Rand

	mu     sync.Mutex // guards what follows
	errs   []error
	ledger *pipe.Ledger
	seq    uint64
	made   int
	sent   []string // confirmed, in order
}

// stopCheck is panicked to end a check; guard recovers it.
type stopCheck struct{}

func (r *sinkRun) guard(f func()) {
	defer func() {
		if v := recover(); v != nil && v != (stopCheck{}) {
			panic(v)
		}
	}()
	f()
}

func (r *sinkRun) errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, fmt.Errorf(format, args...))
}

func (r *sinkRun) fatalf(format string, args ...any) {
	r.errorf(format, args...)
	panic(stopCheck{})
}

func (r *sinkRun) open() {
	if o, ok := r.sink.(pipe.Opener); ok {
		if err := o.Open(r.t.Context(), Env()); err != nil {
			r.closed = true
			r.fatalf("open: %v", err)
		}
	}
}

func (r *sinkRun) close() {
	c, ok := r.sink.(pipe.Closer)
	if !ok || r.closed {
		return
	}
	r.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		r.errorf("close: %v", err)
	}
}

// texts makes n lines that are all different, of up to size bytes more.
func (r *sinkRun) texts(n, size int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := make([]string, n)
	for i := range lines {
		r.made++
		lines[i] = fmt.Sprintf("event %07d %s", r.made, strings.Repeat("x", r.rng.IntN(size+1)))
	}
	return lines
}

// events makes a batch of lines, all in one piece of memory as a source would.
func (r *sinkRun) events(lines []string) (in []*pipe.Event, chunk []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	chunk = []byte(strings.Join(lines, "\n"))
	r.seq++
	var b pipe.Batch
	b.Reset(r.ledger, "test", r.seq)
	b.From("", int64(r.made))
	at := 0
	for i, line := range lines {
		end := at + len(line)
		b.Add(record.FromText(chunk[at:end:end]), int64(r.made*1000+i))
		at = end + 1
	}
	in, _, g := b.Take(time.Now())
	r.ledger.Count(g)
	return in, chunk
}

// write writes lines and settles them as the engine would. It returns the
// indexes that are not written.
func (r *sinkRun) write(ctx context.Context, lines []string) (failed []int, err error) {
	in, chunk := r.events(lines)
	given, before := slices.Clone(in), bytes.Clone(chunk)
	err = r.sink.Write(ctx, in)
	if !slices.Equal(in, given) {
		r.errorf("Write changed the slice it was given")
	}
	if !bytes.Equal(chunk, before) {
		r.errorf("Write changed the bytes of events, which are shared with other branches")
	}
	failed = r.settle(given, err)
	for i := range chunk { // from here on the memory is somebody else's
		chunk[i] = '#'
	}
	clear(in)
	r.mu.Lock()
	for i, line := range lines {
		if !slices.Contains(failed, i) {
			r.sent = append(r.sent, line)
		}
	}
	r.mu.Unlock()
	return failed, err
}

func (r *sinkRun) settle(in []*pipe.Event, err error) (failed []int) {
	var part *pipe.PartialError
	switch {
	case err == nil:
		pipe.Settle(in, pipe.Delivered)
		return nil
	case !errors.As(err, &part):
		pipe.Settle(in, pipe.Failed)
		for i := range in {
			failed = append(failed, i)
		}
		return failed
	}
	if len(part.Items) == 0 {
		r.errorf("partial error without items: that is nil")
	}
	for n, it := range part.Items {
		switch {
		case it.Index < 0 || it.Index >= len(in):
			r.errorf("partial error has index %d in a batch of %d", it.Index, len(in))
			continue
		case n > 0 && it.Index <= part.Items[n-1].Index:
			r.errorf("partial error has index %d after %d", it.Index, part.Items[n-1].Index)
		case it.Err == nil:
			r.errorf("partial error says nothing about index %d", it.Index)
		}
		failed = append(failed, it.Index)
	}
	for i, e := range in {
		outcome := pipe.Delivered
		if slices.Contains(failed, i) {
			outcome = pipe.Failed
		}
		pipe.Settle([]*pipe.Event{e}, outcome)
	}
	return failed
}

// must writes lines and wants no error.
func (r *sinkRun) must(lines []string) {
	if _, err := r.write(r.t.Context(), lines); err != nil {
		r.fatalf("write of %d events: %v", len(lines), err)
	}
}

// want checks that exactly what was confirmed is there, in order.
func (r *sinkRun) want() {
	if r.c.Written == nil {
		return
	}
	got := r.c.Written(r.t, r.sink)
	for i := range max(len(got), len(r.sent)) {
		switch {
		case i >= len(got):
			r.fatalf("%d lines are there, %d were confirmed; the first that is not: %.40q", len(got), len(r.sent), r.sent[i])
		case i >= len(r.sent):
			r.fatalf("%d lines are there, %d were confirmed; the first that was not: %.40q", len(got), len(r.sent), got[i])
		case got[i] != r.sent[i]:
			r.fatalf("line %d: got %.60q, want %.60q", i, got[i], r.sent[i])
		}
	}
}

// wantAtLeast checks that all that was confirmed is there, and nothing that was
// never sent. With once, nothing is there twice.
func (r *sinkRun) wantAtLeast(sent []string, once bool) {
	if r.c.Written == nil {
		return
	}
	count := map[string]int{}
	for _, line := range r.c.Written(r.t, r.sink) {
		count[line]++
		if !slices.Contains(sent, line) {
			r.errorf("a line is there that was never sent: %.60q", line)
		}
		if once && count[line] > 1 {
			r.errorf("a line is there %d times: %.60q", count[line], line)
		}
	}
	for _, line := range r.sent {
		if count[line] == 0 {
			r.errorf("a confirmed line is not there: %.60q", line)
		}
	}
}
