package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterStage("deaf", func() pipe.Stage { return &deaf{free: make(chan struct{})} })
	pipe.RegisterStage("deaf_ports", func() pipe.Stage { return &deafPorts{deaf: deaf{free: make(chan struct{})}} })
	pipe.RegisterStage("deaf_holder", func() pipe.Stage { return &deafHolder{free: make(chan struct{})} })
	pipe.RegisterSink("deaf", func() pipe.Sink { return &deafSink{deaf: deaf{free: make(chan struct{})}, Calls: 1} })
}

// deaf hangs at certain numbers until it is freed, whatever its context says, and
// then does all the harm to its event that a stage can do.
type deaf struct {
	life
	Hang []string `yaml:"hang"`
	Late string   `yaml:"late"` // what it does late: split, copy, fail, panic; nothing emits
	free chan struct{}

	mu    sync.Mutex // guards what follows
	seen  []string
	after []string // what hung calls have seen once they were free
}

func (d *deaf) hangs(e *pipe.Event) bool {
	n := string(e.Body.AppendText(nil))
	d.mu.Lock()
	d.seen = append(d.seen, n)
	d.mu.Unlock()
	if !slices.Contains(d.Hang, n) {
		return false
	}
	<-d.free
	d.mu.Lock()
	defer d.mu.Unlock()
	d.after = append(d.after, string(e.Body.AppendText(nil)))
	return true
}

func (d *deaf) late() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.after)
}

func (d *deaf) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	defer d.at()()
	for _, e := range in {
		if d.hangs(e) {
			if err := d.harm(e, out); err != nil {
				return err
			}
			continue
		}
		out.Emit(e)
	}
	return nil
}

func (d *deaf) harm(e *pipe.Event, out *pipe.Out) error {
	e.SetMeta("late", "yes")
	switch d.Late {
	case "split":
		out.Split(e, []record.Body{e.Body, e.Body, e.Body})
	case "copy":
		out.Emit(out.Copy(e))
		out.Emit(e)
	case "fail":
		out.Fail(e, errors.New("late"))
	case "panic":
		panic("late")
	case "error":
		return errors.New("late")
	default:
		e.Body = record.FromText([]byte("late"))
		out.Emit(e)
	}
	return nil
}

// deafPorts is a deaf router.
type deafPorts struct {
	deaf `yaml:",inline"`
}

func (*deafPorts) Ports() []pipe.Port { return []pipe.Port{{Name: "a"}, {Name: "b"}} }

func (d *deafPorts) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		d.hangs(e)
		c := out.Copy(e)
		out.EmitTo(0, e)
		out.EmitTo(1, c)
	}
	return nil
}

// deafHolder keeps everything, and hangs at its second event.
type deafHolder struct {
	life
	Flushes bool `yaml:"flushes"` // hangs when it flushes instead
	free    chan struct{}
	held    []*pipe.Event
}

func (*deafHolder) Capacity() int       { return 1 << 20 }
func (*deafHolder) Deadline() time.Time { return time.Time{} }

func (d *deafHolder) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	defer d.at()()
	for _, e := range in {
		if len(d.held) == 1 && !d.Flushes {
			<-d.free
		}
		out.Hold(e)
		d.held = append(d.held, e)
	}
	return nil
}

func (d *deafHolder) Flush(_ context.Context, out *pipe.Out, final bool) error {
	defer d.at()()
	if !final {
		return nil
	}
	if d.Flushes {
		<-d.free
	}
	out.Merge(d.held, record.FromText([]byte("all")))
	d.held = nil
	return nil
}

// deafSink hangs in the same way. Calls is how many writes it bears at a time.
type deafSink struct {
	deaf  `yaml:",inline"`
	Calls int `yaml:"calls"`

	in, peak int
	lines    []string
}

func (d *deafSink) MaxConcurrent() int { return d.Calls }

