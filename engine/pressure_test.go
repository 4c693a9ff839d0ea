package engine

import (
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// TestMaxInFlight: with a sink that does not move, a source reads until its
// window is full and not once more; each settled event lets it read again.
func TestMaxInFlight(t *testing.T) {
	f := func(window string, size, want int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := build(t, sprintf(`
sources: {in: {type: probe, max_in_flight: %s}}
sinks: {out: {type: probe}}
edges: [in -> out]
`, window))
			part[*probeSource](t, e, "in").read = lines(1000, size, false)
			part[*probeSink](t, e, "out").write = func(_ context.Context, in []*pipe.Event) error {
				synctest.Wait() // the source has read all it may
				if got := e.Status().Sources["in"].InFlight; got > int64(want) {
					t.Errorf("%s, reads of %d: %d events in flight, want at most %d", window, size, got, want)
				}
				time.Sleep(time.Millisecond * time.Duration(len(in)))
				return nil
			}
			peak := int64(0)
			time.AfterFunc(500*time.Microsecond, func() { peak = e.Status().Sources["in"].InFlight })
			if _, err := run(t, e); err != nil {
				t.Fatal(err)
			}
			if peak != int64(want) {
				t.Errorf("%s, reads of %d: stopped reading at %d events, want %d", window, size, peak, want)
			}
		})
	}
	f("{events: 10}", 1, 10)
	f("{events: 10}", 5, 10)
	f("{events: 10}", 7, 14) // what one read brings is not torn apart
	f("{bytes: 1320}", 1, 10)
	f("{events: 1000, bytes: 1320}", 1, 10)
}

// TestFanInIsFair: a source that reads a hundred at a time gets no more of a
// slow sink than one that reads single events.
func TestFanInIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {few: {type: numbers, count: 100000, batch: 1}, many: {type: numbers, count: 100000, batch: 100}}
sinks: {out: {type: memory, wait: 10ms, batch: {events: 10, interval: 10ms}}}
edges: [{from: few, to: out, buffer: 50}, {from: many, to: out, buffer: 50}]
`)
		time.AfterFunc(10*time.Second, e.Stop)
		r, _ := run(t, e)
		few, many := r.Sources["few"].Acked, r.Sources["many"].Acked
		if few+many < 5000 || few < many*8/10 || many < few*8/10 {
			t.Errorf("few got %d, many %d; want about the same", few, many)
		}
	})
}

// TestSourcesEndApart: the end of one source does not end the others.
func TestSourcesEndApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {short: {type: numbers, count: 5}, long: {type: numbers, count: 500, batch: 5, pause: 10ms}}
stages: {a: {type: script}}
sinks: {out: {type: memory}}
edges: [short -> a, long -> a, a -> out]
`)
		start := time.Now()
		r, err := run(t, e)
		if err != nil || r.Outcome != Drained || r.Sources["short"].Acked != 5 || r.Sources["long"].Acked != 500 || time.Since(start) < time.Second {
			t.Errorf("error %v, sources %+v after %v", err, r.Sources, time.Since(start))
		}
	})
}

// requests is a source of messages that want an answer, as an HTTP server is:
// each read brings a few of them, of several events, of one, and of none.
type requests struct {
	mu      sync.Mutex // guards answers
	answers map[any]pipe.Outcome
	twice   int
	asked   int
}

func (q *requests) read(_ context.Context, b *pipe.Batch) error {
	for range 3 {
		if q.asked == 90 {
			return io.EOF
		}
		b.Begin(q.asked)
		for i := range q.asked % 4 {
			b.Add(record.FromText([]byte(sprintf("%d.%d", q.asked, i))), 0)
		}
		b.End()
		q.asked++
	}
	return nil
}

func (q *requests) settled(token any, o pipe.Outcome) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, known := q.answers[token]; known {
		q.twice++
	}
	q.answers[token] = o
}

// runRequests runs a pipeline that begins with in, and returns the answers.
func runRequests(t *testing.T, yaml string, arm func(e *Engine)) (Receipt, map[any]pipe.Outcome) {
	t.Helper()
	e := build(t, yaml)
	q := &requests{answers: map[any]pipe.Outcome{}}
	in := part[*probeSource](t, e, "in")
	in.read, in.answer = q.read, q.settled
	arm(e)
	r, _ := run(t, e)
	if len(q.answers) != q.asked || q.twice != 0 {
		t.Errorf("%d requests, %d answered, %d of them twice", q.asked, len(q.answers), q.twice)
	}
	return r, q.answers
}

