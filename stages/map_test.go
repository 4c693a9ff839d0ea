package stages

import (
	"testing"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func sets(t testing.TB, pairs ...string) (m pipe.OrderedMap[expr.Value]) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		m = append(m, pipe.Pair[expr.Value]{Key: pairs[i], Value: value(t, pairs[i+1])})
	}
	return m
}

func renames(pairs ...string) (m pipe.OrderedMap[string]) {
	for i := 0; i < len(pairs); i += 2 {
		m = append(m, pipe.Pair[string]{Key: pairs[i], Value: pairs[i+1]})
	}
	return m
}

func TestMap(t *testing.T) {
	f := func(m *Map, in, want string) {
		t.Helper()
		same(t, in, run(t, m, in).Emitted[""], []string{want})
	}
	f(&Map{Set: sets(t, "service", `"web"`, "mb", "bytes / 1048576.0")}, `{"bytes":2097152}`, `{"bytes":2097152,"service":"web","mb":2}`)
	f(&Map{Set: sets(t, "a", "1", "b", "a + 1", "a", "b * 10")}, `{"a":7}`, `{"a":20,"b":2}`)
	f(&Map{Set: sets(t, "a", "missing")}, `{"a":7}`, `{"a":null}`)
	f(&Map{Set: sets(t, "h.x.y", "n")}, `{"n":1,"h":{"z":2}}`, `{"n":1,"h":{"z":2,"x":{"y":1}}}`)
	f(&Map{Set: sets(t, "copy", "h")}, `{"h":{"z":[2]}}`, `{"h":{"z":[2]},"copy":{"z":[2]}}`)
	f(&Map{Set: sets(t, "n", "len(message)")}, "four", `{"message":"four","n":4}`)
	f(&Map{Rename: renames("agent", "user_agent", "no", "thing")}, `{"agent":"x","b":1}`, `{"user_agent":"x","b":1}`)
	f(&Map{Rename: renames("message", "line")}, "x", `{"line":"x"}`)
	f(&Map{Rename: renames("a", "b")}, `{"a":1,"b":2}`, `{"b":1}`)
	f(&Map{Rename: renames("a", "in.a")}, `{"a":1}`, `{"in":{"a":1}}`)
	f(&Map{Delete: []string{"a", "h.x", "none"}}, `{"a":1,"h":{"x":1,"y":2},"b":3}`, `{"h":{"y":2},"b":3}`)
	f(&Map{Keep: []string{"b", "h.y", "none"}}, `{"a":1,"h":{"x":1,"y":2},"b":3}`, `{"h":{"y":2},"b":3}`)
	// set, then rename, then delete, then keep
	f(&Map{
		Keep: []string{"total", "id"}, Delete: []string{"id"},
		Rename: renames("sum", "total"), Set: sets(t, "sum", "a + b", "id", "1"),
	}, `{"a":1,"b":2}`, `{"total":3}`)
}

func TestMapLeavesTheRestAsItCame(t *testing.T) {
	in := `{ "n" : 1.50, "text" : "caf\u00e9", "list":[ 1, 2 ] }`
	r := run(t, &Map{Delete: []string{"none"}}, in)
	same(t, "nothing to do", r.Emitted[""], []string{in})
	r = run(t, &Map{Set: sets(t, "x", "1")}, in)
	same(t, "one more field", r.Emitted[""], []string{`{"n" : 1.50, "text" : "caf\u00e9", "list":[ 1, 2 ],"x":1}`})
}

func TestMapFailsWithTheBodyAsItWas(t *testing.T) {
	in := `{"n":"x", "h":1}`
	r := run(t, &Map{Set: sets(t, "a", "1", "b", "n * 2")}, in)
	fails(t, r, "set.b: ")
	same(t, "failed", r.Failed, []string{in})
	fails(t, run(t, &Map{Set: sets(t, "h.deep", "1")}, in), "set: h.deep: ")
	fails(t, run(t, &Map{Rename: renames("n", "h.n")}, in), "rename.n: ")
}

func TestMapValidate(t *testing.T) {
	if err := (&Map{}).Validate(); err == nil {
		t.Error("a map without work is accepted")
	}
	refuses(t, &Map{Set: sets(t, "a..b", "1")}, "set.a..b", "path ")
	refuses(t, &Map{Set: pipe.OrderedMap[expr.Value]{{Key: "a"}}}, "set.a", "quotes of its own")
	refuses(t, &Map{Rename: renames("a", "")}, "rename.a", "path ")
	refuses(t, &Map{Delete: []string{"a", ""}}, "delete[1]", "path ")
	refuses(t, &Map{Keep: []string{""}}, "keep[0]", "path ")
}

func TestMapConforms(t *testing.T) {
	pipetest.Stage(t, func() pipe.Stage {
		return &Map{
			Set:    sets(t, "service", `"web"`, "n", "n * 2", "h.n", "n"),
			Rename: renames("text", "label"), Delete: []string{"ident"},
		}
	}, `{"n":1}`, `{"n":2,"text":"caf\u00e9","ident":"-"}`, `{"n":"three"}`, `{"n":1,"h":7}`, `{}`, "a line")
	pipetest.Stage(t, func() pipe.Stage { return &Map{Keep: []string{"n"}} }, `{"n":1,"m":2}`, "a line")
}
