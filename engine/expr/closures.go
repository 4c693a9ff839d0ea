package expr

import (
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// verdict is what a closure says of a condition.
type verdict uint8

const (
	no verdict = iota
	yes
	unsure // an error, or a rare case: the virtual machine decides
)

func of(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// test is a condition over the raw bytes of an event.
type test func(*pipe.Event) verdict

// value is a result made from the raw bytes of an event; false means that the
// virtual machine decides.
type value func(*pipe.Event, *record.Arena) (record.Value, bool)

// closures makes tests and values of a program's tree. It starts from the tree
// that the virtual machine's code is made from, after folding, so that both see
// the same expression. Whatever it does not know it leaves to the machine, and
// whatever a closure meets that would be an error, too: there is one place for
// errors and their texts.
type closures struct{ program *program }

// test returns nil when n is not a shape it knows.
func (c *closures) test(n ast.Node) test {
	switch x := n.(type) {
	case *ast.BoolNode:
		v := of(x.Value)
		return func(*pipe.Event) verdict { return v }
	case *ast.UnaryNode:
		if x.Operator == "not" || x.Operator == "!" {
			return not(c.test(x.Node))
		}
	case *ast.BinaryNode:
		return c.binary(x)
	case *ast.ConditionalNode:
		cond, a, b := c.test(x.Cond), c.test(x.Exp1), c.test(x.Exp2)
		if cond == nil && a == nil && b == nil {
			return nil
		}
		return choose(c.orRun(cond, x.Cond), c.orRun(a, x.Exp1), c.orRun(b, x.Exp2))
	case *ast.CallNode:
		return c.call(x)
	}
	return nil
}

func (c *closures) binary(x *ast.BinaryNode) test {
	switch x.Operator {
	case "and", "&&", "or", "||":
		a, b := c.test(x.Left), c.test(x.Right)
		if a == nil && b == nil {
			return nil
		}
		a, b = c.orRun(a, x.Left), c.orRun(b, x.Right)
		if x.Operator == "and" || x.Operator == "&&" {
			return both(a, b)
		}
		return either(a, b)
	case "==":
		return c.equal(x.Left, x.Right)
	case "!=":
		return not(c.equal(x.Left, x.Right))
	case "<", "<=", ">", ">=":
		return c.order(x.Operator, x.Left, x.Right)
	case "contains", "startsWith", "endsWith", "matches":
		return c.text(x)
	case "??":
		if a, b := c.test(x.Left), c.test(x.Right); a != nil && b != nil {
			if path, ok := c.field(x.Left); ok {
				return func(e *pipe.Event) verdict {
					if v := e.Body.Get(path); isNil(&v) {
						return b(e)
					}
					return a(e)
				}
			}
		}
	}
	return nil
}

func (c *closures) call(x *ast.CallNode) test {
	callee, ok := x.Callee.(*ast.IdentifierNode)
	if !ok {
		return nil
	}
	switch callee.Value {
	case fnBool:
		return c.test(x.Arguments[0])
	case fnField:
		if path, ok := c.field(x); ok {
			return func(e *pipe.Event) verdict { return truthOf(e.Body.Get(path)) }
		}
	case fnEqual:
		return c.equal(x.Arguments[0], x.Arguments[1])
	case fnIn:
		return c.in(x.Arguments[0], x.Arguments[1])
	case fnBetween:
		return c.between(x.Arguments[0], x.Arguments[1], x.Arguments[2])
	}
	for op, name := range ordering {
		if name == callee.Value {
			return c.order(op, x.Arguments[0], x.Arguments[1])
		}
	}
	return nil
}

func truthOf(v record.Value) verdict {
	if isNil(&v) {
		return no
	}
	if b, ok := v.Bool(); ok {
		return of(b)
	}
	return unsure
}

func both(a, b test) test {
	return func(e *pipe.Event) verdict {
		if v := a(e); v != yes {
			return v
		}
		return b(e)
	}
}

func either(a, b test) test {
	return func(e *pipe.Event) verdict {
		if v := a(e); v != no {
			return v
		}
		return b(e)
	}
}

func not(t test) test {
	if t == nil {
		return nil
	}
	return func(e *pipe.Event) verdict {
		v := t(e)
		if v == unsure {
			return v
		}
		return yes - v
	}
}

func choose(cond, a, b test) test {
	return func(e *pipe.Event) verdict {
		switch cond(e) {
		case yes:
			return a(e)
		case no:
			return b(e)
		}
		return unsure
	}
}

// orRun returns t, or a test that runs n alone in the virtual machine: the rest
// of the expression decides whether that is needed at all.
func (c *closures) orRun(t test, n ast.Node) test {
	if t != nil {
		return t
	}
	p, code := c.program, c.part(n)
	return func(e *pipe.Event) verdict {
		out, err := p.run(code, e)
		if b, isBool := out.(bool); isBool && err == nil {
			return of(b)
		}
		return unsure
	}
}

// part compiles a node of the program's tree alone.
func (c *closures) part(n ast.Node) *vm.Program {
	code, err := c.program.assemble(n)
	if err != nil {
		panic("BUG: a part of an expression does not compile: " + err.Error())
	}
	return code
}

// field returns the path that n reads, if it is a field of the event.
func (c *closures) field(n ast.Node) (*record.Path, bool) {
	x, ok := n.(*ast.CallNode)
	if !ok {
		return nil, false
	}
	if callee, ok := x.Callee.(*ast.IdentifierNode); !ok || callee.Value != fnField {
		return nil, false
	}
	path := c.program.fields[x.Arguments[0].(*ast.IntegerNode).Value].path
	return path, path != nil
}

// meta returns the key that n reads, if it is metadata under a constant key.
func (c *closures) meta(n ast.Node) (string, bool) {
	x, ok := n.(*ast.CallNode)
	if !ok {
		return "", false
	}
	if callee, ok := x.Callee.(*ast.IdentifierNode); !ok || callee.Value != fnMeta {
		return "", false
	}
	key, ok := x.Arguments[0].(*ast.StringNode)
	if !ok {
		return "", false
	}
	return key.Value, true
}

func isNil(v *record.Value) bool { return v.Kind() <= record.KindNull }
