package engine

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// stallRun runs a pipeline for a while and returns what it says about stalls at
// times, and its log.
func stallRun(t *testing.T, yaml string, arm func(e *Engine), times ...time.Duration) (said []*Stall, log string) {
	t.Helper()
	cfg, ds := config.Parse([]byte("version: 1\nname: test\nshutdown: {timeout: 1s}\n"+yaml), config.Options{File: "test.yaml"})
	if err := ds.Err(); err != nil {
		t.Fatal(err)
	}
	var text logText
	e, err := New(cfg, Options{Log: slog.New(slog.NewTextHandler(&text, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if arm != nil {
		arm(e)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		start := time.Now()
		for _, at := range times {
			time.Sleep(time.Until(start.Add(at)))
			said = append(said, e.Status().Stall)
		}
		e.Stop()
	}()
	run(t, e)
	<-done
	if e.Status().Stall != nil {
		t.Error("a pipeline that has ended is stalled")
	}
	return said, text.String()
}

// logText is a log that may be read while it is written.
type logText struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// reports demands what is said about a stall; "" means that there is none.
func reports(t testing.TB, s *Stall, told bool, want string) {
	t.Helper()
	got := ""
	if s != nil {
		got = strings.Join(s.Chain, "; ")
	}
	if got != want || s.Stalled() != (want != "" && !told) {
		t.Errorf("stalled %v:\n  got  %s\n  want %s", s.Stalled(), got, want)
	}
}

// TestStallChain: when nothing moves the pipeline says who waits for whom, once, and
// says when it is over.
func TestStallChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out *memory
		said, log := stallRun(t, `
sources: {in: {type: numbers, count: 1000000, batch: 10}}
stages: {a: {type: script}}
sinks: {out: {type: memory, hang: 3, deaf: true}}
edges: [{from: in, to: a, buffer: 30}, {from: a, to: out, buffer: 20}]
`, func(e *Engine) {
			out = sinkOf(t, e, "out")
			out.Wait = pipe.Duration(time.Millisecond)
			time.AfterFunc(5*time.Minute, func() { close(out.free) })
		}, 59*time.Second, 64*time.Second, 4*time.Minute, 5*time.Minute+6*time.Second)
		const want = "source in waits for room in edge in->a (30 of 30 events); stage a waits for room in edge a->out (20 of 20 events); " +
			"sink out has had 20 events in hand all the time and waits for the far side"
		reports(t, said[0], false, "")
		reports(t, said[1], false, want)
		reports(t, said[2], false, want)
		reports(t, said[3], false, "")
		if n := strings.Count(log, "the pipeline is stalled"); n != 1 || !strings.Contains(log, want) {
			t.Errorf("the log says %d times that it is stalled, want once:\n%s", n, log)
		}
		if n := strings.Count(log, "the stall is over"); n != 1 {
			t.Errorf("the log says %d times that it is over, want once:\n%s", n, log)
		}
	})
}

// TestStalls are situations in which nothing moves, and what is said about each
// after a minute and a bit.
func TestStalls(t *testing.T) {
	f := func(name, yaml string, arm func(e *Engine), told bool, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				said, log := stallRun(t, yaml, arm, 75*time.Second)
				time.Sleep(10 * time.Second) // for what still hangs
				reports(t, said[0], told, want)
				if strings.Contains(log, "the pipeline is stalled") != (want != "" && !told) {
					t.Errorf("the log says:\n%s", log)
				}
			})
		})
	}
	hang := func(node string) func(e *Engine) {
		return func(e *Engine) {
			part[*probeStage](t, e, node).process = func(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
				<-ctx.Done()
				return ctx.Err()
			}
		}
	}
	f("idle", `
sources: {in: {type: numbers, count: 5, endless: true}}
sinks: {out: {type: memory}}
edges: [in -> out]
`, nil, false, "")
	f("a stage hangs, the source is idle", `
sources: {in: {type: numbers, count: 5, endless: true}}
stages: {a: {type: probe}}
sinks: {out: {type: memory}}
edges: [in -> a -> out]
`, hang("a"), false, "source in has 5 events in flight; stage a has had 5 events in hand all the time and has not come back from its work")
	f("one of two pipelines in a file hangs", `
sources: {in: {type: numbers, count: 5, endless: true}, other: {type: numbers, count: 100000, batch: 1, pause: 1s}}
stages: {a: {type: probe}}
sinks: {out: {type: memory}}
edges: [in -> a -> out, other -> out]
`, hang("a"), false, "source in has 5 events in flight; stage a has had 5 events in hand all the time and has not come back from its work")
	f("the window is used up", `
sources: {in: {type: numbers, count: 500, batch: 10, max_in_flight: {events: 10}}}
stages: {a: {type: probe}}
sinks: {out: {type: memory}}
edges: [in -> a -> out]
`, hang("a"), false, "source in waits for its max_in_flight: 10 events are not settled; stage a has had 10 events in hand all the time and has not come back from its work")
	f("a stage waits for more than the window has", `
sources: {in: {type: numbers, count: 500, batch: 5, max_in_flight: {events: 10}}}
stages: {keep: {type: probe_holder}}
sinks: {out: {type: memory}}
edges: [in -> keep -> out]
`, nil, false, "source in waits for its max_in_flight: 10 events are not settled; stage keep keeps 10 events until more come")
	f("a sink fails and fails", `
sources: {in: {type: numbers, count: 5, endless: true}}
sinks: {out: {type: memory, fail: 100000, class: retryable, retry: {initial: 20s, jitter: 0}}}
edges: [in -> out]
`, nil, false, "source in has 5 events in flight; sink out has had 5 events in hand all the time and tries again what has failed, in vain")
	f("an open breaker", `
sources: {in: {type: numbers, count: 5, endless: true}}
sinks: {out: {type: memory, fail: 100000, class: retryable, retry: {initial: 1s, max: 1s, jitter: 0}, breaker: {min_requests: 2, wait: 1h, max_wait: 1h}}}
edges: [in -> out]
`, nil, true, "source in has 5 events in flight; sink out has had 5 events in hand all the time and leaves the far side alone until 01:00:01: its breaker is open")
	f("a rate limit", `
sources: {in: {type: numbers, count: 50, batch: 1, endless: true}}
sinks: {out: {type: memory, rate_limit: {rate: 1/h, burst: 1}, batch: {events: 1, interval: 0s}}}
edges: [in -> out]
`, nil, true, "source in has 49 events in flight; sink out has had 1 event in hand all the time and is held to its rate")
	f("a stage that throttles", `
sources: {in: {type: numbers, count: 5, endless: true}}
stages: {a: {type: probe}}
sinks: {out: {type: memory}}
edges: [in -> a -> out]
`, func(e *Engine) {
		m := &e.graph.stages[0].meter
		part[*probeStage](t, e, "a").process = func(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
			defer m.Throttled.Leave(m.Throttled.Enter())
			<-ctx.Done()
			return ctx.Err()
		}
	}, true, "source in has 5 events in flight; stage a has had 5 events in hand all the time and is held to its rate")
	f("a long delay", `
sources: {in: {type: numbers, count: 5, endless: true}}
stages: {a: {type: slowly, for: 90s}}
sinks: {out: {type: memory}}
edges: [in -> a -> out]
`, nil, true, "source in has 5 events in flight; stage a has had 1 event in hand all the time and takes 1m30s for a call, as told")
	f("a batch that fills", `
sources: {in: {type: numbers, count: 5, endless: true}}
sinks: {out: {type: memory, batch: {events: 100, interval: 5m}}}
edges: [in -> out]
`, nil, true, "source in has 5 events in flight; sink out has had 5 events in hand all the time and waits for a batch to fill")
	f("a long timeout", `
sources: {in: {type: numbers, count: 5, batch: 1, endless: true}}
stages: {a: {type: script, do: 'hang:1', timeout: 5m}}
sinks: {out: {type: memory}}
edges: [in -> a -> out]
`, nil, true, "source in has 5 events in flight; stage a has had 1 event in hand all the time and has time left until its timeout")
	f("a long timeout of a sink", `
sources: {in: {type: numbers, count: 5, endless: true}}
sinks: {out: {type: memory, hang: 1, timeout: 5m}}
edges: [in -> out]
`, nil, true, "source in has 5 events in flight; sink out has had 5 events in hand all the time and has time left until its timeout")
	f("a dead branch that may lose events", `
sources: {in: {type: numbers, count: 100000, batch: 1, pause: 1s}}
sinks: {out: {type: memory}, dead: {type: memory, hang: 1}}
edges: [in -> out, {from: in, to: dead, buffer: 5, policy: drop-oldest}]
`, nil, false, "")
	f("an idle source beside a branch that may lose events", `
sources: {in: {type: numbers, count: 0, endless: true}, other: {type: numbers, count: 100000, batch: 1, pause: 1s}}
sinks: {out: {type: memory}, dead: {type: memory, hang: 1}}
edges: [in -> dead, other -> out, {from: other, to: dead, buffer: 5, policy: drop-oldest}]
`, nil, false, "")
	f("a slow sink", `
sources: {in: {type: numbers, count: 100, batch: 50}}
sinks: {out: {type: memory, wait: 10s, batch: {events: 1, interval: 0s}}}
edges: [{from: in, to: out, buffer: 10}]
`, nil, false, "")
	f("a slow source", `
sources: {in: {type: numbers, count: 100, batch: 1, pause: 50s}}
sinks: {out: {type: memory}}
edges: [in -> out]
`, nil, false, "")
	f("stall_after", `
limits: {stall_after: 5m}
sources: {in: {type: numbers, count: 5, endless: true}}
stages: {a: {type: probe}}
sinks: {out: {type: memory}}
edges: [in -> a -> out]
`, hang("a"), false, "")
	f("calls that were left behind", `
limits: {stall_after: 30s}
sources: {in: {type: numbers, count: 5, batch: 1, endless: true}}
sinks: {out: {type: deaf, hang: ['2'], timeout: 1s, batch: {events: 1, interval: 0s}, retry: {initial: 1ms, max: 1ms, jitter: 0, budget: {burst: 1000}}}}
edges: [in -> out]
`, func(e *Engine) {
		free := part[*deafSink](t, e, "out").free
		time.AfterFunc(80*time.Second, func() { close(free) })
	}, false, "source in has 3 events in flight; sink out has had 1 event in hand all the time and waits for the far side (1 of its calls ignored their timeout and were left behind)")
}

