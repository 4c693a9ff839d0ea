package expr

import (
	"github.com/expr-lang/expr/ast"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// number is arithmetic over fields; its result is a number or unsure.
type number func(*pipe.Event) scalar

func (c *closures) number(n ast.Node) number {
	switch x := n.(type) {
	case *ast.IntegerNode:
		s := intScalar(x.Value)
		return func(*pipe.Event) scalar { return s }
	case *ast.FloatNode:
		s := floatScalar(x.Value)
		return func(*pipe.Event) scalar { return s }
	case *ast.CallNode:
		if path, ok := c.field(n); ok {
			return func(e *pipe.Event) scalar {
				v := e.Body.Get(path)
				if v.Kind() != record.KindNumber {
					return scalar{kind: kindUnsure}
				}
				return scalarOf(&v)
			}
		}
		return c.computed(n)
	case *ast.UnaryNode, *ast.BinaryNode:
		return c.computed(n)
	}
	return nil
}

func (c *closures) computed(n ast.Node) number {
	op, operands := arithmeticOf(n)
	switch len(operands) {
	case 1:
		if f := c.number(operands[0]); f != nil {
			return func(e *pipe.Event) scalar { return negate(f(e)) }
		}
	case 2:
		return c.arithmetic(op, operands[0], operands[1])
	}
	return nil
}

// arithmeticOf returns the operator and operands of arithmetic, be it as it was
// written or as a call that lower made of it, and none for anything else.
func arithmeticOf(n ast.Node) (op string, operands []ast.Node) {
	switch x := n.(type) {
	case *ast.UnaryNode:
		if x.Operator == "-" {
			return x.Operator, []ast.Node{x.Node}
		}
	case *ast.BinaryNode:
		if arithmetic[x.Operator] != "" {
			return x.Operator, []ast.Node{x.Left, x.Right}
		}
	case *ast.CallNode:
		callee, ok := x.Callee.(*ast.IdentifierNode)
		if ok && callee.Value == fnNeg {
			return "-", x.Arguments
		}
		for op, name := range arithmetic {
			if ok && callee.Value == name {
				return op, x.Arguments
			}
		}
	}
	return "", nil
}

func negate(s scalar) scalar {
	s.i, s.f = -s.i, -s.f
	return s
}

func (c *closures) arithmetic(op string, left, right ast.Node) number {
	l, r := c.number(left), c.number(right)
	if l == nil || r == nil {
		return nil
	}
	switch op { // calls that the compiler can see through do not allocate
	case "+":
		return func(e *pipe.Event) scalar { a, b := l(e), r(e); return add(&a, &b) }
	case "-":
		return func(e *pipe.Event) scalar { a, b := l(e), r(e); return subtract(&a, &b) }
	case "*":
		return func(e *pipe.Event) scalar { a, b := l(e), r(e); return multiply(&a, &b) }
	case "/":
		return func(e *pipe.Event) scalar { a, b := l(e), r(e); return divide(&a, &b) }
	case "%":
		return func(e *pipe.Event) scalar { a, b := l(e), r(e); return remainder(&a, &b) }
	}
	return nil
}

func ints(a, b *scalar) bool    { return a.kind == kindInt && b.kind == kindInt }
func numbers(a, b *scalar) bool { return a.isNumber() && b.isNumber() }

func add(a, b *scalar) scalar {
	switch {
	case ints(a, b):
		return intScalar(a.i + b.i)
	case numbers(a, b):
		return floatScalar(a.float() + b.float())
	}
	return scalar{kind: kindUnsure}
}

func subtract(a, b *scalar) scalar {
	switch {
	case ints(a, b):
		return intScalar(a.i - b.i)
	case numbers(a, b):
		return floatScalar(a.float() - b.float())
	}
	return scalar{kind: kindUnsure}
}

func multiply(a, b *scalar) scalar {
	switch {
	case ints(a, b):
		return intScalar(a.i * b.i)
	case numbers(a, b):
		return floatScalar(a.float() * b.float())
	}
	return scalar{kind: kindUnsure}
}

func divide(a, b *scalar) scalar {
	if numbers(a, b) {
		return floatScalar(a.float() / b.float())
	}
	return scalar{kind: kindUnsure}
}

func remainder(a, b *scalar) scalar {
	if ints(a, b) && b.i != 0 {
		return intScalar(a.i % b.i)
	}
	return scalar{kind: kindUnsure}
}
