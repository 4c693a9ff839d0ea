package record

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
)

// documents are texts that are tried as they are, and that fuzzing starts from.
var documents = []string{
	`{}`, ` { } `, `{"a":1}`, `{"a":-0.5e+10,"b":[1,2,{"c":null}],"d":{"e":true,"f":false}}`,
	`{"message":"a \"quoted\" \\ line\n","a\u0062":"\ud83d\ude00","":0}`,
	`{"a":1,"b":2,"a":{"c":[]},"\u0061":"last"}`, `{"x":"\ud800","y":"\udc00\ud800","z":"é€😀"}`,
	"{\n  \"a\": [1,\r\n 2],\t\"b\" : { \"c\" : \"d\" }\n}\n", `{"a":12345678901234567890,"b":1e400,"c":-0,"d":0.1}`,
	`{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbb\tbbb","c":"ddddddddddddddd\"ddddddddd"}`,
	"{\n\"a\":1,\n\"b\":\r2}", `{"a":["\n"],"b":"x"}`, `{"a":["\n"],"b": "x"}`, `{"a":"\n","b": "x"}`, `{"a":{"c":"\n"},"b": 1}`, `{"a":["\n"],"c":1}`,
	`{"a" :1}`, `{"a": "b"}`, `{"a":1 ,"b":2}`, `{"a":1, "b": 2, "c" : 3}`, `{"a":{"b":1},"c":{"b":1,"a":2},"d":[{"a":1},{"a":2,"b":1}]}`,
	`{,"a":1}`, `{"a":1,}`, `{"a":1,,"b":2}`, `{"a":1"b":2}`, `{"a" 1}`, `{"a":}`, `{a:1}`, `{"a":1}}`, `{"a":1} x`, `{"a":[1,]}`, `{"a":[1 2]}`,
	`{"a":01}`, `{"a":1.}`, `{"a":-}`, `{"a":1e}`, `{"a":+1}`, `{"a":.5}`, `{"a":tru}`, `{"a":nul`, `{"a":"`, `{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a`, `{`, ``, ` `, `[1]`, `1`, `"a"`, `null`,
	"{\"a\":\"\x01\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\xc0\x80\"}", "{\"a\":1\x00}", "\xef\xbb\xbf{}", "{\"a\":\"\x7f\"}", "{\"\xff\":1}", "{\x0b\"a\":1}",
}

// checkDocument compares FromJSON with encoding/json on one text, with an arena
// that remembers what was read before and without any.
func checkDocument(t testing.TB, raw []byte, a *Arena) {
	want := accepted(raw)
	untouched := bytes.Clone(raw)
	fresh := new(Arena)
	for _, a := range []*Arena{a, fresh, fresh, nil} {
		b, err := FromJSON(raw, a)
		if (err == nil) != want {
			t.Fatalf("%q: got error %v, want valid %v", raw, err, want)
		}
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(raw) || syntax.Msg == "" {
				t.Fatalf("%q: the error %v is not a useful SyntaxError", raw, err)
			}
			continue
		}
		m := model{decoded(t, raw)}
		text := b.AppendJSON(nil)
		if bytes.ContainsAny(text, "\r\n") || !reflect.DeepEqual(decoded(t, text), m.root) {
			t.Fatalf("%q is written as %q", raw, text)
		}
		if trimmed := bytes.Trim(raw, " \t\r\n"); !bytes.ContainsAny(trimmed, "\r\n") && !bytes.Equal(text, trimmed) {
			t.Fatalf("%q is written as %q", raw, text)
		}
		checkPaths(t, &b, m.root)
		checkMarks(t, &b)
		if d := b.Detach(); !bytes.Equal(d.AppendJSON(nil), text) {
			t.Fatalf("%q: got %q when detached", raw, d.AppendJSON(nil))
		}
	}
	if !bytes.Equal(raw, untouched) {
		t.Fatalf("%q was changed to %q", untouched, raw)
	}
}

func TestDocuments(t *testing.T) {
	var a Arena
	for range 3 { // from the second time on the arena knows them
		for _, doc := range documents {
			checkDocument(t, []byte(doc), &a)
		}
	}
}

// TestTruncatedAndFlipped cuts and changes ordinary events at every byte, when the
// arena has learned what they look like and when not.
func TestTruncatedAndFlipped(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var a Arena
	for _, doc := range sampleEvents(3) {
		checkDocument(t, doc, &a)
		for i := range doc {
			checkDocument(t, doc[:i], &a)
			changed := bytes.Clone(doc)
			changed[i] = `{}[]:,"\ 0.-e`[r.IntN(13)]
			checkDocument(t, changed, &a)
			checkDocument(t, append(append(bytes.Clone(doc[:i]), ' '), doc[i:]...), &a)
			checkDocument(t, append(bytes.Clone(doc[:i]), doc[i+1:]...), &a)
		}
	}
}

func FuzzFromJSON(f *testing.F) {
	for _, doc := range documents {
		f.Add([]byte(doc))
	}
	for _, doc := range sampleEvents(2) {
		f.Add(doc)
	}
	var a Arena
	f.Fuzz(func(t *testing.T, raw []byte) {
		checkDocument(t, raw, &a)
		// Once more in the neighbourhood of what the arena has just seen.
		for i, c := range raw {
			if c == ',' || c == ':' || c == '{' || c == '"' {
				checkDocument(t, append(bytes.Clone(raw[:i]), raw[i+1:]...), &a)
				checkDocument(t, append(append(bytes.Clone(raw[:i]), ' '), raw[i:]...), &a)
				break
			}
		}
	})
}

func edit(t testing.TB, base string, program []byte) {
	e := &editor{t: t, program: program, arenas: []*Arena{new(Arena), nil, new(Arena)}}
	if base == "" {
		e.body, e.model = Body{}, model{map[string]any{}}
	} else if body, err := FromJSON([]byte(base), e.arenas[0]); err == nil {
		e.body, e.model = body, model{decoded(t, []byte(base))}
	} else {
		e.body = FromText([]byte(base))
		e.model = model{decoded(t, e.body.AppendJSON(nil))}
	}
	e.run()
}

var editBases = []string{
	``, `{}`, `a line`, "a \"line\" \xff", `{"a":1,"b":"two","c":[1,{"a":2}]}`, `{"a":{"b":{"c":1}},"c":[],"a":{"b":[1,2],"c":"\n"},"message":null}`,
	`{"a\"b":1, "a" : {"b":1 ,"b": 2}, "é":3 , "":{"":0}}`, `{"b":{"a":{"c":"x"}},"\u0061":{"\u0062":1},"a":{"b":[0,[1]]}}`,
}

func TestEdits(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 800 {
		program := make([]byte, 8+r.IntN(80))
		for j := range program {
			program[j] = byte(r.Uint32())
		}
		edit(t, editBases[i%len(editBases)], program)
	}
}

func FuzzEdits(f *testing.F) {
	for i, base := range editBases {
		f.Add(base, []byte{byte(i), 0, 1, 2, 0, 0, 4, 1, 2, 0, 2, 3, 1, 6, 5, 6, 7, 1, 0, 8, 3, 0, 3, 5, 1})
	}
	f.Fuzz(func(t *testing.T, base string, program []byte) {
		if len(program) > 200 || len(base) > 1000 {
			t.Skip("too long to be quick")
		}
		edit(t, base, program)
	})
}
