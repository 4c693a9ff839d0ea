package stages

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() { pipe.RegisterStage("route", func() pipe.Stage { return &Route{Mode: "first"} }) }

// Route hands each event on through a port of its own choice. Every case is a
// port; what no case takes leaves through the port else. Without an edge from
// else it is filtered, counted as unrouted.
//
//	stages:
//	  by_status:
//	    type: route
//	    cases:
//	      errors: 'status >= 500'
//	      big: 'bytes > 1_000_000'
//	edges:
//	  - {from: by_status.errors, to: alerts}
//	  - {from: by_status.big, to: archive}
//	  - {from: by_status.else, to: out}
//
// Example:
//
//	type: route
//	cases:
//	  errors: status >= 500
//	  slow: seconds > 1
type Route struct {
	// Cases names the ports, lower_snake_case, and for each the condition of the
	// events that leave through it. They are tried in the order of the file. An
	// event for which a condition cannot be evaluated fails.
	Cases pipe.OrderedMap[expr.Bool] `yaml:"cases" required:"true"`

	// Mode says what happens to an event that meets several conditions: with
	// first (the default) it takes the first port, with all it leaves through
	// each of them, as a copy that shares its bytes.
	Mode string `yaml:"mode" enum:"first,all"`
}

var portName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// Validate reports missing cases and names that cannot be ports.
func (r *Route) Validate() error {
	var errs []error
	if len(r.Cases) == 0 {
		errs = append(errs, fieldError("cases", "name a port and its condition, such as errors: 'status >= 500'", "must not be empty"))
	}
	for i, c := range r.Cases {
		errs = append(errs, validateCase(c, r.Cases[:i]))
	}
	if r.Mode != "first" && r.Mode != "all" {
		errs = append(errs, pipe.Fieldf("mode", "must be first or all, got %q", r.Mode))
	}
	return errors.Join(errs...)
}

func validateCase(c pipe.Pair[expr.Bool], before pipe.OrderedMap[expr.Bool]) error {
	field := "cases." + c.Key
	_, twice := before.Get(c.Key)
	switch {
	case c.Key == "failed":
		return fieldError(field, "choose another name", "the port failed is for what the node cannot handle")
	case c.Key == "else":
		return fieldError(field, "choose another name", "the port else is always there, for what no case takes")
	case !portName.MatchString(c.Key):
		return fieldError(field, "use lower-case letters, digits and _, beginning with a letter", "%q cannot name a port", c.Key)
	case twice:
		return pipe.Fieldf(field, "there are two cases of this name")
	case c.Value.IsZero():
		return fieldError(field, "say which events leave through it, such as 'status >= 500'", "the condition is missing")
	}
	return nil
}

// Ports returns a port for each case, and else.
func (r *Route) Ports() []pipe.Port {
	ports := make([]pipe.Port, 0, len(r.Cases)+1)
	for _, c := range r.Cases {
		ports = append(ports, pipe.Port{Name: c.Key})
	}
	return append(ports, pipe.Port{Name: "else", Optional: true})
}

// Process decides for each event which ports take it.
func (r *Route) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	var few [16]int
	hits := few[:0]
	for _, e := range in {
		var err error
		if hits, err = r.match(hits[:0], e); err != nil {
			out.Fail(e, poison(err))
			continue
		}
		for _, port := range hits[1:] {
			out.EmitTo(port, out.Copy(e))
		}
		out.EmitTo(hits[0], e)
	}
	return nil
}

// match appends the ports that e takes; there is at least one.
func (r *Route) match(hits []int, e *pipe.Event) ([]int, error) {
	for i := range r.Cases {
		ok, err := r.Cases[i].Value.Eval(e)
		if err != nil {
			return hits, fmt.Errorf("cases.%s: %w", r.Cases[i].Key, err)
		}
		if ok {
			if hits = append(hits, i); r.Mode == "first" {
				return hits, nil
			}
		}
	}
	if len(hits) == 0 {
		hits = append(hits, len(r.Cases))
	}
	return hits, nil
}
