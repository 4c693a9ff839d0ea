package expr_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// grammar makes expressions and events out of a stream of decisions. When the
// stream ends, every decision is the first choice.
type grammar struct{ data []byte }

func (g *grammar) below(n int) int {
	if len(g.data) == 0 {
		return 0
	}
	c := int(g.data[0])
	g.data = g.data[1:]
	return c % n
}

func (g *grammar) pick(choices ...string) string { return choices[g.below(len(choices))] }

func (g *grammar) field() string {
	return g.pick("a", "b", "c", "d", "a.x", "b.y", "c[0]", "c[1].x", `$env["k k"]`, "message", "nope", "len", "a?.x?.y", "c[-1]", "d[b]")
}

func (g *grammar) constant() string {
	return g.pick("1", "nil", "0", "-1", "2.5", "1_000", "1.0", "9223372036854775807", "-9223372036854775807", "9007199254740993", "1e3", "0.1",
		`"a"`, `""`, `"5"`, `"\"q\" \\ é\n"`, `"b"`, "true", "false", `"é"`)
}

func (g *grammar) list() string {
	var out []string
	for range g.below(4) + 1 {
		out = append(out, g.constant())
	}
	if g.below(8) == 0 {
		return g.field()
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func (g *grammar) operand(depth int) string {
	switch g.below(12) {
	case 0, 1, 2, 3:
		return g.field()
	case 4, 5, 6:
		return g.constant()
	case 7:
		return "meta(" + g.pick(`"topic"`, `"none"`, `"n"`) + ")"
	case 8:
		return g.pick("len(c)", "lower(a)", "string(b)", "type(a)", "abs(b)", "int(a)", "findIndex(c, # == 1)", "first(c)", "max(c)")
	case 9:
		if depth > 0 {
			return "(" + g.value(depth-1) + ")"
		}
	}
	return g.arithmetic(depth)
}

func (g *grammar) arithmetic(depth int) string {
	if depth <= 0 {
		return g.field()
	}
	if g.below(6) == 0 {
		return "-(" + g.operand(depth-1) + ")"
	}
	return "(" + g.operand(depth-1) + g.pick(" + ", " - ", " * ", " / ", " % ", " ** ") + g.operand(depth-1) + ")"
}

func (g *grammar) condition(depth int) string {
	if depth <= 0 {
		return g.pick(g.field(), "true", "false", "ok")
	}
	switch g.below(14) {
	case 0, 1, 2:
		return g.operand(depth-1) + g.pick(" == ", " != ") + g.operand(depth-1)
	case 3, 4, 5:
		return g.operand(depth-1) + g.pick(" < ", " <= ", " > ", " >= ") + g.operand(depth-1)
	case 6:
		return g.operand(depth-1) + g.pick(" in ", " not in ") + g.list()
	case 7:
		return g.operand(depth-1) + g.pick(" in ", " not in ") + g.pick("0..3", "-1..1", "1..1000", "5..0")
	case 8, 9:
		return g.operand(depth-1) + g.pick(" contains ", " startsWith ", " endsWith ", " not contains ") + g.pick(`"a"`, `""`, `"\""`, `"é"`, g.operand(0))
	case 10:
		return g.operand(depth-1) + " matches " + g.pick(`"^a"`, `"."`, `"[0-9]+$"`, `"(?i)É"`)
	case 11:
		return g.pick("not (", "!(") + g.condition(depth-1) + ")"
	case 12:
		return g.pick("any(c, # == 1)", "all(c, .x)", "none(d, # > 1)", "one(c, # == nil)", "count(c, .x) > 1", "let v = a; v == b",
			"(b ? a : nil) == 1", "(a ?? b)", "(ok ? a == 1 : b)", "a == b == true", "1 < b < 5")
	}
	return "(" + g.condition(depth-1) + g.pick(" and ", " or ", " && ", " || ") + g.condition(depth-1) + ")"
}

func (g *grammar) value(depth int) string {
	switch g.below(8) {
	case 0, 1, 2:
		return g.operand(depth)
	case 3:
		return g.condition(depth)
	case 4:
		return g.operand(depth) + " ?? " + g.operand(0)
	case 5:
		return g.condition(depth) + " ? " + g.operand(depth) + " : " + g.operand(depth)
	case 6:
		return g.list()
	}
	return g.arithmetic(depth)
}

// json makes a value of an event.
func (g *grammar) json(depth int) string {
	n := 11
	if depth <= 0 {
		n = 9
	}
	switch g.below(n) {
	case 0, 1:
		return g.pick("1", "0", "-1", "5", "1000", "-0", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "9007199254740993", "12345678901234567890123")
	case 2, 3:
		return g.pick("2.5", "1.0", "1e3", "1E-2", "-0.0", "0.1", "1e300", "5e-324", "1e400", "-1e400", "1e-400", "123456789012345678.5")
	case 4, 5, 6:
		return g.pick(`"a"`, `""`, `"5"`, `"\"q\" \\ é\n"`, `"\u0061"`, `"é"`, `"\u00e9"`, `"a\/b"`, `"\ud83d\ude00"`, `"\ud800"`, `"abc 12"`)
	case 7:
		return g.pick("true", "false")
	case 8:
		return "null"
	case 9:
		return fmt.Sprintf(`{"x":%s,"y":%s}`, g.json(depth-1), g.json(depth-1))
	}
	return g.pick("[]", fmt.Sprintf("[%s,%s]", g.json(depth-1), g.json(depth-1)), "{}", fmt.Sprintf("[%s]", g.json(depth-1)))
}

func (g *grammar) event(t testing.TB) (*pipe.Event, string) {
	if g.below(12) == 1 {
		line := g.pick("a line 5", "", `"quoted" \n é`, "\xff\xfe")
		return text(line), line
	}
	var members []string
	for _, k := range []string{"a", "b", "c", "d", "k k", "message", "len", "ok"} {
		if g.below(5) != 1 {
			members = append(members, fmt.Sprintf("%q:%s", k, g.json(2)))
		}
	}
	body := "{" + strings.Join(members, ", ") + "}"
	return event(t, body), body
}

// same holds the two evaluators of one expression against each other.
func same(t *testing.T, g *grammar) {
	t.Helper()
	source := g.condition(3)
	var b expr.Bool
	if err := b.UnmarshalText([]byte(source)); err == nil {
		for range 3 {
			e, body := g.event(t)
			if got, want := outcome(b.Eval(e)), outcome(b.EvalVM(e)); got != want {
				t.Errorf("%s\nover %s\nclosure gives %s\nmachine gives %s", source, body, got, want)
			}
		}
	}
	source = g.value(3)
	var v expr.Value
	if err := v.UnmarshalText([]byte(source)); err == nil {
		var a record.Arena
		for range 3 {
			e, body := g.event(t)
			got, err1 := v.Eval(e, &a)
			want, err2 := v.EvalVM(e, &a)
			if err2 != nil && strings.Contains(json(got, err1), "e400") {
				continue // the bytes of a number too large to compute with are passed on
			}
			if outcome("", err1) != outcome("", err2) || err1 == nil && !alike(read(t, json(got, nil)), read(t, json(want, nil))) {
				t.Errorf("%s\nover %s\nclosure gives %s\nmachine gives %s", source, body, json(got, err1), json(want, err2))
			}
		}
	}
}

// read gives a value as expressions read it.
func read(t *testing.T, v string) any {
	t.Helper()
	x, err := value(t, "v").EvalAny(event(t, `{"v":`+v+`}`))
	if err != nil {
		return err.Error()
	}
	return x
}

// alike compares results. A float that has no fraction is written like an int.
func alike(a, b any) bool {
	switch x := a.(type) {
	case int:
		if y, ok := b.(float64); ok {
			return float64(x) == y
		}
	case float64:
		if y, ok := b.(int); ok {
			return x == float64(y)
		}
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, alike)
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && maps.EqualFunc(x, y, alike)
	}
	return a == b
}

func FuzzClosureEqualsVM(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		f.Add(random(r))
	}
	f.Fuzz(func(t *testing.T, data []byte) { same(t, &grammar{data}) })
}

