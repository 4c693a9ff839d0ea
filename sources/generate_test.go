package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func newGenerate(t testing.TB, rate string, fields ...string) *Generate {
	t.Helper()
	c, _ := pipe.Lookup(pipe.KindSource, "generate")
	g := c.New().(*Generate)
	if rate != "" {
		if err := g.Rate.UnmarshalText([]byte(rate)); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(fields); i += 2 {
		var v expr.Template
		if err := v.UnmarshalText([]byte(fields[i+1])); err != nil {
			t.Fatal(err)
		}
		g.Event = append(g.Event, pipe.Pair[expr.Template]{Key: fields[i], Value: v})
	}
	return g
}

func TestGenerateConformance(t *testing.T) {
	var want []string
	for i := range 3000 {
		want = append(want, fmt.Sprintf(`{"n":%d,"a":{"b":"x%d"}}`, i, i))
	}
	fresh := func() pipe.Source {
		g := newGenerate(t, "", "n", "seq", "a.b", `format("x%d", seq)`)
		g.Count, g.Seed = 3000, 7
		return g
	}
	pipetest.Source(t, fresh, pipetest.SourceOptions{Want: want})
	pipetest.Source(t, func() pipe.Source {
		g := fresh().(*Generate)
		g.Count = 0
		g.Rate = Pace{Curve: "constant", Rate: 1e6}
		return g
	}, pipetest.SourceOptions{Endless: true})
}

func TestGenerateDefaultEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGenerate(t, "10/s")
		g.Count = 2
		p := pipetest.Pull(t, g)
		got := texts(drain(t, p))
		p.Close()
		if want := []string{`{"seq":0,"time":"2000-01-01T00:00:00Z"}`, `{"seq":1,"time":"2000-01-01T00:00:00.1Z"}`}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestGenerateSeed(t *testing.T) {
	run := func(seed uint64) string {
		g := newGenerate(t, "", "a", "rand()", "b", "uuid()", "c", "rand_int(1, 1000)")
		g.Count, g.Seed = 100, seed
		p := pipetest.Pull(t, g)
		defer p.Close()
		return strings.Join(texts(drain(t, p)), "\n")
	}
	one, again, two, random, other := run(1), run(1), run(2), run(0), run(0)
	if one != again {
		t.Error("the same seed gave other events")
	}
	if one == two || random == other {
		t.Error("other seeds gave the same events")
	}
}

// arrivals runs g for d of fake time and returns when each event came.
func arrivals(t *testing.T, g *Generate, d time.Duration) (at []time.Duration, batches, largest int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := pipetest.Pull(t, g)
		defer p.Close()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		for {
			got, err := p.Read(ctx)
			for range got {
				at = append(at, time.Since(start))
			}
			largest = max(largest, len(got))
			batches++
			p.Settle(got, pipe.Delivered)
			if errors.Is(err, context.DeadlineExceeded) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	return at, batches, largest
}

func TestGenerateRate(t *testing.T) {
	f := func(rate string, d time.Duration, want float64, largestBatch int) {
		t.Helper()
		at, batches, largest := arrivals(t, newGenerate(t, rate), d)
		if got := float64(len(at)); math.Abs(got-want) > 1+want/100 {
			t.Errorf("%s for %v: got %v events, want %v", rate, d, got, want)
		}
		if largest > largestBatch {
			t.Errorf("%s: a batch of %d, at most %d are wanted", rate, largest, largestBatch)
		}
		if most := int(d/time.Millisecond) + 2; batches > most {
			t.Errorf("%s: %d batches in %v, at most one a millisecond is wanted", rate, batches, d)
		}
		half := 0
		for _, a := range at {
			if a < d/2 {
				half++
			}
		}
		if got := float64(half); math.Abs(got-want/2) > 2+want/100 {
			t.Errorf("%s: %v events in the first half of %v", rate, got, want)
		}
	}
	f("1/s", 10*time.Second, 10, 1)
	f("30/m", 10*time.Second, 5, 1)
	f("1000/s", 2*time.Second, 2000, 1)
	f("3333/s", time.Second, 3333, 4)
	f("100000/s", 200*time.Millisecond, 20_000, 101)
	f("1000000/s", 100*time.Millisecond, 100_000, 1001)
	at, _, _ := arrivals(t, newGenerate(t, "1000/s"), time.Second)
	for i, a := range at {
		if want := time.Duration(i) * time.Millisecond; (a - want).Abs() > 10*time.Microsecond {
			t.Fatalf("event %d came at %v, want %v", i, a, want)
		}
	}
}

func TestGenerateCurves(t *testing.T) {
	f := func(p Pace, wantPerSecond ...float64) {
		t.Helper()
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		g := newGenerate(t, "")
		g.Rate = p
		at, _, _ := arrivals(t, g, time.Duration(len(wantPerSecond))*time.Second)
		got := make([]float64, len(wantPerSecond))
		for _, a := range at {
			got[min(int(a/time.Second), len(got)-1)]++
		}
		for i, want := range wantPerSecond {
			if math.Abs(got[i]-want) > 10+want/100 { // a change of rate shows in the batch after it
				t.Errorf("%s: second %d: got %v events, want %v (all: %v)", p.Curve, i, got[i], want, got)
			}
		}
	}
	sec := pipe.Duration(time.Second)
	f(Pace{Curve: "ramp", From: 0, To: 1000, Over: 4 * sec}, 125, 375, 625, 875, 1000, 1000)
	f(Pace{Curve: "ramp", From: 1000, To: 200, Over: 4 * sec}, 900, 700, 500, 300, 200)
	f(Pace{Curve: "burst", From: 100, To: 5000, Over: 3 * sec, For: sec}, 100, 100, 5000, 100, 100, 5000, 100)
	f(Pace{Curve: "burst", From: 0, To: 100, Over: 5 * sec, For: sec}, 0, 0, 0, 0, 100, 0, 0, 0, 0, 100)
	f(Pace{Curve: "sine", From: 0, To: 2000, Over: 4 * sec}, 363, 1637, 1637, 363, 363, 1637)
}

// A fast rate comes in batches of a millisecond, however often it is asked.
func TestGenerateBatchesUp(t *testing.T) {
	p := pacer{pace: Pace{Rate: 1e6}, start: time.Now()}
	f := func(at time.Duration, want int64, wantWait time.Duration) {
		t.Helper()
		n, wait := p.take(p.start.Add(at), 5000)
		if n != want || wait != wantWait {
			t.Errorf("at %v: got %d events and a wait of %v, want %d and %v", at, n, wait, want, wantWait)
		}
	}
	us := time.Microsecond
	f(1000*us, 1001, 0)
	f(1300*us, 0, 700*us)
	f(2000*us, 1000, 0)
	f(2001*us, 0, 999*us)
	f(4000*us, 2000, 0)
	f(20_000*us, 10_000/2, 0) // at most 5000 at once, and what is older than a tick is gone
	f(20_000*us, 10_000/2, 0)
	f(20_000*us, 0, 1000*us)
}

// Who does not take events in time misses them.
func TestGenerateSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGenerate(t, "1000/s")
		p := pipetest.Pull(t, g)
		for range 3 {
			p.Read(t.Context())
		}
		time.Sleep(10 * time.Second)
		got, err := p.Read(t.Context())
		if err != nil || len(got) > 10 {
			t.Errorf("got %d events at once after 10s, %v; at most those of a tick are wanted", len(got), err)
		}
		start := time.Now()
		n := 0
		for time.Since(start) < time.Second {
			got, _ := p.Read(t.Context())
			n += len(got)
		}
		if n < 990 || n > 1010 {
			t.Errorf("got %d events in the next second, want 1000", n)
		}
		if s := g.pacer.skipped; s < 9900 || s > 10_000 {
			t.Errorf("counted %d skipped events", s)
		}
		p.Close()
	})
}

