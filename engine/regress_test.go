package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// TestFailedSinkEnds: a sink closes its failed port, so that what listens there ends too.
func TestFailedSinkEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 20, batch: 20}}
sinks: {out: {type: memory, panic: 1}, dead: {type: memory}}
edges: [in -> out, out.failed -> dead]
`)
		time.AfterFunc(time.Minute, e.Stop)
		start := time.Now()
		r, err := run(t, e)
		if err != nil || r.Balance.DeadLettered != 20 || r.Balance.Delivered != 0 || time.Since(start) > time.Second {
			t.Errorf("error %v, balance %+v after %v", err, r.Balance, time.Since(start))
		}
	})
}

// TestHangingCommit: a Commit that waits for its context does not hold up a stop.
func TestHangingCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe(t, "shutdown: {timeout: 3s}")
		p.in.read = lines(10, 10, true)
		freed := make(chan struct{})
		p.in.commit = func(ctx context.Context, _ []pipe.Mark) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-freed:
				return nil
			}
		}
		time.AfterFunc(2*time.Second, p.Stop)
		time.AfterFunc(time.Hour, func() { close(freed) })
		start := time.Now()
		run(t, p.Engine)
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("ended after %v, want the stop at 2s + at most 1s", took)
		}
	})
}

// TestDeafFinalCommit: a Commit that ignores its context does not hold up the end.
func TestDeafFinalCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe(t, "shutdown: {timeout: 3s}")
		p.in.read = lines(10, 10, false)
		freed := make(chan struct{})
		p.in.commit = func(context.Context, []pipe.Mark) error { <-freed; return nil }
		time.AfterFunc(time.Hour, func() { close(freed) })
		start := time.Now()
		run(t, p.Engine)
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("ended after %v, want at most the timeout + 1s", took)
		}
		time.Sleep(2 * time.Hour) // until the commit is freed
	})
}

// TestCloseOutlivesTheDeadline: a component that hangs in Close gets what is left
// of the drain's time, not the whole timeout once more.
func TestCloseOutlivesTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe(t, "shutdown: {timeout: 10s}")
		p.in.read = lines(10, 10, true)
		p.out.write = func(context.Context, []*pipe.Event) error { time.Sleep(10 * time.Second); return nil }
		p.out.closing = func(ctx context.Context) error { <-ctx.Done(); return nil }
		time.AfterFunc(time.Second, p.Drain) // the write ends 9 s later, 1 s before the deadline
		start := time.Now()
		run(t, p.Engine)
		if took := time.Since(start); took > 12*time.Second {
			t.Errorf("ended after %v, want the drain at 1s + 10s deadline + at most 1s", took)
		}
	})
}

// TestNoCloseDuringWrite: what still works after being given up is not closed.
func TestNoCloseDuringWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe(t, "")
		p.in.read = lines(10, 10, true)
		freed := make(chan struct{})
		p.out.write = func(context.Context, []*pipe.Event) error { <-freed; return nil }
		time.AfterFunc(time.Second, p.Stop)
		run(t, p.Engine)
		p.tidy(t)
		close(freed)
		synctest.Wait()
	})
}

// TestHolderThatFailsItsFlush: events that a holder keeps are returned when it
// hangs or panics in its last Flush.
func TestHolderThatFailsItsFlush(t *testing.T) {
	for what, fail := range map[string]func(freed chan struct{}){"panics": func(chan struct{}) { panic("boo") }, "hangs": func(freed chan struct{}) { <-freed }} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := build(t, `
