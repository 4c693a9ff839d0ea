package explain

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine"
)

const small = `
source in take 1ms
stage a take 2ms
sink out take 10ms as external
in -> a 100
a -> out 100`

// record lets a simulation and a Recorder run for some seconds of fake time.
func record(t *testing.T, s *sim, o Options, seconds int, during func(r *Recorder, second int)) (r *Recorder) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r = NewRecorder(func() engine.Status {
			s.run(time.Since(began).Seconds() - s.now)
			return s.status()
		}, o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Run(ctx)
		}()
		for i := range seconds {
			time.Sleep(time.Second)
			synctest.Wait()
			if during != nil {
				during(r, i+1)
			}
		}
		cancel()
		<-done
	})
	return r
}

// TestRecorder holds the history and the reports of a Recorder against Why on
// whole statuses.
func TestRecorder(t *testing.T) {
	s := newSim(1, small)
	var from, to engine.Status
	r := record(t, s, Options{Keep: 50}, 120, func(r *Recorder, second int) {
		switch second {
		case 110:
			from, _ = r.Latest()
		case 120:
			to, _ = r.Latest()
		}
	})
	got, want := r.Why(10*time.Second), Why(from, to)
	if got.At.IsZero() || got.WindowSeconds != 10 {
		t.Errorf("at %v, window %v; want 10 s", got.At, got.WindowSeconds)
	}
	got.At = time.Time{}
	if g, w := asJSON(t, got), asJSON(t, want); g != w {
		t.Errorf("the recorder says\n%s\nbut from the statuses follows\n%s", g, w)
	}
	h := r.History(time.Time{})
	if len(h.Times) != 50 || h.Every != 1 {
		t.Fatalf("%d samples, one every %v s; want the last 50, one every second", len(h.Times), h.Every)
	}
	for i := 1; i < len(h.Times); i++ {
		if h.Times[i]-h.Times[i-1] != 1000 {
			t.Errorf("sample %d is %d ms after the one before", i, h.Times[i]-h.Times[i-1])
		}
	}
	mean := func(x []float32) (sum float64) {
		if len(x) != 50 {
			t.Errorf("a series has %d values, want 50", len(x))
		}
		for _, v := range x {
			sum += float64(v) / float64(len(x))
		}
		return sum
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if got < want-.02*max(1, want) || got > want+.02*max(1, want) {
			t.Errorf("%s: got %.3f, want about %.3f", what, got, want)
		}
	}
	near("rate of the edge", mean(h.Edges["a->out"].Rate), 100)
	near("its fill", mean(h.Edges["a->out"].Fill), 1)
	near("its blocked share", mean(h.Edges["a->out"].Blocked), .8)
	near("its drops", mean(h.Edges["a->out"].Dropped), 0)
	near("rate of the source", mean(h.Nodes["in"].Rate), 100)
	near("the source blocked", mean(h.Nodes["in"].Blocked), .9)
	near("the stage busy", mean(h.Nodes["a"].Busy), .2)
	near("the sink waiting", mean(h.Nodes["out"].External), 1)
	near("the sink's deliveries", mean(h.Nodes["out"].OutRate), 100)
	if late := r.History(time.UnixMilli(h.Times[40])); !slices.Equal(late.Times, h.Times[41:]) || len(late.Edges["a->out"].Rate) != 9 {
		t.Errorf("since the 41st: %d samples, want 9", len(late.Times))
	}
	if _, at := r.Latest(); at.UnixMilli() != h.Times[49] {
		t.Errorf("the latest is of %v", at)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestRecorderBegins asks before there is anything to tell.
func TestRecorderBegins(t *testing.T) {
	r := NewRecorder(func() engine.Status { return engine.Status{} }, Options{})
	if why := r.Why(time.Second); why.Cause != CauseStarting || len(why.Sentences) != 1 {
		t.Errorf("got %+v", why)
	}
	if h := r.History(time.Time{}); len(h.Times) != 0 || strings.Contains(asJSON(t, h), "null") {
		t.Errorf("got %s", asJSON(t, h))
	}
	s := newSim(1, small)
	causes := ""
	record(t, s, Options{}, 3, func(r *Recorder, second int) { causes += r.Why(10*time.Second).Cause + " " })
	if causes != "external external external " {
		t.Errorf("in the first three seconds: %s", causes)
	}
}

// TestLatency: quantiles are of what was delivered since the sample before, also
// after a reload has put another sink in the place of the first.
func TestLatency(t *testing.T) {
	bounds := []float64{.1, 1, 10}
	counts := [][]int64{{100, 0, 0, 0}, {100, 50, 0, 0}, {100, 50, 0, 0}, {0, 0, 30, 0}}
	st := pair(0, 0, engine.NodeTime{}, engine.NodeTime{})
	i := 0
	r := NewRecorder(func() engine.Status {
		s := st
		h := engine.Histogram{Bounds: bounds, Counts: counts[i]}
		for _, n := range h.Counts {
			h.Count += n
		}
		sink := s.Sinks["out"]
		sink.EndToEnd = h
		s.Sinks = map[string]engine.SinkStatus{"out": sink}
		s.Seconds = float64(i)
		i++
		return s
	}, Options{})
	for range counts {
		r.sample()
	}
	got := r.History(time.Time{}).Latency["out"]
	if !slices.Equal(got.P50, []float32{.55, 0, 5.5}) || !slices.Equal(got.P95, []float32{.955, 0, 9.55}) || !slices.Equal(got.P99, []float32{.991, 0, 9.91}) {
		t.Errorf("got %+v", got)
	}
}

// TestReloads changes the configuration: figures from before the change do not
// count any more after two seconds, and edges that have gone have no past.
func TestReloads(t *testing.T) {
	s := newSim(1, small)
	slow := newSim(2, strings.Replace(strings.Replace(small, "take 2ms", "take 40ms", 1), "out", "next", -1))
	generation := uint64(1)
	synctest.Test(t, func(t *testing.T) {
		began, changed := time.Now(), time.Time{}
		r := NewRecorder(func() engine.Status {
			if generation == 2 {
				slow.run(time.Since(changed).Seconds() - slow.now)
				st := slow.status()
				st.Generation, st.Seconds = 2, time.Since(began).Seconds()
				return st
			}
			s.run(time.Since(began).Seconds() - s.now)
			return s.status()
		}, Options{})
		f := func(seconds float64, limiting string, mixed bool) {
			t.Helper()
			for range int(seconds) {
				time.Sleep(time.Second)
				r.sample()
			}
			why := r.Why(30 * time.Second)
			said := strings.Join(why.Sentences, "\n")
			if why.Limiting != limiting || strings.Contains(said, "The configuration changed") != mixed {
				t.Errorf("%.0f s later: got %s, want %s; mixed %v\n%s", seconds, why.Limiting, limiting, mixed, said)
			}
		}
		r.sample()
		f(30, "out", false)
		generation, changed = 2, time.Now()
		time.Sleep(500 * time.Millisecond)
		f(1, "a", true)
		f(1, "a", true)
		f(2, "a", false)
		if h := r.History(time.Time{}); h.Edges["a->out"].Rate != nil || h.Edges["a->next"].Rate[0] != 0 || len(h.Edges["a->next"].Rate) != len(h.Times) {
			t.Errorf("edges %v", slices.Collect(maps.Keys(h.Edges)))
		}
	})
}

// TestKeys holds the JSON against its contract: the page reads it.
func TestKeys(t *testing.T) {
	s := newSim(1, small)
	r := record(t, s, Options{}, 5, nil)
	f := func(what string, v any, want ...string) {
		t.Helper()
		var keys map[string]any
		if err := json.Unmarshal([]byte(asJSON(t, v)), &keys); err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(keys)); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", what, got, want)
		}
	}
	why, h := r.Why(5*time.Second), r.History(time.Time{})
	f("a report", why, "pipeline", "at", "window_seconds", "limiting", "cause", "sentences", "nodes", "blocks", "bottlenecks", "next")
	f("a node", why.Nodes[0], "name", "kind", "workers", "busy", "idle", "blocked", "throttled", "external", "rate", "capacity")
	f("a bottleneck", why.Bottlenecks[0], "node", "kind", "cause", "form", "edge", "share", "sources", "blocks")
	f("next", why.Next, "node", "kind", "cause", "source_rate", "factor", "sentence")
	f("a history", h, "every", "times", "edges", "nodes", "latency")
	f("an edge's", h.Edges["a->out"], "rate", "dropped", "fill", "blocked")
	f("a node's", h.Nodes["a"], "rate", "out_rate", "busy", "idle", "blocked", "throttled", "external")
	f("a latency", h.Latency["out"], "p50", "p95", "p99")
}

