package pipetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// stageFunc is a stage that is nothing but its Process.
type stageFunc func(ctx context.Context, in []*pipe.Event, out *pipe.Out) error

func (f stageFunc) Process(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
	return f(ctx, in, out)
}

// each makes a stage of what happens to one event.
func each(f func(i int, e *pipe.Event, out *pipe.Out)) func() pipe.Stage {
	return func() pipe.Stage {
		return stageFunc(func(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
			for i, e := range in {
				f(i, e, out)
			}
			return nil
		})
	}
}

var samples = []string{"a line", `{"message":"x","n":1}`, "another one"}

// collector is a Holder with a defect or none.
type collector struct {
	held           []*pipe.Event
	due            time.Time
	most           int
	forgets, dozes bool
	earlyFlush     bool
}

func (c *collector) Capacity() int       { return 3 }
func (c *collector) Deadline() time.Time { return c.due }

func (c *collector) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		out.Hold(e)
		c.held = append(c.held, e)
		if c.due.IsZero() {
			c.due = time.Now().Add(time.Second)
		}
		if len(c.held) == c.most {
			c.merge(out)
		}
	}
	return nil
}

func (c *collector) merge(out *pipe.Out) {
	if len(c.held) > 0 {
		out.Merge(c.held, record.FromText([]byte("merged")))
	}
	c.held, c.due = nil, time.Time{}
}

func (c *collector) Flush(_ context.Context, out *pipe.Out, final bool) error {
	due := !time.Now().Before(c.due)
	switch {
	case final && c.forgets, !final && c.dozes:
	case final, due, c.earlyFlush:
		c.merge(out)
	}
	return nil
}

type badPorts struct{ stageFunc }

func (badPorts) Ports() []pipe.Port { return []pipe.Port{{Name: "a"}, {Name: "failed"}} }

type noPace struct{ stageFunc }

func (noPace) MaxBatch() int { return 0 }

func emitAll(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		out.Emit(e)
	}
	return nil
}

func TestStageSuiteAcceptsGoodStages(t *testing.T) {
	t.Run("emit", func(t *testing.T) {
		Stage(t, func() pipe.Stage { return stageFunc(emitAll) }, samples...)
	})
	t.Run("split and fail", func(t *testing.T) {
		Stage(t, each(func(_ int, e *pipe.Event, out *pipe.Out) {
			if e.Position()%2 == 0 {
				out.Fail(e, errors.New("even"))
				return
			}
			out.Split(e, []record.Body{e.Body, e.Body})
		}), samples...)
	})
	t.Run("hold", func(t *testing.T) {
		Stage(t, func() pipe.Stage { return &collector{most: 3} }, samples...)
	})
}

func TestStageSuiteFindsDefects(t *testing.T) {
	f := func(name string, fresh func() pipe.Stage, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got error
				for _, c := range stageChecks {
					if got = c.run(fresh, samples); got != nil {
						break
					}
				}
				if got == nil || !strings.Contains(got.Error(), want) {
					t.Errorf("the suite says %v, want something with %q", got, want)
				}
			})
		})
	}
	f("forgets", each(func(i int, e *pipe.Event, out *pipe.Out) {
		if i%3 != 2 {
			out.Emit(e)
		}
	}), "without a decision")
	f("decides twice", each(func(_ int, e *pipe.Event, out *pipe.Out) { out.Emit(e); out.Filter(e) }), "second decision")
	f("reverses", func() pipe.Stage {
		return stageFunc(func(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
			for i := range in {
				out.Emit(in[len(in)-1-i])
			}
			return nil
		})
	}, "came after")
	f("fails with a changed body", each(func(_ int, e *pipe.Event, out *pipe.Out) {
		e.Body = record.FromText([]byte("other"))
		out.Fail(e, errors.New("no"))
	}), "changed body")
	f("writes to the input", each(func(_ int, e *pipe.Event, out *pipe.Out) {
		if line := e.Body.AppendText(nil); e.Body.IsText() && len(line) > 0 {
			e.Body.Field("message").Bytes(nil)[0] ^= 1
		}
		out.Emit(e)
	}), "written to")
	f("emits scratch", each(func(i int, e *pipe.Event, out *pipe.Out) {
		b := append(out.Scratch(), strings.Repeat("scratch", i%3)...)
		b = append(b, byte(e.Position()))
		out.KeepScratch(b)
		e.Body = record.FromText(b)
		out.Emit(e)
	}), "changed later")
	f("ends over one event", func() pipe.Stage {
		return stageFunc(func(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
			return errors.New("cannot go on")
		})
	}, "cannot go on")
	f("says nothing on cancel", func() pipe.Stage {
		return stageFunc(func(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
			if ctx.Err() != nil {
				return nil
			}
			return emitAll(ctx, in, out)
		})
	}, "gave no error")
	f("sleeps on", func() pipe.Stage {
		return stageFunc(func(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
			time.Sleep(time.Minute)
			return emitAll(ctx, in, out)
		})
	}, "after its context was done")
	f("looks at the batch", each(func(i int, e *pipe.Event, out *pipe.Out) {
		if i == 0 {
			out.Filter(e)
			return
		}
		out.Emit(e)
	}), "batches change the result")
	f("emits broken JSON", each(func(_ int, e *pipe.Event, out *pipe.Out) {
		e.Body = record.FromText([]byte("{oops"))
		out.Emit(e)
	}), "not JSON")
	f("holds too many", func() pipe.Stage { return &collector{most: 5} }, "more than its capacity")
	f("never lets go", func() pipe.Stage { return &collector{most: 3, forgets: true} }, "still held")
	f("misses its deadline", func() pipe.Stage { return &collector{most: 3, dozes: true} }, "did nothing about it")
	f("is early", func() pipe.Stage { return &collector{most: 3, earlyFlush: true} }, "before the deadline")
	f("takes a port's name", func() pipe.Stage { return badPorts{emitAll} }, "none named failed")
	f("takes no event", func() pipe.Stage { return noPace{emitAll} }, "which is none")
}
