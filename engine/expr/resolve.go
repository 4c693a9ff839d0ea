package expr

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"

	"github.com/pipectl/pipectl/engine/near"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// resolver is the first pass: it gives names their meaning. A chain of constant
// steps that starts at the event (http.status, tags[0], $env["user-agent"])
// becomes one read of a slot; a call must name a function that exists.
type resolver struct {
	names  vocabulary
	source string

	fields []field
	slots  map[string]int    // text of a path to its slot
	rootOf map[string]string // text of a path to its top-level field
	vars   []string          // let variables in scope
	err    *pipe.OffsetError // the first mistake
}

// wholeEvent is the name of the event itself.
const wholeEvent = "$env"

func (r *resolver) node(n *ast.Node) {
	if r.err != nil {
		return
	}
	if steps, ok := r.chain(*n); ok {
		r.read(n, steps)
		return
	}
	switch x := (*n).(type) {
	case *ast.CallNode:
		r.call(x)
		return
	case *ast.VariableDeclaratorNode:
		r.node(&x.Value)
		r.vars = append(r.vars, x.Name)
		r.node(&x.Expr)
		r.vars = r.vars[:len(r.vars)-1]
		return
	case *ast.ChainNode: // what a?.b guards against, every read guards against
		if m, ok := x.Node.(*ast.MemberNode); ok {
			*n = m
		}
	}
	eachChild(*n, r.node)
}

// step is one constant step of a path: a key, or an index of an array.
type step struct {
	key   string
	index int
	isKey bool
}

// chain returns the steps of a path that starts at the event.
func (r *resolver) chain(n ast.Node) ([]step, bool) {
	switch x := n.(type) {
	case *ast.IdentifierNode:
		if x.Value == wholeEvent {
			return []step{}, true
		}
		return []step{{key: x.Value, isKey: true}}, !slices.Contains(r.vars, x.Value)
	case *ast.ChainNode:
		return r.chain(x.Node)
	case *ast.MemberNode:
		if x.Method {
			return nil, false
		}
		steps, ok := r.chain(x.Node)
		switch p := x.Property.(type) {
		case *ast.StringNode:
			return append(steps, step{key: p.Value, isKey: true}), ok
		case *ast.IntegerNode:
			return append(steps, step{index: p.Value}), ok && len(steps) > 0
		}
	}
	return nil, false
}

// read replaces n by the read of a path, or of a variable of the vocabulary.
func (r *resolver) read(n *ast.Node, steps []step) {
	at := (*n).Location()
	if !r.names.fields {
		r.variable(n, steps)
		return
	}
	f, root := field{text: wholeEvent}, wholeEvent
	if len(steps) > 0 {
		f.text, root = pathText(steps), steps[0].key
		path, err := record.ParsePath(f.text)
		if err != nil {
			r.mistake(at, "%v", err)
			return
		}
		f.path = path
	}
	slot, ok := r.slots[f.text]
	if !ok {
		slot = len(r.fields)
		if r.slots == nil {
			r.slots, r.rootOf = map[string]int{}, map[string]string{}
		}
		r.slots[f.text], r.rootOf[f.text] = slot, root
		r.fields = append(r.fields, f)
	}
	*n = call(at, fnField, &ast.IntegerNode{Value: slot})
}

// variable resolves a name where there is no event: only the vocabulary's own
// variables exist.
func (r *resolver) variable(n *ast.Node, steps []step) {
	at := (*n).Location()
	if len(steps) == 0 {
		r.mistake(at, "there is no event to read here")
		return
	}
	if name := steps[0].key; !slices.Contains(r.names.variables, name) {
		r.mistake(at, "unknown name %s: there is no event to read fields from", name)
		r.suggest(name, r.names.variables)
		return
	}
	if len(steps) > 1 {
		r.mistake(at, "%s has no fields", steps[0].key)
		return
	}
	*n = call(at, "$"+steps[0].key)
}

// call checks that a called function exists and marks those of the vocabulary.
func (r *resolver) call(x *ast.CallNode) {
	switch callee := x.Callee.(type) {
	case *ast.IdentifierNode:
		name := callee.Value
		f, ok := r.names.functions[name]
		if !ok {
			r.mistake(callee.Location(), "unknown function %s", name)
			r.suggest(name, append(slices.Collect(maps.Keys(r.names.functions)), builtin.Names...))
			return
		}
		if n := len(x.Arguments); n < f.least || n > f.most {
			r.mistake(x.Location(), "wrong number of arguments: write %s", f.usage)
			return
		}
		callee.Value = "$" + name
	case *ast.MemberNode: // a method, such as now().Year()
		if _, ok := r.chain(callee.Node); ok {
			r.mistake(callee.Location(), "unknown function: fields have no methods")
			return
		}
		r.node(&callee.Node)
	default:
		r.mistake(x.Location(), "only functions can be called")
		return
	}
	for i := range x.Arguments {
		r.node(&x.Arguments[i])
	}
}

func (r *resolver) mistake(at file.Location, format string, args ...any) {
	if r.err == nil {
		r.err = mistakef(r.source, at, format, args...)
	}
}

func (r *resolver) suggest(name string, known []string) {
	if best := near.Word(name, known); best != "" {
		r.err.Hint = "did you mean " + strconv.Quote(best) + "?"
	}
}

// pathText writes steps as record.ParsePath reads them.
func pathText(steps []step) string {
	var b strings.Builder
	for i, s := range steps {
		switch {
		case !s.isKey:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case plainKey(s.key):
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.key)
		default:
			b.WriteString("[" + string(record.AppendQuoted(nil, []byte(s.key))) + "]")
		}
	}
	return b.String()
}

func plainKey(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
