package stages

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func figures(t testing.TB, list ...string) (m pipe.OrderedMap[Figure]) {
	t.Helper()
	for _, text := range list { // "name function of quantile"
		p := append(strings.Fields(text), "", "", "")
		f := Figure{Function: p[1]}
		if p[2] != "" {
			f.Of = value(t, p[2])
		}
		if p[3] != "" {
			fmt.Sscan(p[3], &f.Quantile)
		}
		m = append(m, pipe.Pair[Figure]{Key: p[0], Value: f})
	}
	return m
}

// newWindow is by event time, in seconds, with windows of 10s.
func newWindow(t testing.TB, change func(*Window)) *Window {
	t.Helper()
	c, _ := pipe.Lookup(pipe.KindStage, "window")
	w := c.New().(*Window)
	w.Size, w.Time = pipe.Duration(10*time.Second), value(t, "t")
	w.Compute = figures(t, "n count")
	change(w)
	return w
}

func openWindows(t testing.TB, change func(*Window)) *Window {
	t.Helper()
	w := newWindow(t, change)
	if err := w.Open(t.Context(), openEnv); err != nil {
		t.Fatal(err)
	}
	return w
}

// brief shortens results: the start in seconds, and what follows the end.
func brief(results []string) (short []string) {
	for _, text := range results {
		var m struct {
			Start time.Time `json:"window_start"`
			End   time.Time `json:"window_end"`
		}
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			panic(err)
		}
		_, rest, _ := strings.Cut(text, `"window_end":"`+m.End.UTC().Format(time.RFC3339Nano)+`"`)
		short = append(short, fmt.Sprintf("%v-%v%s", m.Start.Unix(), m.End.Unix(), strings.TrimSuffix(rest, "}")))
	}
	return short
}

func TestWindowTumbling(t *testing.T) {
	f := func(change func(*Window), in []string, want, late []string) {
		t.Helper()
		r := run(t, newWindow(t, change), in...)
		same(t, fmt.Sprint(in), brief(r.Emitted[""]), want)
		same(t, fmt.Sprint(in, " late"), r.Emitted["late"], late)
	}
	f(func(*Window) {}, []string{`{"t":1}`, `{"t":9.999}`, `{"t":10}`, `{"t":3}`, `{"t":35}`},
		[]string{`0-10,"n":2`, `10-20,"n":1`, `30-40,"n":1,"partial":true`}, []string{`{"t":3}`})
	f(func(w *Window) { w.AllowedLateness = pipe.Duration(5 * time.Second) }, []string{`{"t":1}`, `{"t":14}`, `{"t":3}`, `{"t":15}`, `{"t":4}`, `{"t":11}`},
		[]string{`0-10,"n":2`, `10-20,"n":3,"partial":true`}, []string{`{"t":4}`})
	f(func(w *Window) { w.By = sets(t, "k", "k", "half", "v / 2") }, []string{`{"t":1,"k":"b","v":2}`, `{"t":2,"k":"a","v":2}`, `{"t":3,"k":"b","v":2}`, `{"t":3}`, `{"t":3,"k":null}`, `{"t":12}`},
		[]string{`0-10,"k":"b","half":1,"n":2`, `0-10,"k":"a","half":1,"n":1`, `0-10,"k":null,"half":null,"n":2`, `10-20,"k":null,"half":null,"n":1,"partial":true`}, nil)
	f(func(*Window) {}, []string{`{"t":-0.5}`, `{"t":"1970-01-01T01:00:00.5+01:00"}`}, []string{`-10-0,"n":1`, `0-10,"n":1,"partial":true`}, nil)
	f(func(w *Window) { w.Unit = "ms" }, []string{`{"t":9999}`, `{"t":10000}`}, []string{`0-10,"n":1`, `10-20,"n":1,"partial":true`}, nil)
}

func TestWindowSliding(t *testing.T) {
	w := newWindow(t, func(w *Window) { w.Slide = pipe.Duration(5 * time.Second) })
	r := run(t, w, `{"t":1}`, `{"t":6}`, `{"t":4}`, `{"t":10}`, `{"t":2}`)
	same(t, "sliding", brief(r.Emitted[""]), []string{`-5-5,"n":1`, `0-10,"n":3`, `5-15,"n":2,"partial":true`, `10-20,"n":1,"partial":true`})
	same(t, "late", r.Emitted["late"], []string{`{"t":2}`})
	if c := r.Counts; c.Created != 3 || c.Held != 7 || c.Released != 7 || c.Merged != 3 {
		t.Errorf("counts %+v", c)
	}
}

