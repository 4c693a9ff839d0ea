package engine

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func scare(context.Context) error { panic("boo") }

// TestPanicsAreContained: wherever a component panics, the run ends, says who
// did it, and closes what was opened.
func TestPanicsAreContained(t *testing.T) {
	f := func(where, want string, arm func(p *probes)) {
		t.Helper()
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := probe(t, "")
				p.in.read = lines(10, 3, false)
				arm(p)
				r, err := run(t, p.Engine)
				if err == nil || r.ExitCode != ExitFailed || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "boo") {
					t.Errorf("exit code %d, error %v, want %q and the panic", r.ExitCode, err, want)
				}
				p.tidy(t)
			})
		})
	}
	f("open sink", "sink out: ", func(p *probes) { p.out.open = scare })
	f("open stage", "stage stage: ", func(p *probes) { p.stage.open = scare })
	f("open source", "source in: ", func(p *probes) { p.in.open = scare })
	f("read", "source in: ", func(p *probes) { p.in.read = func(ctx context.Context, _ *pipe.Batch) error { return scare(ctx) } })
	f("process", "stage stage: ", func(p *probes) {
		p.stage.process = func(ctx context.Context, _ []*pipe.Event, _ *pipe.Out) error { return scare(ctx) }
	})
	f("write", "sink out: ", func(p *probes) { p.out.write = func(ctx context.Context, _ []*pipe.Event) error { return scare(ctx) } })
}

// TestReadKeepsWhatItHadBeforeThePanic: what a read appended is delivered.
func TestReadKeepsWhatItHadBeforeThePanic(t *testing.T) {
	p := probe(t, "")
	p.in.read = func(_ context.Context, b *pipe.Batch) error {
		b.Add(record.FromText([]byte("one")), 1)
		panic("boo")
	}
	if r, err := run(t, p.Engine); err == nil || r.Balance.Delivered != 1 || r.Sources["in"].Acked != 1 {
		t.Errorf("error %v, balance %+v", err, r.Balance)
	}
}

// TestReadKeepsWhatItHadAtTheEnd: the same with the end of the input.
func TestReadKeepsWhatItHadAtTheEnd(t *testing.T) {
	p := probe(t, "")
	p.in.read = func(_ context.Context, b *pipe.Batch) error {
		b.Add(record.FromText([]byte("one")), 1)
		return io.EOF
	}
	if r, err := run(t, p.Engine); err != nil || r.Balance.Delivered != 1 {
		t.Errorf("error %v, balance %+v", err, r.Balance)
	}
}

// TestFlushFailures: a holder that cannot flush fails the pipeline.
func TestFlushFailures(t *testing.T) {
	for want, fail := range map[string]func(context.Context) error{"probed": func(context.Context) error { return errProbe }, "boo": scare} {
		e := build(t, `
sources: {in: {type: numbers, count: 10}}
stages: {keep: {type: probe_holder}}
sinks: {out: {type: memory}}
edges: [in -> keep -> out]
`)
		h := part[*probeHolder](t, e, "keep")
		h.flush = func(ctx context.Context, out *pipe.Out, final bool) error {
			for _, ev := range h.held {
				out.Emit(out.Release(ev))
			}
			h.held = nil
			return fail(ctx)
		}
		r, err := run(t, e)
		if err == nil || !strings.Contains(err.Error(), "stage keep: ") || !strings.Contains(err.Error(), want) || r.ExitCode != ExitFailed || r.Balance.Delivered != 10 {
			t.Errorf("exit code %d, error %v, balance %+v", r.ExitCode, err, r.Balance)
		}
	}
}

// TestPanicBudget: five panics a minute are bad input, six are a broken stage.
func TestPanicBudget(t *testing.T) {
	f := func(panics int, broken bool) {
		t.Helper()
		e := build(t, sprintf(`
sources: {in: {type: numbers, count: %d, batch: 1}}
stages: {a: {type: script, do: 'panic:1'}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> a -> out, a.failed -> dead]
`, panics))
		r, err := run(t, e)
		if broken != (err != nil) || err != nil && !strings.Contains(err.Error(), "more than 5 panics in a minute") {
			t.Errorf("%d panics: error %v, want one: %v", panics, err, broken)
		}
		if r.Balance.DeadLettered != int64(panics) {
			t.Errorf("%d panics: balance %+v, want all dead-lettered", panics, r.Balance)
		}
	}
	f(5, false)
	f(6, true)
}
