package stages

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// convert makes a stage with one rule for each path.
func convert(rules ...any) *Convert {
	c := &Convert{}
	for i := 0; i < len(rules); i += 2 {
		rule, ok := rules[i+1].(Conversion)
		if !ok {
			rule = Conversion{Type: rules[i+1].(string)}
		}
		c.Fields = append(c.Fields, pipe.Pair[Conversion]{Key: rules[i].(string), Value: rule})
	}
	return c
}

func TestConvertTypes(t *testing.T) {
	f := func(typ, in, want string) {
		t.Helper()
		r := run(t, convert("v", typ), `{"v":`+in+`,"n": 1}`)
		if want == "" {
			fails(t, r, "field v: should be ")
			return
		}
		same(t, typ+" of "+in, r.Emitted[""], []string{`{"v":` + want + `,"n": 1}`})
	}
	f("int", `12`, `12`)
	f("int", `" -007 "`, `-7`)
	f("int", `"+3"`, `3`)
	f("int", `3.0`, `3`)
	f("int", `"3e2"`, `300`)
	f("int", `true`, `1`)
	f("int", `false`, `0`)
	for _, bad := range []string{`3.5`, `"3.5"`, `""`, `"x"`, `"0x10"`, `1e300`, `9223372036854775808`, `[1]`, `{}`, `"Inf"`, `"1_000"`} {
		f("int", bad, ``)
	}
	f("float", `"1.50"`, `1.50`)
	f("float", `".5"`, `0.5`)
	f("float", `1e3`, `1e3`)
	for _, bad := range []string{`""`, `"x"`, `"NaN"`, `"Inf"`, `true`, `[]`} {
		f("float", bad, ``)
	}
	f("string", `"x"`, `"x"`)
	f("string", `1.50`, `"1.50"`)
	f("string", `true`, `"true"`)
	f("string", `{"a":"b"}`, `"{\"a\":\"b\"}"`)
	for _, yes := range []string{`true`, `"True"`, `"yes"`, `"ON"`, `1`, `"1"`, `"t"`, `" y"`} {
		f("bool", yes, `true`)
	}
	for _, no := range []string{`false`, `"FALSE"`, `"no"`, `"off"`, `0`, `"f"`, `"N"`} {
		f("bool", no, `false`)
	}
	for _, bad := range []string{`2`, `""`, `"maybe"`, `[]`} {
		f("bool", bad, ``)
	}
	f("duration", `"1m30s"`, `90`)
	f("duration", `"250ms"`, `0.25`)
	f("duration", `"-1.5d"`, `-129600`)
	f("duration", `12`, `12`)
	for _, bad := range []string{`"12"`, `""`, `"xd"`, `"NaNd"`, `true`, `[]`} {
		f("duration", bad, ``)
	}
	f("size", `"64KiB"`, `65536`)
	f("size", `"1.5MB"`, `1500000`)
	f("size", `12`, `12`)
	for _, bad := range []string{`"x"`, `-1.5`, `"-1B"`, `true`} {
		f("size", bad, ``)
	}
	f("timestamp", `"2024-03-04 05:06:07Z"`, `"2024-03-04T05:06:07Z"`)
}

func TestConvertOptions(t *testing.T) {
	f := func(c Conversion, in, want string) {
		t.Helper()
		r := run(t, convert("a.b", c), in)
		if strings.HasPrefix(want, "!") {
			fails(t, r, want[1:])
			return
		}
		same(t, in, r.Emitted[""], []string{want})
	}
	f(Conversion{Type: "duration", Unit: "ms"}, `{"a":{"b":"1.5s"}}`, `{"a":{"b":1500}}`)
	f(Conversion{Type: "timestamp", Layouts: []string{"unix"}, Output: "rfc3339"}, `{"a":{"b":1700000000}}`, `{"a":{"b":"2023-11-14T22:13:20Z"}}`)
	f(Conversion{Type: "timestamp", Layouts: []string{"%d.%m.%Y %H:%M"}, Zone: "Europe/Berlin", Output: "utc"}, `{"a":{"b":"01.07.2024 12:00"}}`, `{"a":{"b":"2024-07-01T10:00:00Z"}}`)
	f(Conversion{Type: "timestamp"}, `{"a":{"b":"x"}}`, `!field a.b: "x" is no such time (rfc3339)`)
	f(Conversion{Type: "int"}, `{"a": {"b": null}}`, `{"a": {"b": null}}`)
	f(Conversion{Type: "int", Nulls: "remove"}, `{"a":{"b":null,"c":1}}`, `{"a":{"c":1}}`)
	f(Conversion{Type: "int", Nulls: "fail"}, `{"a":{"b":null}}`, `!field a.b: is null`)
	f(Conversion{Type: "int", NullTexts: []string{"-", ""}}, `{"a":{"b":"-"}}`, `{"a":{"b":null}}`)
	f(Conversion{Type: "int", NullTexts: []string{"-", ""}, Nulls: "remove"}, `{"a":{"b":""}}`, `{"a":{}}`)
	f(Conversion{Type: "int", NullTexts: []string{"-"}, Nulls: "fail"}, `{"a":{"b":"-"}}`, `!field a.b: is null`)
	f(Conversion{Type: "int"}, `{"x":1}`, `{"x":1}`)
	f(Conversion{Type: "int", Required: true}, `{"x":1}`, `!field a.b: is missing`)
	f(Conversion{Type: "int"}, "a line", "a line")
}