func TestWindowFigures(t *testing.T) {
	f := func(want string, figure string, values ...string) {
		t.Helper()
		var in []string
		for i, v := range values {
			in = append(in, fmt.Sprintf(`{"t":%d,"v":%s}`, i%7, v))
		}
		got := run(t, newWindow(t, func(w *Window) {
			w.AllowedLateness = pipe.Duration(time.Minute)
			w.Compute = figures(t, "x "+figure)
		}), in...).Emitted[""]
		same(t, figure+fmt.Sprint(values), brief(got), []string{`0-10,"x":` + want + `,"partial":true`})
	}
	f("3", "count", "1", "null", `"a"`)
	f("2", "count v", "1", "null", `"a"`)
	f("6.5", "sum v", "1", "2.5", "null", "3")
	f("0", "sum v", "null")
	f("1", "sum v", "1e100", "1", "-1e100")
	f("-4", "min v", "3", "-4", "null")
	f("3", "max v", "3", "-4")
	f("null", "max v", "null")
	f("2", "avg v", "1", "3", "null")
	f("4", "avg v*2", "1", "3")
	f(`"a"`, "first v", `"a"`, "2", "3")
	f(`{"b":1}`, "last v", `"a"`, "2", `{"b":1}`)
	f(`7`, "first v", "null", "1", "2", "3", "4", "5", "6", "7") // the eighth happened when the first did, which has none
	f("5", "quantile v 0.5", "5")
	f("-7", "quantile v 0", "3", "-7", "1")
	f("3", "quantile v 1", "3", "-7", "1")
	f("1.7e+308", "quantile v 1", "1.7e308")
}

func TestWindowQuantile(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		var in []string
		var values []float64
		for range 1 + r.IntN(2000) {
			v := math.Exp(r.NormFloat64()*3) * []float64{1, 1, -1}[r.IntN(3)]
			values = append(values, v)
			in = append(in, fmt.Sprintf(`{"t":1,"v":%v}`, v))
		}
		sort.Float64s(values)
		w := newWindow(t, func(w *Window) {
			w.Compute = figures(t, "q05 quantile v 0.05", "q50 quantile v 0.5", "q99 quantile v 0.99")
		})
		var got map[string]any
		if err := json.Unmarshal([]byte(run(t, w, in...).Emitted[""][0]), &got); err != nil {
			t.Fatal(err)
		}
		for name, q := range map[string]float64{"q05": 0.05, "q50": 0.5, "q99": 0.99} {
			rank := q * float64(len(values)-1)
			x, near := got[name].(float64), false
			for _, want := range []float64{values[int(rank)], values[int(math.Ceil(rank))]} {
				near = near || math.Abs(x-want) <= math.Abs(want)*0.0101
			}
			if !near {
				t.Errorf("%s of %d values is %v, want about %v", name, len(values), x, values[int(rank)])
			}
		}
	}
}

func TestWindowFails(t *testing.T) {
	f := func(change func(*Window), in, want string) {
		t.Helper()
		fails(t, run(t, newWindow(t, change), in), want)
	}
	nothing := func(*Window) {}
	f(nothing, `{}`, "time: the event has none")
	f(nothing, `{"t":"yesterday"}`, `time: "yesterday" is not a time`)
	f(nothing, `{"t":[1]}`, "time: must be a text or a number, got array")
	f(nothing, `{"t":1e300}`, "more than 200 years from 1970")
	f(nothing, `{"t":1763719950000}`, "more than 200 years from 1970: is it in another unit?")
	f(nothing, `{"t":"2345-01-01T00:00:00Z"}`, "more than 200 years from 1970")
	f(nothing, `{"t":5000000000}`, "5000000000 is more than max_ahead, 1h0m0s, ahead of the clock")
	f(func(w *Window) { w.Compute = figures(t, "a count", "b sum v") }, `{"t":1,"v":"x"}`, "compute.b: must be a number, got string")
	f(func(w *Window) { w.Compute = figures(t, "b sum v") }, `{"t":1,"v":1e999}`, "compute.b: the number is too large")
	f(func(w *Window) { w.By = sets(t, "k", "upper(v)") }, `{"t":1,"v":1}`, "by.k: ")
	f(func(w *Window) { w.MaxAhead, w.Time = 0, value(t, "upper(t)") }, `{"t":1}`, "time: ")
	r := run(t, newWindow(t, func(w *Window) { w.MaxAhead = 0 }), `{"t":5000000000}`)
	same(t, "far ahead", brief(r.Emitted[""]), []string{`5000000000-5000000010,"n":1,"partial":true`})
}

