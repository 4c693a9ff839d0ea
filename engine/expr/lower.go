package expr

import (
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
)

// lower is the second pass: operators that would stop at nil, or at a Go type,
// become calls of the functions in rules.go. It works from the leaves up and
// needs the types that the checker has found.
func lower(n *ast.Node) {
	if c, ok := (*n).(*ast.CallNode); ok {
		if m, ok := c.Callee.(*ast.MemberNode); ok { // a method stays one
			lower(&m.Node)
		}
		for i := range c.Arguments {
			lower(&c.Arguments[i])
		}
		return
	}
	before := conditions(*n)
	eachChild(*n, lower)
	for _, c := range before {
		if !c.bool {
			*c.at = call((*c.at).Location(), fnBool, *c.at)
		}
	}
	at := (*n).Location()
	switch x := (*n).(type) {
	case *ast.BinaryNode:
		lowerBinary(n, x)
	case *ast.UnaryNode:
		if x.Operator == "-" && !sure(x.Node) {
			*n = call(at, fnNeg, x.Node)
		}
	case *ast.MemberNode:
		*n = call(at, fnGet, x.Node, x.Property)
	case *ast.SliceNode:
		*n = call(at, fnSlice, x.Node, orNil(x.From), orNil(x.To))
	case *ast.BuiltinNode:
		switch {
		case x.Name == "get" && len(x.Arguments) == 2:
			*n = call(at, fnGet, x.Arguments...)
		case overList[x.Name] && !sure(x.Arguments[0]):
			x.Arguments[0] = call(x.Arguments[0].Location(), fnList, x.Arguments[0])
		}
	}
}

func lowerBinary(n *ast.Node, x *ast.BinaryNode) {
	at := x.Location()
	switch x.Operator {
	case "<", "<=", ">", ">=":
		if !sure(x.Left) || !sure(x.Right) {
			*n = call(at, ordering[x.Operator], x.Left, x.Right)
		}
	case "==", "!=":
		// Two sides whose types are known are compared without a look at nil.
		if known(x.Left) && known(x.Right) && (!sure(x.Left) || !sure(x.Right)) {
			*n = call(at, fnEqual, x.Left, x.Right)
			if x.Operator == "!=" {
				*n = place(&ast.UnaryNode{Operator: "not", Node: *n}, at)
			}
		}
	case "+", "-", "*", "/", "%", "**", "^":
		if !sure(x.Left) || !sure(x.Right) {
			*n = call(at, arithmetic[x.Operator], x.Left, x.Right)
		}
	case "in":
		if r, ok := x.Right.(*ast.BinaryNode); ok && r.Operator == ".." && whole(r.Left) && whole(r.Right) {
			*n = call(at, fnBetween, x.Left, r.Left, r.Right)
			return
		}
		*n = call(at, fnIn, x.Left, x.Right)
	}
}

// condition is a place where a value must be true or false.
type condition struct {
	at   *ast.Node
	bool bool // it surely is
}

func conditions(n ast.Node) []condition {
	var places []*ast.Node
	switch x := n.(type) {
	case *ast.UnaryNode:
		if x.Operator == "not" || x.Operator == "!" {
			places = append(places, &x.Node)
		}
	case *ast.BinaryNode:
		switch x.Operator {
		case "and", "&&", "or", "||":
			places = append(places, &x.Left, &x.Right)
		}
	case *ast.ConditionalNode:
		places = append(places, &x.Cond)
	case *ast.BuiltinNode:
		if ofCondition[x.Name] && len(x.Arguments) > 1 {
			if p, ok := x.Arguments[1].(*ast.PredicateNode); ok {
				places = append(places, &p.Node)
			}
		}
	}
	var found []condition
	for _, at := range places {
		found = append(found, condition{at, (*at).Nature().IsBool() && sure(*at)})
	}
	return found
}

// overList are the builtins that go through an array; nil is an empty one.
var overList = map[string]bool{
	"all": true, "any": true, "none": true, "one": true, "filter": true, "map": true, "count": true, "sum": true, "find": true,
	"findIndex": true, "findLast": true, "findLastIndex": true, "groupBy": true, "sortBy": true, "reduce": true,
}