func (d *deafSink) Write(_ context.Context, in []*pipe.Event) error {
	defer d.at()()
	d.mu.Lock()
	d.in++
	d.peak = max(d.peak, d.in)
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.in--
		d.mu.Unlock()
	}()
	hung := false
	for _, e := range in {
		hung = d.hangs(e) || hung
	}
	if hung {
		return nil // the confirmation comes too late
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range in {
		d.lines = append(d.lines, string(e.Body.AppendText(nil)))
	}
	return nil
}

// unhang frees a component when the run is over, and checks that what comes late
// changes nothing.
func unhang(t testing.TB, e *Engine, free chan struct{}) {
	t.Helper()
	before := e.Status()
	close(free)
	synctest.Wait()
	after := e.Status()
	if after.Balance != before.Balance || pipe.DoubleSettles.Load() != 0 {
		t.Errorf("a late result changed %+v to %+v, %d settled twice", before.Balance, after.Balance, pipe.DoubleSettles.Load())
	}
	for name, s := range after.Stages {
		if s.LeftBehind != 0 {
			t.Errorf("stage %s has %d calls left behind after all have come back", name, s.LeftBehind)
		}
	}
	for name, s := range after.Sinks {
		if s.LeftBehind != 0 {
			t.Errorf("sink %s has %d calls left behind after all have come back", name, s.LeftBehind)
		}
	}
}

// TestStuckStage: a call that ignores its timeout holds up nobody: its event goes
// on as a dead letter, as it came, in its turn, the others are processed, and
// whatever the call does when it comes back is nobody's.
func TestStuckStage(t *testing.T) {
	f := func(options, late string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := build(t, sprintf(`
sources: {in: {type: numbers, count: 40, batch: 8}}
stages: {a: {type: deaf, hang: ['3', '7'], late: %q, timeout: 5s, %s}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> a -> out, a.failed -> dead]
`, late, options))
			start := time.Now()
			r, err := run(t, e)
			if took := time.Since(start); err != nil || took < 6*time.Second || took > 13*time.Second {
				t.Errorf("%s %s: ended after %v with %v; want timeout and a second for each call that hangs", options, late, took, err)
			}
			want := slices.DeleteFunc(upTo(40), func(s string) bool { return s == "3" || s == "7" })
			got := sinkOf(t, e, "out").got()
			if strings.Contains(options, "false") {
				slices.SortFunc(got, func(a, b string) int { return slices.Index(want, a) - slices.Index(want, b) })
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s %s: got %v", options, late, got)
			}
			dead := sinkOf(t, e, "dead").got()
			if len(dead) != 2 || !strings.Contains(dead[0], `"event":"`) || strings.Contains(dead[0], "late") || !strings.Contains(dead[0], "timeout 5s") || !strings.Contains(dead[0], `"class":"retryable"`) {
				t.Errorf("%s %s: dead letters %v", options, late, dead)
			}
			a := r.Stages["a"]
			if a.LeftBehind != 2 || a.LeftTotal != 2 || a.In != 40 || a.InFlight != 0 || r.Sources["in"].Acked != 40 {
				t.Errorf("%s %s: stage %+v, source %+v", options, late, a, r.Sources["in"])
			}
			d := part[*deaf](t, e, "a")
			if d.closes != 0 || d.overlap {
				t.Errorf("%s %s: closed %d times while calls of it hang", options, late, d.closes)
			}
			unhang(t, e, d.free)
		})
	}
	for _, late := range []string{"", "split", "copy", "fail", "panic", "error"} {
		f("workers: 1", late)
		f("workers: 3", late)
		f("workers: 3, ordered: false", late)
	}
}

