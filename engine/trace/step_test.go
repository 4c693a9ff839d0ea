package trace

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/pipectl/pipectl/engine/pipe"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	sister  = "00-" + traceID + "-b7ad6b7169203332-01"
	alien   = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unasked = "00-" + traceID + "-b7ad6b7169203331-00"
)

// observe runs test with a tracer on a fake clock and returns its spans.
func observe(t *testing.T, test func(t *testing.T, tr *Tracer)) (spans []sdktrace.ReadOnlySpan) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &far{}
		tr, _ := tracing(f, 0)
		test(t, tr)
		tr.Close(t.Context())
		spans = f.spans
	})
	return spans
}

// text prints a span: name, parent, its pipectl attributes as given, and status.
func text(s sdktrace.ReadOnlySpan, attributes ...string) string {
	b := s.Name() + " of " + s.Parent().SpanID().String()
	for _, name := range attributes {
		for _, kv := range s.Attributes() {
			if string(kv.Key) == "pipectl."+name {
				b += " " + name + "=" + kv.Value.String()
			}
		}
	}
	if s.Status().Description != "" {
		b += " error: " + s.Status().Description
	}
	return b
}

func meta(e *pipe.Event) string {
	v, _ := e.Meta(pipe.TraceParent)
	return v
}

// TestStepsAreChained: each step is the child of the one before, and says how
// long its events were on their way.
func TestStepsAreChained(t *testing.T) {
	var sent string
	spans := observe(t, func(t *testing.T, tr *Tracer) {
		in := fed(t, parent)
		in[0].SetMeta(pipe.TraceState, "a=b")
		in[0].SetMeta(pipe.TraceParent, parent)
		f := func(node string, kind pipe.Kind, work, way time.Duration, out *pipe.Out) {
			done := tr.Step(node, kind, in)
			time.Sleep(work)
			done(out, nil)
			time.Sleep(way)
		}
		time.Sleep(time.Second) // since they were read
		f("in", pipe.KindSource, 0, 2*time.Second, nil)
		f("work", pipe.KindStage, 3*time.Second, 500*time.Millisecond, pipe.NewOut(1))
		f("out", pipe.KindSink, time.Second, 0, nil)
		sent = meta(in[0])
	})
	if len(spans) != 3 {
		t.Fatalf("%d spans, want 3", len(spans))
	}
	last := "b7ad6b7169203331"
	for i, want := range []struct {
		text string
		kind oteltrace.SpanKind
		took time.Duration
	}{
		{"in of %s pipeline=p node=in kind=source events=1 event_id=%s origin=samples:1", oteltrace.SpanKindConsumer, time.Second},
		{"work of %s edge_wait_seconds=2 pipeline=p node=work kind=stage events=1 event_id=%s origin=samples:1", oteltrace.SpanKindInternal, 3 * time.Second},
		{"out of %s edge_wait_seconds=0.5 pipeline=p node=out kind=sink events=1 event_id=%s origin=samples:1", oteltrace.SpanKindProducer, time.Second},
	} {
		s := spans[i]
		got := text(s, "edge_wait_seconds", "pipeline", "node", "kind", "events", "event_id", "origin")
		if text := fmt.Sprintf(want.text, last, fed(t, "")[0].ID()); got != text {
			t.Errorf("got  %s\nwant %s", got, text)
		}
		if s.SpanKind() != want.kind || s.EndTime().Sub(s.StartTime()) != want.took || s.SpanContext().TraceID().String() != traceID {
			t.Errorf("%s: kind %v, took %v, of trace %v", s.Name(), s.SpanKind(), s.EndTime().Sub(s.StartTime()), s.SpanContext().TraceID())
		}
		if got := s.SpanContext().TraceState().String(); got != "a=b" {
			t.Errorf("%s: state %q", s.Name(), got)
		}
		last = s.SpanContext().SpanID().String()
	}
	if want := "00-" + traceID + "-" + last + "-01"; sent != want {
		t.Errorf("the sink sends %s on, want %s", sent, want)
	}
}