// TestStallReload: limits.stall_after is in force as soon as it is changed.
func TestStallReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := `
version: 1
name: test
shutdown: {timeout: 1s}
limits: {stall_after: %s}
sources: {in: {type: numbers, count: 5, endless: true}}
sinks: {out: {type: memory, hang: 1}}
edges: [in -> out]
`
		load := func(after string) *config.Pipeline {
			p, ds := config.Parse([]byte(sprintf(text, after)), config.Options{})
			if err := ds.Err(); err != nil {
				t.Fatal(err)
			}
			return p
		}
		e, err := New(load("1h"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(2*time.Minute, func() {
			if e.Status().Stall != nil {
				t.Error("stalled before its time")
			}
			if _, err := e.Reload(t.Context(), load("10s"), ReloadOptions{}); err != nil {
				t.Error(err)
			}
		})
		time.AfterFunc(2*time.Minute+6*time.Second, func() {
			if !e.Status().Stall.Stalled() {
				t.Error("not stalled after the time was shortened")
			}
			e.Stop()
		})
		run(t, e)
	})
}

func init() { pipe.RegisterStage("slowly", func() pipe.Stage { return &slowly{} }) }

// slowly takes its time for each event.
type slowly struct {
	For pipe.Duration `yaml:"for"`
}

func (s *slowly) MaxBatch() int        { return 1 }
func (s *slowly) Lasts() time.Duration { return s.For.D() }

func (s *slowly) Process(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
	select {
	case <-time.After(s.For.D()):
	case <-ctx.Done():
		return ctx.Err()
	}
	out.Emit(in[0])
	return nil
}
