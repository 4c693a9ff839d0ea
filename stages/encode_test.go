package stages

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
	"github.com/pipectl/pipectl/engine/record"
)

func newEncode(format, field string, change ...func(*Encode)) *Encode {
	c, _ := pipe.Lookup(pipe.KindStage, "encode")
	s := c.New().(*Encode)
	s.Format, s.Field = format, field
	for _, f := range change {
		f(s)
	}
	return s
}

func newDecode(format, field string, change ...func(*Decode)) *Decode {
	c, _ := pipe.Lookup(pipe.KindStage, "decode")
	s := c.New().(*Decode)
	s.Format, s.Field = format, field
	for _, f := range change {
		f(s)
	}
	return s
}

// makes checks what one event becomes; a want with ! before it is an error.
func makes(t *testing.T, s pipe.Stage, in, want string) {
	t.Helper()
	r := run(t, s, in)
	if strings.HasPrefix(want, "!") {
		fails(t, r, want[1:])
		return
	}
	if len(r.Errors) > 0 {
		t.Errorf("%s: %v", in, r.Errors[0])
	}
	same(t, in, r.Emitted[""], []string{want})
}

func TestEncode(t *testing.T) {
	f := func(format, in, want string, change ...func(*Encode)) {
		t.Helper()
		makes(t, newEncode(format, "v", change...), `{"v":`+in+`}`, want)
	}
	cols := func(names ...string) func(*Encode) { return func(s *Encode) { s.Columns = names } }
	target := func(path string) func(*Encode) { return func(s *Encode) { s.Target = path } }
	f("json", `{"a": [1,"x"]}`, `{"v":"{\"a\": [1,\"x\"]}"}`)
	f("json", `"x\""`, `{"v":"\"x\\\"\""}`)
	f("json", `1`, `{"v":1,"t":{"u":"1"}}`, target("t.u"))
	f("csv", `["a","b,c","say \"x\"",1.50,null,true,[1]]`, `{"v":"a,\"b,c\",\"say \"\"x\"\"\",1.50,,true,[1]"}`)
	f("csv", `{"b":1,"a":"x"}`, `{"v":"x,1,"}`, cols("a", "b", "c"))
	f("csv", `["a","b;c"]`, `{"v":"a;\"b;c\""}`, func(s *Encode) { s.Delimiter = ";" })
	f("csv", `1`, `!csv: field v: needs a list, or columns for an object, got number`)
	f("csv", `[1]`, `!columns need an object`, cols("a"))
	f("logfmt", `{"a":1,"b":"x y","c":{"d":true,"e":"1"},"f":"","g":null,"h":[1,2],"i":"a\nb\"\\"}`,
		`{"v":"a=1 b=\"x y\" c.d=true c.e=\"1\" f=\"\" g= h=[1,2] i=\"a\\nb\\\"\\\\\""}`)
	f("logfmt", `[]`, `!needs an object`)
	f("logfmt", `{}`, `!the object is empty`)
	f("logfmt", `{"a b":1}`, `!the name "a b" cannot be a key`)
	f("base64", `"hé?>"`, `{"v":"aMOpPz4="}`)
	f("base64url", `"hé?>"`, `{"v":"aMOpPz4"}`)
	makes(t, newEncode("json", "x"), `{"v":1}`, `!json: there is no field x`)
	makes(t, newEncode("base64", "message"), `a line`, `YSBsaW5l`)
	makes(t, newEncode("base64", "message", target("b")), `a line`, `{"message":"a line","b":"YSBsaW5l"}`)
}

