package stages

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func columns(names ...string) func(*Parse) { return func(p *Parse) { p.Columns = names } }
func types(m FieldTypes) func(*Parse)      { return func(p *Parse) { p.Types = m } }
func keepSource(p *Parse)                  { p.KeepSource = true }
func from(field string) func(*Parse)       { return func(p *Parse) { p.Field = field } }

func pattern(t testing.TB, re string) func(*Parse) {
	t.Helper()
	return func(p *Parse) {
		if err := p.Pattern.UnmarshalText([]byte(re)); err != nil {
			t.Fatal(err)
		}
	}
}

func parses(t *testing.T, p *Parse, in, want string) {
	t.Helper()
	r := run(t, p, in)
	same(t, in, r.Emitted[""], []string{want})
	if len(r.Errors) > 0 {
		t.Error(r.Errors)
	}
}

func TestParseJSON(t *testing.T) {
	f := func(change func(*Parse), in, want string) {
		t.Helper()
		parses(t, newParse("json", change), in, want)
	}
	as := func(*Parse) {}
	f(as, ` {"a": 1,"b":{"c":[null]}} `, `{"a": 1,"b":{"c":[null]}}`)
	f(keepSource, `x`[:0]+` {"a":1}`, `{"message":" {\"a\":1}","a":1}`)
	f(keepSource, ` {"message":1}`, `{"message":1}`)
	f(as, `{"id":7,"a":1,"message":"{\"a\":2,\"b\":\"caf\u00e9\"}"}`, `{"id":7,"a":2,"b":"café"}`)
	f(as, `{"id":7,"message":"{\"message\":\"inner\"}"}`, `{"id":7,"message":"inner"}`)
	f(keepSource, `{"id":7,"message":"{\"b\":3}"}`, `{"id":7,"message":"{\"b\":3}","b":3}`)
	f(from("log.line"), `{"log":{"line":"{\"b\":3}","n":1}}`, `{"log":{"n":1},"b":3}`)
	f(from("log.line"), `{"log":{"line":"{\"log\":3}","n":1}}`, `{"log":3}`)

	bad := func(change func(*Parse), in, want string) {
		t.Helper()
		fails(t, run(t, newParse("json", change), in), want)
	}
	bad(as, "", "json: byte ")
	bad(as, "[1]", "json: byte ")
	bad(as, ` {"a":1`, "json: byte ")
	bad(as, ` {"a":1} x`, "json: byte ")
	bad(as, `{"a":1}`, "json: there is no field message")
	bad(as, `{"message":1}`, "json: field message is not a text")
	bad(as, `{"message":{}}`, "json: field message is not a text")
	bad(from("a.b"), "a line", "json: there is no field a.b")
}

func TestParseCSV(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		parses(t, newParse("csv", columns("a", "", "c.d")), line, want)
	}
	f(`1,2,3`, `{"a":"1","c.d":"3"}`)
	f(`,,`, `{"a":"","c.d":""}`)
	f(`"x, y",2,"say ""hi"""`, `{"a":"x, y","c.d":"say \"hi\""}`)
	f(`"""",2,""`, `{"a":"\"","c.d":""}`)
	f("1,2,3\r", `{"a":"1","c.d":"3"}`)
	f("1,2,\"3\"\r", `{"a":"1","c.d":"3"}`)
	parses(t, newParse("csv", columns("one")), "", `{"one":""}`)
	parses(t, newParse("csv", columns("a", "b"), func(p *Parse) { p.Delimiter = "\t" }), "1,2\t3", `{"a":"1,2","b":"3"}`)
	parses(t, newParse("csv", columns("x", "b")), `{"x":1,"y":2,"message":"3,4"}`, `{"y":2,"x":"3","b":"4"}`)
	parses(t, newParse("csv", columns("message", "b"), keepSource), `3,4`, `{"message":"3","b":"4"}`)

	bad := func(line, want string) {
		t.Helper()
		fails(t, run(t, newParse("csv", columns("a", "b")), line), want)
	}
	bad(``, "csv: byte 0: the line ends after 1 cells, there are 2 columns")
	bad(`1,2,3`, "csv: byte 5: the line ends after 3 cells, there are 2 columns")
	bad(`1,"2`, "csv: byte 4: the closing quote of a cell is missing")
	bad(`1,"2""`, "csv: byte 6: the closing quote of a cell is missing")
	bad(`"1"x,2`, "csv: byte 3: the delimiter should follow a closing quote")
	bad(`1,2"3`, "csv: byte 3: a quote can only be in a cell that begins with one")
}