// TestStuckStageComesBack: what a late call does is nobody's also while the pipeline
// goes on: the event that waits as a dead letter stays as it is, and nobody's turn
// is over because of it.
func TestStuckStageComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 500, batch: 1, pause: 50ms}}
stages: {a: {type: deaf, hang: ['3', '7'], timeout: 1s, workers: 3}}
sinks: {out: {type: memory}, dead: {type: memory, wait: 20s, batch: {events: 1, interval: 0s}}}
edges: [in -> a -> out, a.failed -> dead]
`)
		d := part[*deaf](t, e, "a")
		time.AfterFunc(10*time.Second, func() { close(d.free) })
		r, err := run(t, e)
		if got := sinkOf(t, e, "out").got(); err != nil || len(got) != 498 || !slices.IsSortedFunc(got, numerically) {
			t.Errorf("error %v, %d arrived: %v", err, len(got), got)
		}
		if dead := sinkOf(t, e, "dead").got(); len(dead) != 2 || !strings.Contains(dead[1], `"event":"7"`) {
			t.Errorf("dead letters %v", dead)
		}
		if a := r.Stages["a"]; a.LeftTotal != 2 || a.LeftBehind != 0 || a.In != 500 {
			t.Errorf("stage %+v", a)
		}
	})
}

// TestStuckStagePolicies: without a failed port on_error decides.
func TestStuckStagePolicies(t *testing.T) {
	f := func(onError string, failed bool, delivered int64) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := build(t, sprintf(`
sources: {in: {type: numbers, count: 10, batch: 1, pause: 10ms}}
stages: {a: {type: deaf, hang: ['3'], timeout: 5s, on_error: %s}}
sinks: {out: {type: memory}}
edges: [in -> a -> out]
`, onError))
			r, err := run(t, e)
			if failed != (err != nil) || r.Balance.Failed != 1 || !failed && r.Balance.Delivered != delivered {
				t.Errorf("%s: error %v, balance %+v", onError, err, r.Balance)
			}
			unhang(t, e, part[*deaf](t, e, "a").free)
		})
	}
	f("drop", false, 9)
	f("stop", true, 0)
}

// tooManyStuck matches an error that tells of three calls, or of more when they time out at once.
var tooManyStuck = regexp.MustCompile(`[345] calls ignore their timeout of 1s`)

// TestStuckStageLimit: with more calls left behind than max_stuck the pipeline ends
// and says so, at once: what still comes to the stage is returned.
func TestStuckStageLimit(t *testing.T) {
	f := func(options string, behind bool) { // behind: events wait behind the calls
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := build(t, sprintf(`
sources: {in: {type: numbers, count: 100000, batch: 8, pause: 1ms}}
stages: {a: {type: deaf, hang: ['1', '3', '5', '7', '9'], timeout: 1s, max_stuck: 2, %s}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> a -> out, a.failed -> dead]
`, options))
			start := time.Now()
			r, err := run(t, e)
			var failed *NodeError
			if !errors.As(err, &failed) || failed.Node != "a" || !tooManyStuck.MatchString(err.Error()) || !strings.Contains(err.Error(), "max_stuck is 2") {
				t.Errorf("error %v", err)
			}
			if took := time.Since(start); took > 7*time.Second || r.ExitCode != ExitFailed {
				t.Errorf("ended after %v with exit code %d", took, r.ExitCode)
			}
			if behind && r.Balance.Returned == 0 || r.Balance.DeadLettered < 3 || r.Balance.DeadLettered > 5 {
				t.Errorf("balance %+v", r.Balance)
			}
			unhang(t, e, part[*deaf](t, e, "a").free)
		})
	}
	f("workers: 1", true)
	f("workers: 4", false)
	f("workers: 4, ordered: false", false)
}

// TestStuckCallsComeBack: the limit is of calls that are left behind at a time.
func TestStuckCallsComeBack(t *testing.T) {
	f := func(takes time.Duration, left int64, fails bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := build(t, `
