package expr

import "github.com/expr-lang/expr/ast"

// notBool says what n gives when that can never be true or false, else "".
func notBool(n ast.Node) string {
	switch op, _ := arithmeticOf(n); op {
	case "":
	case "+":
		return "a number or a string"
	default:
		return "a number"
	}
	t := n.Nature()
	switch {
	case t.Nil:
		return "nil"
	case t.IsUnknown(nil), t.IsBool():
		return ""
	}
	return plain(t.String())
}
