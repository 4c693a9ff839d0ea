package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterStage("unnest", func() pipe.Stage {
		return &Unnest{MaxElements: 10_000, OnEmpty: onFilter, OnMissing: onFail}
	})
}

// What becomes of an event that has nothing to work on.
const (
	onPass   = "pass"
	onFail   = "fail"
	onFilter = "filter"
	onDrop   = "drop"
)

// Unnest makes one event of each element of an array, in order. Each takes the
// fields of the event it came from along. The event is settled with the worst
// result of its elements: if one of them is refused, its source gives all again.
//
// {"id": 7, "tags": ["a", "b"]} with field: tags becomes {"id": 7, "tags": "a"}
// and {"id": 7, "tags": "b"}. The elements share the bytes of their event. What
// goes beyond the first of them counts as created.
//
// Example:
//
//	type: unnest
//	field: order.items
//	into: item
//	keep: [order.id, customer]
type Unnest struct {
	// Field is the path of the array.
	Field string `yaml:"field" required:"true"`

	// Into is the path under which each event has its element; by default that
	// of the array, in whose place it is.
	Into string `yaml:"into"`

	// Merge puts the members of each element at the top instead of under into,
	// in place of fields of the same name. An event fails if one of its elements
	// is not an object.
	Merge bool `yaml:"merge"`

	// Keep names the fields to take along from the event. By default all of them
	// are; with an empty list, [], none.
	Keep []string `yaml:"keep"`

	// Index names a field for the number of the element, from 0. By default
	// there is none.
	Index string `yaml:"index"`

	// MaxElements is how many elements an array may have, 1 to 1,000,000; 10,000
	// by default. An event with more fails. Raise it with an eye on memory: all
	// events made of one are made at once.
	MaxElements int `yaml:"max_elements" min:"1" max:"1000000"`

	// OnEmpty says what becomes of an event whose array is empty: filter (the
	// default) ends it, pass hands it on as it is, fail fails it.
	OnEmpty string `yaml:"on_empty" enum:"filter,pass,fail"`

	// OnMissing says the same for an event without the array, or with null in
	// its place: fail (the default), filter or pass. Anything else in its place
	// always fails.
	OnMissing string `yaml:"on_missing" enum:"fail,filter,pass"`

	field *record.Path
	into  *record.Path
	index *record.Path
	keep  []*record.Path
}

// Validate checks the paths and the limit.
func (u *Unnest) Validate() error {
	var errs []error
	path := func(field, text string, needed bool) {
		if _, err := record.ParsePath(text); err != nil && (needed || text != "") {
			errs = append(errs, &pipe.FieldError{Field: field, Err: err})
		}
	}
	path("field", u.Field, true)
	path("into", u.Into, false)
	path("index", u.Index, false)
	for i, k := range u.Keep {
		path("keep["+strconv.Itoa(i)+"]", k, true)
	}
	if u.Merge && u.Into != "" {
		errs = append(errs, fieldError("into", "leave one of them out", "has no meaning with merge"))
	}
	if u.MaxElements < 1 || u.MaxElements > 1_000_000 {
		errs = append(errs, fieldError("max_elements", "", "must be 1 to 1000000, got %d", u.MaxElements))
	}
	one := func(field, value string) {
		if !slices.Contains([]string{onFilter, onPass, onFail}, value) {
			errs = append(errs, fieldError(field, "one of filter, pass and fail", "unknown choice %q", value))
		}
	}
	one("on_empty", u.OnEmpty)
	one("on_missing", u.OnMissing)
	return errors.Join(errs...)
}

// Open parses the paths.
func (u *Unnest) Open(context.Context, pipe.Env) error {
	var errs []error
	parse := func(text string) *record.Path {
		p, err := record.ParsePath(text)
		errs = append(errs, err)
		return p
	}
	u.field = parse(u.Field)
	u.into = u.field
	if u.Into != "" {
		u.into = parse(u.Into)
	}
	if u.Index != "" {
		u.index = parse(u.Index)
	}
	u.keep = nil
	for _, k := range u.Keep {
		u.keep = append(u.keep, parse(k))
	}
	return errors.Join(errs...)
}

