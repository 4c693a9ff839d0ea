package expr

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"

	"github.com/expr-lang/expr/vm"

	"github.com/pipectl/pipectl/engine/record"
)

// Template is an expression that makes a value without an event to read from,
// such as those of the generate source. Beside the language itself it knows
//
//	seq                 the number of the event, from 0
//	rand()              a number from 0 up to, but not including, 1
//	rand_int(lo, hi)    a whole number from lo to hi, both included
//	pick(list)          one element of a list
//	uuid()              a random UUID (version 4); not a secret
//	format(text, ...)   text with %d, %s, %.2f and the like filled in
//	hex(n)              a whole number in hexadecimal digits
//
// The zero value gives null. Copies share the compiled code.
type Template struct {
	program *program
	fixed   *record.Value // the result, if it is a constant
}

// ofTemplates is the vocabulary of templates.
var ofTemplates = vocabulary{
	variables: []string{"seq"},
	functions: map[string]function{
		"rand":     {0, 0, "rand()"},
		"rand_int": {2, 2, "rand_int(lo, hi)"},
		"pick":     {1, 1, `pick(["a", "b"])`},
		"uuid":     {0, 0, "uuid()"},
		"format":   {1, 100, `format("%05d", seq)`},
		"hex":      {1, 1, "hex(255)"},
	},
	env: (&GenEnv{}).env(),
}

// UnmarshalText compiles the expression. Its errors are *pipe.OffsetError.
func (t *Template) UnmarshalText(text []byte) error {
	p, err := compile(string(text), ofTemplates)
	if err != nil {
		return err
	}
	*t = Template{program: p}
	if v, ok := (&closures{p}).fixed(p.node); ok {
		t.fixed = &v
	}
	return nil
}

// Eval makes the value for the event that g stands at. Results become values as
// Value.Eval says. It is safe for concurrent use with one GenEnv each.
func (t *Template) Eval(g *GenEnv, a *record.Arena) (record.Value, error) {
	if t.IsZero() {
		return record.Null(), nil
	}
	if t.fixed != nil {
		return *t.fixed, nil
	}
	out, err := g.vm.Run(t.program.code, g.names)
	if err == nil {
		out, err = storable(out, 0)
	}
	if err != nil {
		return record.Value{}, failure(t.program.source, err)
	}
	return keep(t.program.source, out, a)
}

// IsZero reports whether there is no expression.
func (t *Template) IsZero() bool { return t == nil || t.program == nil }

// Source returns the text of the expression.
func (t *Template) Source() string {
	if t.IsZero() {
		return ""
	}
	return t.program.source
}

// MarshalText renders the expression as UnmarshalText reads it.
func (t Template) MarshalText() ([]byte, error) { return []byte(t.Source()), nil }

// GenEnv is what templates draw from: the number of the event, set by the
// caller, and random numbers. The same seed and the same calls give the same
// values. It is not safe for concurrent use.
type GenEnv struct {
	Seq int64 // number of the event being made, from 0

	rand  *rand.Rand
	vm    vm.VM
	names map[string]any
}

// NewGenEnv returns a GenEnv whose random numbers follow from seed.
func NewGenEnv(seed uint64) *GenEnv {
	g := &GenEnv{rand: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))}
	g.names = g.env()
	return g
}

func (g *GenEnv) env() map[string]any {
	return map[string]any{
		"$seq":      func(...any) any { return int(g.Seq) },
		"$rand":     func(...any) any { return g.rand.Float64() },
		"$rand_int": g.randInt,
		"$pick":     g.pick,
		"$uuid":     g.uuid,
		"$format":   format,
		"$hex":      hexadecimal,
	}
}

func (g *GenEnv) randInt(args ...any) any {
	lo, hi := wholeArg("rand_int", args[0]), wholeArg("rand_int", args[1])
	if hi < lo {
		panic(fmt.Sprintf("rand_int(%d, %d): the second number must not be the smaller one", lo, hi))
	}
	return int(int64(lo) + int64(g.below(uint64(hi)-uint64(lo))))
}

// below returns a random number from 0 to n, both included.
func (g *GenEnv) below(n uint64) uint64 {
	if n+1 == 0 {
		return g.rand.Uint64()
	}
	return g.rand.Uint64N(n + 1)
}

func (g *GenEnv) pick(args ...any) any {
	l, err := list(args[0])
	if err != nil {
		panic("pick: " + err.Error())
	}
	v := reflect.ValueOf(l)
	if v.Len() == 0 {
		panic("pick: the list is empty")
	}
	return v.Index(g.rand.IntN(v.Len())).Interface()
}

func (g *GenEnv) uuid(...any) any {
	hi, lo := g.rand.Uint64(), g.rand.Uint64()
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", hi>>32, hi>>16&0xffff, hi&0xffff, lo>>48, lo&(1<<48-1))
}

func format(args ...any) any {
	text, ok := args[0].(string)
	if !ok {
		panic("format needs a string first, got " + nameOf(args[0]))
	}
	return fmt.Sprintf(text, args[1:]...)
}

func hexadecimal(args ...any) any {
	return strconv.FormatInt(int64(wholeArg("hex", args[0])), 16)
}

func wholeArg(name string, x any) int {
	n, ok := x.(int)
	if !ok {
		panic(fmt.Sprintf("%s needs a whole number, got %s", name, nameOf(x)))
	}
	return n
}