func TestParseLogfmt(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		parses(t, newParse("logfmt"), line, want)
	}
	f(`level=info msg="a \"b\" c" n=7 ok`, `{"level":"info","msg":"a \"b\" c","n":"7","ok":true}`)
	f(`  a=  b="" c=x=y d=it"s `, `{"a":"","b":"","c":"x=y","d":"it\"s"}`)
	f(`a=1 b=2 a=3 b`, `{"a":"3","b":true}`)
	f(`hello`, `{"hello":true}`)
	f("a=1\tb=\"tab\\there\"\r", `{"a":"1","b":"tab\there"}`)
	f(`ключ=значение`, `{"ключ":"значение"}`)
	f(`message=x`, `{"message":"x"}`)

	typed := types(FieldTypes{"n": "int", "f": "float", "ok": "bool", "id": "string", "*": "auto"})
	parses(t, newParse("logfmt", typed), `n="007" f=.5 ok=T id=5 x=5 y=05 z=true q="5" w=-1.5e3 v=`,
		`{"n":7,"f":0.5,"ok":true,"id":"5","x":5,"y":"05","z":true,"q":"5","w":-1.5e3,"v":""}`)
	parses(t, newParse("logfmt", typed), `n= f="" z=false`, `{"z":false}`)

	bad := func(line, want string) {
		t.Helper()
		fails(t, run(t, newParse("logfmt", typed), line), want)
	}
	bad(``, "logfmt: byte 0: the line has no key=value")
	bad(`  `, "logfmt: byte 2: the line has no key=value")
	bad(`a=1 =2`, "logfmt: byte 4: a key should be before =")
	bad(`a=1 b"c=2`, "logfmt: byte 5: a key cannot have a quote")
	bad(`a=1 b="c`, "logfmt: byte 8: the closing quote of b is missing")
	bad(`a="1"b=2`, "logfmt: byte 5: a space should follow the value of a")
	bad(`a=1 n=1.5`, `logfmt: byte 6: field n should be a whole number, got "1.5"`)
	bad(`f=x`, `logfmt: byte 2: field f should be a number, got "x"`)
	bad(`f=Inf`, `logfmt: byte 2: field f should be a number, got "Inf"`)
	bad(`ok=yes`, `logfmt: byte 3: field ok should be true or false, got "yes"`)
}

func TestParseLogfmtWithManyKeys(t *testing.T) {
	var line, want strings.Builder
	for i := range 100 {
		fmt.Fprintf(&line, "k%d=old ", i)
		fmt.Fprintf(&want, `,"k%d":"new"`, i)
	}
	parses(t, newParse("logfmt"), line.String()+strings.ReplaceAll(line.String(), "old", "new"), "{"+want.String()[1:]+"}")
}

func TestParseRegex(t *testing.T) {
	f := func(re, line, want string) {
		t.Helper()
		parses(t, newParse("regex", pattern(t, re)), line, want)
	}
	f(`(?P<level>[A-Z]+): (?P<text>.*)`, "12:00 WARN: low disk", `{"level":"WARN","text":"low disk"}`)
	f(`^(\d+) (?P<word>\w+)(?: (?P<more>\w+))?$`, "1 x", `{"word":"x"}`)
	f(`^(?P<a>x*)(?P<b>y)?`, "z", `{"a":""}`)
	parses(t, newParse("regex", pattern(t, `(?P<n>\d+)(?P<f>\w)`), types(FieldTypes{"*": "auto"})), "42x", `{"n":42,"f":"x"}`)
	fails(t, run(t, newParse("regex", pattern(t, `^(?P<n>\d+)$`)), "42x"), "regex: the pattern does not match")
	fails(t, run(t, newParse("regex", pattern(t, `is (?P<n>\w+)`), types(FieldTypes{"n": "int"})), "it is x"),
		`regex: byte 6: field n should be a whole number, got "x"`)
}

