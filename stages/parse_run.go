package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// Process parses each event; one that does not match fails unchanged.
func (p *Parse) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	var found fields
	for i, e := range in {
		found.read = e.Time()
		body, err := p.body(e.Body, &found, len(in)-i, &out.Arena)
		if err != nil {
			out.Fail(e, poison(err))
			continue
		}
		e.Body = body
		out.Emit(e)
	}
	return nil
}

// body parses the event of body old; lines is how many are still to come.
func (p *Parse) body(old record.Body, found *fields, lines int, a *record.Arena) (record.Body, error) {
	v := old.Get(p.source)
	switch k := v.Kind(); {
	case k == record.KindString, k == record.KindNumber && p.format.numbers:
	case k == record.KindMissing:
		return old, fmt.Errorf("%s: there is no field %s", p.Format, p.Field)
	default:
		return old, fmt.Errorf("%s: field %s is not a text", p.Format, p.Field)
	}
	if !old.IsText() {
		found.source = slices.Grow(found.source[:0], old.Size())
	}
	line := v.Bytes(found.source)
	alone := p.whole && old.IsText() && !p.KeepSource // nothing but the fields will be left
	found.reset(line, lines, p.format.once && (alone || p.target != nil))
	if err := p.parse(line, found, a); err != nil {
		return old, err
	}
	if p.target != nil {
		return p.place(old, found, lines, a)
	}
	size := old.Size()
	switch {
	case alone && p.Format == "json":
		return found.object, nil
	case alone:
		old = record.Body{}
	case !p.KeepSource:
		old.Delete(a, p.source)
	}
	return found.body(&old, size, lines, a)
}

// place puts what was found into the target.
func (p *Parse) place(old record.Body, found *fields, lines int, a *record.Arena) (record.Body, error) {
	v := found.value
	if !p.format.scalar {
		v = record.RawJSON(found.written(lines))
	}
	b := old
	if !p.KeepSource && p.source.String() != p.target.String() {
		b.Delete(a, p.source)
	}
	if err := b.Set(a, p.target, v); err != nil {
		return old, fmt.Errorf("%s: target: %w", p.Format, err)
	}
	return b, nil
}

func parseJSON(line []byte, out *fields, a *record.Arena) error {
	var err error
	if out.object, err = record.FromJSON(line, a); err != nil {
		return jsonMistake(err)
	}
	return nil
}

func jsonMistake(err error) error {
	var syntax *record.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("json: byte %d: %s", syntax.Offset, syntax.Msg)
	}
	return fmt.Errorf("json: %w", err)
}