// ofCondition are those whose second argument is a condition.
var ofCondition = map[string]bool{
	"all": true, "any": true, "none": true, "one": true, "filter": true, "count": true,
	"find": true, "findIndex": true, "findLast": true, "findLastIndex": true,
}

// neverNil are builtins that give a value of one type, or an error.
var neverNil = map[string]bool{
	"all": true, "any": true, "none": true, "one": true, "filter": true, "map": true, "count": true,
	"len": true, "type": true, "int": true, "float": true, "string": true, "trim": true, "trimPrefix": true, "trimSuffix": true,
	"upper": true, "lower": true, "split": true, "splitAfter": true, "replace": true, "repeat": true, "join": true,
	"indexOf": true, "lastIndexOf": true, "hasPrefix": true, "hasSuffix": true, "mean": true, "median": true,
	"toJSON": true, "toBase64": true, "fromBase64": true, "now": true, "duration": true, "date": true,
	"ceil": true, "floor": true, "round": true, "abs": true,
}

// sure reports whether n cannot be nil where the checker has found another type.
func sure(n ast.Node) bool {
	switch x := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.StringNode, *ast.BoolNode, *ast.ArrayNode, *ast.MapNode, *ast.UnaryNode:
		return true
	case *ast.BinaryNode:
		return x.Operator != "??"
	case *ast.BuiltinNode:
		return neverNil[x.Name]
	}
	return false
}

// known reports whether the checker knows the type of n.
func known(n ast.Node) bool { return !n.Nature().IsUnknown(nil) && !n.Nature().Nil }

// unknownMethod returns a call of a method on something that the checker knows
// nothing of. Values of an event have no methods.
func unknownMethod(n ast.Node) (found ast.Node) {
	if c, ok := n.(*ast.CallNode); ok {
		if m, ok := c.Callee.(*ast.MemberNode); ok && !known(m.Node) {
			return m
		}
	}
	eachChild(n, func(child *ast.Node) {
		if found == nil {
			found = unknownMethod(*child)
		}
	})
	return found
}

func whole(n ast.Node) bool {
	if u, ok := n.(*ast.UnaryNode); ok && u.Operator == "-" {
		n = u.Node
	}
	_, ok := n.(*ast.IntegerNode)
	return ok
}

func orNil(n ast.Node) ast.Node {
	if n == nil {
		return &ast.NilNode{}
	}
	return n
}

func place(n ast.Node, at file.Location) ast.Node {
	n.SetLocation(at)
	return n
}

// call makes a node that calls one of our own functions.
func call(at file.Location, name string, args ...ast.Node) ast.Node {
	for _, a := range args {
		if a.Location() == (file.Location{}) {
			a.SetLocation(at)
		}
	}
	callee := place(&ast.IdentifierNode{Value: name}, at)
	return place(&ast.CallNode{Callee: callee, Arguments: args}, at)
}

// eachChild calls f with every child of n, which f may replace.
func eachChild(n ast.Node, f func(*ast.Node)) {
	each := func(list []ast.Node) {
		for i := range list {
			f(&list[i])
		}
	}
	switch x := n.(type) {
	case *ast.UnaryNode:
		f(&x.Node)
	case *ast.BinaryNode:
		f(&x.Left)
		f(&x.Right)
	case *ast.ChainNode:
		f(&x.Node)
	case *ast.MemberNode:
		f(&x.Node)
		f(&x.Property)
	case *ast.SliceNode:
		f(&x.Node)
		if x.From != nil {
			f(&x.From)
		}
		if x.To != nil {
			f(&x.To)
		}
	case *ast.CallNode:
		f(&x.Callee)
		each(x.Arguments)
	case *ast.BuiltinNode:
		each(x.Arguments)
	case *ast.PredicateNode:
		f(&x.Node)
	case *ast.VariableDeclaratorNode:
		f(&x.Value)
		f(&x.Expr)
	case *ast.SequenceNode:
		each(x.Nodes)
	case *ast.ConditionalNode:
		f(&x.Cond)
		f(&x.Exp1)
		f(&x.Exp2)
	case *ast.ArrayNode:
		each(x.Nodes)
	case *ast.MapNode:
		each(x.Pairs)
	case *ast.PairNode:
		f(&x.Key)
		f(&x.Value)
	}
}
