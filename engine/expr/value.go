package expr

import (
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// Value is an expression with any result, such as those of map's set. The zero
// value gives null. Copies share the compiled code.
type Value struct {
	program *program
	value   value // nil when only the virtual machine will do
}

// UnmarshalText compiles the expression. Its errors are *pipe.OffsetError.
func (v *Value) UnmarshalText(text []byte) error {
	p, err := compile(string(text), ofEvents)
	if err != nil {
		return err
	}
	*v = Value{program: p, value: (&closures{p}).value(p.node)}
	return nil
}

// Eval returns the result for e, null where the expression gives nil. A field
// that is passed on as it is keeps its bytes; other results are built in a, and
// may share memory with e. Times become text in RFC 3339, durations text such as
// 1m30s. An error says that the expression does not fit this event, or that its
// result cannot be stored (an infinite number, a function). It is safe for
// concurrent use, as long as each call has an arena of its own.
func (v *Value) Eval(e *pipe.Event, a *record.Arena) (record.Value, error) {
	if v.IsZero() {
		return record.Null(), nil
	}
	if v.value != nil {
		if out, ok := v.value(e, a); ok {
			return out, nil
		}
	}
	return v.program.store(e, a)
}

// EvalAny is Eval for callers that compute with the result: nil, bool, int,
// float64, string, []any or map[string]any. Numbers written without fraction
// and exponent that fit are ints, all others float64.
func (v *Value) EvalAny(e *pipe.Event) (any, error) {
	if v.IsZero() {
		return nil, nil
	}
	if path, ok := (&closures{v.program}).field(v.program.node); ok {
		return decode(&e.Body, path), nil
	}
	return v.program.result(e)
}

// IsZero reports whether there is no expression.
func (v *Value) IsZero() bool { return v == nil || v.program == nil }

// Source returns the text of the expression.
func (v *Value) Source() string {
	if v.IsZero() {
		return ""
	}
	return v.program.source
}

// MarshalText renders the expression as UnmarshalText reads it.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.Source()), nil }

// Roots returns the top-level fields that the expression reads, sorted. "$env"
// stands for the whole event.
func (v *Value) Roots() []string {
	if v.IsZero() {
		return nil
	}
	return v.program.roots
}