// TestEventsOfOneParentShareASpan, and no others do.
func TestEventsOfOneParentShareASpan(t *testing.T) {
	spans := observe(t, func(t *testing.T, tr *Tracer) {
		in := fed(t, parent, parent, "", sister, parent, alien, sister, unasked, "nonsense")
		tr.Step("n", pipe.KindStage, in)(nil, nil)
		if meta(in[0]) != meta(in[1]) || meta(in[0]) != meta(in[4]) || meta(in[3]) != meta(in[6]) || meta(in[0]) == meta(in[3]) {
			t.Error("events do not go on with the span of their parent")
		}
		if meta(in[2]) != "" || meta(in[7]) != unasked || meta(in[8]) != "nonsense" {
			t.Errorf("changed what is not traced: %q, %q, %q", meta(in[2]), meta(in[7]), meta(in[8]))
		}
	})
	want := []string{
		"n of b7ad6b7169203331 events=3",
		"n of b7ad6b7169203332 events=2",
		"n of b7ad6b7169203331 events=1 event_id=" + fed(t, make([]string, 6)...)[5].ID(),
	}
	for i, s := range spans {
		if got := text(s, "events", "event_id"); got != want[i] {
			t.Errorf("got %s, want %s", got, want[i])
		}
	}
	if len(spans) != 3 || spans[2].SpanContext().TraceID() == spans[0].SpanContext().TraceID() {
		t.Errorf("%d spans, want 3 of two traces", len(spans))
	}
}