func random(r *rand.Rand) []byte {
	data := make([]byte, 40+r.IntN(200))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

func TestClosureEqualsVM(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		if same(t, &grammar{random(r)}); t.Failed() {
			return
		}
	}
}

// FuzzCompile holds that no text makes the compiler panic, that every mistake
// has a place inside the text, and that what compiles can be run.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{"a > 1", "sum(a, b)", "any(a, {#})", "let x = 1; x", "a[1:2]", "a?.b[0]", "::len(a)", "if a {1} else {2}", "{a: 1}", "b'x'", "$env", "a | upper()"} {
		f.Add(s)
	}
	e := event(f, sample)
	f.Fuzz(func(t *testing.T, source string) {
		var v expr.Value
		err := v.UnmarshalText([]byte(source))
		if err != nil {
			at, ok := err.(*pipe.OffsetError)
			if !ok || at.Offset < 0 || at.Offset > len(source) || strings.Contains(at.Error(), "\n") || strings.Contains(at.Error(), "interface {}") {
				t.Errorf("%q: got %#v", source, err)
			}
			return
		}
		var a record.Arena
		_, err1 := v.Eval(e, &a)
		_, err2 := v.EvalVM(e, &a)
		if (err1 == nil) != (err2 == nil) {
			t.Errorf("%q: closure gives %v, machine %v", source, err1, err2)
		}
	})
}
