package stages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() { pipe.RegisterStage("convert", func() pipe.Stage { return &Convert{} }) }

// Convert changes the types of fields, in the order of the file, and leaves the
// rest of the event's bytes as they came. An event with a value that cannot be
// converted fails whole, and leaves as it came.
//
//	stages:
//	  types:
//	    type: convert
//	    fields:
//	      status: int
//	      took: {type: duration, unit: ms}
//	      size: size
//	      at: {type: timestamp, layouts: [rfc3339, unix_ms], output: utc}
//	      score: {type: float, null_texts: ["-", n/a], nulls: remove}
//
// A missing field is skipped, unless it is required. A null stays null, unless
// nulls says otherwise. A value that has the type already keeps its very bytes.
//
// Example:
//
//	type: convert
//	fields: {status: int, took: {type: duration, unit: ms}}
type Convert struct {
	// Fields are the fields by their paths, each with a type or with a type and options.
	Fields pipe.OrderedMap[Conversion] `yaml:"fields" required:"true"`

	rules []conversion
}

// Conversion says what becomes of one field: a type, or a mapping with a type
// and options.
type Conversion struct {
	// Type is what the value becomes. int: a whole number; also of 3.0, true (1)
	// and text. float: any number, of text too. string: text, which is the JSON of
	// what is no text. bool: of true, yes, on, 1, t, y and their opposites, in
	// any case, and of the numbers 1 and 0. timestamp: see layouts. duration: of
	// text such as 1m30s, 250ms or 2d a number of units, see unit. size: of text such as
	// 64KiB or 1.5MB a number of bytes. A number in place of a duration or size is one of
	// units or bytes already.
	Type string `yaml:"type" required:"true" enum:"int,float,string,bool,timestamp,duration,size"`

	// Unit is what a duration is counted in: ns, us, ms, s (the default), m or h.
	Unit string `yaml:"unit" enum:"ns,us,ms,s,m,h"`

	// Layouts says how a timestamp may be written, tried in this order: rfc3339 (the
	// default), iso8601, unix, unix_ms, unix_us, unix_ns, common_log, rfc2822,
	// http, rfc3164, ctime, or a strftime layout. The stage parse explains them.
	Layouts []string `yaml:"layouts"`

	// Zone is where the clock was whose timestamp says no zone itself: UTC (the
	// default), Local or a name such as Europe/Berlin.
	Zone string `yaml:"zone"`

	// Output is how a timestamp is written: rfc3339 (the default), utc, unix,
	// unix_ms, unix_us or unix_ns.
	Output string `yaml:"output" enum:"rfc3339,utc,unix,unix_ms,unix_us,unix_ns"`

	// NullTexts are texts that stand for null, such as "" and "-".
	NullTexts []string `yaml:"null_texts"`

	// Nulls says what happens to null: keep (the default), remove the field, or
	// fail the event.
	Nulls string `yaml:"nulls" enum:"keep,remove,fail"`

	// Required fails an event that does not have the field.
	Required bool `yaml:"required"`
}

// UnmarshalText reads the short form, a type.
func (c *Conversion) UnmarshalText(text []byte) error {
	*c = Conversion{Type: string(text)}
	return nil
}

// conversion is a Conversion that is ready for work.
type conversion struct {
	Conversion
	path *record.Path
	unit time.Duration
	time *timeReader
}

var conversionTypes = []string{"int", "float", "string", "bool", "timestamp", "duration", "size"}

var timeUnits = map[string]time.Duration{
	"": time.Second, "ns": 1, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour,
}

// Validate checks the rules.
func (c *Convert) Validate() error {
	_, err := c.compile()
	return err
}

// Open prepares the rules.
func (c *Convert) Open(context.Context, pipe.Env) (err error) {
	c.rules, err = c.compile()
	return err
}

func (c *Convert) compile() ([]conversion, error) {
	if len(c.Fields) == 0 {
		return nil, fieldError("fields", "such as {status: int}", "convert needs at least one field")
	}
	var rules []conversion
	var errs []error
	for _, f := range c.Fields {
		r, err := f.Value.compile("fields." + f.Key + ".")
		if r.path, _ = record.ParsePath(f.Key); r.path == nil {
			_, pathErr := record.ParsePath(f.Key)
			err = errors.Join(err, &pipe.FieldError{Field: "fields." + f.Key, Err: pathErr})
		}
		rules, errs = append(rules, r), append(errs, err)
	}
	return rules, errors.Join(errs...)
}

