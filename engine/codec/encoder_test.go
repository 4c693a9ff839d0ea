package codec

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// events makes events of JSON objects, or of text where it is not one.
func events(t testing.TB, bodies ...string) []*pipe.Event {
	t.Helper()
	var b pipe.Batch
	b.Reset(nil, "src", 0)
	for i, s := range bodies {
		body, err := record.FromJSON([]byte(s), &b.Arena)
		if err != nil {
			body = record.FromText([]byte(s))
		}
		b.Add(body, int64(i+1))
	}
	all, _, _ := b.Take(time.Now())
	return slices.Clone(all)
}

func encode(e *Encoder, all []*pipe.Event) string {
	var out []byte
	for _, ev := range all {
		next, err := e.Append(out, ev)
		if err != nil {
			out = append(out, "!"+err.Error()+"\n"...)
			continue
		}
		out = next
	}
	return string(out)
}

func TestEncoder(t *testing.T) {
	f := func(c Codec, want string, bodies ...string) {
		t.Helper()
		if got := encode(c.NewEncoder(), events(t, bodies...)); got != want {
			t.Errorf("%s %q: got %q, want %q", c.Type, bodies, got, want)
		}
	}
	f(Lines(), "a\xff\n\n", "a\xff", "")
	f(NDJSON(), "{\"a\": 1}\n{\"message\":\"x\"}\n", `{"a": 1}`, "x")
	f(JSON(), "{\"a\": 1}\n{}\n", `{"a": 1}`, `{}`)
	f(Raw(), "ab\nc", "a", "b\n", "c")
	f(CSV(), "a,b\n1,x\n,\"y\"\"\n\"\n", `{"a":1,"b":"x"}`, `{"b":"y\"\n","a":null}`)
	f(CSV(), "message\nhello\n\"\"\n", "hello", "")
	f(CSV(), "a\n\"[1,2]\"\n\"{\"\"x\"\":1}\"\ntrue\n", `{"a":[1,2]}`, `{"a":{"x":1}}`, `{"a":true}`)
	f(CSV(), "a\n1\n!csv: field \"b\" is not among the columns, which are the fields of the first event; list the columns\n\"\"\n",
		`{"a":1}`, `{"a":2,"b":3}`, `{}`)
	f(CSV(), "!csv: the event has no fields to take the columns from; list the columns\na\n1\n", `{}`, `{"a":1}`)
	c := CSV()
	c.Columns, c.Delimiter = []string{"b", "http.status", "x.y"}, ";"
	f(c, "b;http.status;x.y\n1,5;200;\n;;3\n", `{"a":0,"b":"1,5","http":{"status":200}}`, `{"x.y":3}`)
	c.Header = false
	f(c, "1;;\n", `{"b":1}`)
}

func TestEncoderBeginsFiles(t *testing.T) {
	c := CSV()
	e := c.NewEncoder()
	all := events(t, `{"a":1}`)
	got := encode(e, all) + encode(e, all)
	e.Begin(true)
	got += encode(e, all)
	e.Begin(false)
	got += encode(e, all)
	if want := "a\n1\n1\na\n1\n1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCodecText(t *testing.T) {
	for _, n := range names {
		var c Codec
		if err := c.UnmarshalText([]byte(n)); err != nil || c.Type != n || c.Validate() != nil || c.ValidateRead() != nil {
			t.Errorf("%s: got %v, %v", n, c, err)
		}
		if c.ContentType() == "" || c.String() != string(n) {
			t.Errorf("%s: content type %q, string %q", n, c.ContentType(), c.String())
		}
	}
	var c Codec
	if err := c.UnmarshalText([]byte("xml")); err == nil || err.Error() != `unknown codec "xml": it is one of lines, json, ndjson, csv, raw` {
		t.Errorf("got %v", err)
	}
}

func TestCodecValidate(t *testing.T) {
	f := func(change func(*Codec), want string) {
		t.Helper()
		c := CSV()
		change(&c)
		if err := c.ValidateRead(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	const sep = ` cannot separate fields: it must be one ASCII character, and no quote or line break`
	f(func(c *Codec) { c.Type = "" }, `type: unknown codec "": it is one of lines, json, ndjson, csv, raw`)
	f(func(c *Codec) { c.Delimiter = "" }, `delimiter: ""`+sep)
	f(func(c *Codec) { c.Delimiter = "::" }, `delimiter: "::"`+sep)
	f(func(c *Codec) { c.Delimiter = "é" }, `delimiter: "é"`+sep)
	f(func(c *Codec) { c.Delimiter = "\"" }, `delimiter: "\""`+sep)
	f(func(c *Codec) { c.Types = "int" }, `types: "int" is neither text nor auto`)
	f(func(c *Codec) { c.Columns = []string{"a", ""} }, `columns[1]: a column needs a name`)
	f(func(c *Codec) { c.Columns = []string{"a", "a"} }, `columns[1]: column "a" is there twice`)
	f(func(c *Codec) { c.Header = false }, `columns: csv without a header needs the names of its columns`)
	f(func(c *Codec) { c.Type = TypeLines; c.Delimiter = ";" }, `delimiter: only codec csv has a delimiter, not lines`)
	f(func(c *Codec) { c.Type = TypeJSON; c.Columns = []string{"a"} }, `columns: only codec csv has columns, not json`)
	f(func(c *Codec) { c.Type = TypeRaw; c.Types = "auto" }, `types: only codec csv has types, not raw`)
}

// What is written is read back as it was, in every format that can hold it.
func FuzzRoundTrip(f *testing.F) {
	f.Add("plain", "with,comma")
	f.Add("", "\"\r\n\"")
	f.Add("\ufeff", "\xff\x00")
	f.Fuzz(func(t *testing.T, a, b string) {
		var batch pipe.Batch
		batch.Reset(nil, "src", 0)
		body := record.NewObject(&batch.Arena, 2)
		body.Add(&batch.Arena, "a", record.Str(a))
		body.Add(&batch.Arena, "b", record.Str(b))
		want := string(body.AppendJSON(nil))
		ev := batch.Add(body, 1)
		for _, c := range []Codec{JSON(), NDJSON(), CSV()} {
			out, err := c.NewEncoder().Append(nil, ev)
			if err != nil {
				t.Fatal(err)
			}
			got := read(t, c, string(out), plenty)
			if len(got) != 1 || got[0].fail != "" {
				t.Fatalf("%s: %q: got %v", c.Type, out, got)
			}
			if got[0].text != want {
				t.Errorf("%s: %q: got %s, want %s", c.Type, out, got[0].text, want)
			}
		}
		line := strings.Join(strings.FieldsFunc(a+b, func(r rune) bool { return r == '\n' || r == '\r' }), "")
		lines := Lines()
		out, _ := lines.NewEncoder().Append(nil, events(t, "x"+line)[0])
		if got := texts(read(t, lines, string(out), plenty)); got != "x"+line {
			t.Errorf("lines: got %q, want %q", got, line)
		}
	})
}
