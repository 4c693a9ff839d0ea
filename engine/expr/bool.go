// Package expr evaluates the expressions of a pipeline file over events. It is
// the only place that knows the expression language's library, expr-lang.
//
// An expression is compiled once, when the file is read. The usual shapes (a
// field compared with a constant, and what and, or and not make of those) run
// as closures over the raw bytes of the event, without allocating; everything
// else, and every case a closure is not certain about, runs in expr-lang's
// virtual machine. Both give the same results and the same errors.
//
// The rules of the language are in docs/expressions.md. What an expression
// costs is bounded: 64 KiB of text and 10,000 nodes; 1,000,000 array elements
// and map entries made per evaluation (expr-lang's memory budget); regular
// expressions in time linear in the text; no loops but those over arrays.
package expr

import (
	"github.com/pipectl/pipectl/engine/pipe"
)

// Bool is a condition over an event, such as a filter's where. The zero value
// is no condition: it holds for every event. Copies share the compiled code.
type Bool struct {
	program *program
	test    test // nil when only the virtual machine will do
}

// UnmarshalText compiles the expression. Its errors are *pipe.OffsetError. An
// expression that cannot be true or false is refused.
func (b *Bool) UnmarshalText(text []byte) error {
	p, err := compile(string(text), ofEvents)
	if err != nil {
		return err
	}
	if kind := notBool(p.node); kind != "" {
		return mistakef(p.source, p.node.Location(), "the expression must be true or false, but it gives %s", kind)
	}
	*b = Bool{program: p, test: (&closures{p}).test(p.node)}
	return nil
}

// Eval reports whether the condition holds for e; nil counts as false. An error
// says that the expression does not fit this event: an operator met types it is
// not defined for, or the result is neither true nor false. It is safe for
// concurrent use.
func (b *Bool) Eval(e *pipe.Event) (bool, error) {
	if b.IsZero() {
		return true, nil
	}
	if b.test != nil {
		if v := b.test(e); v != unsure {
			return v == yes, nil
		}
	}
	return b.program.condition(e)
}

// IsZero reports whether there is no condition.
func (b *Bool) IsZero() bool { return b == nil || b.program == nil }

// Source returns the text of the expression.
func (b *Bool) Source() string {
	if b.IsZero() {
		return ""
	}
	return b.program.source
}

// MarshalText renders the expression as UnmarshalText reads it.
func (b Bool) MarshalText() ([]byte, error) { return []byte(b.Source()), nil }

// Roots returns the top-level fields that the expression reads, sorted. "$env"
// stands for the whole event.
func (b *Bool) Roots() []string {
	if b.IsZero() {
		return nil
	}
	return b.program.roots
}
