package engine

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// TestUnorderedWorkersOvertake: with ordered: false a slow event holds back
// nobody but itself.
func TestUnorderedWorkersOvertake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 20, batch: 1, pause: 1ms}}
stages: {a: {type: probe, workers: 2, ordered: false}}
sinks: {out: {type: memory}}
edges: [in -> a -> out]
`)
		part[*probeStage](t, e, "a").process = func(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
			for _, ev := range in {
				if number(ev) == 0 {
					time.Sleep(time.Second)
				}
				out.Emit(ev)
			}
			return nil
		}
		run(t, e)
		if got := sinkOf(t, e, "out").got(); len(got) != 20 || got[19] != "0" {
			t.Errorf("got %v, want the slow event last", got)
		}
	})
}

// TestStopInAStage: what a stage had in hand at a stop is returned, not failed.
func TestStopInAStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe(t, "")
		p.in.read = lines(10, 10, true)
		p.stage.process = func(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
			out.Emit(in[0])
			<-ctx.Done()
			return ctx.Err()
		}
		time.AfterFunc(time.Second, p.Stop)
		r, err := run(t, p.Engine)
		if err != nil || r.Balance.Failed != 0 || r.Balance.Returned < 9 || r.ExitCode != ExitStopped {
			t.Errorf("exit code %d, error %v, balance %+v", r.ExitCode, err, r.Balance)
		}
	})
}

// TestDrainFlushesHoldersFirst: a drain lets a holder emit at once, also while
// its source takes its time to end.
func TestDrainFlushesHoldersFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: probe}}
stages: {keep: {type: probe_holder}}
sinks: {out: {type: memory}}
edges: [in -> keep -> out]
`)
		read := lines(1, 1, true)
		part[*probeSource](t, e, "in").read = func(ctx context.Context, b *pipe.Batch) error {
			err := read(ctx, b)
			if err != nil {
				time.Sleep(5 * time.Second) // slow to let go
			}
			return err
		}
		start, flushed := time.Now(), time.Duration(0)
		h := part[*probeHolder](t, e, "keep")
		h.flush = func(_ context.Context, out *pipe.Out, _ bool) error {
			for _, ev := range h.held {
				flushed = time.Since(start)
				out.Emit(out.Release(ev))
			}
			h.held = nil
			return nil
		}
		time.AfterFunc(time.Second, e.Drain)
		if _, err := run(t, e); err != nil || flushed != time.Second {
			t.Errorf("error %v, flushed after %v, want at the drain", err, flushed)
		}
	})
}

func TestBatchInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 6, batch: 1, pause: 400ms}}
sinks: {out: {type: memory, batch: {events: 10, interval: 1s}}}
edges: [in -> out]
`)
		run(t, e)
		if got := sinkOf(t, e, "out").sizes; !slices.Equal(got, []int{3, 3}) {
			t.Errorf("batches of %v, want 3, 3", got)
		}
	})
}

// TestPanicsAreForgiven: one panic every 20 seconds is bad input, for ever.
func TestPanicsAreForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 30, batch: 1, pause: 20s}}
stages: {a: {type: script, do: 'panic:1', on_error: drop}}
sinks: {out: {type: memory}}
edges: [in -> a -> out]
`)
		if r, err := run(t, e); err != nil || r.Balance.Failed != 30 {
			t.Errorf("error %v, balance %+v", err, r.Balance)
		}
	})
}

// TestSinkRefusalsInAnyOrder: a sink may name the events it refuses in any order.
func TestSinkRefusalsInAnyOrder(t *testing.T) {
	p := probe(t, "")
	p.in.read = lines(10, 10, false)
	saved := int64(0)
	p.in.commit = func(_ context.Context, marks []pipe.Mark) error { saved = marks[0].Position; return nil }
	p.out.write = func(_ context.Context, in []*pipe.Event) error {
		part := &pipe.PartialError{}
		for _, i := range []int{7, 2, 5} {
			part.Items = append(part.Items, pipe.ItemError{Index: i, Err: pipe.Classed(pipe.Poison, errProbe)})
		}
		return part
	}
	if r, err := run(t, p.Engine); !errors.Is(err, errProbe) || r.Balance.Delivered != 7 || r.Balance.Failed != 3 || saved != 2 {
		t.Errorf("error %v, balance %+v, committed %d, want the two before the first refusal", err, r.Balance, saved)
	}
}

// TestFanOutServesReadyBranchesFirst: a batch reaches the branches that need not
// wait before its producer waits for one that is full.
func TestFanOutServesReadyBranchesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 30, batch: 10}}
sinks: {full: {type: memory, wait: 10m}, ready: {type: memory}}
edges: [{from: in, to: full, buffer: 10}, in -> ready]
`)
		time.AfterFunc(time.Minute, func() {
			if got := len(sinkOf(t, e, "ready").got()); got != 30 {
				t.Errorf("the ready branch has %d events, want all 30", got)
			}
		})
		run(t, e)
	})
}

// TestHolderFlushesWhenDue: also when no event comes.
func TestHolderFlushesWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 1, endless: true}}
stages: {two: {type: pairs}}
sinks: {out: {type: memory}}
edges: [in -> two -> out]
`)
		time.AfterFunc(1100*time.Millisecond, func() {
			if got := sinkOf(t, e, "out").got(); !slices.Equal(got, []string{"1 events"}) {
				t.Errorf("after the holder's deadline: %v", got)
			}
		})
		time.AfterFunc(time.Minute, e.Drain)
		run(t, e)
	})
}

// TestBatchesDoNotWaitWhileDraining: what reaches a sink after the drain began
// is written at once.
func TestBatchesDoNotWaitWhileDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 5, batch: 5, endless: true}}
stages: {slow: {type: script, wait: 1s, timeout: 10s}}
sinks: {out: {type: memory, batch: {events: 100, interval: 1h}}}
edges: [in -> slow -> out]
`)
		time.AfterFunc(500*time.Millisecond, e.Drain)
		run(t, e)
		if got := sinkOf(t, e, "out").sizes; !slices.Equal(got, []int{1, 1, 1, 1, 1}) {
			t.Errorf("batches of %v, want one for each event", got)
		}
	})
}
