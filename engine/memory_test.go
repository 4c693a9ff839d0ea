package engine

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// buildWithin is build with a memory budget, which may be smaller than what edges
// can hold, and a log.
func buildWithin(t testing.TB, budget int64, log *slog.Logger, yaml string) *Engine {
	t.Helper()
	cfg, diags := config.Parse([]byte("version: 1\nname: test\n"+yaml), config.Options{File: "test.yaml"})
	if err := diags.Err(); err != nil {
		t.Fatal(err)
	}
	e, err := New(cfg, Options{Log: log, Memory: func(int64) int64 { return budget }})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// blocks returns a Read that gives one event of size bytes, accounted, at a time,
// n in all.
func blocks(n, size int) func(context.Context, *pipe.Batch) error {
	body := bytes.Repeat([]byte("x"), size-pipe.EventOverhead)
	read := lines(n, 1, false)
	return func(ctx context.Context, b *pipe.Batch) error {
		var one pipe.Batch
		one.Reset(nil, "", 0)
		if err := read(ctx, &one); err != nil {
			return err
		}
		b.Add(record.FromText(body), 0)
		return nil
	}
}

// gateSink makes a sink wait until open is closed.
func gateSink(s *probeSink) (open chan struct{}) {
	open = make(chan struct{})
	s.write = func(ctx context.Context, _ []*pipe.Event) error {
		select {
		case <-open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return open
}

const chain = `
sources: {in: {type: probe}}
stages: {stage: {type: probe, workers: 2}}
sinks: {out: {type: probe}}
edges: [in -> stage -> out]
`

// TestMemoryHoldsSourcesBack: a source stops reading when the budget is used up,
// whatever the edges could still take, and says so; when there is room again,
// everything arrives.
func TestMemoryHoldsSourcesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const budget, size = 1 << 20, 10_000
		var text strings.Builder
		e := buildWithin(t, budget, slog.New(slog.NewTextHandler(&text, nil)), chain)
		read := blocks(1000, size)
		part[*probeSource](t, e, "in").read = func(ctx context.Context, b *pipe.Batch) error {
			time.Sleep(time.Millisecond) // so that the sink does not get all of it in one write
			return read(ctx, b)
		}
		open := gateSink(part[*probeSink](t, e, "out"))
		done := make(chan Receipt)
		go func() {
			r, _ := run(t, e)
			done <- r
		}()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		s := e.Status()
		if m := s.Memory; m.Budget != budget || m.Reserved < budget*9/10 || m.Reserved > budget+size || m.Waiting != 1 {
			t.Errorf("the sink is dead: %+v, want about %d reserved and one source that waits", m, budget)
		}
		in := s.Sources["in"]
		if held := in.Read * size; held > budget+2*size {
			t.Errorf("%d bytes were read, the budget is %d", held, budget)
		}
		if !in.Paused || in.MemorySeconds < 9 || in.Time.Blocked < in.MemorySeconds || in.WindowSeconds != 0 {
			t.Errorf("the source waits for memory: %+v", in)
		}
		if n := strings.Count(text.String(), "memory budget is used up"); n != 1 || !strings.Contains(text.String(), "edge stage->out") {
			t.Errorf("logged %d times that memory is short:\n%s", n, text.String())
		}
		close(open)
		if r := <-done; r.Balance.Delivered != 1000 || r.Outcome != Drained {
			t.Errorf("%s, %+v", r.Outcome, r.Balance)
		}
	})
}

