package record

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// decoded returns JSON text as encoding/json reads it, with literal numbers.
func decoded(t testing.TB, text []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}

// plainAny is Value.Any with literal numbers.
func plainAny(v Value) any {
	switch v.Kind() {
	case KindNumber:
		return json.Number(v.Raw())
	case KindArray:
		list := []any{}
		v.Elements(func(v Value) bool { list = append(list, plainAny(v)); return true })
		return list
	case KindObject:
		m := map[string]any{}
		v.Members(func(key []byte, v Value) bool { m[string(key)] = plainAny(v); return true })
		return m
	}
	if v.Kind() == KindString { // a line may hold anything
		return string([]rune(v.String()))
	}
	return v.Any()
}

// checkPaths compares every value in want with what Get finds at its path.
func checkPaths(t testing.TB, b *Body, want any, steps ...step) {
	t.Helper()
	if len(steps) > 0 {
		p := &Path{text: format(steps), steps: slices.Clone(steps)}
		if got := plainAny(b.Get(p)); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: got %v at %s, want %v", b.AppendJSON(nil), got, p, want)
		}
	}
	switch want := want.(type) {
	case map[string]any:
		for k, v := range want {
			checkPaths(t, b, v, append(slices.Clone(steps), newKey(k))...)
		}
	case []any:
		for i, v := range want {
			checkPaths(t, b, v, append(slices.Clone(steps), step{isIndex: true, index: i})...)
		}
	}
}

// checkMarks checks that the index says of every member what has escapes.
func checkMarks(t testing.TB, b *Body) {
	t.Helper()
	for i := range b.idx.len() {
		e := b.idx.at(i)
		v := b.member(e)
		if got, want := e.oddKey(), bytes.Contains(b.key(e), []byte(`\`)); got != want {
			t.Fatalf("%s: an escape in %s: got %v, want %v", b.AppendJSON(nil), b.key(e), got, want)
		}
		if got, want := v.spelt == asEscaped, bytes.Contains(v.b, []byte(`\`)); got != want && v.kind == KindString {
			t.Fatalf("%s: an escape in %s: got %v, want %v", b.AppendJSON(nil), v.b, got, want)
		}
	}
}

// accepted reports whether FromJSON should accept raw, according to others.
func accepted(raw []byte) bool {
	if !json.Valid(raw) || !utf8.Valid(raw) || !bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{")) {
		return false
	}
	depth := 0
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	for tok, err := d.Token(); err == nil; tok, err = d.Token() {
		switch tok {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return false
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	return true
}

// A model is an event as maps and lists, edited in the obvious way.
type model struct{ root map[string]any }

func clone(x any) any {
	switch x := x.(type) {
	case map[string]any:
		m := make(map[string]any, len(x))
		for k, v := range x {
			m[k] = clone(v)
		}
		return m
	case []any:
		list := make([]any, len(x))
		for i, v := range x {
			list[i] = clone(v)
		}
		return list
	}
	return x
}

func (m model) get(p *Path) (any, bool) {
	var x any = m.root
	for _, st := range p.steps {
		var ok bool
		if x, ok = child(x, st); !ok {
			return nil, false
		}
	}
	return x, true
}

func child(x any, st step) (any, bool) {
	switch x := x.(type) {
	case map[string]any:
		v, ok := x[st.key]
		return v, ok && !st.isIndex
	case []any:
		if st.isIndex && st.index < len(x) {
			return x[st.index], true
		}
	}
	return nil, false
}

// set returns x with v at steps, and whether that was possible.
func set(x any, steps []step, v any) (any, bool) {
	if len(steps) == 0 {
		return v, true
	}
	st := steps[0]
	if x == nil && st.isIndex {
		x = []any{}
	} else if x == nil {
		x = map[string]any{}
	}
	old, _ := child(x, st)
	inner, ok := set(old, steps[1:], v)
	if !ok {
		return x, false
	}
	switch x := x.(type) {
	case map[string]any:
		if st.isIndex {
			return x, false
		}
		x[st.key] = inner
		return x, true
	case []any:
		switch {
		case !st.isIndex || st.index > len(x):
			return x, false
		case st.index == len(x):
			return append(x, inner), true
		}
		x[st.index] = inner
		return x, true
	}
	return x, false
}

// remove returns x without what is at steps, which exists.
func remove(x any, steps []step) any {
	st := steps[0]
	if len(steps) > 1 {
		inner, _ := child(x, st)
		x, _ = set(x, steps[:1], remove(inner, steps[1:]))
		return x
	}
	if list, ok := x.([]any); ok {
		return slices.Delete(slices.Clone(list), st.index, st.index+1)
	}
	delete(x.(map[string]any), st.key)
	return x
}

// kept returns what the paths name in x.
func kept(x any, paths []*Path, n int) (any, bool) {
	for _, p := range paths {
		if len(p.steps) == n {
			return x, true
		}
	}
	within := func(match func(st step) bool) (active []*Path) {
		for _, p := range paths {
			if match(p.steps[n]) {
				active = append(active, p)
			}
		}
		return active
	}
	switch x := x.(type) {
	case map[string]any:
		m := map[string]any{}
		for k, v := range x {
			if v, ok := kept(v, within(func(st step) bool { return !st.isIndex && st.key == k }), n+1); ok {
				m[k] = v
			}
		}
		return m, len(m) > 0
	case []any:
		var list []any
		for i, v := range x {
			if v, ok := kept(v, within(func(st step) bool { return st.isIndex && st.index == i }), n+1); ok {
				list = append(list, v)
			}
		}
		return list, len(list) > 0
	}
	return nil, false
}

// check compares a body with the model in every way there is.
func (m model) check(t testing.TB, b *Body, history []string) {
	t.Helper()
	text := b.AppendJSON(nil)
	if bytes.ContainsAny(text, "\n\r") {
		t.Fatalf("%q is more than one line, after %s", text, strings.Join(history, ", "))
	}
	if !json.Valid(text) {
		t.Fatalf("%s is not JSON, after %s", text, strings.Join(history, ", "))
	}
	if got := decoded(t, text); !reflect.DeepEqual(got, m.root) {
		t.Fatalf("got %v, want %v, after %s", got, m.root, strings.Join(history, ", "))
	}
	checkPaths(t, b, m.root)
	ranged := map[string]any{}
	b.Range(func(key []byte, v Value) bool { ranged[string(key)] = plainAny(v); return true })
	if !reflect.DeepEqual(ranged, m.root) {
		t.Fatalf("Range gives %v, want %v, after %s", ranged, m.root, strings.Join(history, ", "))
	}
	checkMarks(t, b)
	again, err := FromJSON(text, nil)
	if err != nil {
		t.Fatalf("%s: %v, after %s", text, err, strings.Join(history, ", "))
	}
	if got := string(again.AppendJSON(nil)); got != string(text) {
		t.Fatalf("got %s, want %s", got, text)
	}
	if b.form == rawForm && b.Size() != len(text) {
		t.Fatalf("%s: got size %d, want %d", text, b.Size(), len(text))
	}
}
