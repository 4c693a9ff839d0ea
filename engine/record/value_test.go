package record

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestInt(t *testing.T) {
	f := func(literal string, want int64, ok bool) {
		t.Helper()
		got, gotOK := Number([]byte(literal)).Int()
		if gotOK != ok || ok && got != want {
			t.Errorf("%s: got %d, %v, want %d, %v", literal, got, gotOK, want, ok)
		}
	}
	f("0", 0, true)
	f("-0", 0, true)
	f("42", 42, true)
	f("-42", -42, true)
	f("9223372036854775807", math.MaxInt64, true)
	f("9223372036854775808", 0, false)
	f("-9223372036854775808", math.MinInt64, true)
	f("-9223372036854775809", 0, false)
	f("9999999999999999999", 0, false)
	f("10000000000000000000", 0, false)
	f("1.0", 0, false)
	f("1e3", 0, false)
	if _, ok := Str("1").Int(); ok {
		t.Error("a string is an integer")
	}
}

func TestFloat(t *testing.T) {
	f := func(literal string) {
		t.Helper()
		want, _ := strconv.ParseFloat(literal, 64)
		got, ok := Number([]byte(literal)).Float()
		if !ok || math.Float64bits(got) != math.Float64bits(want) {
			t.Errorf("%s: got %v, want %v", literal, got, want)
		}
	}
	for _, s := range []string{"0", "-0", "-0.0", "1", "-1.5", "0.1", "123.456", "9007199254740991", "9007199254740992",
		"9007199254740993", "0.9007199254740993", "1e10", "1E-7", "1e400", "-1e400", "5e-324", "1e-400", "0.0000000000000000000001",
		"0.00000000000000000000001", "179769313486231570000000000000000000000", "1.7976931348623157e308", "00.5"} {
		f(s)
	}
	r := rand.New(rand.NewPCG(9, 10))
	for range 5000 {
		f(strconv.FormatFloat(r.Float64()*math.Pow(10, float64(r.IntN(30)-10)), 'f', r.IntN(25), 64))
	}
	if _, ok := Null().Float(); ok {
		t.Error("null is a number")
	}
}

func TestValueKinds(t *testing.T) {
	var a Arena
	f := func(v Value, kind Kind, text string, x any) {
		t.Helper()
		if v.Kind() != kind || v.Exists() != (kind != KindMissing) {
			t.Errorf("%s: got %v, want %v", text, v.Kind(), kind)
		}
		if got := string(v.AppendJSON([]byte("+"))); got != "+"+text {
			t.Errorf("got %s, want +%s", got, text)
		}
		if got := string(v.Raw()); got != text {
			t.Errorf("got %s, want %s", got, text)
		}
		if got := v.Any(); !reflect.DeepEqual(got, x) {
			t.Errorf("%s: got %#v, want %#v", text, got, x)
		}
	}
	f(Value{}, KindMissing, "null", nil)
	f(Null(), KindNull, "null", nil)
	f(Bool(true), KindBool, "true", true)
	f(Bool(false), KindBool, "false", false)
	f(Int(math.MinInt32, &a), KindNumber, "-2147483648", math.MinInt32)
	f(Int(7, nil), KindNumber, "7", 7)
	f(Float(0.1, &a), KindNumber, "0.1", 0.1)
	f(Float(1e300, nil), KindNumber, "1e+300", 1e300)
	f(Float(math.NaN(), &a), KindNull, "null", nil)
	f(Float(math.Inf(-1), &a), KindNull, "null", nil)
	f(Number([]byte("12345678901234567890")), KindNumber, "12345678901234567890", 12345678901234567890.0)
	f(Str(""), KindString, `""`, "")
	f(Text(nil), KindString, `""`, "")
	f(Str("a\"b"), KindString, `"a\"b"`, "a\"b")
	f(RawJSON([]byte(` "\u00e9\ud83d\ude00\/" `)), KindString, `"\u00e9\ud83d\ude00\/"`, "é😀/")
	f(RawJSON([]byte(`"\ud800x\udc00\ud800\ud800"`)), KindString, `"\ud800x\udc00\ud800\ud800"`, "\ufffdx\ufffd\ufffd\ufffd")
	f(RawJSON([]byte("{ \"a\" :\n[1, \"b \\n\"] }")), KindObject, `{"a":[1,"b \n"]}`, map[string]any{"a": []any{1, "b \n"}})
	f(RawJSON([]byte("[ ]\n")), KindArray, "[]", []any{})
	f(RawJSON([]byte("{}")), KindObject, "{}", map[string]any{})
	f(RawJSON([]byte(" ")), KindMissing, "null", nil)
	f(RawJSON([]byte(`{"a":1,"a":{"b":2}}`)), KindObject, `{"a":1,"a":{"b":2}}`, map[string]any{"a": map[string]any{"b": 2}})
}

func TestBool(t *testing.T) {
	f := func(v Value, want, ok bool) {
		t.Helper()
		if got, gotOK := v.Bool(); got != want || gotOK != ok {
			t.Errorf("%s: got %v, %v, want %v, %v", v, got, gotOK, want, ok)
		}
	}
	f(Bool(true), true, true)
	f(RawJSON([]byte("false")), false, true)
	f(Str("true"), false, false)
	f(Null(), false, false)
}