// TestMemory holds ten minutes of a thousand edges against their bound, and what
// a sample and a question cost.
func TestMemory(t *testing.T) {
	const edges, most = 1000, 60 << 20
	var text strings.Builder
	text.WriteString("source in take 1ms\n")
	for i := range edges {
		fmt.Fprintf(&text, "sink out%d take 1ms\n", i)
	}
	for i := range edges {
		fmt.Fprintf(&text, "in -> out%d 10\n", i)
	}
	st := newSim(1, strings.TrimSpace(text.String())).status()
	r := NewRecorder(func() engine.Status {
		st.Seconds++
		return st
	}, Options{})
	before, after := runtime.MemStats{}, runtime.MemStats{}
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	for range 50 {
		r.sample()
	}
	each := time.Since(began) / 50
	runtime.GC()
	runtime.ReadMemStats(&after)
	began = time.Now()
	r.Why(time.Minute)
	asked := time.Since(began)
	size := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d edges for ten minutes: %.1f MiB; a sample takes %v, a question %v", edges, float64(size)/(1<<20), each, asked)
	if size > most {
		t.Errorf("%d bytes, want at most %d", size, most)
	}
	for id, s := range r.edges {
		if len(s) != 600 { // made at once for all ten minutes
			t.Fatalf("edge %s has room for %d samples, want 600", id, len(s))
		}
	}
}
