package stages

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
	"github.com/pipectl/pipectl/engine/record"
)

func numbered(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"k":"key-%d","n":%d}`, i%(n/2), i)
	}
	return list
}

// The share that goes on is the rate, within four standard deviations.
func TestSampleRate(t *testing.T) {
	const n = 4000
	f := func(rate float64, key string) {
		t.Helper()
		s := &Sample{Rate: rate}
		if key != "" {
			s.Key = value(t, key)
		}
		got := float64(len(run(t, s, numbered(n)...).Emitted[""]))
		if spread := 4 * math.Sqrt(n*rate*(1-rate)*2); math.Abs(got-n*rate) > spread {
			t.Errorf("rate %v, key %q: %v of %d went on, want about %v", rate, key, got, n, n*rate)
		}
	}
	f(0.1, "")
	f(0.5, "")
	f(0.999, "")
	f(1, "")
	f(0.1, "k")
	f(0.5, "k")
	f(0.3, "missing")
	f(0.3, "upper(n)") // cannot be evaluated: chance decides
}

// A key has one fate, and a lower rate only removes keys.
func TestSampleByKey(t *testing.T) {
	kept := func(rate float64) (keys []string) {
		for _, text := range run(t, &Sample{Rate: rate, Key: value(t, "k")}, numbered(4000)...).Emitted[""] {
			body, err := record.FromJSON([]byte(text), nil)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, body.Field("k").String())
		}
		return keys
	}
	some, fewer := kept(0.4), kept(0.2)
	count := map[string]int{}
	for _, k := range some {
		count[k]++
	}
	for k, n := range count {
		if n != 2 {
			t.Errorf("%d of 2 events of %s went on", n, k)
		}
	}
	for _, k := range fewer {
		if !slices.Contains(some, k) {
			t.Errorf("%s goes on at 0.2 and not at 0.4", k)
		}
	}
}

// The stage and the edge's policy of the same rate keep the same keys.
func TestSampleAgreesWithTheEdge(t *testing.T) {
	for _, rate := range []float64{0.001, 0.1, 0.37, 0.5, 0.99, math.Nextafter(1, 0)} {
		s := &Sample{Rate: rate, Key: value(t, "k")}
		if err := s.Open(t.Context(), openEnv); err != nil {
			t.Fatal(err)
		}
		out := pipe.NewOut(1)
		if err := s.Process(t.Context(), readNow(t, 1, numbered(2000)...), out); err != nil {
			t.Fatal(err)
		}
		q := edge.New("a->b", edge.Settings{Events: 4000, Policy: edge.Sample, Base: rate, Min: rate, Threshold: 0.8,
			Key: func(e *pipe.Event) (uint64, bool) { return pipe.HashKey([]byte(e.Body.Field("k").String())), true }}, edge.Options{})
		if _, err := q.Send(t.Context(), readNow(t, 1, numbered(2000)...)); err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, e := range out.Port(0) {
			got = append(got, string(e.Body.AppendJSON(nil))+rateOf(e))
		}
		for _, e := range q.Drain() {
			want = append(want, string(e.Body.AppendJSON(nil))+rateOf(e))
		}
		same(t, fmt.Sprint(rate), got, want)
	}
}

func rateOf(e *pipe.Event) string {
	text, _ := e.Meta(pipe.SampleRate)
	return text
}

func TestSampleSaysItsRate(t *testing.T) {
	f := func(before string, rate float64, want string) {
		t.Helper()
		e := readNow(t, 1, "a")[0]
		if before != "" {
			e.SetMeta(pipe.SampleRate, before)
		}
		s, out := &Sample{Rate: rate}, pipe.NewOut(1)
		if err := s.Open(t.Context(), openEnv); err != nil {
			t.Fatal(err)
		}
		for len(out.Port(0)) == 0 { // chance decides
			out.Reset()
			if err := s.Process(t.Context(), []*pipe.Event{e}, out); err != nil {
				t.Fatal(err)
			}
		}
		if got := rateOf(e); got != want {
			t.Errorf("%s then %v: got %s, want %s", before, rate, got, want)
		}
	}
	f("", 0.5, "0.5")
	f("0.5", 0.5, "0.25")
	f("0.1", 1.0/3, "0.0333333")
	f("nonsense", 0.25, "0.25")
	f("7", 0.25, "0.25")
	f("", 1, "")
	f("0.5", 1, "0.5")
}

func TestSampleValidate(t *testing.T) {
	for _, rate := range []float64{0, -1, 1.1, math.NaN()} {
		refuses(t, &Sample{Rate: rate}, "rate", "above 0 and at most 1, got "+strconv.FormatFloat(rate, 'f', -1, 64))
	}
}

func TestSampleConforms(t *testing.T) {
	samples := []string{`{"k":1}`, `{"k":"b"}`, `{"k":[3]}`, `{"k":4}`}
	pipetest.Stage(t, func() pipe.Stage { return &Sample{Rate: 0.5, Key: value(t, `k ?? message ?? "none"`)} }, samples...)
	pipetest.Stage(t, func() pipe.Stage { return &Sample{Rate: 1} }, samples...)
}

func BenchmarkSample(b *testing.B) {
	for name, key := range map[string]expr.Value{"chance": {}, "key": value(b, "client_ip")} {
		b.Run(name, func(b *testing.B) { benchmark(b, &Sample{Rate: 0.1, Key: key}, objects()) })
	}
}
