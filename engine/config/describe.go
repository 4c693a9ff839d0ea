package config

import (
	"fmt"
	"reflect"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Field describes a key of a mapping, for the manual and the schema.
type Field struct {
	// Name is the YAML key.
	Name string `json:"name"`
	// Type is the value's type in words: "text", "duration", "list of text".
	Type string `json:"type"`
	// Default is the value when the key is left out, as it would be written;
	// empty when there is none worth writing.
	Default  string   `json:"default,omitempty"`
	Required bool     `json:"required,omitempty"`
	Secret   bool     `json:"secret,omitempty"`
	Enum     []string `json:"enum,omitempty"`
	// Min, Above and Max are bounds as they would be written; Above itself is
	// not allowed.
	Min   string `json:"min,omitempty"`
	Above string `json:"above,omitempty"`
	Max   string `json:"max,omitempty"`
	// Outward means that of stages only those that call out have the key.
	Outward bool `json:"outward,omitempty"`
	// Fields are the keys of a mapping value, or of the mappings in a list.
	Fields []Field `json:"fields,omitempty"`
	// Owner and GoName find the doc comment: the package path and type name,
	// and the name of the struct field.
	Owner  string `json:"-"`
	GoName string `json:"-"`
	// GoType is the type of the struct field.
	GoType reflect.Type `json:"-"`
}

// Describe lists the keys of a component, without those that the engine adds.
// It returns false when no such type is registered, and panics when a key of
// the component is one that the engine has too.
func Describe(kind pipe.Kind, typ string) ([]Field, bool) {
	c, ok := pipe.Lookup(kind, typ)
	if !ok {
		return nil, false
	}
	v := reflect.ValueOf(c.New()).Elem()
	own := forKind(fieldsOf(reflect.TypeFor[Node]()), kind)
	fields := fieldsOf(v.Type())
	known(mappingRules{}, []target{{fields: own}, {fields: fields}}) // no key has two meanings
	return describe(v, fields, nil), true
}

// DescribeNode lists the keys that the engine gives every node of a kind.
func DescribeNode(kind pipe.Kind) []Field {
	v := reflect.ValueOf(NewNode(kind, "", "", nil)).Elem()
	return describe(v, forKind(fieldsOf(v.Type()), kind), nil)
}

// DescribeEdge lists the keys of an edge in its mapping form.
func DescribeEdge() []Field {
	e := Edge{EdgeSettings: DefaultEdge()}
	fields := describe(reflect.ValueOf(ends{}), fieldsOf(reflect.TypeFor[ends]()), nil)
	return append(fields, describe(reflect.ValueOf(e), fieldsOf(reflect.TypeFor[Edge]()), nil)...)
}

// DescribePipeline lists the keys of the top level, except the sections of
// nodes and edges.
func DescribePipeline() []Field {
	var p Pipeline
	p.fill()
	p.Name = ""
	fields := describe(reflect.ValueOf(p), fieldsOf(reflect.TypeFor[Pipeline]()), nil)
	d := defaultsFile{DefaultEdge()}
	return append(fields, Field{Name: "defaults", Type: "mapping", Fields: describe(reflect.ValueOf(d), fieldsOf(reflect.TypeFor[defaultsFile]()), nil)})
}

// describe describes the fields of the struct v, whose values are the defaults.
// above holds the types around it, so that a type that contains itself ends.
func describe(v reflect.Value, fields []field, above []reflect.Type) []Field {
	var list []Field
	above = append(above, v.Type())
	for _, f := range fields {
		d := Field{
			Name: f.name, Type: typeWords(f.typ), Required: f.required, Secret: f.secret,
			Enum: f.enum, Outward: f.outward, Min: f.min, Above: f.above, Max: f.max, Owner: f.owner, GoName: f.goName, GoType: f.typ,
		}
		value := v.FieldByIndex(f.index)
		d.Default = defaultText(value)
		if inner, ok := innerRecord(value); ok && !containsType(above, inner.Type()) {
			d.Fields = describe(inner, fieldsOf(inner.Type()), above)
			if d.Default == "" && readsText(f.typ) { // the text form is the first key
				d.Default = d.Fields[0].Default
			}
		}
		list = append(list, d)
	}
	return list
}

func containsType(list []reflect.Type, t reflect.Type) bool {
	for _, x := range list {
		if x == t {
			return true
		}
	}
	return false
}

// innerRecord finds the struct in a field: itself, behind a pointer, or in a
// list or mapping.
func innerRecord(v reflect.Value) (reflect.Value, bool) {
	t := v.Type()
	if value, ok := orderedValue(t); ok {
		t = value
	} else if t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if !isRecord(t) {
		return reflect.Value{}, false
	}
	switch {
	case v.Type() == t:
		return v, true
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return v.Elem(), true
	}
	fresh := reflect.New(t)
	if x, ok := fresh.Interface().(interface{ fill() }); ok {
		x.fill()
	}
	return fresh.Elem(), true
}

// defaultText renders a default as it would be written in YAML, "" for zero
// values and for what is made of parts.
func defaultText(v reflect.Value) string {
	if v.IsZero() || !v.CanInterface() || isRecord(v.Type()) {
		return ""
	}
	switch x := v.Interface().(type) {
	case fmt.Stringer:
		return x.String()
	case bool, string:
		return fmt.Sprint(x)
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.String {
			return fmt.Sprint(v.Interface())
		}
		return ""
	case reflect.Struct, reflect.Map, reflect.Pointer, reflect.Interface, reflect.Func, reflect.Chan:
		return ""
	}
	return fmt.Sprint(v.Interface())
}
