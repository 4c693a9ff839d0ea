package expr

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/optimizer"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/pipectl/pipectl/engine/record"
)

// maxSource is the longest expression in bytes. The parser recurses, so the
// length bounds its stack.
const maxSource = 64 << 10

// program is a compiled expression. It does not change after compile, except
// for its pool.
type program struct {
	source string
	fields []field  // what the event is asked for, by slot
	roots  []string // the top-level fields among them, sorted
	node   ast.Node // after folding; what closures are made from
	code   *vm.Program
	config *conf.Config

	pool sync.Pool // of *machine
}

// field is one slot: a path that the expression reads.
type field struct {
	text string
	path *record.Path // nil: the whole event
}

// compile turns an expression into a program. It works in passes: names become
// reads of slots (resolve), expr-lang checks the types, operators get the rules
// for nil (lower), and what is left is folded and compiled.
func compile(source string, names vocabulary) (_ *program, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = mistakef(source, file.Location{}, "the expression cannot be compiled: %s", plain(fmt.Sprint(r)))
		}
	}()
	if strings.TrimSpace(source) == "" {
		return nil, mistakef(source, file.Location{}, "the expression is empty")
	}
	if len(source) > maxSource {
		return nil, mistakef(source, file.Location{}, "the expression has %d bytes, more than %d", len(source), maxSource)
	}
	config := names.config()
	tree, err := parser.ParseWithConfig(source, config)
	if err != nil {
		return nil, translate(source, err)
	}
	r := resolver{names: names, source: source}
	r.node(&tree.Node)
	if r.err != nil {
		return nil, r.err
	}
	if _, err := checker.Check(tree, config); err != nil {
		return nil, translate(source, err)
	}
	if m := unknownMethod(tree.Node); m != nil {
		return nil, mistakef(source, m.Location(), "only times and durations have methods, such as now().Year()")
	}
	lower(&tree.Node)
	if _, err := checker.Check(tree, config); err != nil {
		return nil, translate(source, err)
	}
	if err := optimizer.Optimize(&tree.Node, config); err != nil {
		return nil, translate(source, err)
	}
	p := &program{source: source, fields: r.fields, roots: r.roots(), node: tree.Node, config: config}
	if p.code, err = p.assemble(p.node); err != nil {
		return nil, translate(source, err)
	}
	p.pool.New = func() any { return newMachine(p) }
	return p, nil
}

// assemble compiles a part of the program's tree for the virtual machine.
func (p *program) assemble(n ast.Node) (*vm.Program, error) {
	code, err := compiler.Compile(&parser.Tree{Node: n, Source: file.NewSource(p.source)}, p.config)
	if err != nil { // the checker passed what the compiler refuses, with a stack trace
		first, _, _ := strings.Cut(err.Error(), "\n")
		return nil, fmt.Errorf("the expression cannot be compiled: %s", first)
	}
	return code, nil
}

// roots lists the top-level fields that are read, "$env" for the whole event.
func (r *resolver) roots() []string {
	var names []string
	for _, f := range r.fields {
		names = append(names, r.rootOf[f.text])
	}
	slices.Sort(names)
	return slices.Compact(names)
}