func (c Conversion) compile(at string) (conversion, error) {
	r := conversion{Conversion: c}
	var errs []error
	if !slices.Contains(conversionTypes, c.Type) {
		errs = append(errs, fieldError(strings.TrimSuffix(at, "."), "one of "+strings.Join(conversionTypes, ", "), "unknown type %q", c.Type))
	}
	var ok bool
	if r.unit, ok = timeUnits[c.Unit]; !ok {
		errs = append(errs, fieldError(at+"unit", "one of ns, us, ms, s, m and h", "unknown unit %q", c.Unit))
	}
	for _, o := range []struct {
		name, typ string
		given     bool
	}{
		{"unit", "duration", c.Unit != ""}, {"layouts", "timestamp", len(c.Layouts) > 0},
		{"zone", "timestamp", c.Zone != ""}, {"output", "timestamp", c.Output != ""},
	} {
		if o.given && c.Type != o.typ {
			errs = append(errs, fieldError(at+o.name, "", "has no meaning for the type %s", c.Type))
		}
	}
	if c.Nulls != "" && c.Nulls != "keep" && c.Nulls != "remove" && c.Nulls != "fail" {
		errs = append(errs, fieldError(at+"nulls", "", "must be keep, remove or fail, got %q", c.Nulls))
	}
	if c.Type == "timestamp" {
		layouts, zone, output := c.Layouts, c.Zone, c.Output
		if len(layouts) == 0 {
			layouts = []string{"rfc3339"}
		}
		if zone == "" {
			zone = "UTC"
		}
		if output == "" {
			output = "rfc3339"
		}
		if !slices.Contains(timeOutputs, output) {
			errs = append(errs, fieldError(at+"output", "one of "+strings.Join(timeOutputs, ", "), "unknown output %q", output))
		}
		var err error
		r.time, err = newTimeReader(at, layouts, zone, output)
		errs = append(errs, err)
	}
	return r, errors.Join(errs...)
}

// Process converts the fields of each event; one that has a value that is not of
// its type fails unchanged.
func (c *Convert) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		body, err := c.convert(e, &out.Arena)
		if err != nil {
			out.Fail(e, poison(err))
			continue
		}
		e.Body = body
		out.Emit(e)
	}
	return nil
}

func (c *Convert) convert(e *pipe.Event, a *record.Arena) (record.Body, error) {
	b := e.Body
	for i := range c.rules {
		r := &c.rules[i]
		old := b.Get(r.path)
		v, same, err := r.value(old, e.Time(), a)
		switch {
		case err != nil:
			return b, fmt.Errorf("field %s: %w", r.path, err)
		case same:
		case !v.Exists():
			b.Delete(a, r.path)
		default:
			if err := b.Set(a, r.path, v); err != nil {
				return b, fmt.Errorf("field %s: %w", r.path, err)
			}
		}
	}
	return b, nil
}

// value converts a value; same says that it stays as it is, and a missing value
// that the field is removed.
func (r *conversion) value(old record.Value, read time.Time, a *record.Arena) (v record.Value, same bool, err error) {
	null := old.Kind() == record.KindNull
	if old.Kind() == record.KindString {
		for _, text := range r.NullTexts {
			null = null || old.EqualString(text)
		}
	}
	switch {
	case !old.Exists() && r.Required:
		return v, false, errors.New("is missing")
	case !old.Exists():
		return v, true, nil
	case null && r.Nulls == "fail":
		return v, false, errors.New("is null")
	case null && r.Nulls == "remove":
		return v, false, nil
	case null:
		return record.Null(), old.Kind() == record.KindNull, nil
	}
	return r.typed(old, read, a)
}

// typed converts a value that is there and not null.
func (r *conversion) typed(old record.Value, read time.Time, a *record.Arena) (v record.Value, same bool, err error) {
	text := old.Bytes(nil)
	switch kind := old.Kind(); {
	case r.Type == "string":
		return record.Text(text), kind == record.KindString, nil
	case kind == record.KindObject || kind == record.KindArray:
		return v, false, r.mistake(old)
	case r.Type == "bool":
		b, ok := boolOf(string(bytes.ToLower(text)))
		if !ok {
			return v, false, r.mistake(old)
		}
		return record.Bool(b), kind == record.KindBool, nil
	case r.Type == "timestamp" && kind != record.KindBool:
		t, err := r.time.time(strings.TrimSpace(view(text)), read)
		if err == nil {
			v, err = r.time.value(t, a)
		}
		return v, err == nil && v.Kind() == kind && string(v.Bytes(nil)) == string(text), err
	}
	var ok bool
	v, ok = r.number(old, bytes.TrimSpace(text), a)
	if !ok {
		return v, false, r.mistake(old)
	}
	return v, old.Kind() == record.KindNumber && bytes.Equal(v.Raw(), text), nil
}
