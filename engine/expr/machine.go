package expr

import (
	"fmt"

	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/vm"

	"github.com/pipectl/pipectl/engine/pipe"
)

// vocabulary is what an expression can name beside the language itself.
type vocabulary struct {
	fields    bool // plain names are fields of an event
	functions map[string]function
	variables []string
	env       map[string]any // the functions behind them, for the checker
}

// function is a function of a vocabulary, and how it is called.
type function struct {
	least, most int // arguments
	usage       string
}

// ofEvents is the vocabulary of expressions over events.
var ofEvents = vocabulary{
	fields:    true,
	functions: map[string]function{"meta": {1, 1, `meta("key")`}},
	env:       (&machine{}).env(),
}

func (v vocabulary) config() *conf.Config {
	c := conf.New(v.env)
	c.Strict = false
	c.Functions = rules()
	return c
}

// machine runs a program's code over one event at a time. It reads a field when
// the code asks for it, once.
type machine struct {
	program *program
	vm      vm.VM
	names   map[string]any
	event   *pipe.Event
	values  []any // fields, by slot
	read    []bool
}

func newMachine(p *program) *machine {
	m := &machine{program: p, values: make([]any, len(p.fields)), read: make([]bool, len(p.fields))}
	m.names = m.env()
	return m
}

// env is what the code finds under the names that need the event.
func (m *machine) env() map[string]any {
	return map[string]any{fnField: m.field, fnMeta: m.meta}
}

func (m *machine) field(args ...any) any {
	slot := args[0].(int)
	if !m.read[slot] {
		m.read[slot] = true
		m.values[slot] = decode(&m.event.Body, m.program.fields[slot].path)
	}
	return m.values[slot]
}

func (m *machine) meta(args ...any) any {
	key, ok := args[0].(string)
	if !ok {
		panic(fmt.Sprintf("meta needs a string, got %s", nameOf(args[0])))
	}
	if v, ok := m.event.Meta(key); ok {
		return v
	}
	return nil
}

// run evaluates code, which is the program's or a part of it.
func (p *program) run(code *vm.Program, e *pipe.Event) (any, error) {
	m := p.pool.Get().(*machine)
	m.event = e
	out, err := m.vm.Run(code, m.names)
	m.event = nil
	clear(m.values)
	clear(m.read)
	clear(m.vm.Stack[:cap(m.vm.Stack)])
	clear(m.vm.Variables)
	p.pool.Put(m)
	if err != nil {
		return nil, failure(p.source, err)
	}
	return out, nil
}

// condition evaluates the program as a condition: nil is false.
func (p *program) condition(e *pipe.Event) (bool, error) {
	out, err := p.run(p.code, e)
	if err != nil {
		return false, err
	}
	b, err := truth(out)
	if err != nil {
		return false, failure(p.source, err)
	}
	return b, nil
}

// result evaluates the program to a value that an event can hold.
func (p *program) result(e *pipe.Event) (any, error) {
	out, err := p.run(p.code, e)
	if err != nil {
		return nil, err
	}
	if out, err = storable(out, 0); err != nil {
		return nil, failure(p.source, err)
	}
	return out, nil
}