// MaxBatch bounds what one step makes to about 100,000 events.
func (u *Unnest) MaxBatch() int { return max(1, min(256, 100_000/max(1, u.MaxElements))) }

// Process takes the arrays of the events apart.
func (u *Unnest) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	var bodies []record.Body
	tops := topPaths{}
	for _, e := range in {
		var err error
		switch v := e.Body.Get(u.field); v.Kind() {
		case record.KindMissing, record.KindNull:
			u.leave(e, out, u.OnMissing, "there is no field %s")
		case record.KindArray:
			if bodies, err = u.split(bodies[:0], e.Body, v, tops, &out.Arena); err != nil {
				out.Fail(e, poison(err))
			} else if len(bodies) == 0 {
				u.leave(e, out, u.OnEmpty, "field %s has no elements")
			} else {
				out.Split(e, bodies)
			}
		default:
			out.Fail(e, poison(fmt.Errorf("unnest: field %s must be an array, got %v", u.Field, v.Kind())))
		}
	}
	return nil
}

// leave decides about an event without elements.
func (u *Unnest) leave(e *pipe.Event, out *pipe.Out, choice, why string) {
	switch choice {
	case onPass:
		out.Emit(e)
	case onFilter:
		out.Filter(e)
	default:
		out.Fail(e, poison(fmt.Errorf("unnest: "+why, u.Field)))
	}
}

// split appends a body for each element of list.
func (u *Unnest) split(bodies []record.Body, parent record.Body, list record.Value, tops topPaths, a *record.Arena) ([]record.Body, error) {
	base, err := u.base(parent, a)
	if err != nil {
		return bodies, err
	}
	list.Elements(func(v record.Value) bool {
		if len(bodies) == u.MaxElements {
			err = fmt.Errorf("unnest: field %s has more elements than max_elements, which is %d", u.Field, u.MaxElements)
			return false
		}
		body := base
		if err = u.put(&body, v, tops, a); err != nil {
			err = fmt.Errorf("unnest: element %d of %s: %w", len(bodies), u.Field, err)
			return false
		}
		if u.index != nil {
			if err = body.Set(a, u.index, record.Int(int64(len(bodies)), a)); err != nil {
				err = fmt.Errorf("unnest: index: %w", err)
				return false
			}
		}
		bodies = append(bodies, body)
		return true
	})
	return bodies, err
}

// base is what all events made of parent have in common.
func (u *Unnest) base(parent record.Body, a *record.Arena) (record.Body, error) {
	base := parent
	switch {
	case u.Keep == nil && !u.Merge && u.into == u.field: // the element takes the place of the array
		return base, nil
	case u.Keep == nil:
		base.Delete(a, u.field)
		return base, nil
	}
	base = record.NewObject(a, len(u.keep)+1)
	for _, p := range u.keep {
		if v := parent.Get(p); v.Exists() {
			if err := base.Set(a, p, v); err != nil {
				return base, fmt.Errorf("unnest: keep: %w", err)
			}
		}
	}
	return base, nil
}

var errNotMember = errors.New("is not an object, whose members could be merged")

// put puts an element into the event made of it.
func (u *Unnest) put(body *record.Body, v record.Value, tops topPaths, a *record.Arena) (err error) {
	if !u.Merge {
		return body.Set(a, u.into, v)
	}
	if v.Kind() != record.KindObject {
		return errNotMember
	}
	v.Members(func(key []byte, m record.Value) bool {
		err = body.Set(a, tops.of(key), m)
		return err == nil
	})
	return err
}

// topPaths has the paths of top-level members by their names.
type topPaths map[string]*record.Path

func (t topPaths) of(name []byte) *record.Path {
	p := t[string(name)]
	if p == nil {
		p = record.NewPath(string(name))
		t[string(name)] = p
	}
	return p
}