// TestAnswers: every message gets one answer, the worst of its events.
func TestAnswers(t *testing.T) {
	_, got := runRequests(t, `
sources: {in: {type: probe}}
stages: {a: {type: probe}}
sinks: {out: {type: memory}, copy: {type: memory}, dead: {type: memory}}
edges: [in -> a, a -> out, a -> copy, a.failed -> dead]
`, func(e *Engine) {
		part[*probeStage](t, e, "a").process = func(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
			for _, ev := range in {
				var message, i int
				switch n, _ := scan(ev, &message, &i); {
				case n == 2 && message%3 == 0 && i == 1:
					out.Filter(ev)
				case n == 2 && message%5 == 0 && i == 0:
					out.Fail(ev, errProbe)
				default:
					out.Emit(ev)
				}
			}
			return nil
		}
	})
	for token, o := range got {
		n := token.(int)
		want := pipe.Delivered
		switch {
		case n%4 == 0:
			want = pipe.Filtered // no events
		case n%5 == 0:
			want = pipe.DeadLettered
		case n%3 == 0 && n%4 > 1:
			want = pipe.Filtered
		}
		if o != want {
			t.Errorf("request %d: answered %v, want %v", n, o, want)
		}
	}
}

// TestRefusal: what an edge drops with on_drop: nack is refused, whole messages
// at a time, and with on_drop: ack it is not.
func TestRefusal(t *testing.T) {
	f := func(onDrop string, dropped pipe.Outcome) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			r, got := runRequests(t, sprintf(`
sources: {in: {type: probe}}
sinks: {out: {type: memory, wait: 1s}}
edges: [{from: in, to: out, buffer: 4, policy: drop-newest, on_drop: %s}]
`, onDrop), func(*Engine) {})
			counts := map[pipe.Outcome]int{}
			for _, o := range got {
				counts[o]++
			}
			if len(counts) != 3 || counts[dropped] == 0 || counts[pipe.Delivered] == 0 || r.Edges["in->out"].Dropped["newest"] == 0 {
				t.Errorf("on_drop %s: answers %v, edge %+v", onDrop, counts, r.Edges["in->out"])
			}
			if s := r.Sources["in"]; (s.Nacked > 0) != (dropped == pipe.Refused) {
				t.Errorf("on_drop %s: source %+v", onDrop, s)
			}
		})
	}
	f("ack", pipe.Dropped)
	f("nack", pipe.Refused)
}

// TestEdgeThatFails: then: fail ends the pipeline and names the edge.
func TestEdgeThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 100}}
sinks: {out: {type: memory, wait: 10s}}
edges: [{from: in, to: out, buffer: 10, policy: {type: block, timeout: 2s, then: fail}}]
`)
		r, err := run(t, e)
		failed, ok := err.(*EdgeError)
		if !ok || failed.Edge != "in->out" || failed.Timeout != 2*time.Second || r.ExitCode != ExitFailed || r.Sources["in"].Returned == 0 {
			t.Errorf("exit code %d, error %v, source %+v", r.ExitCode, err, r.Sources["in"])
		}
	})
}

// TestFanOutPace: the slowest branch sets the pace, also when what is read at once
// is much more than what the branches can hold: the node does not wait at one
// while another runs dry.
func TestFanOutPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 500, batch: 500}}
stages: {a: {type: script, wait: 10ms}, b: {type: script, wait: 8ms}, c: {type: script, wait: 9ms}}
sinks: {x: {type: memory}, y: {type: memory}, z: {type: memory}}
edges: [{from: in, to: a, buffer: 16}, {from: in, to: b, buffer: 16}, {from: in, to: c, buffer: 16}, a -> x, b -> y, c -> z]
`)
		began := time.Now()
		if _, err := run(t, e); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 5200*time.Millisecond {
			t.Errorf("500 events took %v, the slowest branch alone takes 5s", took)
		}
		for _, sink := range []string{"x", "y", "z"} {
			wantNumbers(t, sinkOf(t, e, sink).got(), 500)
		}
	})
}