// By arrival a window is handed on when the clock says so, by event time when no
// event has come for the idle timeout.
func TestWindowInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := pipe.NewOut(2)
		give := func(w *Window, samples ...string) {
			if err := w.Process(t.Context(), readNow(t, 1, samples...), out); err != nil {
				t.Fatal(err)
			}
		}
		flushed := func(w *Window, want ...string) {
			t.Helper()
			out.Reset()
			if err := w.Flush(t.Context(), out, false); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range out.Port(0) {
				got = append(got, string(e.Body.AppendJSON(nil)))
			}
			same(t, time.Now().String(), brief(got), want)
			out.Reset()
		}
		start := time.Now().Unix()
		w := openWindows(t, func(w *Window) { w.Time, w.Slide = expr.Value{}, 0 })
		if !w.Deadline().IsZero() {
			t.Error("a deadline without a window")
		}
		time.Sleep(3 * time.Second)
		give(w, "a", "b")
		if want := time.Unix(start+10, 0); !w.Deadline().Equal(want) {
			t.Errorf("deadline %v, want %v", w.Deadline(), want)
		}
		time.Sleep(7*time.Second - 1)
		flushed(w)
		time.Sleep(time.Nanosecond)
		flushed(w, fmt.Sprintf(`%d-%d,"n":2`, start, start+10))
		flushed(w)

		w = openWindows(t, func(w *Window) { w.AllowedLateness = pipe.Duration(time.Hour) })
		give(w, `{"t":1}`, `{"t":22}`)
		time.Sleep(29 * time.Second)
		give(w, `{"t":2}`)
		time.Sleep(30*time.Second - 1)
		flushed(w)
		time.Sleep(time.Nanosecond)
		if time.Now().Before(w.Deadline()) {
			t.Errorf("deadline %v, now %v", w.Deadline(), time.Now())
		}
		flushed(w, `0-10,"n":2`, `20-30,"n":1`)
		give(w, `{"t":29}`, `{"t":30}`)
		if len(out.Port(latePort)) != 1 {
			t.Errorf("%d events are late after the idle timeout", len(out.Port(latePort)))
		}
	})
}