func TestDecode(t *testing.T) {
	f := func(format, in, want string, change ...func(*Decode)) {
		t.Helper()
		makes(t, newDecode(format, "v", change...), `{"v":`+string(record.AppendQuoted(nil, []byte(in)))+`}`, want)
	}
	cols := func(names ...string) func(*Decode) { return func(s *Decode) { s.Columns = names } }
	auto := func(s *Decode) { s.Types = FieldTypes{"*": "auto"} }
	f("json", ` {"a": [1,"x"]} `, `{"v":{"a": [1,"x"]}}`)
	f("json", "[1,\n2]", `{"v":[1,2]}`)
	f("json", `"x"`, `{"v":"x"}`)
	f("json", ` null `, `{"v":null}`)
	f("json", `{"a":}`, `!json: field v: byte 5: `)
	f("json", `1,"x":2`, `!invalid character ','`)
	f("json", `1],"x":[2`, `!invalid character`)
	f("json", ``, `!json: field v: `)
	f("csv", `a,"b,c",`, `{"v":["a","b,c",""]}`)
	f("csv", `1,x,true`, `{"v":[1,"x",true]}`, auto)
	f("csv", `1,x`, `{"v":{"a":1,"b":"x"}}`, auto, cols("a", "b"))
	f("csv", `1;"x;y"`, `{"v":["1","x;y"]}`, func(s *Decode) { s.Delimiter = ";" })
	f("csv", `a,b"`, `!csv: field v: byte 3: a quote can only be`)
	f("csv", `1`, `!csv: field v: byte 1: the line ends after 1 cells`, cols("a", "b"))
	f("csv", `x`, `!a cell should be a whole number`, func(s *Decode) { s.Types = FieldTypes{"*": "int"} })
	f("logfmt", `a=1 b="x y" c`, `{"v":{"a":1,"b":"x y","c":true}}`, auto)
	f("logfmt", `="`, `!logfmt: field v: byte 0: a key should be before =`)
	f("base64", `aMOpPz4=`, `{"v":"hé?>"}`)
	f("base64", " aMOpPz4\n", `{"v":"hé?>"}`)
	f("base64url", `aMOpPz4`, `{"v":"hé?>"}`)
	f("base64", `a*`, `!base64: field v: byte 1 is not base64`)
	f("base64", `/w==`, `!is not text (UTF-8)`)
	f("base64", `YWJjZGVm`, `!becomes larger than 5 bytes: raise max_bytes (now 5B)`, func(s *Decode) { s.MaxBytes = 5 })
	f("base64", `YWJjZGU=`, `{"v":"abcde"}`, func(s *Decode) { s.MaxBytes = 5 })
	f("gzip", `x`, `!is neither gzip nor that in base64`)
	f("zstd", `YWJj`, `!is neither zstd nor that in base64`)
	makes(t, newDecode("json", "v"), `{"v":1}`, `!json: field v is not a text`)
	makes(t, newDecode("json", "v"), `{"w":1}`, `!json: there is no field v`)
	makes(t, newDecode("base64", "message"), `/wA=`, "\xff\x00")
	makes(t, newDecode("json", "message"), ` {"a":1}`, `{"message":{"a":1}}`)
	makes(t, newDecode("json", "v", func(s *Decode) { s.Target = "w.x" }), `{"v":"[1]"}`, `{"v":"[1]","w":{"x":[1]}}`)
}

