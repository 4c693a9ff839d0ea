package record

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

func fromJSON(t testing.TB, a *Arena, raw string) Body {
	t.Helper()
	b, err := FromJSON([]byte(raw), a)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestText(t *testing.T) {
	line := []byte("a \"line\" \xff")
	b := FromText(line)
	if !b.IsText() || b.IsZero() || b.Size() != len(line) {
		t.Errorf("got text %v, zero %v, size %d", b.IsText(), b.IsZero(), b.Size())
	}
	if got := b.Field("message"); !bytes.Equal(got.Bytes(nil), line) || b.Get(mustPath("message.x")).Exists() || b.Field("other").Exists() {
		t.Errorf("got %q in message", got.Bytes(nil))
	}
	if got := b.AppendText([]byte("+")); string(got) != "+"+string(line) {
		t.Errorf("got %q", got)
	}
	if got, want := string(b.AppendJSON(nil)), "{\"message\":\"a \\\"line\\\" \ufffd\"}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	edited := b
	if err := edited.Set(new(Arena), mustPath("n"), Int(1, nil)); err != nil {
		t.Fatal(err)
	}
	if got, want := string(edited.AppendText(nil)), "{\"message\":\"a \\\"line\\\" \ufffd\",\"n\":1}"; got != want || edited.IsText() {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := b.Set(nil, mustPath("message.x"), Null()); err == nil || err.Error() != "message.x: message is a string, not an object" || !b.IsText() {
		t.Errorf("got %v, and text is %v", err, b.IsText())
	}
	b.Add(nil, "a", Str("b"))
	if got, want := string(b.AppendJSON(nil)), "{\"message\":\"a \\\"line\\\" \ufffd\",\"a\":\"b\"}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestZeroBody(t *testing.T) {
	var b Body
	if !b.IsZero() || b.IsText() || b.Field("a").Exists() || b.Delete(nil, mustPath("a")) {
		t.Error("the zero body is not empty")
	}
	if got := string(b.AppendText(nil)); got != "{}" {
		t.Errorf("got %s, want {}", got)
	}
	b.Range(func(key []byte, v Value) bool { t.Errorf("got %s", key); return true })
	d := b.Detach()
	if d.Keep(nil, nil); b.Set(nil, mustPath("a.b[0]"), Bool(true)) != nil || string(b.AppendJSON(nil)) != `{"a":{"b":[true]}}` {
		t.Errorf("got %s", b.AppendJSON(nil))
	}
}

// TestVerbatim checks what an edit leaves as it was, to the byte.
func TestVerbatim(t *testing.T) {
	const raw = `{ "a" : 1.50 ,"b":{"x": [1, 2],"y":"\u0041"},  "c":"t\/o" , "d": 1E5 }`
	f := func(want string, edit func(b *Body, a *Arena) error) {
		t.Helper()
		for _, a := range []*Arena{new(Arena), nil} {
			b := fromJSON(t, a, raw)
			if err := edit(&b, a); err != nil {
				t.Error(err)
			}
			if got := string(b.AppendJSON(nil)); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
	}
	set := func(path string, v Value) func(b *Body, a *Arena) error {
		return func(b *Body, a *Arena) error { return b.Set(a, mustPath(path), v) }
	}
	rename := func(from, to string) func(b *Body, a *Arena) error {
		return func(b *Body, a *Arena) error {
			ok, err := b.Rename(a, mustPath(from), mustPath(to))
			if !ok {
				return fmt.Errorf("%s is not there", from)
			}
			return err
		}
	}
	f(raw, func(b *Body, a *Arena) error { return nil })
	f(`{"a" : 1.50 ,"b":{"x": [1, 2],"y":"\u0041"},  "c":"t\/o" , "d": 1E5,"e":true}`, set("e", Bool(true)))
	f(`{"a" : 1.50 ,"b":{"x": [1, 2],"y":"\u0041"},"c":null,"d": 1E5}`, set("c", Null()))
	f(`{"a" : 1.50,"b":{"x": [1,"new"],"y":"\u0041"},"c":"t\/o" , "d": 1E5}`, set("b.x[1]", Str("new")))
	f(`{"a" : 1.50,"b":{"x": [1, 2],"y":"\u0041","z":{"w":0}},"c":"t\/o" , "d": 1E5}`, set("b.z.w", Number([]byte("0"))))
	f(`{"a" : 1.50,"b":{"x": [1,2,3],"y":"\u0041"},"c":"t\/o" , "d": 1E5}`, set("b.x[2]", Number([]byte("3"))))
	f(`{"a" : 1.50,"B":{"x": [1, 2],"y":"\u0041"},"c":"t\/o" , "d": 1E5}`, rename("b", "B"))
	f(`{"b":{"x": [1, 2],"y":"\u0041"},"a":"t\/o","d": 1E5}`, rename("c", "a"))
	f(`{"a" : 1.50,"b":{"x": [1, 2]},"c":"t\/o" , "d": 1E5,"e":{"y":"\u0041"}}`, rename("b.y", "e.y"))
	f(`{"a" : 1.50 ,"b":{"x": [1, 2],"y":"\u0041"},"d": 1E5}`, func(b *Body, a *Arena) error { b.Delete(a, mustPath("c")); return nil })
	f(`{"a" : 1.50,"b":{"x": [2],"y":"\u0041"},"c":"t\/o" , "d": 1E5}`, func(b *Body, a *Arena) error { b.Delete(a, mustPath("b.x[0]")); return nil })
	f(`{"b":{"x": [2],"y":"\u0041"},"d": 1E5}`, func(b *Body, a *Arena) error {
		b.Keep(a, []*Path{mustPath("d"), mustPath("b.y"), mustPath("b.x[1]"), mustPath("a.b"), mustPath("none")})
		return nil
	})
}

func TestSetErrors(t *testing.T) {
	const raw = `{"a":1,"b":{"c":"text"},"d":[1],"e":null}`
	b := fromJSON(t, nil, raw)
	f := func(path, want string) {
		t.Helper()
		if err := b.Set(nil, mustPath(path), Null()); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if ok, err := b.Rename(nil, mustPath("d"), mustPath(path)); ok || err == nil || err.Error() != want {
			t.Errorf("got %v, %v, want %s", ok, err, want)
		}
		if got := string(b.AppendJSON(nil)); got != raw {
			t.Errorf("got %s, want %s", got, raw)
		}
	}
	f("a.b", "a.b: a is a number, not an object")
	f("b.c.d.e", "b.c.d.e: b.c is a string, not an object")
	f("b[0]", "b[0]: b is an object, not an array")
	f("e[1]", "e[1]: e has 0 elements, the next is [0]")
	if err := b.Set(nil, mustPath("d[2]"), Null()); err == nil || err.Error() != "d[2]: d has 1 elements, the next is [1]" {
		t.Errorf("got %v", err)
	}
	if err := b.Set(nil, mustPath("d.x"), Null()); err == nil || err.Error() != "d.x: d is an array, not an object" {
		t.Errorf("got %v", err)
	}
}

func TestMultiline(t *testing.T) {
	f := func(raw, want string) {
		t.Helper()
		b := fromJSON(t, new(Arena), raw)
		if got := string(b.AppendJSON(nil)); got != want || b.Size() != len(want) {
			t.Errorf("got %s of size %d, want %s", got, b.Size(), want)
		}
	}
	f("{\n  \"a b\": [\n    1, \"c \\\" \\n\"\n  ]\r\n}\n", `{"a b":[1,"c \" \n"]}`)
	f("\n{\"a\" : 1}\r\n", `{"a" : 1}`)
}

// TestNamesThatLookLikeText asks for names that are in the text, but are not names.
func TestNamesThatLookLikeText(t *testing.T) {
	raw := `{"a":1,"b":"c","abcdefgh":1}`
	pad := strings.Repeat(" ", maxNarrow)
	for _, raw := range []string{raw, pad + raw + pad} {
		b := fromJSON(t, nil, raw)
		for _, name := range []string{`a":1,"b`, `b":"c`, `a":1,`, `"a`, "", "a\\", "A", "aa", `b":"c","`, "abcdefghijklmnopqrst", "abcdefg", "bcdefgh", `abcdefgh":1`} {
			if v := b.Field(name); v.Exists() {
				t.Errorf("%s has %q: %s", raw, name, v)
			}
		}
	}
}

// TestDuplicates checks that the last of several members is the one that counts.
func TestDuplicates(t *testing.T) {
	f := func(want string, edit func(b *Body)) {
		t.Helper()
		b := fromJSON(t, new(Arena), `{"a":{"b":1},"c":0,"a":{"c":2,"c":3},"\u0063":4}`)
		edit(&b)
		if got := string(b.AppendJSON(nil)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	keep := func(paths ...string) func(b *Body) {
		return func(b *Body) {
			var list []*Path
			for _, p := range paths {
				list = append(list, mustPath(p))
			}
			b.Keep(nil, list)
		}
	}
	f(`{}`, keep("a.b"))
	f(`{"a":{"c":3}}`, keep("a.c"))
	f(`{"c":0,"\u0063":4}`, keep("c"))
	f(`{"a":{"b":1},"a":{"c":2,"c":3},"c":5}`, func(b *Body) { b.Set(nil, mustPath("c"), Int(5, nil)) })
	f(`{"c":0,"a":{"c":5},"\u0063":4}`, func(b *Body) { b.Set(nil, mustPath("a.c"), Int(5, nil)) })
	f(`{"c":0,"a":{},"\u0063":4}`, func(b *Body) { b.Delete(nil, mustPath("a.c")) })
	f(`{"a":{"b":1},"a":{"c":2,"c":3}}`, func(b *Body) { b.Delete(nil, mustPath("c")) })
	f(`{"c":{"c":2,"c":3}}`, func(b *Body) { b.Rename(nil, mustPath("a"), mustPath("c")) })
	f(`{"a":4}`, func(b *Body) { b.Rename(nil, mustPath("c"), mustPath("a")) })
}

// TestDetach changes the buffer an event came from, and looks at copies of it.
func TestDetach(t *testing.T) {
	f := func(b Body, buf []byte) {
		t.Helper()
		want := string(b.AppendText(nil))
		d := b.Detach()
		for i := range buf {
			buf[i] = '!'
		}
		if got := string(d.AppendText(nil)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if cap(d.buf)-len(d.buf) > 0 || cap(d.idx.cells)-len(d.idx.cells) > 0 {
			t.Errorf("%s: got room for %d bytes and %d cells more", want, cap(d.buf)-len(d.buf), cap(d.idx.cells)-len(d.idx.cells))
		}
	}
	var a Arena
	line := []byte("a line")
	f(FromText(line), line)
	raw := []byte(` {"a": 1, "b":"two"} `)
	b, err := FromJSON(raw, &a)
	if err != nil {
		t.Fatal(err)
	}
	f(b, raw)
	raw = []byte(` {"a": 1, "b":"two", "c":3} `)
	if b, err = FromJSON(raw, &a); err != nil {
		t.Fatal(err)
	}
	b.Delete(&a, mustPath("b"))
	f(b, raw)
	if err := b.Set(&a, mustPath("d"), Str("four")); err != nil {
		t.Fatal(err)
	}
	f(b, a.text.all)
	f(NewObject(&a, 1), nil)
}

func TestRange(t *testing.T) {
	b := fromJSON(t, nil, `{"a":1,"b\n":"x","a":2,"c":[3]}`)
	var got []string
	b.Range(func(key []byte, v Value) bool {
		got = append(got, fmt.Sprintf("%q=%s", key, v))
		return len(got) < 3
	})
	if got, want := strings.Join(got, " "), `"a"=1 "b\n"=x "a"=2`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestCopiesInGoroutines edits copies of one body in several goroutines, as the
// branches of a fan-out do. It is for the race detector.
func TestCopiesInGoroutines(t *testing.T) {
	var a Arena
	for _, b := range []Body{FromText([]byte("line")), fromJSON(t, &a, `{"a":1,"b":{"c":2}}`), NewObject(&a, 4)} {
		b.Add(&a, "mine", Str("x"))
		want := string(b.AppendJSON(nil))
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				mine, c := new(Arena), b
				for j := range 50 {
					name := fmt.Sprintf("n%d", j)
					if err := c.Set(mine, NewPath("b", name), Int(int64(i), mine)); err != nil {
						t.Error(err)
					}
					c.Add(mine, name, Int(int64(i), mine))
				}
				if got, _ := c.Field("n49").Int(); got != int64(i) || c.Get(NewPath("b", "n0")).String() != fmt.Sprint(i) {
					t.Errorf("got %s", c.AppendJSON(nil))
				}
				if got := string(b.AppendJSON(nil)); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
		own := b
		for j := range 50 { // while the arena it came from is used
			own.Add(&a, fmt.Sprintf("o%d", j), Str("y"))
		}
		wg.Wait()
	}
}

// TestArenaIsBounded edits one event again and again: what it does not need any
// more must not pile up.
func TestArenaIsBounded(t *testing.T) {
	var a Arena
	b := fromJSON(t, &a, `{"a":1,"b":"two"}`)
	for i := range 20000 {
		if err := b.Set(&a, mustPath("a"), Int(int64(i), &a)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := string(b.AppendJSON(nil)), `{"a":19999,"b":"two"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(b.buf) > textChunk {
		t.Errorf("got a buffer of %d bytes, want at most %d", len(b.buf), textChunk)
	}
}

// TestLend checks that indexes are in the memory that was lent, one after another,
// and not in it any more when it was taken back, whatever is left in it.
func TestLend(t *testing.T) {
	var a Arena
	lent := make([]uint32, 64)
	for i := range lent {
		lent[i] = 0xffffffff // what the last user left
	}
	within := func(b Body) bool { return len(b.idx.cells) > 0 && &b.idx.cells[:1][0] == &lent[0] }
	a.Lend(lent)
	if a.Indexed() {
		t.Error("nothing was indexed yet")
	}
	first := fromJSON(t, &a, `{"a":1,"b":{"c":"x"}}`)
	second := fromJSON(t, &a, `{"d":2}`)
	if !a.Indexed() || !within(first) || within(second) {
		t.Errorf("got indexed %v, first in its place %v, second in that place %v", a.Indexed(), within(first), within(second))
	}
	wide := fromJSON(t, &a, `{"k0":0`+strings.Repeat(`,"k":1`, 100)+`}`) // more than there is
	for _, b := range []Body{first, second, wide} {
		checkPaths(t, &b, decoded(t, b.AppendJSON(nil)))
	}
	a.Lend(lent)
	a.Lend(nil)
	if third := fromJSON(t, &a, `{"e":3}`); within(third) {
		t.Error("the memory is used although it was taken back")
	}
	if got, _ := first.Field("a").Int(); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
}

func TestSizes(t *testing.T) {
	if got := unsafe.Sizeof(Body{}); got > 64 {
		t.Errorf("a Body has %d bytes, want at most 64", got)
	}
	if got := unsafe.Sizeof(Value{}); got > 32 {
		t.Errorf("a Value has %d bytes, want at most 32", got)
	}
	if got := unsafe.Sizeof(guess{}); got != 64 {
		t.Errorf("a guess has %d bytes, want 64", got)
	}
}

// TestAllocations checks that what is done for every event allocates nothing, or
// only the next chunk now and then.
func TestAllocations(t *testing.T) {
	var a Arena
	raw := sampleEvents(1)[0]
	line := []byte("a line with \"quotes\" and é")
	b := fromJSON(t, &a, string(raw))
	escaped := fromJSON(t, &a, `{"k\u0065y":"a \"b\" \u20ac"}`)
	edited := b
	if err := edited.Set(&a, mustPath("x"), Str("y")); err != nil {
		t.Fatal(err)
	}
	out, scratch := make([]byte, 0, 4096), make([]byte, 0, 64)
	status, tls, key, agent := mustPath("status"), mustPath("http.tls"), mustPath("key"), mustPath("agent")
	f := func(name string, limit float64, run func()) {
		t.Helper()
		if got := testing.AllocsPerRun(1000, run); got > limit {
			t.Errorf("%s: got %v allocations, want %v", name, got, limit)
		}
	}
	sink := 0
	use := func(ok bool) {
		if ok {
			sink++
		}
	}
	f("Get", 0, func() { use(b.Get(status).Exists()) })
	f("Get nested", 0, func() { use(b.Get(tls).Exists()) })
	f("Get escaped", 0, func() { use(escaped.Get(key).Exists()) })
	f("Field", 0, func() { use(b.Field("agent").Exists()) })
	f("Int", 0, func() { _, ok := b.Get(status).Int(); use(ok) })
	f("Float", 0, func() { x, ok := b.Field("duration_ms").Float(); use(ok && x > 0) })
	f("EqualString", 0, func() { use(b.Get(agent).EqualString("none")) })
	f("EqualString escaped", 0, func() { use(escaped.Get(key).EqualString("a \"b\" €")) })
	f("Bytes", 0, func() { use(len(escaped.Get(key).Bytes(scratch)) > 0) })
	f("Range", 0, func() { b.Range(func(k []byte, v Value) bool { use(len(k) > 0); return true }) })
	f("AppendJSON", 0, func() { out = b.AppendJSON(out[:0]) })
	f("AppendJSON edited", 0, func() { out = edited.AppendJSON(out[:0]) })
	f("AppendQuoted", 0, func() { out = AppendQuoted(out[:0], line) })
	f("Size", 0, func() { use(edited.Size() > 0) })
	f("FromText", 0, func() { c := FromText(line); use(c.IsText()) })
	f("FromJSON", 0.1, func() { c, _ := FromJSON(raw, &a); use(c.IsText()) })
	f("Set", 0.1, func() { c := b; use(c.Set(&a, status, Int(7, &a)) == nil) })
	f("Set nested", 0.1, func() { c := b; use(c.Set(&a, tls, Bool(true)) == nil) })
	f("Rename", 0.1, func() { c := b; ok, _ := c.Rename(&a, agent, key); use(ok) })
	f("Delete", 0.1, func() { c := b; use(c.Delete(&a, agent)) })
	f("Keep", 0.1, func() { c := b; c.Keep(&a, []*Path{status, agent}) })
	f("Add", 0.1, func() { c := NewObject(&a, 2); c.Add(&a, "a", Str("b")); c.Add(&a, "n", Float(1.5, &a)) })
	if sink == 0 {
		t.Error("nothing was done")
	}
}