func TestWindowLimits(t *testing.T) {
	f := func(change func(*Window), in []string, want ...string) {
		t.Helper()
		w, out := openWindows(t, func(w *Window) {
			w.AllowedLateness, w.By = pipe.Duration(time.Hour), sets(t, "k", "k")
			change(w)
		}), pipe.NewOut(2)
		if err := errors.Join(w.Process(t.Context(), readNow(t, 1, in...), out), w.Flush(t.Context(), out, true)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range out.Port(0) {
			got = append(got, string(e.Body.AppendJSON(nil)))
		}
		same(t, fmt.Sprint(in), brief(got), want)
	}
	f(func(w *Window) { w.MaxEvents = 3 }, []string{`{"t":11,"k":1}`, `{"t":1,"k":1}`, `{"t":2,"k":1}`, `{"t":3,"k":1}`, `{"t":12,"k":1}`},
		`0-10,"k":1,"n":2,"partial":true`, `0-10,"k":1,"n":1,"partial":true`, `10-20,"k":1,"n":2,"partial":true`)
	f(func(w *Window) { w.MaxKeys = 2 }, []string{`{"t":1,"k":1}`, `{"t":1,"k":1}`, `{"t":1,"k":2}`, `{"t":1,"k":2}`, `{"t":1,"k":3}`},
		`0-10,"k":1,"n":2,"partial":true`, `0-10,"k":2,"n":2,"partial":true`, `0-10,"k":3,"n":1,"partial":true`)
	f(func(w *Window) { w.MaxEvents, w.Settle = 1, "arrival" }, []string{`{"t":1,"k":1}`, `{"t":2,"k":1}`, `{"t":3,"k":1}`},
		`0-10,"k":1,"n":3,"partial":true`)
}

// With settle: arrival all events but the first of each key are settled at once.
func TestWindowSettlesOnArrival(t *testing.T) {
	f, err := pipetest.NewFeed(`{"t":1}`, `{"t":2}`, `{"t":3}`)
	if err != nil {
		t.Fatal(err)
	}
	w, out := openWindows(t, func(w *Window) { w.Settle, w.Slide = "arrival", pipe.Duration(5*time.Second) }), pipe.NewOut(2)
	if err := w.Process(t.Context(), f.Events, out); err != nil {
		t.Fatal(err)
	}
	if c := out.Counts(); len(out.Filtered()) != 2 || c.Held != 2 || c.Created != 1 {
		t.Errorf("%d filtered, %+v", len(out.Filtered()), c)
	}
	out.Enter()
	pipe.Settle(out.Filtered(), pipe.Filtered)
	out.Reset()
	if err := w.Flush(t.Context(), out, true); err != nil {
		t.Fatal(err)
	}
	pipe.Settle(out.Port(0), pipe.Delivered)
	if err := f.Check(); err != nil || len(out.Port(0)) != 2 {
		t.Errorf("%d results, %v", len(out.Port(0)), err)
	}
}

func TestWindowValidate(t *testing.T) {
	f := func(field, want string, change func(*Window)) {
		t.Helper()
		refuses(t, newWindow(t, change), field, want)
	}
	f("size", "above 0", func(w *Window) { w.Size = 0 })
	f("slide", "must divide size, which is 10s", func(w *Window) { w.Slide = pipe.Duration(3 * time.Second) })
	f("slide", "must divide size", func(w *Window) { w.Slide = pipe.Duration(20 * time.Second) })
	f("slide", "an event would be in 10000 windows", func(w *Window) { w.Slide = pipe.Duration(time.Millisecond) })
	f("allowed_lateness", "no meaning without time", func(w *Window) { w.Time, w.AllowedLateness = expr.Value{}, 1 })
	f("allowed_lateness", "more than 100000 windows", func(w *Window) { w.AllowedLateness = pipe.Duration(2000 * time.Hour) })
	f("idle_timeout", "above 0", func(w *Window) { w.IdleTimeout = 0 })
	f("unit", "one of s, ms", func(w *Window) { w.Unit = "h" })
	f("max_keys", "1 to 1000000", func(w *Window) { w.MaxKeys = 0 })
	f("max_keys", "must be 10 to", func(w *Window) { w.MaxKeys, w.Slide = 9, pipe.Duration(time.Second) })
	f("max_events", "must be 10 to", func(w *Window) { w.MaxEvents, w.Slide = 9, pipe.Duration(time.Second) })
	f("settle", "one of result", func(w *Window) { w.Settle = "never" })
	f("compute", "is required", func(w *Window) { w.Compute = nil })
	f("compute.partial", "not of a whole window", func(w *Window) { w.Compute = figures(t, "partial count") })
	f("compute.k", "for by", func(w *Window) { w.Compute, w.By = figures(t, "k count"), sets(t, "k", "k") })
	g := func(field, want, figure string, q float64) {
		t.Helper()
		f := figures(t, "x "+figure)[0].Value
		f.Quantile = q
		refuses(t, &f, field, want)
	}
	g("function", "one of count, sum", "mean v", 0)
	g("of", "required for the function sum", "sum", 0)
	g("quantile", "no meaning for the function sum", "sum v", 0.5)
	g("quantile", "must be 0 to 1, got 1.5", "quantile v", 1.5)
	if err := newWindow(t, func(w *Window) { w.Compute = figures(t, "x mean v") }).Open(t.Context(), openEnv); err == nil {
		t.Error("an unknown function was opened")
	}
}

func TestWindowConforms(t *testing.T) {
	samples := []string{`{"t":1}`, `{"t":2}`, `{"t":3}`}
	pipetest.Stage(t, func() pipe.Stage { return newWindow(t, func(*Window) {}) }, samples...)
	pipetest.Stage(t, func() pipe.Stage {
		return newWindow(t, func(w *Window) { w.Time, w.MaxEvents = expr.Value{}, 4 })
	}, samples...)
	pipetest.Stage(t, func() pipe.Stage {
		return newWindow(t, func(w *Window) { w.Settle, w.MaxKeys, w.By = "arrival", 2, sets(t, "t", "t") })
	}, `{"t":1}`, `{"t":1}`)
}

func BenchmarkWindow(b *testing.B) {
	f := func(name string, change func(*Window)) {
		b.Run(name, func(b *testing.B) {
			w := newWindow(b, func(w *Window) {
				w.Time, w.Settle, w.By = expr.Value{}, "arrival", sets(b, "status", "status")
				w.Compute = figures(b, "n count", "sum sum bytes")
				change(w)
			})
			benchmark(b, w, objects())
		})
	}
	f("count_and_sum", func(*Window) {})
	f("quantile", func(w *Window) { w.Compute = figures(b, "p95 quantile bytes 0.95") })
	f("event_time", func(w *Window) { w.Time = value(b, "time") })
	f("sliding_by_10", func(w *Window) { w.Slide = pipe.Duration(time.Second) })
}