func gzipped(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A bomb is read no further than the limit.
func TestDecodeBombs(t *testing.T) {
	zeros := make([]byte, 32<<20)
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, bytes.NewReader(zeros)); err != nil { // a frame that does not say its size
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sized, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for name, packed := range map[string][]byte{"gzip": gzipped(t, zeros), "zstd": z.Bytes(), "zstd with its size": sized.EncodeAll(zeros, nil)} {
		t.Run(name, func(t *testing.T) {
			format, _, _ := strings.Cut(name, " ")
			limit := func(s *Decode) { s.MaxBytes = 1 << 20 }
			in := `{"v":"` + base64.StdEncoding.EncodeToString(packed) + `"}`
			makes(t, newDecode(format, "v", limit), in, "!becomes larger than 1048576 bytes: raise max_bytes (now 1MiB)")
			s := newDecode(format, "v", limit)
			if err := s.Open(t.Context(), openEnv); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := s.decode(packed, nil); err == nil {
				t.Fatal("a bomb was decoded")
			}
			runtime.ReadMemStats(&after)
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 24<<20 {
				t.Errorf("%d bytes were allocated", allocated)
			}
		})
	}
}

func TestDecodeCompressed(t *testing.T) {
	text := []byte(strings.Repeat("hello ", 100))
	makes(t, newDecode("gzip", "message"), string(gzipped(t, text)), string(text))
	cut := gzipped(t, text)
	makes(t, newDecode("gzip", "message"), string(cut[:len(cut)-6]), "!the data is cut off")
	cut[len(cut)-6] ^= 1
	makes(t, newDecode("gzip", "message"), string(cut), "!the data is damaged")
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := z.EncodeAll(text, nil)
	makes(t, newDecode("zstd", "message"), string(packed), string(text))
	makes(t, newDecode("zstd", "message"), string(packed[:len(packed)-3]), "!the data is ")
	exact := func(s *Decode) { s.MaxBytes = pipe.Size(len(text)) }
	makes(t, newDecode("zstd", "message", exact), string(packed), string(text))
	makes(t, newDecode("gzip", "message", exact), string(gzipped(t, text)), string(text))
}

func TestCodingValidate(t *testing.T) {
	refuses(t, newEncode("xml", "v"), "format", `unknown format "xml"`)
	refuses(t, newEncode("json", "v["), "field", "")
	refuses(t, newEncode("json", "v", func(s *Encode) { s.Target = "[" }), "target", "")
	refuses(t, newEncode("json", "v", func(s *Encode) { s.Columns = []string{"a"} }), "columns", "no meaning")
	refuses(t, newEncode("json", "v", func(s *Encode) { s.Delimiter = ";" }), "delimiter", "no meaning")
	refuses(t, newEncode("csv", "v", func(s *Encode) { s.Delimiter = "ab" }), "delimiter", "one ASCII character")
	refuses(t, newEncode("csv", "v", func(s *Encode) { s.Columns = []string{"a", "a"} }), "columns[1]", "two columns")
	refuses(t, newDecode("", "v"), "format", "unknown format")
	refuses(t, newDecode("json", "v", func(s *Decode) { s.Types = FieldTypes{"a": "int"} }), "types", "no meaning")
	refuses(t, newDecode("csv", "v", func(s *Decode) { s.Types = FieldTypes{"a": "int"} }), "types.a", "needs columns")
	refuses(t, newDecode("gzip", "v", func(s *Decode) { s.MaxBytes = 0 }), "max_bytes", "at least 1B")
}

func TestCodingConforms(t *testing.T) {
	for _, format := range codingFormats {
		pipetest.Stage(t, func() pipe.Stage { return newEncode(format, "v") }, `{"v":{"a":1,"b":"x\ny"}}`, `{"v":["a",1]}`, `{"v":"text"}`, `{"w":1}`)
		pipetest.Stage(t, func() pipe.Stage { return newDecode(format, "message") },
			"a=1", `1,"2"`, `[1]`, "YWJj", base64.StdEncoding.EncodeToString(gzipped(t, []byte("x"))), `{"message":"{\"a\":[]}","n":1}`)
	}
}

// What encode writes decode reads back.
func FuzzCodingRoundTrip(f *testing.F) {
	f.Add("", "a", "x\x00\"\\=\n")
	f.Add("1", "true", "é ,;")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if !utf8.ValidString(a + b + c) {
			return
		}
		values := map[string]string{"": string(record.AppendQuoted(nil, []byte(a)))}
		list, err := json.Marshal([]string{a, b, c})
		if err != nil {
			t.Fatal(err)
		}
		object := fmt.Sprintf(`{"k":%s,"l":%s}`, record.AppendQuoted(nil, []byte(a)), record.AppendQuoted(nil, []byte(b)))
		values["csv"], values["json"], values["logfmt"] = string(list), object, object
		for _, format := range codingFormats {
			in := values[format]
			if in == "" {
				in = values[""]
			}
			if format == "csv" && strings.ContainsAny(a+b+c, "\r") {
				continue // a record of its own would end there
			}
			in = `{"v":` + in + `}`
			packed := run(t, newEncode(format, "v"), in)
			if len(packed.Emitted[""]) != 1 {
				t.Fatalf("%s of %s: %v", format, in, packed.Errors)
			}
			back := run(t, newDecode(format, "v"), packed.Emitted[""][0])
			var got, want any
			if len(back.Emitted[""]) == 1 {
				if err := json.Unmarshal([]byte(back.Emitted[""][0]), &got); err != nil {
					t.Fatal(err)
				}
			}
			if err := json.Unmarshal([]byte(in), &want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s of %s: got %v, %v, want %v", format, in, got, back.Errors, want)
			}
		}
	})
}

// No bytes make a decoder panic or go beyond its limit.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"a":[1]}`))
	f.Add(gzipped(f, []byte("hello")))
	f.Add([]byte("YWJj"))
	f.Add([]byte("\x28\xb5\x2f\xfd\x04\x00\x09\x00\x00abc"))
	var stages []*Decode
	for _, format := range codingFormats {
		s := newDecode(format, "message", func(s *Decode) { s.MaxBytes = 4096 })
		if err := s.Open(f.Context(), openEnv); err != nil {
			f.Fatal(err)
		}
		stages = append(stages, s)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		for _, s := range stages {
			v, err := s.decode(text, &record.Arena{})
			if err != nil {
				continue
			}
			if got := v.AppendJSON(nil); !json.Valid(got) {
				t.Errorf("%s of %q gives %q", s.Format, text, got)
			}
			if v.Kind() == record.KindString && s.Format != "json" && len(v.Bytes(nil)) > 4096 {
				t.Errorf("%s of %d bytes gives %d", s.Format, len(text), len(v.Bytes(nil)))
			}
		}
		if !bytes.Equal(text, before) {
			t.Errorf("the text was written to: %q is now %q", before, text)
		}
	})
}