sources: {in: {type: numbers, count: 20, batch: 1}}
stages: {a: {type: probe, timeout: 1s, max_stuck: 2}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> a -> out, a.failed -> dead]
`)
			part[*probeStage](t, e, "a").process = func(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
				time.Sleep(takes)
				out.Emit(in[0])
				return nil
			}
			r, err := run(t, e)
			if fails != (err != nil) || r.Stages["a"].LeftTotal != left || r.Balance.DeadLettered != left {
				t.Errorf("calls of %v: error %v, %d left behind, balance %+v", takes, err, r.Stages["a"].LeftTotal, r.Balance)
			}
			time.Sleep(time.Minute)
		})
	}
	f(1900*time.Millisecond, 0, false) // late, but not so late
	f(5*time.Second, 20, false)        // one every two seconds, the one before the last has come back
	f(7*time.Second, 3, true)
}

// TestStuckRouter: copies that a late call makes are nobody's.
func TestStuckRouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 20, batch: 4}}
stages: {r: {type: deaf_ports, hang: ['5'], timeout: 2s, on_error: drop}}
sinks: {a: {type: memory}, b: {type: memory}}
edges: [in -> r, r.a -> a, r.b -> b]
`)
		r, err := run(t, e)
		if err != nil || r.Balance.Delivered != 38 || r.Balance.Created != 19 || r.Balance.Failed != 1 || r.Sources["in"].Acked != 20 {
			t.Errorf("error %v, balance %+v, source %+v", err, r.Balance, r.Sources["in"])
		}
		unhang(t, e, part[*deafPorts](t, e, "r").free)
	})
}

// TestStuckHolder: a stage that keeps events cannot be replaced: the pipeline ends
// and says so, and what it keeps is returned.
func TestStuckHolder(t *testing.T) {
	f := func(flushes bool, returned, failed int64) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := build(t, sprintf(`
sources: {in: {type: numbers, count: 4, batch: 1, pause: 1ms}}
stages: {k: {type: deaf_holder, flushes: %v, timeout: 2s}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> k -> out, k.failed -> dead]
`, flushes))
			start := time.Now()
			r, err := run(t, e)
			if err == nil || !strings.Contains(err.Error(), "stage k: ") || !strings.Contains(err.Error(), "cannot be replaced") || time.Since(start) > 5*time.Second {
				t.Errorf("error %v after %v", err, time.Since(start))
			}
			if r.Balance.Returned != returned || r.Balance.DeadLettered != failed || r.Sources["in"].Returned != returned {
				t.Errorf("balance %+v, source %+v", r.Balance, r.Sources["in"])
			}
			unhang(t, e, part[*deafHolder](t, e, "k").free)
		})
	}
	f(false, 3, 1)
	f(true, 4, 0)
}

// TestStuckMemory: what a call that was left behind looks at is not used again,
// though its events are settled and the source goes on reading.
func TestStuckMemory(t *testing.T) {
	f := func(pipeline, name string, of func(e *Engine) *deaf) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := build(t, pipeline)
			supply := pipe.NewChunks(80)
			part[*probeSource](t, e, "in").read = chunked(supply, 2000)
			_, err := run(t, e)
			for range 500 { // write over all that may be used again
				k := supply.Get()
				copy(k.Mem, strings.Repeat("x", len(k.Mem)))
			}
			d := of(e)
			close(d.free)
			synctest.Wait()
			if got := d.late(); err != nil || !slices.Equal(got, []string{"0000000003"}) {
				t.Errorf("%s: error %v, the late call sees %q, want the event it was given", name, err, got)
			}
		})
	}
	f(`
sources: {in: {type: probe}}
stages: {a: {type: deaf, hang: ['0000000003'], timeout: 1s, on_error: drop}}
sinks: {out: {type: memory}}
edges: [in -> a -> out]
`, "stage", func(e *Engine) *deaf { return part[*deaf](t, e, "a") })
	f(`
sources: {in: {type: probe}}
sinks: {out: {type: deaf, calls: 4, hang: ['0000000003'], timeout: 1s, batch: {events: 1, interval: 0s}, retry: {max_attempts: 1}, on_error: drop}}
edges: [in -> out]
`, "sink", func(e *Engine) *deaf { return &part[*deafSink](t, e, "out").deaf })
}

