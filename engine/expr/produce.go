package expr

import (
	"math"

	"github.com/expr-lang/expr/ast"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// value returns nil when n is not a shape it knows.
func (c *closures) value(n ast.Node) value {
	if v, ok := c.fixed(n); ok {
		return func(*pipe.Event, *record.Arena) (record.Value, bool) { return v, true }
	}
	if path, ok := c.field(n); ok {
		return func(e *pipe.Event, _ *record.Arena) (record.Value, bool) {
			v := e.Body.Get(path)
			if v.Kind() == record.KindMissing {
				v = record.Null()
			}
			return v, true
		}
	}
	if key, ok := c.meta(n); ok {
		return func(e *pipe.Event, _ *record.Arena) (record.Value, bool) {
			if s, ok := e.Meta(key); ok {
				return record.Str(s), true
			}
			return record.Null(), true
		}
	}
	if f := c.number(n); f != nil {
		return numeric(f)
	}
	switch x := n.(type) {
	case *ast.BinaryNode:
		if x.Operator == "??" {
			return c.coalesce(x)
		}
		return truthValue(c.test(n))
	case *ast.UnaryNode, *ast.CallNode:
		return truthValue(c.test(n))
	case *ast.ConditionalNode:
		return c.conditional(x)
	}
	return nil
}

// fixed returns the value of a constant.
func (c *closures) fixed(n ast.Node) (record.Value, bool) {
	var out any
	switch x := n.(type) {
	case *ast.NilNode:
	case *ast.BoolNode:
		out = x.Value
	case *ast.IntegerNode:
		out = x.Value
	case *ast.FloatNode:
		out = x.Value
	case *ast.StringNode:
		out = x.Value
	case *ast.ConstantNode:
		out = x.Value
	default:
		return record.Value{}, false
	}
	out, err := storable(out, 0)
	if err != nil {
		return record.Value{}, false
	}
	v, err := record.FromAny(&record.Arena{}, out)
	return v, err == nil
}

func numeric(f number) value {
	return func(e *pipe.Event, a *record.Arena) (record.Value, bool) {
		switch s := f(e); {
		case s.kind == kindInt:
			return record.Int(int64(s.i), a), true
		case s.kind == kindFloat && !math.IsInf(s.f, 0) && !math.IsNaN(s.f):
			return record.Float(s.f, a), true
		}
		return record.Value{}, false
	}
}

func truthValue(t test) value {
	if t == nil {
		return nil
	}
	return func(e *pipe.Event, _ *record.Arena) (record.Value, bool) {
		v := t(e)
		return record.Bool(v == yes), v != unsure
	}
}

func (c *closures) coalesce(x *ast.BinaryNode) value {
	l, r := c.value(x.Left), c.value(x.Right)
	if l == nil && r == nil {
		return nil
	}
	l, r = c.orCompute(l, x.Left), c.orCompute(r, x.Right)
	return func(e *pipe.Event, a *record.Arena) (record.Value, bool) {
		v, ok := l(e, a)
		if !ok || !isNil(&v) {
			return v, ok
		}
		return r(e, a)
	}
}

func (c *closures) conditional(x *ast.ConditionalNode) value {
	cond, a, b := c.test(x.Cond), c.value(x.Exp1), c.value(x.Exp2)
	if cond == nil && a == nil && b == nil {
		return nil
	}
	cond, a, b = c.orRun(cond, x.Cond), c.orCompute(a, x.Exp1), c.orCompute(b, x.Exp2)
	return func(e *pipe.Event, arena *record.Arena) (record.Value, bool) {
		switch cond(e) {
		case yes:
			return a(e, arena)
		case no:
			return b(e, arena)
		}
		return record.Value{}, false
	}
}

// orCompute returns v, or a value that runs n alone in the virtual machine.
func (c *closures) orCompute(v value, n ast.Node) value {
	if v != nil {
		return v
	}
	p, code := c.program, c.part(n)
	return func(e *pipe.Event, a *record.Arena) (record.Value, bool) {
		out, err := p.run(code, e)
		if err == nil {
			out, err = storable(out, 0)
		}
		if err != nil {
			return record.Value{}, false
		}
		kept, err := record.FromAny(a, out)
		return kept, err == nil
	}
}
