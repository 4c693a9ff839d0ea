package stages

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func newUnnest(change func(*Unnest)) *Unnest {
	c, _ := pipe.Lookup(pipe.KindStage, "unnest")
	u := c.New().(*Unnest)
	u.Field = "a"
	change(u)
	return u
}

func TestUnnest(t *testing.T) {
	f := func(change func(*Unnest), in string, want ...string) {
		t.Helper()
		r := run(t, newUnnest(change), in)
		same(t, in, r.Emitted[""], want)
		if created := r.Counts.Created; created != int64(max(0, len(want)-1)) {
			t.Errorf("%s: %d created", in, created)
		}
	}
	f(func(*Unnest) {}, `{"id":1,"a":[1,"x",{"y":[2]},null],"z":2}`,
		`{"id":1,"a":1,"z":2}`, `{"id":1,"a":"x","z":2}`, `{"id":1,"a":{"y":[2]},"z":2}`, `{"id":1,"a":null,"z":2}`)
	f(func(u *Unnest) { u.Into = "item" }, `{"id":1,"a":[1,2]}`, `{"id":1,"item":1}`, `{"id":1,"item":2}`)
	f(func(u *Unnest) { u.Field, u.Into = "order.a", "order.item" }, `{"order":{"a":[1,2],"n":3}}`, `{"order":{"n":3,"item":1}}`, `{"order":{"n":3,"item":2}}`)
	f(func(u *Unnest) { u.Keep = []string{"id", "who.name", "gone"} }, `{"id":1,"a":[1],"who":{"name":"x","age":2}}`, `{"id":1,"who":{"name":"x"},"a":1}`)
	f(func(u *Unnest) { u.Keep = []string{} }, `{"id":1,"a":[1,2]}`, `{"a":1}`, `{"a":2}`)
	f(func(u *Unnest) { u.Merge = true }, `{"id":1,"a":[{"x":1},{"id":2,"y":3},{}]}`, `{"id":1,"x":1}`, `{"id":2,"y":3}`, `{"id":1}`)
	f(func(u *Unnest) { u.Merge, u.Keep = true, []string{} }, `{"id":1,"a":[{"x":1},{"a":2}]}`, `{"x":1}`, `{"a":2}`)
	f(func(u *Unnest) { u.Index = "nr" }, `{"a":["p","q"]}`, `{"a":"p","nr":0}`, `{"a":"q","nr":1}`)
	f(func(u *Unnest) { u.Field = "a[0]" }, `{"a":[["p","q"],7]}`, `{"a":["p",7]}`, `{"a":["q",7]}`)
	f(func(u *Unnest) { u.OnEmpty = "pass" }, `{"a":[]}`, `{"a":[]}`)
	f(func(u *Unnest) { u.OnMissing = "pass" }, `{"b":[]}`, `{"b":[]}`)
	f(func(u *Unnest) { u.OnMissing = "pass" }, `{"a":null}`, `{"a":null}`)
	f(func(u *Unnest) { u.OnMissing = "pass" }, `a line`, `a line`)
	f(func(u *Unnest) { u.MaxElements = 2 }, `{"a":[1,2]}`, `{"a":1}`, `{"a":2}`)
}

func TestUnnestEnds(t *testing.T) {
	same(t, "empty", run(t, newUnnest(func(*Unnest) {}), `{"a":[]}`).Filtered, []string{`{"a":[]}`})
	same(t, "missing", run(t, newUnnest(func(u *Unnest) { u.OnMissing = "filter" }), `{"b":1}`).Filtered, []string{`{"b":1}`})
	f := func(change func(*Unnest), in, want string) {
		t.Helper()
		fails(t, run(t, newUnnest(change), in), want)
	}
	f(func(*Unnest) {}, `{"b":1}`, "there is no field a")
	f(func(u *Unnest) { u.OnEmpty = "fail" }, `{"a":[]}`, "field a has no elements")
	f(func(u *Unnest) { u.OnMissing = "pass" }, `{"a":{"b":1}}`, "field a must be an array, got object")
	f(func(u *Unnest) { u.Merge = true }, `{"a":[{},3]}`, "element 1 of a: is not an object")
	f(func(u *Unnest) { u.Into = "n.x" }, `{"a":[1],"n":2}`, "element 0 of a: ")
	f(func(u *Unnest) { u.Index = "n.x" }, `{"a":[1],"n":2}`, "index: ")
	f(func(u *Unnest) { u.MaxElements = 2 }, `{"a":[1,2,3]}`, "more elements than max_elements, which is 2")
}

