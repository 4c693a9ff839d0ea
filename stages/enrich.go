package stages

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// EnrichRule says what to look up and what to do with what is found.
type EnrichRule struct {
	// Key is what is looked up: a field or an expression. Text and numbers are
	// compared as they are written: 7 and "7" are one key. An event without a key
	// (nil) is treated as if it had not been found; one for which it cannot be
	// evaluated fails.
	Key expr.Value `yaml:"key" required:"true"`

	// Take are the paths of the fields to take over from what is found. What it
	// does not have is skipped. By default all fields are taken, of a table all but the
	// key's column.
	Take []string `yaml:"take"`

	// Target is the path of an object to put the fields in; by default they go to
	// the top. Fields of the same name are replaced.
	Target string `yaml:"target"`

	// OnMissing says what becomes of an event whose key is not found: pass (the
	// default) hands it on as it is, fail fails it, drop ends it, as filtered.
	OnMissing string `yaml:"on_missing" enum:"pass,fail,drop"`
}

// keyed is what an enriching stage does with the key of an event.
type keyed struct {
	key   string
	known bool  // there is a key
	err   error // it cannot be evaluated
}

func (r *EnrichRule) validate() []error {
	var errs []error
	if r.Key.IsZero() {
		errs = append(errs, fieldError("key", "name the field to look up, such as customer_id", "is required"))
	}
	if !slices.Contains([]string{onPass, onFail, onDrop}, r.OnMissing) {
		errs = append(errs, fieldError("on_missing", "one of pass, fail and drop", "unknown choice %q", r.OnMissing))
	}
	for i, path := range r.Take {
		if _, err := record.ParsePath(path); err != nil {
			errs = append(errs, &pipe.FieldError{Field: "take[" + strconv.Itoa(i) + "]", Err: err})
		}
	}
	if r.Target != "" {
		if _, err := record.ParsePath(r.Target); err != nil {
			errs = append(errs, &pipe.FieldError{Field: "target", Err: err})
		}
	}
	return errs
}

// keyOf evaluates the key of e.
func (r *EnrichRule) keyOf(e *pipe.Event, a *record.Arena, scratch []byte) keyed {
	v, err := r.Key.Eval(e, a)
	if err != nil {
		return keyed{err: poison(fmt.Errorf("key: %w", err))}
	}
	text, ok := v.Key(scratch)
	return keyed{key: string(text), known: ok}
}

// decide adds what was found, which may be nothing, to e and hands it on.
func (r *EnrichRule) decide(e *pipe.Event, found *row, out *pipe.Out) {
	if found == nil {
		r.miss(e, out)
		return
	}
	body := e.Body
	for _, m := range found.members {
		if err := body.Set(&out.Arena, m.path, m.value); err != nil {
			out.Fail(e, poison(fmt.Errorf("target: %w", err)))
			return
		}
	}
	e.Body = body
	out.Emit(e)
}

func (r *EnrichRule) miss(e *pipe.Event, out *pipe.Out) {
	switch r.OnMissing {
	case onPass:
		out.Emit(e)
	case onDrop:
		out.Filter(e)
	default:
		out.Fail(e, poison(fmt.Errorf("nothing is known by the key %s", r.Key.Source())))
	}
}

// row is what belongs to a key, ready to be put into events.
type row struct{ members []rowMember }

type rowMember struct {
	path  *record.Path
	value record.Value
}

// takePlan says which fields are taken and where they go.
type takePlan struct {
	target string         // "" or a path with a dot behind it
	whole  *record.Path   // where all of it goes, if it goes to one place
	from   []*record.Path // nil means all
	to     []*record.Path
	skip   string // the key's column
}

func (r *EnrichRule) planTake(skip string) (p takePlan, err error) {
	p.skip = skip
	if r.Target != "" {
		p.target = r.Target + "."
		if p.whole, err = record.ParsePath(r.Target); err != nil {
			return p, err
		}
	}
	for _, text := range r.Take {
		from, err := record.ParsePath(text)
		if err != nil {
			return p, err
		}
		to, err := record.ParsePath(under(p.target, text))
		if err != nil {
			return p, err
		}
		p.from, p.to = append(p.from, from), append(p.to, to)
	}
	return p, nil
}

// under is the path below a target; one that begins with a bracket has no dot.
func under(target, path string) string {
	if target != "" && path[0] == '[' {
		return target[:len(target)-1] + path
	}
	return target + path
}

// row makes a row of an object, whose memory it keeps. Members take their paths
// from tops.
func (p *takePlan) row(object record.Body, tops topPaths) *row {
	r := &row{}
	switch {
	case p.from != nil:
		for i, from := range p.from {
			if v := object.Get(from); v.Exists() {
				r.members = append(r.members, rowMember{p.to[i], v})
			}
		}
	case p.whole != nil:
		if p.skip != "" {
			object.Delete(nil, record.NewPath(p.skip))
		}
		r.members = []rowMember{{p.whole, record.RawJSON(object.AppendJSON(nil))}}
	default:
		object.Range(func(name []byte, v record.Value) bool {
			if string(name) != p.skip {
				r.members = append(r.members, rowMember{tops.of(name), v})
			}
			return true
		})
	}
	return r
}