func TestGenerateCountAndProgress(t *testing.T) {
	g := newGenerate(t, "")
	g.Count = 5000
	if tr := g.Traits(); !tr.Finite || tr.Replays || tr.Total != 5000 {
		t.Errorf("got %+v", tr)
	}
	p := pipetest.Pull(t, g)
	defer p.Close()
	if got := len(drain(t, p)); got != 5000 {
		t.Errorf("got %d events", got)
	}
	if done, total := g.Progress(); done != 5000 || total != 5000 {
		t.Errorf("got %d of %d", done, total)
	}
	if _, err := p.Read(t.Context()); err != io.EOF {
		t.Errorf("got %v", err)
	}
	if tr := newGenerate(t, "1/s").Traits(); tr.Finite {
		t.Errorf("got %+v", tr)
	}
}

func TestGenerateErrors(t *testing.T) {
	f := func(want string, fields ...string) {
		t.Helper()
		g := newGenerate(t, "", fields...)
		g.Seed = 1
		if err := g.Validate(); err != nil {
			t.Fatal(err)
		}
		p := pipetest.Pull(t, g)
		defer p.Close()
		if _, err := p.Read(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", fields, err, want)
		}
	}
	f("event.a.b: event 0: ", "a.b", "pick([])")
	var large []string
	for i := range 10 {
		large = append(large, fmt.Sprint("f", i), `repeat("x", 900000)`)
	}
	f("event 0 is larger than limits.max_event_bytes (8MiB)", large...)
}

