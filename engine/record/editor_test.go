package record

import (
	"encoding/json"
	"fmt"
	"testing"
)

// An editor applies a random program of edits to bodies and models side by side.
type editor struct {
	t       testing.TB
	program []byte
	arenas  []*Arena
	body    Body
	model   model
	old     []Body // copies, which no later edit may change
	models  []model
	history []string
}

func (e *editor) next(n int) int {
	if len(e.program) == 0 {
		return 0
	}
	c := e.program[0]
	e.program = e.program[1:]
	return int(c) % n
}

var editPaths = []string{"a", "b", "c", `["a\"b"]`, `[""]`, "a.b", "a.c", "b.a.c", "c[0]", "c[1]", "c[0].a", "a.b[1]", "message", `["é"]`, `a["\\n"]`, "a.b.c.a"}

func (e *editor) path() *Path {
	p, err := ParsePath(editPaths[e.next(len(editPaths))])
	if err != nil {
		e.t.Fatal(err)
	}
	return p
}

func (e *editor) value(a *Arena) (Value, any) {
	switch e.next(10) {
	case 0:
		return Int(-7, a), json.Number("-7")
	case 1:
		return Float(0.25, a), json.Number("0.25")
	case 2:
		return Str("plain"), "plain"
	case 3:
		return Text([]byte("a\"b\\\n\x01é\xff")), "a\"b\\\n\x01é\ufffd"
	case 4:
		return Bool(true), true
	case 5:
		return Null(), nil
	case 6:
		return RawJSON([]byte(` {"a": {"b" : 1, "b": 2},` + "\n" + `"c":[1, "\u00e9\n", {"a":null}]} `)),
			map[string]any{"a": map[string]any{"b": json.Number("2")}, "c": []any{json.Number("1"), "é\n", map[string]any{"a": nil}}}
	case 7:
		return RawJSON([]byte(`"\ud83d\ude00"`)), "😀"
	case 8:
		return RawJSON([]byte(`[]`)), []any{}
	}
	p := e.path() // a value that is in the event already
	x, _ := e.model.get(p)
	return e.body.Get(p), clone(x)
}

func (e *editor) step() {
	a := e.arenas[e.next(len(e.arenas))]
	switch op := e.next(9); op {
	case 0, 1, 2:
		p := e.path()
		v, x := e.value(a)
		e.history = append(e.history, fmt.Sprintf("set %s to %s", p, v.AppendJSON(nil)))
		root, ok := set(clone(e.model.root), p.steps, x)
		if err := e.body.Set(a, p, v); (err == nil) != ok {
			e.t.Fatalf("got error %v, want success %v, after %s", err, ok, e.history)
		}
		if ok {
			e.model.root = root.(map[string]any)
		}
	case 3:
		p := e.path()
		e.history = append(e.history, "delete "+p.String())
		_, want := e.model.get(p)
		if got := e.body.Delete(a, p); got != want {
			e.t.Fatalf("got %v, want %v, after %s", got, want, e.history)
		}
		if want {
			e.model.root = remove(clone(e.model.root), p.steps).(map[string]any)
		}
	case 4, 5:
		e.rename(a, e.path(), e.path())
	case 6:
		paths := []*Path{e.path(), e.path(), e.path()}
		e.history = append(e.history, fmt.Sprint("keep ", paths))
		e.body.Keep(a, paths)
		x, ok := kept(e.model.root, paths, 0)
		if !ok {
			x = map[string]any{}
		}
		e.model.root = clone(x).(map[string]any)
	case 7:
		key := []string{"new", "é", "odd\t\"key\"", "a"}[e.next(4)]
		v, x := e.value(a)
		if _, ok := e.model.root[key]; ok {
			return
		}
		e.history = append(e.history, "add "+key)
		e.body.Add(a, key, v)
		e.model.root = clone(e.model.root).(map[string]any)
		e.model.root[key] = x
	case 8:
		e.history = append(e.history, "detach")
		e.body = e.body.Detach()
		if len(e.body.buf) != cap(e.body.buf) && cap(e.body.buf)-len(e.body.buf) > cap(e.body.buf)/4+16 {
			e.t.Fatalf("got room for %d bytes, want %d, after %s", cap(e.body.buf), len(e.body.buf), e.history)
		}
	}
}

func (e *editor) rename(a *Arena, from, to *Path) {
	e.history = append(e.history, fmt.Sprintf("rename %s to %s", from, to))
	x, want := e.model.get(from)
	root, ok := any(e.model.root), true
	if want && from.text != to.text {
		root = remove(clone(e.model.root), from.steps)
		root, ok = set(root, to.steps, clone(x))
	}
	got, err := e.body.Rename(a, from, to)
	if (err == nil) != ok || err == nil && got != want {
		e.t.Fatalf("got %v and error %v, want %v and success %v, after %s", got, err, want, ok, e.history)
	}
	if ok {
		e.model.root = root.(map[string]any)
	}
}

// run applies the whole program and checks the body and all copies of it.
func (e *editor) run() {
	e.model.check(e.t, &e.body, e.history)
	for len(e.program) > 0 && e.body.Size() < 4<<10 { // an event set into itself doubles
		e.old = append(e.old, e.body)
		e.models = append(e.models, e.model)
		e.step()
		e.model.check(e.t, &e.body, e.history)
		if e.next(4) == 0 { // go on from an old copy: two branches of one event
			i := e.next(len(e.old))
			e.old = append(e.old, e.body)
			e.models = append(e.models, e.model)
			e.body, e.model = e.old[i], e.models[i]
			e.history = append(e.history, fmt.Sprintf("back to %d", i))
		}
	}
	for i := range e.old {
		e.models[i].check(e.t, &e.old[i], append([]string{fmt.Sprintf("copy %d of", i)}, e.history...))
	}
}