// TestMemoryShare: sources whose sinks are dead take no more than the common half
// and their own shares, so that another source goes on.
func TestMemoryShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const budget, size = 1 << 20, 1000
		e := buildWithin(t, budget, nil, `
sources: {a: {type: probe}, b: {type: probe}, live: {type: probe}}
sinks: {dead1: {type: probe}, dead2: {type: probe}, out: {type: probe}}
edges: [{from: a, to: dead1, buffer: 100000}, {from: b, to: dead2, buffer: 100000}, live -> out]
`)
		for _, name := range []string{"a", "b", "live"} {
			part[*probeSource](t, e, name).read = blocks(20_000, size)
		}
		gateSink(part[*probeSink](t, e, "dead1"))
		gateSink(part[*probeSink](t, e, "dead2"))
		slow := part[*probeSink](t, e, "out")
		slow.write = func(_ context.Context, in []*pipe.Event) error {
			time.Sleep(time.Duration(len(in)) * time.Millisecond)
			return nil
		}
		end := started(t, e)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if m := e.Status().Memory; m.Reserved > budget+10*size {
			t.Errorf("while the live source uses its share: reserved %d of %d", m.Reserved, budget)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		s := e.Status()
		if got := s.Sinks["out"].Delivered; got < 20_000 {
			t.Errorf("the live branch has delivered %d of 20000 events in 30 s, at 1 ms each", got)
		}
		if m := s.Memory; m.Reserved > budget+10*size {
			t.Errorf("reserved %d of %d", m.Reserved, budget)
		}
		e.Stop()
		end()
	})
}

// TestMemoryOfHands: what workers work on, and what they cannot hand on because the
// next edge is full, counts as much as what is queued.
func TestMemoryOfHands(t *testing.T) {
	f := func(what, buffer string, hang bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			const budget, size = 1 << 20, 1000
			e := buildWithin(t, budget, nil, `
sources: {in: {type: probe}}
stages: {busy: {type: probe, workers: 32, ordered: false}}
sinks: {out: {type: probe}}
edges: [{from: in, to: busy, buffer: 256}, {from: busy, to: out, buffer: `+buffer+`}]
`)
			part[*probeSource](t, e, "in").read = bursts(blocks(5000, size), 40)
			open := gateSink(part[*probeSink](t, e, "out"))
			if hang {
				part[*probeStage](t, e, "busy").process = func(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
					<-open
					for _, ev := range in {
						out.Emit(ev)
					}
					return nil
				}
			}
			end := started(t, e)
			time.Sleep(time.Minute)
			synctest.Wait()
			if held := e.Status().Sources["in"].Read * size; held > budget+200*size || held < budget/2 {
				t.Errorf("%s: %d bytes were read, the budget is %d", what, held, budget)
			}
			close(open)
			time.Sleep(time.Minute)
			if got := e.Status().Sinks["out"].Delivered; got != 5000 {
				t.Errorf("%s: %d of 5000 events arrived", what, got)
			}
			e.Stop()
			end()
		})
	}
	f("in hand", "1024", true)
	f("handed on", "1", false)
}

// bursts makes a Read give so many at a time, a moment apart: one worker takes them all.
func bursts(read func(context.Context, *pipe.Batch) error, n int) func(context.Context, *pipe.Batch) error {
	return func(ctx context.Context, b *pipe.Batch) error {
		time.Sleep(time.Millisecond)
		for range n {
			if err := read(ctx, b); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestMemoryOfTinyEvents: a dead sink with tiny events takes what its edge holds and
// no more, although the messages that they came from, and that were let go of, were
// large.
func TestMemoryOfTinyEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const budget = 1 << 20
		e := buildWithin(t, budget, nil, `
sources: {a: {type: probe}, live: {type: probe}}
stages: {few: {type: probe}}
sinks: {dead: {type: probe}, out: {type: probe}}
edges: [a -> few, {from: few, to: dead, buffer: 8, policy: drop-newest}, live -> out]
`)
		part[*probeSource](t, e, "a").read = blocks(5000, 10_000)
		part[*probeSource](t, e, "live").read = blocks(5000, 10_000)
		part[*probeStage](t, e, "few").process = func(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
			for _, ev := range in {
				ev.Body = record.FromText([]byte("tiny"))
				out.Emit(ev)
			}
			return nil
		}
		gateSink(part[*probeSink](t, e, "dead"))
		end := started(t, e)
		time.Sleep(time.Minute)
		synctest.Wait()
		s := e.Status()
		if s.Sources["a"].Read != 5000 || s.Sinks["out"].Delivered != 5000 {
			t.Errorf("read %d, and %d arrived at the live sink; want 5000 of both", s.Sources["a"].Read, s.Sinks["out"].Delivered)
		}
		if m := s.Memory; m.Reserved > 600*(pipe.EventOverhead+4) || m.Waiting != 0 {
			t.Errorf("%+v: want what the edge holds and the sink has in hand", m)
		}
		e.Stop()
		end()
	})
}