// chunked returns a Read of lines in read buffers that are used again.
func chunked(supply *pipe.Supply[[]byte], n int) func(context.Context, *pipe.Batch) error {
	next := 0
	return func(_ context.Context, b *pipe.Batch) error {
		if next == n {
			return io.EOF
		}
		k := supply.Get()
		defer k.Release()
		b.From("lines", int64(next+1))
		b.Keep(k)
		mem := k.Mem[:0]
		for range 8 {
			from := len(mem)
			mem = fmt.Appendf(mem, "%010d", next)
			next++
			b.AddText(mem[from:], int64(next))
		}
		return nil
	}
}

// TestStuckSink: a write that ignores its timeout has failed and is written again,
// beside the one that hangs if the sink bears that.
func TestStuckSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 20, batch: 1}}
sinks:
  out: {type: deaf, calls: 4, hang: ['3'], timeout: 2s, batch: {events: 1, interval: 0s}, retry: {max_attempts: 2, initial: 1ms}}
  dead: {type: memory}
edges: [in -> out, out.failed -> dead]
`)
		start := time.Now()
		r, err := run(t, e)
		d, took := part[*deafSink](t, e, "out"), time.Since(start)
		if err != nil || len(d.lines) != 19 || r.Balance.DeadLettered != 1 || took < 6*time.Second || took > 7*time.Second {
			t.Errorf("error %v after %v, %d written, balance %+v", err, took, len(d.lines), r.Balance)
		}
		if s := r.Sinks["out"]; s.LeftBehind != 2 || s.Requests["retryable"] != 2 || d.closes != 0 {
			t.Errorf("%d left behind, requests %v, closed %d times", s.LeftBehind, s.Requests, d.closes)
		}
		unhang(t, e, d.free)
	})
}

// TestStuckSinkIsNotCalledTwice: a sink that bears one write at a time is not
// written to while one hangs. Its events fail as its retries say, and it works
// again when the write comes back.
func TestStuckSinkIsNotCalledTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 20, batch: 1}}
sinks:
  out: {type: deaf, hang: ['3'], timeout: 2s, batch: {events: 1, interval: 0s}, retry: {max_attempts: 1}}
  dead: {type: memory}
edges: [in -> out, out.failed -> dead]
`)
		d := part[*deafSink](t, e, "out")
		time.AfterFunc(10*time.Second, func() { close(d.free) })
		r, err := run(t, e)
		dead := sinkOf(t, e, "dead").got()
		if err != nil || d.peak != 1 || d.overlap || len(dead) < 4 || len(dead) > 5 || len(d.lines)+len(dead) != 20 || !strings.Contains(dead[1], "still hang") {
			t.Errorf("error %v, %d writes at a time, %d written, dead letters %v", err, d.peak, len(d.lines), dead)
		}
		if s := r.Sinks["out"]; s.LeftTotal != 1 || s.LeftBehind != 0 || d.closes != 1 {
			t.Errorf("%d left behind, %d still; closed %d times", s.LeftTotal, s.LeftBehind, d.closes)
		}
	})
}

// TestStuckSinkLimit: the same limit as for stages.
func TestStuckSinkLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 100000, batch: 1, pause: 1ms}}
sinks:
  out: {type: deaf, calls: 100, hang: ['3'], timeout: 2s, max_stuck: 3, batch: {events: 1, interval: 0s}, retry: {initial: 1ms, max: 1ms}}
  dead: {type: memory}
edges: [in -> out, out.failed -> dead]
`)
		start := time.Now()
		r, err := run(t, e)
		if err == nil || !strings.Contains(err.Error(), "4 calls ignore their timeout of 2s") || !strings.Contains(err.Error(), "sink out") || time.Since(start) > 14*time.Second || r.Balance.Delivered != 3 {
			t.Errorf("error %v after %v, balance %+v", err, time.Since(start), r.Balance)
		}
		unhang(t, e, part[*deafSink](t, e, "out").free)
	})
}

// TestStuckSinkPanics: a panic of a sink with a timeout is contained as any other.
func TestStuckSinkPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 20, batch: 10}}
sinks: {out: {type: memory, panic: 2, timeout: 2s, on_error: drop, batch: {events: 5, interval: 0s}}}
edges: [in -> out]
`)
		if r, err := run(t, e); err != nil || r.Balance.Failed != 5 || r.Balance.Delivered != 15 {
			t.Errorf("error %v, balance %+v", err, r.Balance)
		}
	})
}

