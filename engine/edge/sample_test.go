package edge

import (
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// within3Sigma fails unless got of n trials is what a probability makes likely.
func within3Sigma(t *testing.T, got, n int, p float64) {
	t.Helper()
	mean, sigma := float64(n)*p, math.Sqrt(float64(n)*p*(1-p))
	if math.Abs(float64(got)-mean) > 3*sigma {
		t.Errorf("kept %d of %d at rate %v, which is %.1f sigma off", got, n, p, (float64(got)-mean)/sigma)
	}
}

func TestSampleFixed(t *testing.T) {
	for _, rate := range []float64{0.9, 0.5, 0.1, 0.003} {
		var x ends
		q := New("q", Settings{Events: 40_000, Policy: Sample, Base: rate, Min: rate, Threshold: 0.3, Seed: 1}, Options{})
		const n = 40_000
		q.Offer(some(&x, n))
		within3Sigma(t, int(balanced(t, q).Queued.Events), n, rate)
		if s := balanced(t, q); s.Refused[Sampled].Events+s.Admitted.Events != n || s.DroppedTotal() != s.Refused[Sampled] {
			t.Errorf("rate %v: %+v", rate, s)
		}
	}
}

// TestSampleAdaptive holds an edge at a load and counts what it keeps there.
func TestSampleAdaptive(t *testing.T) {
	f := func(events int, want float64) {
		t.Helper()
		var x ends
		s := Settings{Events: 100, Bytes: 100 * 250, Policy: Block, Seed: 2}
		q := New("q", s, Options{})
		q.Offer(some(&x, events))
		s.Policy, s.Base, s.Min, s.Threshold = Sample, 0.8, 0.05, 0.5
		q.Apply(s, 2)
		if got := balanced(t, q).SampleRate; got != want {
			t.Errorf("with %d events: a rate of %v, want %v", events, got, want)
		}
		const n = 5000
		kept := 0
		for _, e := range some(&x, n) {
			q.Offer([]*pipe.Event{e})
			if balanced(t, q).Queued.Events > int64(events) {
				kept++
				received(t, q, 1)
			}
		}
		if events < 100 { // else there is no room for what is kept
			within3Sigma(t, kept, n, want)
		}
	}
	f(0, 0.8)
	f(50, 0.8)
	f(60, 0.64)
	f(75, 0.4)
	f(99, 0.05)
	f(100, 0.05)
}

// TestSampleByBytes checks that the load is the fuller of the two bounds.
func TestSampleByBytes(t *testing.T) {
	var x ends
	s := Settings{Events: 1000, Bytes: 1000, Policy: Block}
	q := New("q", s, Options{})
	q.Offer(some(&x, 4))
	s.Policy, s.Base, s.Min, s.Threshold = Sample, 1, 0.1, 0.6
	q.Apply(s, 2)
	if got := balanced(t, q).SampleRate; got != 0.5 {
		t.Errorf("at 80 %% of the bytes: a rate of %v, want 0.5", got)
	}
}

// TestSampleRateIsCarried checks the metadata, and that weighting by it gives the
// truth back.
func TestSampleRateIsCarried(t *testing.T) {
	var x ends
	s := Settings{Events: 1000, Policy: Sample, Base: 1, Min: 0.01, Threshold: 0.2, Seed: 3}
	q := New("q", s, Options{})
	weight, squares, offered := 0.0, 0.0, 0
	for range 2000 {
		q.Offer(some(&x, 37))
		offered += 37
		dst := make([]*pipe.Event, 11)
		n, _ := q.Recv(t.Context(), dst)
		for _, e := range dst[:n] {
			w := weightOf(t, e)
			weight += w
			squares += w * (w - 1) // the variance of this event's part of the sum
		}
	}
	q.Close()
	dst := make([]*pipe.Event, 1000)
	n, _ := q.Recv(t.Context(), dst)
	for _, e := range dst[:n] {
		weight += weightOf(t, e)
	}
	if d := weight - float64(offered); math.Abs(d) > 3*math.Sqrt(squares) {
		t.Errorf("the kept events stand for %.0f, but %d were offered (sigma %.0f)", weight, offered, math.Sqrt(squares))
	}
}

func weightOf(t *testing.T, e *pipe.Event) float64 {
	t.Helper()
	text, ok := e.Meta("sample_rate")
	if !ok {
		return 1
	}
	rate, err := strconv.ParseFloat(text, 64)
	if err != nil || rate <= 0 || rate >= 1 || len(text) > 7 {
		t.Fatalf("sample_rate is %q", text)
	}
	return 1 / rate
}

func TestSampleRateMultiplies(t *testing.T) {
	f := func(before string, rate float64, want string) {
		t.Helper()
		var x ends
		q := New("q", Settings{Events: 9, Policy: Sample, Base: rate, Min: rate, Seed: 1}, Options{})
		for {
			events := some(&x, 1)
			if before != "" {
				events[0].SetMeta(pipe.SampleRate, before)
			}
			q.Offer(events)
			if balanced(t, q).Queued.Events == 0 {
				continue
			}
			dst := make([]*pipe.Event, 1)
			q.Recv(t.Context(), dst)
			if got, _ := dst[0].Meta(pipe.SampleRate); got != want {
				t.Errorf("%q at rate %v: got %q, want %q", before, rate, got, want)
			}
			balanced(t, q)
			return
		}
	}
	f("", 1, "")
	f("", 0.5, "0.5")
	f("", 1.0/3, "0.333333")
	f("0.5", 1, "0.5")
	f("0.5", 0.5, "0.25")
	f("0.1", 0.3, "0.03")
	f("nonsense", 0.5, "0.5")
	f("7", 0.5, "0.5")
}

func TestThreeDigits(t *testing.T) {
	f := func(in, want float64) {
		t.Helper()
		if got := threeDigits(in); got != want {
			t.Errorf("%v: got %v, want %v", in, got, want)
		}
	}
	f(1, 1)
	f(0.99949, 0.999)
	f(0.9996, 1)
	f(0.12345, 0.123)
	f(0.012345, 0.0123)
	f(0.00012345, 0.000123)
	f(0, 0)
	f(-0.1, 0)
	last := 0.0
	for i := range 100_000 { // never falls: sets of kept keys stay nested
		got := threeDigits(float64(i) / 100_000)
		if got < last {
			t.Fatalf("%v rounds to %v, below %v", float64(i)/100_000, got, last)
		}
		last = got
	}
}

// TestHashKey pins the hash: every machine and every version must agree.
func TestHashKey(t *testing.T) {
	f := func(key string, want uint64) {
		t.Helper()
		if got := pipe.HashKey([]byte(key)); got != want {
			t.Errorf("%q: got %#x, want %#x", key, got, want)
		}
	}
	f("", 0xefd01f60ba992926)
	f("a", 0x82a2a958a9bece5b)
	f("trace-1", 0xdad57d1ab89e1bd4)
	f("\x00\xff", 0xacb64f88d28b68b8)
	f("550e8400-e29b-41d4-a716-446655440000", 0x65023cca21d643bf)
}

// keptKeys returns which of n keys an edge with a fixed rate keeps.
func keptKeys(n int, rate float64, seed uint64) []int64 {
	var x ends
	q := New("q", Settings{Events: n, Policy: Sample, Base: rate, Min: rate, Seed: seed, Key: func(e *pipe.Event) (uint64, bool) {
		return pipe.HashKey(strconv.AppendInt(nil, e.Position()-1, 10)), true
	}}, Options{})
	q.Offer(some(&x, n))
	dst := make([]*pipe.Event, n)
	q.Close()
	k, _ := q.Recv(over, dst)
	kept := positions(dst[:k])
	for i := range kept {
		kept[i]--
	}
	return kept
}

// TestSampleKeyed checks that a key's fate depends on the key and the rate alone,
// and that a lower rate only removes keys.
func TestSampleKeyed(t *testing.T) {
	if got, want := keptKeys(100, 0.1, 1), []int64{8, 10, 14, 18, 31, 34, 53, 57, 67, 88, 93}; !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
	const n = 20_000
	var wider []int64
	for _, rate := range []float64{0.9, 0.5, 0.2, 0.1, 0.01} {
		kept := keptKeys(n, rate, 1)
		within3Sigma(t, len(kept), n, rate)
		if !slices.Equal(kept, keptKeys(n, rate, 2)) {
			t.Errorf("rate %v: two edges keep different keys", rate)
		}
		for _, k := range kept {
			if _, in := slices.BinarySearch(wider, k); !in && wider != nil {
				t.Fatalf("rate %v keeps key %d, which a higher rate drops", rate, k)
			}
		}
		wider = kept
	}
}

// TestSampleWithoutKey checks that events without a key are sampled at random.
func TestSampleWithoutKey(t *testing.T) {
	var x ends
	q := New("q", Settings{Events: 10_000, Policy: Sample, Base: 0.3, Min: 0.3, Seed: 5, Key: func(e *pipe.Event) (uint64, bool) {
		return 0, false // a hash that would always be kept
	}}, Options{})
	q.Offer(some(&x, 10_000))
	within3Sigma(t, int(balanced(t, q).Queued.Events), 10_000, 0.3)
}

// TestDropRandomIsUniform checks with a chi-square test that each of the queued
// events and the offered one is as likely to be dropped.
func TestDropRandomIsUniform(t *testing.T) {
	const slots, n = 15, 32_000
	var hits [slots + 1]int
	q := New("q", Settings{Events: slots, Policy: DropRandom, Seed: 6}, Options{})
	var batch pipe.Batch
	sizes := make([]int, slots+1)
	for i := range sizes {
		sizes[i] = 200
	}
	dst := make([]*pipe.Event, slots)
	for range n {
		var x ends
		q.Offer(fill(&batch, &x, time.Time{}, "q", 0, sizes...))
		q.Recv(t.Context(), dst)
		if len(x.list) != 1 {
			t.Fatalf("dropped %v, want one", x.list)
		}
		hits[x.list[0].pos]++
	}
	chi := 0.0
	for _, k := range hits {
		d := float64(k) - float64(n)/(slots+1)
		chi += d * d / (float64(n) / (slots + 1))
	}
	if chi > 37.7 { // p = 0.001 with 15 degrees of freedom
		t.Errorf("chi-square is %.1f for %v", chi, hits)
	}
}

// TestSeed checks that a seed makes the choices repeatable, and no seed does not.
func TestSeed(t *testing.T) {
	f := func(seed uint64) []int64 {
		var x ends
		q := New("q", Settings{Events: 20, Policy: DropRandom, Seed: seed}, Options{})
		q.Offer(some(&x, 200))
		return received(t, q, 20)
	}
	if a, b := f(4), f(4); !slices.Equal(a, b) {
		t.Errorf("one seed keeps %v and %v", a, b)
	}
	if a, b := f(4), f(5); slices.Equal(a, b) {
		t.Errorf("two seeds keep %v", a)
	}
	if a, b := f(0), f(0); slices.Equal(a, b) {
		t.Errorf("no seed keeps %v twice", a)
	}
}
