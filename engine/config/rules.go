package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pipectl/pipectl/engine/pipe"
)

// limits checks the rules of a field on a decoded value. n is nil when the
// value did not come from a file.
func (s *scope) limits(n *node, v reflect.Value, path string, f field) {
	at := s.places.at(path, s.pos)
	if f.required && length(v) == 0 {
		s.fail(at, path, "bad-value", "must not be empty", "")
		return
	}
	if len(f.enum) > 0 && v.Kind() == reflect.String && !slices.Contains(f.enum, v.String()) {
		s.fail(at, path, "bad-value", "unknown value "+quoted(v.String()), didYouMean(v.String(), f.enum, "valid values"))
		return
	}
	x, ok := number(v)
	if !ok {
		return
	}
	got := fmt.Sprint(v.Interface())
	if n != nil && n.kind == scalarNode {
		got = n.text
	}
	switch {
	case f.min != "" && x < bound(v.Type(), f.min):
		s.fail(at, path, "bad-value", fmt.Sprintf("must be at least %s, got %s", f.min, got), "")
	case f.above != "" && x <= bound(v.Type(), f.above):
		s.fail(at, path, "bad-value", fmt.Sprintf("must be above %s, got %s", f.above, got), "")
	case f.max != "" && x > bound(v.Type(), f.max):
		s.fail(at, path, "bad-value", fmt.Sprintf("must be at most %s, got %s", f.max, got), "")
	}
}

// length returns the length of a text, list or mapping, -1 for other values.
func length(v reflect.Value) int {
	switch v.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		return v.Len()
	}
	return -1
}

func number(v reflect.Value) (float64, bool) {
	switch {
	case isInt(v.Type()):
		return float64(v.Int()), true
	case isUint(v.Type()):
		return float64(v.Uint()), true
	case v.CanFloat():
		return v.Float(), true
	}
	return 0, false
}

// bound parses a tag's limit the way the field's type is written.
func bound(t reflect.Type, text string) float64 {
	v := reflect.New(t)
	if u, ok := v.Interface().(encoding.TextUnmarshaler); ok && u.UnmarshalText([]byte(text)) == nil {
		x, _ := number(v.Elem())
		return x
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(fmt.Sprintf("BUG: %q is no limit for a field of type %s", text, t))
	}
	return x
}

// structLimits checks the rules of every field of a struct that a program
// filled. A zero value stands for the default and is not checked.
func (s *scope) structLimits(v reflect.Value, fields []field, path string) {
	for _, f := range fields {
		fv, p := v.FieldByIndex(f.index), child(path, f.name)
		if fv.IsZero() {
			if f.required {
				s.fail(s.pos, p, "missing-key", "is required", "")
			}
			continue
		}
		if fv.Kind() == reflect.Pointer && isRecord(fv.Type().Elem()) {
			fv = fv.Elem()
		}
		before := s.failed
		s.failed = false
		if isRecord(fv.Type()) {
			s.structLimits(fv, fieldsOf(fv.Type()), p)
		} else {
			s.limits(nil, fv, p, f)
		}
		if x, ok := fv.Addr().Interface().(pipe.Validator); ok && !s.failed {
			s.report(x.Validate(), p, "")
		}
		s.failed = s.failed || before
	}
}

// report places an error of Validate or UnmarshalText: joined errors one by
// one, field errors at their field, offsets inside their text.
func (s *scope) report(err error, path, hint string) {
	if err == nil {
		return
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			s.report(e, path, hint)
		}
		return
	}
	if fe, ok := err.(*pipe.FieldError); ok {
		if fe.Field != "" {
			path = child(path, fe.Field)
		}
		if fe.Hint != "" {
			hint = fe.Hint
		}
		s.report(fe.Err, path, hint)
		return
	}
	deep := path // where a wrapped error points
	var fe *pipe.FieldError
	if errors.As(err, &fe) {
		deep = child(path, fe.Field)
		if fe.Hint != "" {
			hint = fe.Hint
		}
	}
	n, found := s.nearest(deep)
	if n != nil && n.kind == scalarNode && deep == path {
		path = found // a text stands for the whole mapping: it has no parts
	}
	at := s.places.at(found, s.pos)
	var oe *pipe.OffsetError
	if errors.As(err, &oe) && n != nil && n.kind == scalarNode {
		at = s.r.text.inText(n, oe.Offset)
		if oe.Hint != "" {
			hint = oe.Hint
		}
	}
	s.fail(at, path, "bad-value", err.Error(), hint)
}

// nearest returns what the file has at path, or around it, and where that is.
func (s *scope) nearest(path string) (*node, string) {
	for ; path != ""; path = parentPath(path) {
		if n, ok := s.nodes[path]; ok {
			return n, path
		}
	}
	return nil, ""
}

// parentPath removes the last key or index of a path.
func parentPath(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}