// What has its type already keeps its very bytes, and a mistake in the second
// field undoes the first.
func TestConvertLeavesTheRest(t *testing.T) {
	c := convert("a", "int", "b", "float", "c", "string", "d", "bool")
	r := run(t, c, `{ "a" : 1, "b":1.50,"c":"\u0041", "d":true }`, `{"a":"1","b":"x"}`)
	same(t, "emitted", r.Emitted[""], []string{`{ "a" : 1, "b":1.50,"c":"\u0041", "d":true }`})
	same(t, "failed", r.Failed, []string{`{"a":"1","b":"x"}`})
}

func TestConvertValidate(t *testing.T) {
	refuses(t, &Convert{}, "fields", "at least one field")
	refuses(t, convert("a", "number"), "fields.a", `unknown type "number"`)
	refuses(t, convert("a[", "int"), "fields.a[", "")
	refuses(t, convert("a", Conversion{Type: "int", Unit: "s"}), "fields.a.unit", "has no meaning for the type int")
	refuses(t, convert("a", Conversion{Type: "duration", Unit: "year"}), "fields.a.unit", "unknown unit")
	refuses(t, convert("a", Conversion{Type: "int", Layouts: []string{"unix"}}), "fields.a.layouts", "no meaning")
	refuses(t, convert("a", Conversion{Type: "int", Zone: "UTC"}), "fields.a.zone", "no meaning")
	refuses(t, convert("a", Conversion{Type: "int", Output: "utc"}), "fields.a.output", "no meaning")
	refuses(t, convert("a", Conversion{Type: "timestamp", Output: "x"}), "fields.a.output", "unknown output")
	refuses(t, convert("a", Conversion{Type: "timestamp", Layouts: []string{"x"}}), "fields.a.layouts[0]", "unknown layout")
	refuses(t, convert("a", Conversion{Type: "timestamp", Zone: "x"}), "fields.a.zone", "unknown zone")
	refuses(t, convert("a", Conversion{Type: "int", Nulls: "x"}), "fields.a.nulls", "keep, remove or fail")
}

func TestConvertConforms(t *testing.T) {
	pipetest.Stage(t, func() pipe.Stage {
		return convert("n", "int", "s", "string", "t", Conversion{Type: "timestamp", NullTexts: []string{"-"}, Nulls: "remove"}, "message", "size")
	}, `{"n":"12","s":1,"t":"2024-03-04T05:06:07Z"}`, `{"n":3,"t":"-"}`, `{"n":"x"}`, "12KiB")
}

// Whatever the value is, the result is of the type and JSON, or the event fails.
func FuzzConvert(f *testing.F) {
	for _, s := range []string{`"1"`, `-0.0`, `1e400`, `"٣"`, `"1h"`, `"64KiB"`, `null`, `[{}]`, `"yes"`, `"-0"`, `"1e5d"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return
		}
		for typ, kinds := range map[string]string{"int": "-0123456789n", "float": "-0123456789n", "string": `"n`, "bool": "tfn", "duration": "-0123456789n", "size": "0123456789-n", "timestamp": `"n`} {
			r, err := pipetest.RunStage(convert("v", typ), `{"v":`+text+`}`)
			if err != nil {
				if strings.Contains(err.Error(), "not a JSON object") {
					return // not UTF-8, or too deep
				}
				t.Fatalf("%s: %v", text, err)
			}
			for _, got := range r.Emitted[""] {
				var o struct{ V json.RawMessage }
				if err := json.Unmarshal([]byte(got), &o); err != nil || o.V != nil && !strings.Contains(kinds, string(o.V[:1])) {
					t.Errorf("%s of %s is %s", typ, text, got)
				}
			}
		}
	})
}