// TestNothingTraced: then nobody need be told when the step is over.
func TestNothingTraced(t *testing.T) {
	observe(t, func(t *testing.T, tr *Tracer) {
		for _, kind := range []pipe.Kind{pipe.KindSource, pipe.KindStage, pipe.KindSink} {
			if done := tr.Step("n", kind, fed(t, "", unasked, "nonsense", "")); done != nil {
				t.Errorf("%s: wants to know the end", kind)
			}
		}
		if n := testing.AllocsPerRun(100, func() { tr.Step("n", pipe.KindStage, nil) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// TestRatio: sources begin traces for that share, other nodes never do.
func TestRatio(t *testing.T) {
	f := func(ratio float64) {
		t.Helper()
		tr, _ := tracing(&far{}, ratio)
		defer tr.Close(t.Context())
		const n = 4000
		in := fed(t, append(make([]string, n), parent, unasked)...)
		for _, kind := range []pipe.Kind{pipe.KindStage, pipe.KindSink} {
			tr.Step("n", kind, in[:n])
		}
		for _, e := range in[:n] {
			if meta(e) != "" {
				t.Fatal("a trace begins behind the source")
			}
		}
		tr.Step("n", pipe.KindSource, in)
		begun, different := 0, map[string]bool{}
		for _, e := range in[:n] {
			if c, ok := pipe.ParseTraceParent(meta(e)); ok && c.Sampled {
				begun++
				different[meta(e)[:35]] = true
			}
		}
		if sigma := math.Sqrt(n * ratio * (1 - ratio)); math.Abs(float64(begun)-n*ratio) > 5*sigma || len(different) != begun {
			t.Errorf("ratio %v: of %d events %d begin a trace, %d different ones", ratio, n, begun, len(different))
		}
		if meta(in[n])[:35] != parent[:35] || meta(in[n+1]) != unasked {
			t.Errorf("traces that are there: got %s and %s", meta(in[n]), meta(in[n+1]))
		}
	}
	f(0)
	f(0.1)
	f(0.9)
	f(1)
}

// TestOutcomes: spans say what became of their events.
func TestOutcomes(t *testing.T) {
	down, busy := errors.New("down"), errors.New("busy with secret")
	f := func(what string, kind pipe.Kind, end func(in []*pipe.Event) (*pipe.Out, error), want ...string) {
		t.Helper()
		spans := observe(t, func(t *testing.T, tr *Tracer) {
			tr.redact = func(s string) string { return strings.ReplaceAll(s, "secret", "***") }
			in := fed(t, parent, sister, parent, "")
			done := tr.Step("n", kind, in)
			done(end(in))
		})
		for i, s := range spans {
			got := strings.TrimPrefix(text(s, "events", "filtered", "failed", "taken_away"), "n of b7ad6b716920333")
			if i >= len(want) || got != want[i] {
				t.Errorf("%s: got %q, want %q", what, got, want)
			}
		}
	}
	sink := func(err error) func([]*pipe.Event) (*pipe.Out, error) {
		return func([]*pipe.Event) (*pipe.Out, error) { return nil, err }
	}
	f("written", pipe.KindSink, sink(nil), "1 events=2", "2 events=1")
	f("not written", pipe.KindSink, sink(busy), "1 events=2 failed=2 error: busy with ***", "2 events=1 failed=1 error: busy with ***")
	f("stopped", pipe.KindSink, sink(fmt.Errorf("write: %w", context.Canceled)), "1 events=2 taken_away=2", "2 events=1 taken_away=1")
	f("in part", pipe.KindSink, sink(fmt.Errorf("after 3 attempts: %w", &pipe.PartialError{Items: []pipe.ItemError{{Index: 2, Err: down}, {Index: 3, Err: busy}}})),
		"1 events=2 failed=1 error: down", "2 events=1")
	f("decided", pipe.KindStage, func(in []*pipe.Event) (*pipe.Out, error) {
		out := pipe.NewOut(1)
		out.Filter(in[0])
		out.Fail(in[2], down)
		out.Fail(in[3], busy)
		out.Emit(in[1])
		return out, nil
	}, "1 events=2 filtered=1 failed=1 error: down", "2 events=1")
	f("given up", pipe.KindStage, func(in []*pipe.Event) (*pipe.Out, error) {
		out := pipe.NewOut(1)
		out.Emit(in[0])
		return out, down
	}, "1 events=2 failed=1 error: down", "2 events=1 failed=1 error: down")
	f("taken away", pipe.KindStage, func(in []*pipe.Event) (*pipe.Out, error) {
		out := pipe.NewOut(1)
		out.Fail(in[0], down)
		return out, context.Canceled
	}, "1 events=2 failed=1 taken_away=1 error: down", "2 events=1 taken_away=1")
}

// TestCopiesInherit: what a stage makes of an event is a child of the stage's span.
func TestCopiesInherit(t *testing.T) {
	spans := observe(t, func(t *testing.T, tr *Tracer) {
		in := fed(t, parent)
		out := pipe.NewOut(2)
		done := tr.Step("split", pipe.KindStage, in)
		c := out.Copy(in[0])
		out.EmitTo(0, in[0])
		out.EmitTo(1, c)
		done(out, nil)
		tr.Step("a", pipe.KindSink, out.Port(0))(nil, nil)
		tr.Step("b", pipe.KindSink, out.Port(1))(nil, nil)
	})
	want := spans[0].SpanContext().SpanID()
	for _, s := range spans[1:] {
		if s.Parent().SpanID() != want {
			t.Errorf("%s is a child of %v, want %v", s.Name(), s.Parent().SpanID(), want)
		}
	}
}

func TestHandedIsBounded(t *testing.T) {
	var h handed
	id := func(i int) oteltrace.SpanID { return oteltrace.SpanID{byte(i >> 16), byte(i >> 8), byte(i), 1} }
	at := time.Now()
	for i := range 3 * handedMost {
		h.note(id(i), at.Add(time.Duration(i)))
	}
	if len(h.ended) != handedMost || len(h.order) != handedMost {
		t.Errorf("holds %d and %d, want %d", len(h.ended), len(h.order), handedMost)
	}
	f := func(i int, known bool) {
		t.Helper()
		if got, ok := h.when(id(i)); ok != known || ok && !got.Equal(at.Add(time.Duration(i))) {
			t.Errorf("step %d: known %v, want %v", i, ok, known)
		}
	}
	f(3*handedMost-1, true)
	f(2*handedMost, true)
	f(2*handedMost-1, false)
	f(0, false)
}

func BenchmarkStep(b *testing.B) {
	f := func(name string, traceparent string) {
		b.Run(name, func(b *testing.B) {
			tr, _ := tracing(&far{}, 0)
			defer tr.Close(b.Context())
			parents := make([]string, 256)
			for i := range parents {
				if parents[i] = traceparent; traceparent == parent { // each event a trace of its own
					parents[i] = fmt.Sprintf("00-%032x-b7ad6b7169203331-01", i+1)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				in := fed(b, parents...)
				b.StartTimer()
				if done := tr.Step("n", pipe.KindStage, in); done != nil {
					done(nil, nil)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/256, "ns/event")
		})
	}
	f("untraced", "")
	f("one request", sister)
	f("each its own", parent)
}