// TestStopWhileStuck: a stop gives up what hangs and does not fail it, whether it
// was left behind or is about to be.
func TestStopWhileStuck(t *testing.T) {
	f := func(at time.Duration, left int64) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := build(t, `
sources: {in: {type: numbers, count: 100, batch: 1}}
stages: {a: {type: deaf, hang: ['1', '3'], timeout: 2s}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> a -> out, a.failed -> dead]
`)
			time.AfterFunc(at, e.Stop)
			start := time.Now()
			r, err := run(t, e)
			if took := time.Since(start); err != nil || took > at+time.Second || r.Balance.DeadLettered != left || r.Stages["a"].LeftTotal != left || r.Balance.Returned == 0 {
				t.Errorf("stop at %v: ended after %v, error %v, balance %+v, %d left behind", at, took, err, r.Balance, r.Stages["a"].LeftTotal)
			}
			unhangGivenUp(t, e, part[*deaf](t, e, "a").free)
		})
	}
	f(time.Second, 0)
	f(3*time.Second-time.Millisecond, 0)
	f(4*time.Second, 1)
	f(6*time.Second-time.Millisecond, 1)
}

func unhangGivenUp(t testing.TB, e *Engine, free chan struct{}) {
	t.Helper()
	before := e.Status().Balance
	close(free)
	synctest.Wait()
	if after := e.Status().Balance; after != before {
		t.Errorf("a late result changed %+v to %+v", before, after)
	}
}