func TestGenerateValidate(t *testing.T) {
	f := func(g *Generate, want ...string) {
		t.Helper()
		var got []string
		if err := g.Validate(); err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	sec := pipe.Duration(time.Second)
	f(newGenerate(t, "5/s", "a", "1", "b.c", "2", "b.d", "3"))
	f(&Generate{})
	f(&Generate{Count: -1}, "count: must not be negative, got -1")
	f(newGenerate(t, "", "a", "1", "a", "2"), "event.a: another entry makes this field already")
	if err := newGenerate(t, "", "a", "1", "a.b", "2").Validate(); err == nil || !strings.HasPrefix(err.Error(), "event.a.b: ") {
		t.Errorf("got %v", err)
	}
	f(&Generate{Rate: Pace{Curve: "constant"}}, "rate.rate: must be above 0; leave the rate out for as fast as possible")
	f(&Generate{Rate: Pace{Rate: 1}})
	f(&Generate{Rate: Pace{Rate: 1, To: 3}}, "rate.to: the curve constant has only a rate")
	f(&Generate{Rate: Pace{Curve: "saw"}}, `rate.curve: "saw" is none of constant, ramp, burst, sine`)
	f(&Generate{Rate: Pace{Curve: "ramp"}}, "rate.to: must be above 0", "rate.over: must be at least 1ms")
	f(&Generate{Rate: Pace{Curve: "sine", From: 2, To: 1, Over: sec}}, "rate.from: must not be above to")
	f(&Generate{Rate: Pace{Curve: "burst", To: 1, Over: sec, For: sec}}, "rate.for: must be above 0 and less than over")
	f(&Generate{Rate: Pace{Curve: "sine", Rate: 1, To: 1, Over: sec}}, "rate.rate: only the curve constant has it; write from and to")
	var p Pace
	if err := p.UnmarshalText([]byte("fast")); err == nil {
		t.Error("read a rate that is none")
	}
}

func BenchmarkGenerate(b *testing.B) {
	run := func(name string, fields ...string) {
		b.Run(name, func(b *testing.B) {
			g := newGenerate(b, "", fields...)
			if err := g.Open(b.Context(), pipetest.Env()); err != nil {
				b.Fatal(err)
			}
			var batch pipe.Batch
			n := 0
			for b.Loop() {
				batch.Reset(nil, "src", 1)
				if err := g.Read(b.Context(), &batch); err != nil {
					b.Fatal(err)
				}
				n += batch.Len()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
		})
	}
	run("default")
	run("fields", "id", "seq", "status", "pick([200, 404, 500])", "path", `format("/p/%d", seq % 1000)`, "bytes", "rand_int(100, 100000)")
}
