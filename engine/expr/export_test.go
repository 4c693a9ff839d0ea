package expr

import (
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// EvalVM is Eval in the virtual machine alone.
func (b *Bool) EvalVM(e *pipe.Event) (bool, error) { return b.program.condition(e) }

// EvalVM is Eval in the virtual machine alone.
func (v *Value) EvalVM(e *pipe.Event, a *record.Arena) (record.Value, error) {
	return v.program.store(e, a)
}

// HasClosure reports whether a closure evaluates the expression.
func (b *Bool) HasClosure() bool { return b.test != nil }

// HasClosure reports whether a closure evaluates the expression.
func (v *Value) HasClosure() bool { return v.value != nil }
