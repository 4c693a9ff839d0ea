package stages

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() { pipe.RegisterStage("map", func() pipe.Stage { return &Map{} }) }

// Map changes the fields of each event and leaves the rest of its bytes as they
// came. It works in this order: set, rename, delete, keep, and each of them in
// the order of the file. A line of text becomes an object, with the line in
// message, when a field is set or renamed.
//
//	stages:
//	  shape:
//	    type: map
//	    set:    {service: '"web"', mb: 'bytes / 1048576.0'}
//	    rename: {agent: user_agent}
//	    delete: [ident]
//
// A field is named by its path: status, http.status, tags[0].
//
// Example:
//
//	type: map
//	set: {service: '"web"', mb: bytes / 1048576.0}
//	rename: {agent: user_agent}
//	delete: [ident]
type Map struct {
	// Set gives fields the results of expressions. Each expression sees what the
	// ones before it have set. Missing objects on the way are made; nil becomes
	// null. If an expression cannot be evaluated the event fails, and leaves as
	// it came.
	Set pipe.OrderedMap[expr.Value] `yaml:"set"`

	// Rename moves fields: old path to new path. A missing field is skipped; one
	// that is there already under the new path is replaced.
	Rename pipe.OrderedMap[string] `yaml:"rename"`

	// Delete removes fields; missing ones are skipped.
	Delete []string `yaml:"delete"`

	// Keep, if it names any, removes all other fields.
	Keep []string `yaml:"keep"`

	plan mapPlan
}

// mapPlan is a Map's work with its paths parsed.
type mapPlan struct {
	set    []*record.Path
	from   []*record.Path
	to     []*record.Path
	delete []*record.Path
	keep   []*record.Path
}

// Validate reports every path that is none, and a map without work.
func (m *Map) Validate() error {
	if len(m.Set)+len(m.Rename)+len(m.Delete)+len(m.Keep) == 0 {
		return errors.New("map needs at least one of set, rename, delete and keep")
	}
	_, err := m.compile()
	return err
}

// Open parses the paths.
func (m *Map) Open(context.Context, pipe.Env) (err error) {
	m.plan, err = m.compile()
	return err
}

func (m *Map) compile() (mapPlan, error) {
	var p mapPlan
	var errs []error
	parse := func(list *[]*record.Path, path, field string) {
		parsed, err := record.ParsePath(path)
		if err != nil {
			errs = append(errs, &pipe.FieldError{Field: field, Err: err})
		}
		*list = append(*list, parsed)
	}
	for _, s := range m.Set {
		parse(&p.set, s.Key, "set."+s.Key)
		if s.Value.IsZero() {
			errs = append(errs, fieldError("set."+s.Key, "a text needs quotes of its own, such as '\"web\"'", "the expression is missing"))
		}
	}
	for _, r := range m.Rename {
		parse(&p.from, r.Key, "rename."+r.Key)
		parse(&p.to, r.Value, "rename."+r.Key)
	}
	for i, path := range m.Delete {
		parse(&p.delete, path, "delete["+strconv.Itoa(i)+"]")
	}
	for i, path := range m.Keep {
		parse(&p.keep, path, "keep["+strconv.Itoa(i)+"]")
	}
	return p, errors.Join(errs...)
}

// Process edits each event; one that cannot be edited fails unchanged.
func (m *Map) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		before := e.Body
		if err := m.edit(e, &out.Arena); err != nil {
			e.Body = before
			out.Fail(e, poison(err))
			continue
		}
		out.Emit(e)
	}
	return nil
}

func (m *Map) edit(e *pipe.Event, a *record.Arena) error {
	p := &m.plan
	for i, path := range p.set {
		v, err := m.Set[i].Value.Eval(e, a)
		if err != nil {
			return fmt.Errorf("set.%s: %w", m.Set[i].Key, err)
		}
		if err := e.Body.Set(a, path, v); err != nil {
			return fmt.Errorf("set: %w", err)
		}
	}
	for i := range p.from {
		if _, err := e.Body.Rename(a, p.from[i], p.to[i]); err != nil {
			return fmt.Errorf("rename.%s: %w", m.Rename[i].Key, err)
		}
	}
	for _, path := range p.delete {
		e.Body.Delete(a, path)
	}
	if len(p.keep) > 0 {
		e.Body.Keep(a, p.keep)
	}
	return nil
}
