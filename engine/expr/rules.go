package expr

import (
	"fmt"
	"math"
	"reflect"

	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/vm/runtime"
)

// The functions below carry pipectl's rules, mostly about nil, into the virtual
// machine: lower puts calls of them where expr-lang would stop. Their names
// cannot be written in an expression, because resolve knows no such function.
const (
	fnField   = "$field"   // (slot): a field of the event
	fnMeta    = "$meta"    // (key): metadata of the event
	fnLess    = "$less"    // (a, b): a < b, false when either is nil
	fnAtMost  = "$atMost"  // (a, b): a <= b
	fnMore    = "$more"    // (a, b): a > b
	fnAtLeast = "$atLeast" // (a, b): a >= b
	fnEqual   = "$equal"   // (a, b): a == b, whatever the checker thinks of their types
	fnIn      = "$in"      // (x, list)
	fnBetween = "$between" // (x, from, to): x in from..to
	fnBool    = "$bool"    // (x): x as a condition, nil is false
	fnGet     = "$get"     // (x, key): x.key or x[key], nil when it is not there
	fnAdd     = "$add"     // (a, b): a + b, nil when either is nil; likewise the next ones
	fnSub     = "$sub"     // a - b
	fnMul     = "$mul"     // a * b
	fnDiv     = "$div"     // a / b
	fnMod     = "$mod"     // a % b
	fnPow     = "$pow"     // a ** b
	fnNeg     = "$neg"     // (x): -x, nil of nil
	fnSlice   = "$slice"   // (x, from, to): x[from:to], nil of nil
	fnList    = "$list"    // (x): x as an array to go through, nil is empty
)

var ordering = map[string]string{"<": fnLess, "<=": fnAtMost, ">": fnMore, ">=": fnAtLeast}

var arithmetic = map[string]string{"+": fnAdd, "-": fnSub, "*": fnMul, "/": fnDiv, "%": fnMod, "**": fnPow, "^": fnPow}

// rules returns the functions for the compiler. They know nothing of an event.
func rules() conf.FunctionsTable {
	t := conf.FunctionsTable{}
	add := func(name string, signature any, f func(args []any) (any, error)) {
		t[name] = &builtin.Function{
			Name:  name,
			Func:  func(args ...any) (any, error) { return f(args) },
			Types: []reflect.Type{reflect.TypeOf(signature)},
		}
	}
	test := (func(a, b any) bool)(nil)
	order := func(name string, f func(a, b any) bool) {
		add(name, test, func(args []any) (any, error) {
			if args[0] == nil || args[1] == nil {
				return false, nil
			}
			return f(args[0], args[1]), nil
		})
	}
	order(fnLess, runtime.Less)
	order(fnAtMost, runtime.LessOrEqual)
	order(fnMore, runtime.More)
	order(fnAtLeast, runtime.MoreOrEqual)
	compute := func(name string, f func(a, b any) any) {
		add(name, (func(a, b any) any)(nil), func(args []any) (any, error) {
			if args[0] == nil || args[1] == nil {
				return nil, nil
			}
			return f(args[0], args[1]), nil
		})
	}
	compute(fnAdd, runtime.Add)
	compute(fnSub, runtime.Subtract)
	compute(fnMul, runtime.Multiply)
	compute(fnDiv, func(a, b any) any { return runtime.Divide(a, b) })
	compute(fnMod, func(a, b any) any { return runtime.Modulo(a, b) })
	compute(fnPow, func(a, b any) any { return runtime.Exponent(a, b) })
	add(fnNeg, (func(x any) any)(nil), func(args []any) (any, error) {
		if args[0] == nil {
			return nil, nil
		}
		return runtime.Negate(args[0]), nil
	})
	add(fnEqual, test, func(args []any) (any, error) { return runtime.Equal(args[0], args[1]), nil })
	add(fnIn, test, func(args []any) (any, error) { return in(args[0], args[1]) })
	add(fnBetween, (func(x any, from, to int) bool)(nil), func(args []any) (any, error) {
		return between(args[0], args[1].(int), args[2].(int)), nil
	})
	add(fnBool, (func(x any) bool)(nil), func(args []any) (any, error) { return truth(args[0]) })
	add(fnGet, (func(x, key any) any)(nil), func(args []any) (any, error) { return get(args[0], args[1]), nil })
	add(fnSlice, (func(x, from, to any) any)(nil), func(args []any) (any, error) {
		return slice(args[0], args[1], args[2])
	})
	add(fnList, (func(x any) []any)(nil), func(args []any) (any, error) { return list(args[0]) })
	return t
}