func TestElementsAndMembers(t *testing.T) {
	v := RawJSON([]byte(`{"a" : [1, "two" ,[3]], "\u0062":{}, "c":null}`))
	var got []string
	add := func(what string) bool {
		got = append(got, what)
		return len(got)%5 != 4 // stop after four
	}
	v.Members(func(key []byte, v Value) bool {
		v.Elements(func(v Value) bool { return add(v.String()) })
		return add(string(key))
	})
	v.Elements(func(v Value) bool { return add("an element of an object") })
	Number([]byte("1")).Members(func(key []byte, v Value) bool { return add("a member of a number") })
	if got, want := strings.Join(got, " "), "1 two [3] a"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestStrings(t *testing.T) {
	f := func(v Value, want string) {
		t.Helper()
		scratch := make([]byte, 3, 100)
		if got := string(v.Bytes(scratch)); got != want {
			t.Errorf("%s: got %q, want %q", v.Raw(), got, want)
		}
		if got := v.String(); got != want {
			t.Errorf("%s: got %q, want %q", v.Raw(), got, want)
		}
		isString := v.Kind() == KindString
		if got := v.EqualString(want); got != isString {
			t.Errorf("%s: equal to %q is %v, want %v", v.Raw(), want, got, isString)
		}
		for i := range len(want) {
			if v.EqualString(want[:i]) || v.EqualString(want[:i]+"\x00"+want[i+1:]) {
				t.Errorf("%s: is equal to a part of itself", v.Raw())
			}
		}
		if v.EqualString(want + "x") {
			t.Errorf("%s: is equal to more than itself", v.Raw())
		}
	}
	f(Str("plain"), "plain")
	f(Text([]byte("\xff raw")), "\xff raw")
	f(RawJSON([]byte(`"plain"`)), "plain")
	f(RawJSON([]byte(`"\"\\\/\b\f\n\r\t\u0041\u20ac\ud83d\ude00 end"`)), "\"\\/\b\f\n\r\tA€😀 end")
	f(Int(12, nil), "12")
	f(Null(), "null")
	f(Value{}, "")
	f(RawJSON([]byte(`[1, "a"]`)), `[1, "a"]`)
}

func TestAppendQuoted(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		got := string(AppendQuoted([]byte("+"), []byte(text)))
		if got != "+"+want {
			t.Errorf("%q: got %s, want +%s", text, got, want)
		}
		var back string
		if err := json.Unmarshal([]byte(got[1:]), &back); err != nil || back != string([]rune(text)) {
			t.Errorf("%q: is read back as %q, %v", text, back, err)
		}
	}
	f("", `""`)
	f("plain text, longer than a word", `"plain text, longer than a word"`)
	f(`a "quoted" \ word`, `"a \"quoted\" \\ word"`)
	f("\x00\x01\b\t\n\f\r\x1f \x7f", `"\u0000\u0001\u0008\t\n\u000c\r\u001f `+"\x7f"+`"`)
	f("<a href='x'>&</a>", `"<a href='x'>&</a>"`)
	f("é€😀\u2028", "\"é€😀\u2028\"")
	f("cut \xe2\x82 and \xff.", "\"cut \ufffd\ufffd and \ufffd.\"")
}

func TestFromAny(t *testing.T) {
	var a Arena
	type name string
	number := 7
	var nothing *int
	f := func(x any, want string) {
		t.Helper()
		for _, a := range []*Arena{&a, nil} {
			v, err := FromAny(a, x)
			if got := string(v.AppendJSON(nil)); err != nil || got != want {
				t.Errorf("%v: got %s, %v, want %s", x, got, err, want)
			}
		}
	}
	f(nil, `null`)
	f(true, `true`)
	f(1, `1`)
	f(int8(-1), `-1`)
	f(int64(math.MaxInt64), `9223372036854775807`)
	f(uint64(math.MaxUint64), `18446744073709551615`)
	f(uint8(255), `255`)
	f(1.5, `1.5`)
	f(float32(0.1), `0.1`)
	f(math.Inf(1), `null`)
	f([]float64{1, math.NaN()}, `[1,null]`)
	f("é\n", `"é\n"`)
	f([]byte("text"), `"text"`)
	f(name("n"), `"n"`)
	f(json.Number("1e5"), `1e5`)
	f(time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), `"2026-01-02T03:04:05.000006Z"`)
	f(1500*time.Millisecond, `"1.5s"`)
	f([]any{1, "a", nil, []string{"b"}}, `[1,"a",null,["b"]]`)
	f([2]int{1, 2}, `[1,2]`)
	f([]string(nil), `[]`)
	f(map[string]any{"b": 1, "a": map[string]int{"z": 1, "y": 2}}, `{"a":{"y":2,"z":1},"b":1}`)
	f(map[any]any{1: "one", "two": 2, true: nil}, `{"1":"one","true":null,"two":2}`)
	f(&number, `7`)
	f(nothing, `null`)
	f(RawJSON([]byte(`{"a":1}`)), `{"a":1}`)
	f([]any{Str("v"), Value{}}, `["v",null]`)

	bad := func(x any, want string) {
		t.Helper()
		if _, err := FromAny(&a, x); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	loop := map[string]any{}
	loop["self"] = loop
	bad(loop, "a value is nested more than 1000 levels deep, or holds itself")
	bad(func() {}, "a func cannot be put into an event")
	bad([]any{struct{}{}}, "a struct cannot be put into an event")
	bad(map[[2]int]int{{1, 2}: 3}, "a map whose keys are not strings, numbers or booleans cannot be put into an event")
	bad(json.Number("1.2.3"), `"1.2.3" is not a JSON number`)
	bad(json.Number(""), `"" is not a JSON number`)
}