// TestMemoryOfABatch: what a stage keeps until it has enough does not keep the
// events away that it waits for.
func TestMemoryOfABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := buildWithin(t, 100_000, nil, `
sources: {in: {type: probe}}
stages: {all: {type: probe_holder}}
sinks: {out: {type: probe}}
edges: [in -> all -> out]
`)
		part[*probeSource](t, e, "in").read = blocks(1000, 10_000)
		if r, err := run(t, e); err != nil || r.Balance.Delivered != 1000 {
			t.Errorf("%v, %+v", err, r.Balance)
		}
	})
}

// TestMemoryWaitEnds: a source that waits for memory notices a drain and a stop.
func TestMemoryWaitEnds(t *testing.T) {
	f := func(end func(*Engine)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := buildWithin(t, 100_000, nil, "shutdown: {timeout: 10s}\n"+chain)
			part[*probeSource](t, e, "in").read = blocks(1000, 10_000)
			gateSink(part[*probeSink](t, e, "out"))
			time.AfterFunc(time.Second, func() { end(e) })
			began := time.Now()
			r, _ := run(t, e)
			if took := time.Since(began); r.Outcome != Stopped || took > 12*time.Second {
				t.Errorf("%s after %v", r.Outcome, took)
			}
		})
	}
	f((*Engine).Drain)
	f((*Engine).Stop)
}

// TestMemoryIsReloaded: a reload that changes limits.memory changes the budget of
// the running pipeline, and Options.Memory is asked once for each configuration.
func TestMemoryIsReloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const yaml = chain + "limits: {memory: 100KiB}\n"
		cfg := parse(t, yaml)
		var asked atomic.Int64
		e, err := New(cfg, Options{Memory: func(limit int64) int64 {
			asked.Add(1)
			return limit
		}})
		if err != nil {
			t.Fatal(err)
		}
		part[*probeSource](t, e, "in").read = blocks(1000, 10_000)
		gateSink(part[*probeSink](t, e, "out"))
		end := started(t, e)
		f := func(limit int64, calls int64) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if m := e.Status().Memory; m.Budget != limit || m.Reserved > limit+10_000 || m.Reserved < limit*8/10 || asked.Load() != calls {
				t.Errorf("%+v after %d calls, want a budget of %d, used up, after %d", m, asked.Load(), limit, calls)
			}
		}
		f(100<<10, 1)
		reloaded(t, e, strings.Replace(yaml, "100KiB", "500KiB", 1))
		f(500<<10, 2)
		reloaded(t, e, strings.Replace(yaml, "memory: 100KiB", "memory: 0", 1))
		time.Sleep(time.Second)
		if s := e.Status(); s.Memory.Budget != 0 || s.Memory.Waiting != 0 || s.Sources["in"].Read != 1000 {
			t.Errorf("without a limit: %+v, read %d", s.Memory, s.Sources["in"].Read)
		}
		e.Stop()
		end()
	})
}

// TestMemoryOfSmallBudgets: whatever the budget, a source with nothing in flight
// reads, so that everything arrives.
func TestMemoryOfSmallBudgets(t *testing.T) {
	f := func(budget int64) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := buildWithin(t, budget, nil, chain)
			part[*probeSource](t, e, "in").read = blocks(300, 1000)
			if r, err := run(t, e); err != nil || r.Balance.Delivered != 300 {
				t.Errorf("budget %d: %v, %+v", budget, err, r.Balance)
			}
		})
	}
	f(0)
	f(1)
	f(999)
	f(1001)
	f(5000)
}

func TestAbout(t *testing.T) {
	f := func(bytes int64, want string) {
		t.Helper()
		if got := about(bytes); got != want {
			t.Errorf("%d: got %s, want %s", bytes, got, want)
		}
	}
	f(0, "0B")
	f(999, "999B")
	f(20_000, "19KiB")
	f(87_241_520, "83MiB")
	f(5<<30, "5GiB")
}