// The event counts for its source until the last of its elements has ended, and
// each element has an identity of its own.
func TestUnnestSettles(t *testing.T) {
	f, err := pipetest.NewFeed(`{"a":[1,2,3]}`)
	if err != nil {
		t.Fatal(err)
	}
	u, out := newUnnest(func(*Unnest) {}), pipe.NewOut(1)
	if err := u.Open(t.Context(), openEnv); err != nil {
		t.Fatal(err)
	}
	if err := u.Process(t.Context(), f.Events, out); err != nil {
		t.Fatal(err)
	}
	out.Enter()
	ids := map[string]bool{}
	for _, e := range out.Port(0) {
		if f.Check() == nil {
			t.Error("the event is settled before its elements")
		}
		ids[e.ID()] = true
		pipe.Settle([]*pipe.Event{e}, pipe.Delivered)
	}
	if err := f.Check(); err != nil || len(ids) != 3 {
		t.Errorf("%v, ids %v", err, ids)
	}
}

// What comes out is what building it by hand gives.
func TestUnnestByHand(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		list := make([]map[string]any, 1+r.IntN(5))
		for i := range list {
			list[i] = map[string]any{}
			for range r.IntN(4) {
				list[i][string(rune('a'+r.IntN(6)))] = float64(r.IntN(9))
			}
		}
		parent := map[string]any{"a": list}
		for range r.IntN(4) {
			parent[string(rune('b'+r.IntN(5)))] = float64(10 + r.IntN(9))
		}
		in, err := json.Marshal(parent)
		if err != nil {
			t.Fatal(err)
		}
		got := run(t, newUnnest(func(u *Unnest) { u.Merge = true }), string(in)).Emitted[""]
		for i, element := range list {
			want := map[string]any{}
			for k, v := range parent {
				if k != "a" {
					want[k] = v
				}
			}
			for k, v := range element {
				want[k] = v
			}
			var have map[string]any
			if err := json.Unmarshal([]byte(got[i]), &have); err != nil || fmt.Sprint(have) != fmt.Sprint(want) {
				t.Fatalf("%s: element %d is %s, want %v (%v)", in, i, got[i], want, err)
			}
		}
	}
}

func TestUnnestValidate(t *testing.T) {
	refuses(t, newUnnest(func(u *Unnest) { u.Field = "" }), "field", "")
	refuses(t, newUnnest(func(u *Unnest) { u.Into = "a[" }), "into", "")
	refuses(t, newUnnest(func(u *Unnest) { u.Index = "a[" }), "index", "")
	refuses(t, newUnnest(func(u *Unnest) { u.Keep = []string{"ok", ""} }), "keep[1]", "")
	refuses(t, newUnnest(func(u *Unnest) { u.Merge, u.Into = true, "x" }), "into", "no meaning with merge")
	refuses(t, newUnnest(func(u *Unnest) { u.MaxElements = 0 }), "max_elements", "1 to 1000000")
	refuses(t, newUnnest(func(u *Unnest) { u.OnEmpty = "drop" }), "on_empty", "one of filter, pass and fail")
	refuses(t, newUnnest(func(u *Unnest) { u.OnMissing = "" }), "on_missing", "one of filter, pass and fail")
}

func TestUnnestConforms(t *testing.T) {
	samples := []string{`{"a":[1,2,3],"id":1}`, `{"a":[],"id":2}`, `{"id":3}`, "a line", `{"a":[{"x":1}]}`, `{"a":7}`}
	pipetest.Stage(t, func() pipe.Stage { return newUnnest(func(*Unnest) {}) }, samples...)
	pipetest.Stage(t, func() pipe.Stage {
		return newUnnest(func(u *Unnest) { u.Merge, u.Index, u.MaxElements, u.OnEmpty = true, "i", 2, "pass" })
	}, samples...)
}

func BenchmarkUnnest(b *testing.B) {
	lines := make([]string, benchEvents)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"id":%d,"customer":"somebody","pad":%q,"a":[{"sku":"a%d","n":1},{"sku":"b","n":2},{"sku":"c","n":3},{"sku":"d","n":4}]}`, i, strings.Repeat("x", 100), i)
	}
	b.Run("in_place", func(b *testing.B) { benchmarkSplit(b, newUnnest(func(*Unnest) {}), lines) })
	b.Run("keep", func(b *testing.B) { benchmarkSplit(b, newUnnest(func(u *Unnest) { u.Keep = []string{"id"} }), lines) })
	b.Run("merge", func(b *testing.B) { benchmarkSplit(b, newUnnest(func(u *Unnest) { u.Merge = true }), lines) })
}

// benchmarkSplit is benchmark for stages that make several events of one, which
// must be settled.
func benchmarkSplit(b *testing.B, s *Unnest, samples []string) {
	b.Helper()
	if err := s.Open(b.Context(), openEnv); err != nil {
		b.Fatal(err)
	}
	out := pipe.NewOut(1)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		events := readNow(b, 1, samples...)
		b.StartTimer()
		if err := s.Process(b.Context(), events, out); err != nil || len(out.Failed()) > 0 {
			b.Fatal(err, out.Failed())
		}
		out.Reset()
	}
	perEvent(b)
}
