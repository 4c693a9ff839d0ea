package stages

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
	"github.com/pipectl/pipectl/engine/record"
)

func newDedupe(t testing.TB, key string, change ...func(*Dedupe)) *Dedupe {
	t.Helper()
	c, _ := pipe.Lookup(pipe.KindStage, "dedupe")
	d := c.New().(*Dedupe)
	d.Key = value(t, key)
	for _, f := range change {
		f(d)
	}
	return d
}

func openDedupe(t testing.TB, key string, change ...func(*Dedupe)) *Dedupe {
	t.Helper()
	d := newDedupe(t, key, change...)
	if err := d.Open(t.Context(), openEnv); err != nil {
		t.Fatal(err)
	}
	return d
}

// readNow makes events as a source would have read them now, from position first
// on. What becomes of them does not matter.
func readNow(t testing.TB, first int64, samples ...string) []*pipe.Event {
	t.Helper()
	ledger := pipe.NewLedger(pipe.Window{}, nil)
	var b pipe.Batch
	b.Reset(ledger, "source", 1)
	b.From("partition", first)
	for i, s := range samples {
		body := record.FromText([]byte(s))
		if strings.HasPrefix(s, "{") {
			var err error
			if body, err = record.FromJSON([]byte(s), &b.Arena); err != nil {
				t.Fatal(err)
			}
		}
		b.Add(body, first+int64(i))
	}
	events, _, g := b.Take(time.Now())
	ledger.Count(g)
	return events
}

// goOn gives events that are read now to an open stage and returns those handed on.
func goOn(t testing.TB, s pipe.Stage, first int64, samples ...string) (emitted []string) {
	t.Helper()
	out := pipe.NewOut(1)
	if err := s.Process(t.Context(), readNow(t, first, samples...), out); err != nil {
		t.Fatal(err)
	}
	for _, e := range out.Port(0) {
		emitted = append(emitted, string(e.Body.AppendText(nil)))
	}
	return emitted
}

func TestDedupeKeepsTheFirst(t *testing.T) {
	f := func(key string, in, want, filtered []string) {
		t.Helper()
		r := run(t, newDedupe(t, key), in...)
		same(t, key, r.Emitted[""], want)
		same(t, key+": filtered", r.Filtered, filtered)
	}
	f("id", []string{`{"id":1,"n":1}`, `{"id":2}`, `{"id":1,"n":2}`, `{"id":"1","n":3}`}, []string{`{"id":1,"n":1}`, `{"id":2}`}, []string{`{"id":1,"n":2}`, `{"id":"1","n":3}`})
	f("message", []string{"a", "b", "a"}, []string{"a", "b"}, []string{"a"})
	f("id", []string{`{}`, `{"id":null}`, `{}`, `{"id":""}`, `{"id":""}`}, []string{`{}`, `{"id":null}`, `{}`, `{"id":""}`}, []string{`{"id":""}`})
	f("[a, b]", []string{`{"a":"x,y","b":1}`, `{"a":"x","b":1}`, `{"b":1,"a":"x"}`}, []string{`{"a":"x,y","b":1}`, `{"a":"x","b":1}`}, []string{`{"b":1,"a":"x"}`})
	f("id", []string{`{"id":"\u0061"}`, `{"id":"a"}`}, []string{`{"id":"\u0061"}`}, []string{`{"id":"a"}`})
	fails(t, run(t, newDedupe(t, "upper(id)"), `{"id":1}`), "key: ")
}

func TestDedupeWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDedupe(t, "message", func(d *Dedupe) { d.Window = pipe.Duration(time.Second) })
		pos := int64(0)
		f := func(wait time.Duration, want int) {
			t.Helper()
			time.Sleep(wait)
			pos++
			if got := len(goOn(t, d, pos, "a")); got != want {
				t.Errorf("%d went on, want %d", got, want)
			}
		}
		f(0, 1)
		f(600*time.Millisecond, 0)
		f(400*time.Millisecond-1, 0) // a duplicate does not prolong the window
		f(1, 1)
		f(time.Second-1, 0)
	})
}

// An event that its source reads again goes on again: the first time it may have
// failed behind this stage. A copy of it on another path does not.
func TestDedupeLetsRedeliveriesThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDedupe(t, "message")
		f := func(want int, first int64, samples ...string) {
			t.Helper()
			if got := goOn(t, d, first, samples...); len(got) != want {
				t.Errorf("%q: %q went on, want %d", samples, got, want)
			}
		}
		f(1, 7, "a")
		f(0, 7, "a") // read at the same moment: a copy
		f(0, 8, "a")
		time.Sleep(time.Second)
		f(1, 7, "a") // read again
		f(0, 7, "a")
		f(0, 8, "a") // a duplicate, read again
		time.Sleep(time.Second)
		f(2, 6, "b", "a") // the first again, with another before it
		d.Window = 1      // forgotten
		time.Sleep(time.Second)
		f(1, 8, "a")
	})
}

func TestDedupeForgetsTheOldestAtTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		d := newDedupe(t, "message", func(d *Dedupe) { d.MaxKeys = 3 })
		env := openEnv
		env.Log = slog.New(slog.NewTextHandler(&log, nil))
		if err := d.Open(t.Context(), env); err != nil {
			t.Fatal(err)
		}
		same(t, "beyond the limit", goOn(t, d, 1, "a", "b", "c", "a", "d", "b", "a", "c"), []string{"a", "b", "c", "d", "a"})
		if len(d.seen) != 3 || len(d.ring) != 3 {
			t.Errorf("%d keys in a ring of %d", len(d.seen), len(d.ring))
		}
		if n := strings.Count(log.String(), "max_keys"); n == 0 || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("the log is\n%s", log.String())
		}
		time.Sleep(d.Window.D())
		goOn(t, d, 20, "e", "f", "g", "h")
		if strings.Count(log.String(), "\n") != 2 {
			t.Errorf("a window later the log is\n%s", log.String())
		}
	})
}

// The stage does what a simple model does.
func TestDedupeModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(30) {
			r := rand.New(rand.NewPCG(seed, 1))
			window, limit := time.Duration(1+r.IntN(50)), 1+r.IntN(12)
			d := openDedupe(t, "k", func(d *Dedupe) { d.Window, d.MaxKeys = pipe.Duration(window), limit })
			type entry struct {
				key int
				at  time.Time
			}
			var model []entry
			pos := int64(0)
			for range 300 {
				time.Sleep(time.Duration(r.IntN(8)))
				now, key := time.Now(), r.IntN(20)
				for len(model) > 0 && now.Sub(model[0].at) >= window {
					model = model[1:]
				}
				want := true
				for _, m := range model {
					want = want && m.key != key
				}
				if want {
					model = append(model, entry{key, now})
					model = model[max(0, len(model)-limit):]
				}
				pos++
				if got := len(goOn(t, d, pos, fmt.Sprintf(`{"k":%d}`, key))); (got == 1) != want {
					t.Fatalf("seed %d: key %d went on %d times, want %v; model %v", seed, key, got, want, model)
				}
			}
		}
	})
}

// Of events that several workers are given at once, one of each key goes on.
func TestDedupeWorkers(t *testing.T) {
	const keys, workers = 2000, 4
	d := openDedupe(t, "k")
	var passed [workers][]string
	var wg sync.WaitGroup
	for w := range workers {
		samples := make([]string, keys)
		for i, k := range rand.Perm(keys) {
			samples[i] = fmt.Sprintf(`{"k":%d,"w":%d}`, k, w)
		}
		events := readNow(t, int64(w*keys+1), samples...)
		wg.Go(func() {
			out := pipe.NewOut(1)
			for ; len(events) > 0; events = events[50:] {
				if err := d.Process(t.Context(), events[:50], out); err != nil {
					t.Error(err)
				}
				for _, e := range out.Port(0) {
					passed[w] = append(passed[w], e.Body.Field("k").String())
				}
				out.Reset()
			}
		})
	}
	wg.Wait()
	count := map[string]int{}
	for _, list := range passed {
		for _, k := range list {
			count[k]++
		}
	}
	for k, n := range count {
		if n != 1 {
			t.Errorf("key %s went on %d times", k, n)
		}
	}
	if len(count) != keys {
		t.Errorf("%d keys of %d went on", len(count), keys)
	}
}

func TestDedupeValidate(t *testing.T) {
	refuses(t, &Dedupe{Window: 1, MaxKeys: 1}, "key", "request_id")
	refuses(t, newDedupe(t, "id", func(d *Dedupe) { d.Window = 0 }), "window", "above 0")
	refuses(t, newDedupe(t, "id", func(d *Dedupe) { d.MaxKeys = 0 }), "max_keys", "1 to 10000000")
}

func TestDedupeConforms(t *testing.T) {
	// Four workers share what is seen, so that the suite's events have no key but
	// the ones which fail.
	pipetest.Stage(t, func() pipe.Stage { return newDedupe(t, "upper(id ?? nothing)") }, `{"id":7}`, `{"id":8}`)
	pipetest.Stage(t, func() pipe.Stage { return newDedupe(t, "id") }, `{"n":1}`, "a line", `{}`)
}

func BenchmarkDedupe(b *testing.B) {
	b.Run("first", func(b *testing.B) {
		benchmark(b, newDedupe(b, "client_ip", func(d *Dedupe) { d.Window, d.MaxKeys = 1, 1000 }), objects())
	})
	b.Run("duplicate", func(b *testing.B) { benchmark(b, newDedupe(b, `"k"`), objects()) })
}
