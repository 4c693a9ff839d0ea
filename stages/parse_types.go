package stages

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/pipectl/pipectl/engine/record"
)

// FieldTypes says what the text of fields becomes, by their names.
type FieldTypes map[string]string

// everyField is the key of the type that fields without one of their own have.
const everyField = "*"

var typeNames = []string{"string", "int", "float", "bool", "auto"}

func (t FieldTypes) validate() error {
	var errs []error
	for field, name := range t {
		if !slices.Contains(typeNames, name) {
			errs = append(errs, fieldError("types."+field, "one of "+strings.Join(typeNames, ", "), "unknown type %q", name))
		}
	}
	return errors.Join(errs...)
}

// fieldType is one of typeNames.
type fieldType uint8

const (
	asString fieldType = iota
	asInt
	asFloat
	asBool
	asAuto
)

// of returns the type of a field.
func (t FieldTypes) of(field string) fieldType {
	if len(t) == 0 {
		return asString
	}
	name, ok := t[field]
	if !ok {
		name = t[everyField]
	}
	return fieldType(max(0, slices.Index(typeNames, name)))
}

// typesByName finds the types of fields whose names the line gives.
type typesByName struct {
	every fieldType            // of those that are not named
	own   map[string]fieldType // nil when none is
}

func (t FieldTypes) byName() (x typesByName) {
	x.every = t.of(everyField)
	for field := range t {
		if field == everyField {
			continue
		}
		if x.own == nil {
			x.own = map[string]fieldType{}
		}
		x.own[field] = t.of(field)
	}
	return x
}

// of returns the type of a field, and whether the field is named.
func (x *typesByName) of(field string) (t fieldType, own bool) {
	if x.own == nil {
		return x.every, false
	}
	if t, own = x.own[field]; own {
		return t, true
	}
	return x.every, false
}

// convert makes a value of text. A missing value means that the field is left
// out. want says what was expected where text is not that.
func (t fieldType) convert(text []byte, a *record.Arena) (v record.Value, want string) {
	switch {
	case t == asString:
		return record.Text(text), ""
	case t == asAuto:
		return guess(text), ""
	case len(text) == 0:
		return record.Value{}, ""
	case t == asBool:
		b, err := strconv.ParseBool(string(text))
		if err != nil {
			return record.Value{}, "true or false"
		}
		return record.Bool(b), ""
	}
	if whole, ok := jsonNumber(text); ok && (whole || t == asFloat) {
		return record.Number(text), ""
	}
	if t == asInt {
		n, err := strconv.ParseInt(string(text), 10, 64) // +1, 007
		if err != nil {
			return record.Value{}, "a whole number"
		}
		return record.Int(n, a), ""
	}
	f, err := strconv.ParseFloat(string(text), 64) // +1.5, .5, 1e3
	if err != nil || f-f != 0 {
		return record.Value{}, "a number"
	}
	return record.Float(f, a), ""
}

// guess takes what looks exactly like a JSON number, true or false for that,
// and all else for text: 007 and +1 stay text.
func guess(text []byte) record.Value {
	if _, ok := jsonNumber(text); ok {
		return record.Number(text)
	}
	switch string(text) {
	case "true":
		return record.Bool(true)
	case "false":
		return record.Bool(false)
	}
	return record.Text(text)
}

// jsonNumber reports whether b is written as JSON writes numbers, and whether
// it is whole: without fraction and exponent.
func jsonNumber(b []byte) (whole, ok bool) {
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	n := digits(b)
	if n == 0 || n > 1 && b[0] == '0' {
		return false, false
	}
	b, whole = b[n:], true
	if len(b) > 0 && b[0] == '.' {
		if n = digits(b[1:]); n == 0 {
			return false, false
		}
		b, whole = b[1+n:], false
	}
	if len(b) > 0 && b[0]|0x20 == 'e' {
		b, whole = b[1:], false
		if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		if n = digits(b); n == 0 {
			return false, false
		}
		b = b[n:]
	}
	return whole, len(b) == 0
}

// digits returns how many digits b begins with.
func digits(b []byte) int {
	n := 0
	for n < len(b) && b[n]-'0' <= 9 {
		n++
	}
	return n
}
