package expr

import (
	"github.com/expr-lang/expr/ast"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// scalar is a value as comparisons see it.
type scalar struct {
	kind scalarKind
	b    bool
	i    int
	f    float64
	text []byte // shared with the event
}

type scalarKind uint8

const (
	kindNil scalarKind = iota
	kindBool
	kindInt
	kindFloat
	kindText
	kindOther  // an array or an object
	kindUnsure // the virtual machine decides
)

func (s *scalar) isNumber() bool { return s.kind == kindInt || s.kind == kindFloat }

func (s *scalar) float() float64 {
	if s.kind == kindInt {
		return float64(s.i)
	}
	return s.f
}

func intScalar(i int) scalar       { return scalar{kind: kindInt, i: i} }
func floatScalar(f float64) scalar { return scalar{kind: kindFloat, f: f} }

func scalarOf(v *record.Value) scalar {
	switch v.Kind() {
	case record.KindMissing, record.KindNull:
		return scalar{}
	case record.KindBool:
		b, _ := v.Bool()
		return scalar{kind: kindBool, b: b}
	case record.KindNumber:
		if i, ok := v.Int(); ok {
			return intScalar(int(i))
		}
		f, _ := v.Float()
		return floatScalar(f)
	case record.KindString:
		return scalar{kind: kindText, text: v.Bytes(nil)}
	}
	return scalar{kind: kindOther}
}

// operand is a side of a comparison that closures can read.
type operand struct {
	kind   operandKind
	scalar scalar       // constant
	path   *record.Path // field
	key    string       // metadata
	number number       // computed
}

type operandKind uint8

const (
	constant operandKind = iota
	fieldValue
	metaValue
	computed
)

func (c *closures) operand(n ast.Node) (operand, bool) {
	if s, ok := constantOf(n); ok {
		return operand{kind: constant, scalar: s}, true
	}
	if path, ok := c.field(n); ok {
		return operand{kind: fieldValue, path: path}, true
	}
	if key, ok := c.meta(n); ok {
		return operand{kind: metaValue, key: key}, true
	}
	if f := c.number(n); f != nil {
		return operand{kind: computed, number: f}, true
	}
	return operand{}, false
}

// load returns a function that reads the operand.
func (o operand) load() func(*pipe.Event) scalar {
	switch o.kind {
	case constant:
		return func(*pipe.Event) scalar { return o.scalar }
	case fieldValue:
		return func(e *pipe.Event) scalar {
			v := e.Body.Get(o.path)
			return scalarOf(&v)
		}
	case metaValue:
		return func(e *pipe.Event) scalar {
			if s, ok := e.Meta(o.key); ok {
				return scalar{kind: kindText, text: []byte(s)}
			}
			return scalar{}
		}
	}
	return o.number
}

func constantOf(n ast.Node) (scalar, bool) {
	switch x := n.(type) {
	case *ast.NilNode:
		return scalar{}, true
	case *ast.BoolNode:
		return scalar{kind: kindBool, b: x.Value}, true
	case *ast.IntegerNode:
		return intScalar(x.Value), true
	case *ast.FloatNode:
		return floatScalar(x.Value), true
	case *ast.StringNode:
		return scalar{kind: kindText, text: []byte(x.Value)}, true
	}
	return scalar{}, false
}

// constants returns the elements of a list of constants, which the compiler has
// folded into one.
func constants(n ast.Node) ([]scalar, bool) {
	c, ok := n.(*ast.ConstantNode)
	if !ok {
		return nil, false
	}
	list, ok := c.Value.([]any)
	if !ok {
		return nil, false
	}
	var out []scalar
	for _, e := range list {
		switch v := e.(type) {
		case bool:
			out = append(out, scalar{kind: kindBool, b: v})
		case int:
			out = append(out, intScalar(v))
		case float64:
			out = append(out, floatScalar(v))
		case string:
			out = append(out, scalar{kind: kindText, text: []byte(v)})
		default:
			return nil, false
		}
	}
	return out, true
}
