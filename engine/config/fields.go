package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

// A field is a key of a mapping, from the tags of a struct:
//
//	yaml:"name"            the key; ",inline" takes the fields of an embedded struct
//	required:"true"        the key must be there, and not be empty
//	enum:"a,b"             the text (or each text of a list) must be one of these
//	min:"1" max:"1GiB"     bounds of a number, a size or a duration
//	above:"0"              a lower bound that is itself not allowed
//	secret:"true"          the value is never printed
//	kinds:"source,sink"    nodes of these kinds only
//	outward:"true"         of stages, only those that call out
type field struct {
	name  string
	index []int
	typ   reflect.Type

	required, secret bool
	outward          bool
	enum             []string
	min, max, above  string
	kinds            string
	owner, goName    string // where its doc comment is
}

// fieldsOf returns the fields of a struct type in order.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		sf := t.Field(i)
		name, inline := strings.CutSuffix(sf.Tag.Get("yaml"), ",inline")
		switch {
		case inline:
			for _, f := range fieldsOf(sf.Type) {
				f.index = append([]int{i}, f.index...)
				fields = append(fields, f)
			}
		case !sf.IsExported(), name == "", name == "-":
		default:
			fields = append(fields, newField(t, sf, name, i))
		}
	}
	return fields
}

func newField(t reflect.Type, sf reflect.StructField, name string, i int) field {
	f := field{
		name: name, index: []int{i}, typ: sf.Type,
		required: sf.Tag.Get("required") == "true", secret: sf.Tag.Get("secret") == "true",
		min: sf.Tag.Get("min"), max: sf.Tag.Get("max"), above: sf.Tag.Get("above"),
		kinds: sf.Tag.Get("kinds"), outward: sf.Tag.Get("outward") == "true",
		owner: t.PkgPath() + "." + t.Name(), goName: sf.Name,
	}
	if e := sf.Tag.Get("enum"); e != "" {
		f.enum = strings.Split(e, ",")
	}
	return f
}

// forKind returns the fields for nodes of kind k.
func forKind(fields []field, k pipe.Kind) []field {
	return slices.DeleteFunc(slices.Clone(fields), func(f field) bool {
		return f.kinds != "" && !slices.Contains(strings.Split(f.kinds, ","), string(k))
	})
}

func names(fields []field) []string {
	var list []string
	for _, f := range fields {
		list = append(list, f.name)
	}
	return list
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// readsText reports whether values of t are made from a text by UnmarshalText.
func readsText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(textUnmarshaler) }

// isRecord reports whether t is a struct with keys of its own.
func isRecord(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && len(fieldsOf(t)) > 0
}

// orderedValue returns V when t is a pipe.OrderedMap[V].
func orderedValue(t reflect.Type) (reflect.Type, bool) {
	if t.Kind() != reflect.Slice || t.PkgPath() != reflect.TypeFor[pipe.Size]().PkgPath() || !strings.HasPrefix(t.Name(), "OrderedMap[") {
		return nil, false
	}
	v, _ := t.Elem().FieldByName("Value")
	return v.Type, true
}

// An expecter says what its text form is, for "expected …, got …".
type expecter interface{ Expects() string }

// expects describes in words what a value of type t looks like.
func expects(t reflect.Type) string {
	if e, ok := reflect.New(t).Interface().(expecter); ok {
		return e.Expects()
	}
	switch t {
	case reflect.TypeFor[pipe.Duration]():
		return "a duration such as 5s"
	case reflect.TypeFor[pipe.Size]():
		return "a size such as 16MiB"
	case reflect.TypeFor[pipe.Rate]():
		return "a rate such as 1000/s"
	case reflect.TypeFor[expr.Bool](), reflect.TypeFor[expr.Value]():
		return "an expression"
	}
	switch {
	case readsText(t) && isRecord(t):
		return "text or a mapping"
	case readsText(t):
		return "text"
	}
	if _, ok := orderedValue(t); ok {
		return "a mapping"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return expects(t.Elem())
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a mapping"
	case reflect.Interface:
		return "a value"
	}
	if isInt(t) || isUint(t) {
		return "a whole number"
	}
	panic(fmt.Sprintf("BUG: a component has a field of type %s, which YAML cannot fill", t))
}

func isInt(t reflect.Type) bool  { return t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64 }
func isUint(t reflect.Type) bool { return t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64 }

// typeWords names type t for the manual: "duration", "list of text".
func typeWords(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[pipe.Duration]():
		return "duration"
	case reflect.TypeFor[pipe.Size]():
		return "size"
	case reflect.TypeFor[pipe.Rate]():
		return "rate"
	case reflect.TypeFor[expr.Bool](), reflect.TypeFor[expr.Value]():
		return "expression"
	}
	if v, ok := orderedValue(t); ok {
		return "mapping of " + typeWords(v)
	}
	switch {
	case t.Kind() == reflect.Pointer:
		return typeWords(t.Elem())
	case readsText(t) && isRecord(t):
		return "text or mapping"
	case readsText(t):
		return "text"
	case t.Kind() == reflect.Slice:
		return "list of " + typeWords(t.Elem())
	case t.Kind() == reflect.Map:
		return "mapping of " + typeWords(t.Elem())
	}
	for _, article := range []string{"a ", "an "} {
		if w, ok := strings.CutPrefix(expects(t), article); ok {
			return w
		}
	}
	return expects(t)
}
