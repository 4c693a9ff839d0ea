package record

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestSyntaxError(t *testing.T) {
	f := func(raw string, offset int, msg string) {
		t.Helper()
		_, err := FromJSON([]byte(raw), nil)
		var got *SyntaxError
		if !errors.As(err, &got) {
			t.Fatalf("%q: got %v, want a SyntaxError", raw, err)
		}
		if got.Offset != offset || !strings.Contains(got.Msg, msg) {
			t.Errorf("%q: got %v, want %q at byte %d", raw, err, msg, offset)
		}
	}
	f(``, 0, "no event")
	f(" \n ", 3, "no event")
	f(`[1]`, 0, "must be a JSON object")
	f(` 12`, 1, "must be a JSON object")
	f("\xef\xbb\xbf{}", 0, "byte order mark")
	f("\xff\xfe{\x00}\x00", 0, "UTF-16")
	f(`{`, 1, "ends inside an object")
	f(`{"a`, 3, "ends inside a string")
	f(`{"a"`, 4, "a colon")
	f(`{"a":`, 5, "ends where a value")
	f(`  {"a":`, 7, "ends where a value")
	f(`{"a":1`, 6, "ends inside an object")
	f(`{"a":[`, 6, "ends where a value")
	f(`{"a":[1`, 7, "ends inside an array")
	f(`{"a":[1}`, 7, "a comma or ]")
	f(`{"a":1]`, 6, "a comma or }")
	f(`{"a":1,}`, 7, "name in double quotes")
	f(`{'a':1}`, 1, "name in double quotes")
	f(`{"a":'b'}`, 5, "a value should be here")
	f(`{"a":NaN}`, 5, "a value should be here")
	f(`{"a":True}`, 5, "a value should be here")
	f(`{"a":01}`, 5, "must not start with 0")
	f(`{"a":-}`, 6, "a digit")
	f(`{"a":1.}`, 7, "a digit")
	f(`{"a":1e+}`, 8, "a digit")
	f(`{"a":"\q"}`, 7, "backslash")
	f(`{"a":"\u12x4"}`, 10, "four hexadecimal digits")
	f("{\"a\":\"tab\there\"}", 9, "control character")
	f("{\"a\":\"latin \xe9\"}", 12, "UTF-8")
	f("{\"a\":\"\xed\xa0\x80\"}", 6, "UTF-8")
	f(`{"a":1} {"b":2}`, 8, "only white space")
	f(`{"a":1}]`, 7, "only white space")
	if got, want := (&SyntaxError{17, "a colon should be here"}).Error(), "invalid JSON at byte 17: a colon should be here"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDepth(t *testing.T) {
	nested := func(open, close string, n int) string {
		return strings.Repeat(open, n) + "1" + strings.Repeat(close, n)
	}
	f := func(raw string, want bool) {
		t.Helper()
		_, err := FromJSON([]byte(raw), new(Arena))
		if got := err == nil; got != want {
			t.Errorf("%.20s...: got %v, want valid %v", raw, err, want)
		}
	}
	f(nested(`{"a":`, `}`, maxDepth), true)
	f(nested(`{"a":`, `}`, maxDepth+1), false)
	f(`{"a":`+nested(`[`, `]`, maxDepth-1)+`}`, true)
	f(`{"a":`+nested(`[`, `]`, maxDepth)+`}`, false)
	f(strings.Repeat(`{"a":[`, 1<<20), false) // and no stack overflow
}

// TestGuessIsChecked reads a text that the arena expects, and then texts that are
// nearly what it expects but are not JSON.
func TestGuessIsChecked(t *testing.T) {
	good := []byte(`{"a":{"b":1},"a":{"b":2,"c":3},"a":[{"b":1,"b":1}]}`)
	bad := []string{
		`{"a":{"b":1}"a":{"b":2}}`, `{,"a":1}`, `{"a":{,"b":1}}`, `{"a":{"b":1"b":1}}`, `{"a":{"b":1},"a":{"b":2"c":3}}`,
		`{"a":{"b":1},,"a":1}`, `{"a":[{"b":1"b":1}]}`, `{"a":[{,"b":1}]}`, "{\"a\":\x00}", `{"a":}`, `{"a":{"b":1},"a":`, `{"a":{"b": }}`,
	}
	var a Arena
	for _, raw := range bad {
		if _, err := FromJSON(good, &a); err != nil {
			t.Fatal(err)
		}
		if _, err := FromJSON([]byte(raw), &a); err == nil {
			t.Errorf("%s is accepted", raw)
		}
	}
}

// TestGuessIsReplaced reads many events of one shape and then of another, which
// must be learned; and long names, which cannot be.
func TestGuessIsReplaced(t *testing.T) {
	var a Arena
	long := strings.Repeat("n", 3*guessLen)
	for _, raw := range []string{`{"a":1,"b":2}`, `{"c":1,"d":2,"e":{"f":3}}`, `{"` + long + `":1,"x` + long + `":2}`} {
		for range 2 * patience {
			checkDocument(t, []byte(raw), &a)
		}
	}
	if got := string(wordBytes(a.shape.first[0].text0)); got != `"c":`+"\xff\xff\xff\xff" {
		t.Errorf("the first member is expected to be %q, want that of the second shape", got)
	}
}

func wordBytes(w uint64) (b []byte) {
	for range 8 {
		b = append(b, byte(w))
		w >>= 8
	}
	return b
}

func TestWideIndex(t *testing.T) {
	var a Arena
	for _, n := range []int{maxNarrow - 40, maxNarrow - 20, maxNarrow, maxNarrow + 1, 1 << 17} {
		raw := []byte(`{"first":1,"text":"","end":2}`)
		raw = bytes.Replace(raw, []byte(`""`), []byte(`"`+strings.Repeat("x", n-len(raw))+`"`), 1)
		body, err := FromJSON(raw, &a)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := body.idx.wide, n > maxNarrow; len(raw) != n || got != want {
			t.Fatalf("%d bytes: got a wide index %v, want %v", len(raw), got, want)
		}
		checkPaths(t, &body, decoded(t, raw))
		before := body
		for i, path := range []string{"first", "last", `["odd\n"]`, "text"} {
			if err := body.Set(&a, mustPath(path), Str("value \\ "+path)); err != nil {
				t.Fatal(err)
			}
			checkPaths(t, &body, decoded(t, body.AppendJSON(nil)))
			if got, want := body.Field("first").String(), "value \\ first"; got != want {
				t.Fatalf("%d bytes, edit %d: got %q, want %q", len(raw), i, got, want)
			}
		}
		d := body.Detach()
		checkPaths(t, &d, decoded(t, body.AppendJSON(nil)))
		if got := before.AppendJSON(nil); !bytes.Equal(got, raw) {
			t.Fatalf("%d bytes: the original is now %d", len(raw), len(got))
		}
	}
}

func TestManyMembers(t *testing.T) {
	var raw bytes.Buffer
	raw.WriteString(`{"n0":0`)
	for i := 1; i < 5000; i++ {
		raw.WriteString(`,"n` + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + `":1`)
	}
	raw.WriteString(`}`)
	var a Arena
	for range 3 {
		body, err := FromJSON(raw.Bytes(), &a)
		if err != nil {
			t.Fatal(err)
		}
		if got := body.idx.len(); got != 5000 {
			t.Fatalf("got %d members, want 5000", got)
		}
		checkPaths(t, &body, decoded(t, raw.Bytes()))
	}
}