shutdown: {timeout: 3s}
sources: {in: {type: numbers, count: 10}}
stages: {keep: {type: probe_holder}}
sinks: {out: {type: memory}}
edges: [in -> keep -> out]
`)
				freed := make(chan struct{})
				part[*probeHolder](t, e, "keep").flush = func(context.Context, *pipe.Out, bool) error { fail(freed); return nil }
				time.AfterFunc(time.Minute, e.Drain)
				r, _ := run(t, e)
				if r.Balance.Returned != 10 {
					t.Errorf("balance %+v, source %+v; want 10 returned", r.Balance, r.Sources["in"])
				}
				close(freed)
				synctest.Wait()
			})
		})
	}
}

// TestCopyThenPanic: a copy that a stage made before it panicked is taken back.
func TestCopyThenPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe(t, "")
		p.in.read = lines(10, 10, false)
		p.stage.process = func(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
			for i, e := range in {
				if i == 3 {
					out.Copy(e)
					panic("boo")
				}
				out.Emit(e)
			}
			return nil
		}
		r, _ := run(t, p.Engine)
		if s := r.Sources["in"]; s.Acked+s.Nacked != 10 {
			t.Errorf("source %+v, balance %+v", s, r.Balance)
		}
	})
}

// TestSplitThenHang: a message of which a stage made parts before it hung past a
// stop counts as returned.
func TestSplitThenHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe(t, "")
		p.in.read = lines(10, 10, true)
		freed := make(chan struct{})
		p.stage.process = func(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
			out.Split(in[0], []record.Body{in[0].Body, in[0].Body})
			<-freed
			return nil
		}
		time.AfterFunc(time.Second, p.Stop)
		r, _ := run(t, p.Engine)
		if s := r.Sources["in"]; s.Returned != 10 {
			t.Errorf("source %+v, balance %+v", s, r.Balance)
		}
		close(freed)
		synctest.Wait()
	})
}

// TestPartialErrorThatNamesNobody: a partial failure with an index outside the
// batch, or one twice, confirms nothing.
func TestPartialErrorThatNamesNobody(t *testing.T) {
	for _, index := range [][]int{{-1, 2}, {99}, {2, 2, 3}} {
		synctest.Test(t, func(t *testing.T) {
			p := probe(t, "")
			p.in.read = lines(10, 10, false)
			p.out.write = func(_ context.Context, in []*pipe.Event) error {
				part := &pipe.PartialError{}
				for _, i := range index {
					part.Items = append(part.Items, pipe.ItemError{Index: i, Err: pipe.Classed(pipe.Poison, errProbe)})
				}
				return part
			}
			r, err := run(t, p.Engine)
			t.Logf("%v: error %v, balance %+v", index, err, r.Balance)
			if err == nil || r.Balance.Delivered != 0 {
				t.Errorf("%v: error %v, delivered %d, want the whole batch to fail", index, err, r.Balance.Delivered)
			}
		})
	}
}

// TestPanicInClose: a panic in Close is an error of the run, not the end of the process.
func TestPanicInClose(t *testing.T) {
	p := probe(t, "")
	p.out.closing = scare
	if _, err := run(t, p.Engine); err == nil {
		t.Error("no error")
	}
}

func TestPanicInCommit(t *testing.T) {
	p := probe(t, "")
	p.in.read = lines(10, 10, false)
	p.in.commit = func(ctx context.Context, _ []pipe.Mark) error { return scare(ctx) }
	if _, err := run(t, p.Engine); err == nil {
		t.Error("no error")
	}
}

// TestIntervalThatEndsAsAnEventComes: an event that comes as the interval of a batch
// ends, between the alarm and the writer that it wakes, is taken with the alarm: the
// batch goes, and does not wait for another alarm. That moment is short, so there are
// many of them, and the source comes a little later each time.
func TestIntervalThatEndsAsAnEventComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: probe}}
sinks: {out: {type: probe, batch: {events: 100, interval: 100ms}}}
edges: [in -> out]
`)
		n, spun, read := 0, 0, lines(40_000, 1, false)
		part[*probeSource](t, e, "in").read = func(ctx context.Context, b *pipe.Batch) error {
			time.Sleep(10 * time.Millisecond)
			if n++; n%10 < 2 {
				for range n % 7919 { // not a sleep: the clock stands still
					spun++
				}
			}
			return read(ctx, b)
		}
		late := 0
		part[*probeSink](t, e, "out").write = func(_ context.Context, in []*pipe.Event) error {
			if time.Since(in[0].Time()) > 100*time.Millisecond {
				late++
			}
			return nil
		}
		run(t, e)
		if late > 0 {
			t.Errorf("%d batches waited longer than their interval", late)
		}
	})
}

func init() { pipe.RegisterSource("early", func() pipe.Source { return &early{} }) }

// early is a source that notes what is called before it is open.
type early struct {
	opened, drained bool
	wrong           bool
}

func (s *early) Open(context.Context, pipe.Env) error { s.opened = true; return nil }

func (s *early) Drain() {
	s.wrong = s.wrong || !s.opened
	s.drained = true
}

func (s *early) Read(ctx context.Context, _ *pipe.Batch) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestDrainWhileOpening: a drain that comes while a component opens reaches the
// sources once they are open, and not before.
func TestDrainWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: early}}
sinks: {out: {type: probe}}
edges: [in -> out]
`)
		part[*probeSink](t, e, "out").open = func(context.Context) error {
			time.Sleep(2 * time.Second)
			return nil
		}
		time.AfterFunc(time.Second, e.Drain)
		r, err := run(t, e)
		if s := part[*early](t, e, "in"); err != nil || r.Outcome != Drained || !s.drained || s.wrong {
			t.Errorf("%s, error %v; drained %v, before it was open %v", r.Outcome, err, s.drained, s.wrong)
		}
	})
}