// in reports whether x equals an element of a list, or is a key of a map.
func in(x, list any) (bool, error) {
	switch l := list.(type) {
	case nil:
		return false, nil
	case []any:
		for _, e := range l {
			if runtime.Equal(e, x) {
				return true, nil
			}
		}
		return false, nil
	case map[string]any:
		key, ok := x.(string)
		_, there := l[key]
		return ok && there, nil
	}
	v := reflect.ValueOf(list)
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		return runtime.In(x, list), nil
	case reflect.Map:
		return element(v, x).IsValid(), nil
	case reflect.String:
		return false, fmt.Errorf("in needs a list on its right, got string: use contains for text")
	}
	return false, fmt.Errorf("in needs a list on its right, got %s", nameOf(list))
}

// between reports whether x is a whole number from..to.
func between(x any, from, to int) bool {
	switch n := x.(type) {
	case int:
		return from <= n && n <= to
	case float64:
		return float64(from) <= n && n <= float64(to) && n == math.Trunc(n)
	}
	return false
}

func truth(x any) (bool, error) {
	switch b := x.(type) {
	case nil:
		return false, nil
	case bool:
		return b, nil
	}
	return false, fmt.Errorf("expected true or false, got %s", nameOf(x))
}

// get reads one step into x; what is not there is nil.
func get(x, key any) any {
	switch c := x.(type) {
	case map[string]any:
		if k, ok := key.(string); ok {
			return c[k]
		}
		return nil
	case []any:
		if i, ok := index(key, len(c)); ok {
			return c[i]
		}
		return nil
	}
	v := reflect.ValueOf(x)
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		if i, ok := index(key, v.Len()); ok {
			return v.Index(i).Interface()
		}
	case reflect.Map:
		if e := element(v, key); e.IsValid() {
			return e.Interface()
		}
	}
	return nil
}

// element looks a key up in any kind of map.
func element(m reflect.Value, key any) reflect.Value {
	k := reflect.ValueOf(key)
	if !k.IsValid() || !k.Comparable() || !k.Type().AssignableTo(m.Type().Key()) {
		return reflect.Value{}
	}
	return m.MapIndex(k)
}

// index is a key as a place in an array of n; negative ones count from the end.
func index(key any, n int) (int, bool) {
	i, ok := key.(int)
	if f, isFloat := key.(float64); isFloat {
		i, ok = int(f), f == f
	}
	if i < 0 {
		i += n
	}
	return i, ok && i >= 0 && i < n
}

func slice(x, from, to any) (any, error) {
	if x == nil {
		return nil, nil
	}
	v := reflect.ValueOf(x)
	switch v.Kind() {
	case reflect.Slice, reflect.Array, reflect.String:
	default:
		return nil, fmt.Errorf("cannot slice %s", nameOf(x))
	}
	if from == nil {
		from = 0
	}
	if to == nil {
		to = v.Len()
	}
	return runtime.Slice(x, from, to), nil
}

func list(x any) (any, error) {
	if x == nil {
		return []any{}, nil
	}
	switch reflect.TypeOf(x).Kind() {
	case reflect.Slice, reflect.Array:
		return x, nil
	}
	return nil, fmt.Errorf("expected an array, got %s", nameOf(x))
}
