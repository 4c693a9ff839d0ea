package stages

import (
	"testing"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func cases(t testing.TB, pairs ...string) (m pipe.OrderedMap[expr.Bool]) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		m = append(m, pipe.Pair[expr.Bool]{Key: pairs[i], Value: condition(t, pairs[i+1])})
	}
	return m
}

func TestRoute(t *testing.T) {
	in := []string{`{"n":1}`, `{"n":5}`, `{"n":9}`, `{"n":0}`, `{"n":"x"}`}
	f := func(mode string, created int64, small, big []string) {
		t.Helper()
		r := run(t, &Route{Cases: cases(t, "small", "n > 0 && n < 6", "big", "n > 4"), Mode: mode}, in...)
		same(t, mode+" small", r.Emitted["small"], small)
		same(t, mode+" big", r.Emitted["big"], big)
		same(t, mode+" else", r.Emitted["else"], []string{`{"n":0}`})
		same(t, mode+" failed", r.Failed, []string{`{"n":"x"}`})
		fails(t, r, "cases.small: ")
		if r.Counts.Created != created {
			t.Errorf("%s: created %d, want %d", mode, r.Counts.Created, created)
		}
	}
	f("first", 0, []string{`{"n":1}`, `{"n":5}`}, []string{`{"n":9}`})
	f("all", 1, []string{`{"n":1}`, `{"n":5}`}, []string{`{"n":5}`, `{"n":9}`})
}

// An event that a later case cannot be evaluated for must not have left already.
func TestRouteAllFailsAsAWhole(t *testing.T) {
	r := run(t, &Route{Cases: cases(t, "a", "true", "b", "n > 1"), Mode: "all"}, `{"n":"x"}`)
	same(t, "a", r.Emitted["a"], nil)
	fails(t, r, "cases.b: ")
}

func TestRouteManyCases(t *testing.T) {
	r := &Route{Mode: "all"}
	for i := range 40 {
		name := "p" + string(rune('a'+i/10)) + string(rune('0'+i%10))
		r.Cases = append(r.Cases, cases(t, name, "n == 1")...)
	}
	if got := run(t, r, `{"n":1}`, `{"n":2}`).Counts.Created; got != 39 {
		t.Errorf("created %d, want 39", got)
	}
}

func TestRoutePorts(t *testing.T) {
	got := (&Route{Cases: cases(t, "b", "true", "a", "true")}).Ports()
	want := []pipe.Port{{Name: "b"}, {Name: "a"}, {Name: "else", Optional: true}}
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRouteValidate(t *testing.T) {
	f := func(name, want string) {
		t.Helper()
		refuses(t, &Route{Cases: cases(t, name, "true"), Mode: "first"}, "cases."+name, want)
	}
	f("failed", "cannot handle")
	f("else", "always there")
	f("Big", "lower-case")
	f("a-b", "lower-case")
	f("1a", "lower-case")
	f("", "lower-case")
	refuses(t, &Route{Mode: "first"}, "cases", "must not be empty")
	refuses(t, &Route{Cases: cases(t, "a", "true", "a", "true"), Mode: "first"}, "cases.a", "two cases")
	refuses(t, &Route{Cases: pipe.OrderedMap[expr.Bool]{{Key: "a"}}, Mode: "first"}, "cases.a", "condition is missing")
	refuses(t, &Route{Cases: cases(t, "a", "true"), Mode: "some"}, "mode", "first or all")
}

func TestRouteConforms(t *testing.T) {
	for _, mode := range []string{"first", "all"} {
		pipetest.Stage(t, func() pipe.Stage {
			return &Route{Cases: cases(t, "odd", "n % 2 == 1", "big", "n > 2"), Mode: mode}
		}, `{"n":1}`, `{"n":2}`, `{"n":3}`, `{"n":"x"}`, `{}`, "a line")
	}
}