func TestParseValidate(t *testing.T) {
	f := func(p *Parse, field, want string) {
		t.Helper()
		refuses(t, p, field, want)
	}
	f(newParse(""), "format", "required")
	f(newParse("xml"), "format", "unknown format")
	f(newParse("json", from("a..b")), "field", "path ")
	f(newParse("json", columns("a")), "columns", "no meaning for the format json")
	f(newParse("json", types(FieldTypes{"*": "auto"})), "types", "no meaning for the format json")
	f(newParse("logfmt", pattern(t, "(?P<a>b)")), "pattern", "no meaning for the format logfmt")
	f(newParse("logfmt", func(p *Parse) { p.Delimiter = ";" }), "delimiter", "no meaning for the format logfmt")
	f(newParse("csv"), "columns", "at least one column")
	f(newParse("csv", columns("", "")), "columns", "at least one column")
	f(newParse("csv", columns("a", "b", "a")), "columns[2]", "two columns")
	for _, d := range []string{"", ",,", "é", `"`, "\n"} {
		f(newParse("csv", columns("a"), func(p *Parse) { p.Delimiter = d }), "delimiter", "one ASCII character")
	}
	f(newParse("csv", columns("a"), types(FieldTypes{"b": "int"})), "types.b", "no such column")
	f(newParse("logfmt", types(FieldTypes{"b": "number"})), "types.b", "unknown type")
	f(newParse("regex"), "pattern", "required")
	f(newParse("regex", pattern(t, "(a)")), "pattern", "no named group")

	var r Regexp
	if err := r.UnmarshalText([]byte("(a")); err == nil || err.Error() != "missing closing ): `(a`" {
		t.Errorf("got %v", err)
	}
}

func TestJSONNumber(t *testing.T) {
	f := func(in string, whole, ok bool) {
		t.Helper()
		if gotWhole, gotOK := jsonNumber([]byte(in)); gotWhole != whole || gotOK != ok {
			t.Errorf("%q: got %v, %v, want %v, %v", in, gotWhole, gotOK, whole, ok)
		}
	}
	for _, in := range []string{"0", "-0", "10", "-123456789012345678901234567890"} {
		f(in, true, true)
	}
	for _, in := range []string{"0.5", "1.50", "1e3", "-1E-3", "1.5e+10"} {
		f(in, false, true)
	}
	for _, in := range []string{"", "-", "+1", "01", "1.", ".5", "1e", "1e+", "1x", "1.5.2", "0x10", "NaN", "--1", "1 "} {
		if _, ok := jsonNumber([]byte(in)); ok {
			t.Errorf("%q is taken for a number", in)
		}
	}
}

func TestParseConforms(t *testing.T) {
	f := func(name string, fresh func() *Parse, samples ...string) {
		t.Run(name, func(t *testing.T) {
			pipetest.Stage(t, func() pipe.Stage { return fresh() }, samples...)
		})
	}
	f("json", func() *Parse { return newParse("json") }, ` {"a":1}`, `{"message":"{\"a\":1}"}`, "oops")
	f("csv", func() *Parse { return newParse("csv", columns("a", "b"), types(FieldTypes{"b": "int"})) },
		"x,1", `"x ""y""",2`, "x", "x,y", `{"message":"x,1","b":0,"c":1}`)
	f("logfmt", func() *Parse { return newParse("logfmt", keepSource) }, `a=1 b="x \"y\""`, "a=", `{"message":"a=1 a=2","c":1}`)
	f("regex", func() *Parse { return newParse("regex", pattern(t, `(?P<a>\d)(?P<b>\D)?`)) }, "1x", "1", "x", `{"message":"1x","a":5}`)
}
