package expr

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"github.com/pipectl/pipectl/engine/near"
)

// Guard is a condition over figures of a running pipeline, such as
//
//	edges["keep->out"].dropped_rate == 0 && p95 < 2
//
// It is written in the language of conditions over events; what it names are
// figures. Unlike the fields of an event they are known beforehand, so that a
// name that does not exist is a mistake. It is safe for concurrent use.
type Guard struct{ program *program }

// ofFigures is the vocabulary of guards.
var ofFigures = vocabulary{fields: true, env: (&machine{}).env()}

// FigureName returns the name under which a guard reads the figure at these
// keys: edges["a->b"].rate, sinks.out.failed_rate.
func FigureName(keys ...string) string {
	var steps []step
	for _, k := range keys {
		steps = append(steps, step{key: k, isKey: true})
	}
	return pathText(steps)
}

// CompileGuard compiles a guard. The keys of known are the figures that it may
// name, by FigureName; the values are samples, each a float64 or a bool. The
// errors are *pipe.OffsetError: of the language, a name that is not known, a
// result that is neither true nor false, and what fails with the samples.
func CompileGuard(source string, known map[string]any) (*Guard, error) {
	p, err := compile(source, ofFigures)
	if err != nil {
		return nil, err
	}
	for slot, f := range p.fields {
		if _, ok := known[f.text]; !ok {
			return nil, unknownFigure(p, slot, known)
		}
	}
	if kind := notBool(p.node); kind != "" {
		return nil, mistakef(source, p.node.Location(), "a guard must be true or false, but this gives %s", kind)
	}
	g := &Guard{p}
	if _, err := g.run(known); err != nil {
		return nil, translate(source, err)
	}
	return g, nil
}

// Eval reports whether the guard holds for these figures; nil counts as false.
func (g *Guard) Eval(figures map[string]any) (bool, error) {
	ok, err := g.run(figures)
	if err != nil {
		return false, failure(g.program.source, err)
	}
	return ok, nil
}

func (g *Guard) run(figures map[string]any) (bool, error) {
	read := func(args ...any) any { return figures[g.program.fields[args[0].(int)].text] }
	var machine vm.VM
	out, err := machine.Run(g.program.code, map[string]any{fnField: read})
	if err != nil {
		return false, err
	}
	return truth(out)
}

// Source returns the text of the guard.
func (g *Guard) Source() string { return g.program.source }

// Names returns the figures that the guard reads, in the order of its text.
func (g *Guard) Names() []string {
	var names []string
	for _, f := range g.program.fields {
		names = append(names, f.text)
	}
	return names
}

// unknownFigure says that the guard reads something that is no figure.
func unknownFigure(p *program, slot int, known map[string]any) error {
	name, at := p.fields[slot].text, fieldPlace(p.node, slot)
	names := slices.Sorted(maps.Keys(known))
	group := within(names, name)
	if len(group) > 0 {
		m := mistakef(p.source, at, "%s is not a figure but a group of them", name)
		m.Hint = "name one of its figures, such as " + group[0]
		return m
	}
	m := mistakef(p.source, at, "there is no figure %s", name)
	if n := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(n, name) }); n >= 0 {
		m.Hint = "did you mean " + names[n] + "?"
	} else if best := near.Word(name, names); best != "" {
		m.Hint = "did you mean " + best + "?"
	} else if in := hyphenated(names, name); in != "" {
		m.Hint = "a name with a hyphen is written in brackets, as in " + in
	}
	return m
}

// within returns the names of figures inside a group.
func within(names []string, group string) []string {
	var inside []string
	for _, n := range names {
		if rest, ok := strings.CutPrefix(n, group); ok && (rest[0] == '.' || rest[0] == '[') {
			inside = append(inside, n)
		}
	}
	return inside
}

// hyphenated returns a figure whose name begins as name does and goes on with a
// hyphen: sinks.my is what is left of sinks.my-sink.rate.
func hyphenated(names []string, name string) string {
	group, last, ok := strings.Cut(name, ".")
	if !ok {
		return ""
	}
	for _, n := range names {
		if strings.HasPrefix(n, fmt.Sprintf(`%s["%s-`, group, last)) {
			return n
		}
	}
	return ""
}

// fieldPlace returns where a field is read.
func fieldPlace(n ast.Node, slot int) (at file.Location) {
	if c, ok := n.(*ast.CallNode); ok {
		callee, _ := c.Callee.(*ast.IdentifierNode)
		if callee != nil && callee.Value == fnField && c.Arguments[0].(*ast.IntegerNode).Value == slot {
			return c.Location()
		}
	}
	eachChild(n, func(child *ast.Node) {
		if at == (file.Location{}) {
			at = fieldPlace(*child, slot)
		}
	})
	return at
}
