package stages

import (
	"context"
	"fmt"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() { pipe.RegisterStage("filter", func() pipe.Stage { return &Filter{} }) }

// Filter hands on the events for which an expression holds, unchanged, and ends
// the others: they count as filtered and their source may forget them.
//
//	stages:
//	  slow_or_failed:
//	    type: filter
//	    where: 'status >= 500 || seconds > 2.5'
//
// Example:
//
//	type: filter
//	where: status >= 500 && path startsWith "/api/"
type Filter struct {
	// Where is the condition that an event must meet to go on. A missing field is
	// nil, and an ordering comparison with nil is false, so an event with a gap
	// is filtered rather than failed. An event that the expression does not fit
	// (a text where it computes with a number) fails.
	Where expr.Bool `yaml:"where" required:"true"`
}

// Validate reports a missing condition.
func (f *Filter) Validate() error {
	if f.Where.IsZero() {
		return fieldError("where", "say which events go on, such as 'status >= 500'", "is required")
	}
	return nil
}

// Process decides about each event by the condition.
func (f *Filter) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		switch ok, err := f.Where.Eval(e); {
		case err != nil:
			out.Fail(e, poison(fmt.Errorf("where: %w", err)))
		case ok:
			out.Emit(e)
		default:
			out.Filter(e)
		}
	}
	return nil
}