// TestDrainWhileStuck: a drain is over once the rest is, and leaves what hangs.
func TestDrainWhileStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 1000, batch: 1, pause: 10ms, endless: true}}
stages: {a: {type: deaf, hang: ['10'], timeout: 2s, workers: 2}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> a -> out, a.failed -> dead]
`)
		time.AfterFunc(time.Second, e.Drain)
		r, err := run(t, e)
		if err != nil || r.Outcome != Drained || r.ExitCode != 0 || r.Balance.DeadLettered != 1 || r.Balance.Delivered+1 != r.Balance.Read {
			t.Errorf("outcome %s, error %v, balance %+v", r.Outcome, err, r.Balance)
		}
		unhang(t, e, part[*deaf](t, e, "a").free)
	})
}

// TestReloadWhileStuck: a reload replaces a stage of which calls hang. Those that
// are left behind by then are nobody's; one that is left behind after it goes to
// the new stage. The old one is closed when its last call has come back.
func TestReloadWhileStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := `
version: 1
name: test
sources: {in: {type: numbers, count: 1000, batch: 1, pause: 100ms, endless: true}}
stages: {a: {type: deaf, hang: %s, timeout: 2s}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> a -> out, a.failed -> dead]
`
		load := func(hang string) *config.Pipeline {
			p, ds := config.Parse([]byte(sprintf(text, hang)), config.Options{})
			if err := ds.Err(); err != nil {
				t.Fatal(err)
			}
			return p
		}
		e, err := New(load(`['3', '5']`), Options{})
		if err != nil {
			t.Fatal(err)
		}
		old := part[*deaf](t, e, "a")
		time.AfterFunc(5*time.Second, func() { // 3 is left behind, 5 is hanging
			if _, err := e.Reload(t.Context(), load(`[]`), ReloadOptions{}); err != nil {
				t.Error(err)
			}
		})
		time.AfterFunc(20*time.Second, func() {
			old.life.mu.Lock()
			closes := old.closes
			old.life.mu.Unlock()
			if closes != 0 {
				t.Error("the old stage was closed while calls of it hang")
			}
			close(old.free)
			synctest.Wait()
			old.life.mu.Lock()
			defer old.life.mu.Unlock()
			if old.closes != 1 || old.overlap {
				t.Errorf("the old stage was closed %d times, during a call: %v", old.closes, old.overlap)
			}
		})
		time.AfterFunc(25*time.Second, e.Drain)
		r, err := run(t, e)
		got := sinkOf(t, e, "out").got()
		if err != nil || r.Balance.DeadLettered != 1 || r.Balance.Delivered+1 != r.Balance.Read || !slices.Contains(got, "5") || slices.Contains(got, "3") || !slices.IsSortedFunc(got, numerically) {
			t.Errorf("error %v, balance %+v, got %v", err, r.Balance, got)
		}
		if a := r.Stages["a"]; a.LeftTotal != 2 || a.LeftBehind != 0 {
			t.Errorf("%d left behind, %d of them still", a.LeftTotal, a.LeftBehind)
		}
	})
}

func numerically(a, b string) int {
	var x, y int
	fmt.Sscan(a, &x)
	fmt.Sscan(b, &y)
	return x - y
}

// TestReloadWhileSinkStuck: the next sink does not wait for a write that hangs.
func TestReloadWhileSinkStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := `
version: 1
name: test
sources: {in: {type: numbers, count: 20, batch: 1, pause: 100ms}}
sinks: {out: {type: deaf, calls: 4, hang: %s, timeout: 2s, batch: {events: 1, interval: 0s}}}
edges: [in -> out]
`
		load := func(hang string) *config.Pipeline {
			p, ds := config.Parse([]byte(sprintf(text, hang)), config.Options{})
			if err := ds.Err(); err != nil {
				t.Fatal(err)
			}
			return p
		}
		e, err := New(load(`['3']`), Options{})
		if err != nil {
			t.Fatal(err)
		}
		old := part[*deafSink](t, e, "out")
		next := load(`[]`)
		fresh := next.Sinks[0].Component.(*deafSink)
		time.AfterFunc(time.Second, func() {
			if _, err := e.Reload(t.Context(), next, ReloadOptions{}); err != nil {
				t.Error(err)
			}
		})
		start := time.Now()
		r, err := run(t, e)
		if took := time.Since(start); err != nil || r.Balance.Delivered != 20 || len(old.lines) != 3 || len(fresh.lines) != 17 || took > 5*time.Second || old.closes != 0 || fresh.closes != 1 {
			t.Errorf("error %v after %v, balance %+v, old %v, new %v, closed %d and %d times", err, took, r.Balance, old.lines, fresh.lines, old.closes, fresh.closes)
		}
		unhang(t, e, old.free)
	})
}

// TestStuckObserver: the step of a worker that was left behind ends once, as failed.
func TestStuckObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &stepCount{}
		cfg, ds := config.Parse([]byte(`
version: 1
name: test
sources: {in: {type: numbers, count: 10, batch: 1}}
stages: {a: {type: deaf, hang: ['3'], timeout: 2s, on_error: drop}}
sinks: {out: {type: memory}}
edges: [in -> a -> out]
`), config.Options{})
		if err := ds.Err(); err != nil {
			t.Fatal(err)
		}
		e, err := New(cfg, Options{Observer: o})
		if err != nil {
			t.Fatal(err)
		}
		run(t, e)
		unhang(t, e, part[*deaf](t, e, "a").free)
		if o.begun != 10 || o.ended != 10 || o.failed != 1 {
			t.Errorf("%d steps, %d ended, %d of them failed", o.begun, o.ended, o.failed)
		}
	})
}

// stepCount counts the steps of stages.
type stepCount struct{ begun, ended, failed int }

func (o *stepCount) Step(_ string, kind pipe.Kind, _ []*pipe.Event) func(*pipe.Out, error) {
	if kind != pipe.KindStage {
		return nil
	}
	o.begun++
	return func(out *pipe.Out, err error) {
		o.ended++
		if err != nil && len(out.Failed()) == 1 {
			o.failed++
		}
	}
}
