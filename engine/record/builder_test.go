package record

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// TestBuilder makes objects of random members and compares them with what FromJSON
// makes of the same text.
func TestBuilder(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	texts := []string{"", "plain", "a \"quote\"", "back\\slash", "tab\t", "\x00", "é€😀", "\xff\xfe", strings.Repeat("x", 100)}
	plain := []string{"", "plain", "é€😀", strings.Repeat("y", 50)}
	var a Arena
	var b Builder
	room := make([]byte, 0, 1<<10)
	for round := range 3000 {
		b.Start(room)
		if !b.Empty() {
			t.Fatal("the new object is not empty")
		}
		want := map[string]any{}
		for i := range r.IntN(30) {
			name := fmt.Sprintf("%s%d", texts[r.IntN(len(texts))], i)
			n := NewName(name)
			v := []Value{Int(int64(i), nil), Null(), Bool(true), Text([]byte(texts[r.IntN(len(texts))])), RawJSON([]byte(`"a\u0062"`)), RawJSON([]byte(`{"x":["\n"]}`)), {}}[r.IntN(7)]
			switch r.IntN(5) {
			case 0:
				b.Add(&n, v)
			case 1:
				b.AddNew([]byte(name), v)
			case 2:
				v = Text([]byte(texts[r.IntN(len(texts))]))
				b.AddText(&n, v.b)
			case 3:
				v = Text([]byte(plain[r.IntN(len(plain))]))
				b.AddPlain(&n, v.b)
			case 4:
				v = Number([]byte("-1.5e3"))
				b.AddNumber(&n, v.b)
			}
			if v.Kind() == KindMissing {
				v = Null()
			}
			want[string([]rune(name))] = plainAny(v)
		}
		if b.Empty() != (len(want) == 0) {
			t.Fatalf("empty: %v with %d members", b.Empty(), len(want))
		}
		if round%100 == 0 { // larger than a narrow index can tell
			n := NewName("large")
			b.AddText(&n, bytes.Repeat([]byte("z"), maxNarrow))
			want["large"] = strings.Repeat("z", maxNarrow)
		}
		body, err := b.Body(&a)
		if err != nil {
			t.Fatal(err)
		}
		read, err := FromJSON(bytes.Clone(b.text), nil)
		if err != nil || !reflect.DeepEqual(body.idx, read.idx) {
			t.Fatalf("%s: the index is %v, and %v when it is read, %v", body.AppendJSON(nil), body.idx, read.idx, err)
		}
		checkPaths(t, &body, want)
		if got := decoded(t, body.AppendJSON(nil)); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

// TestBuilderDepth: what FromJSON refuses is refused.
func TestBuilderDepth(t *testing.T) {
	f := func(levels int, ok bool) {
		t.Helper()
		var b Builder
		b.Start(nil)
		b.AddNew([]byte("a"), RawJSON([]byte(strings.Repeat("[", levels)+strings.Repeat("]", levels))))
		_, err := b.Body(nil)
		var syntax *SyntaxError
		if (err == nil) != ok || err != nil && !errors.As(err, &syntax) {
			t.Errorf("%d levels: %v", levels, err)
		}
	}
	f(maxDepth-1, true)
	f(maxDepth, false)
}
