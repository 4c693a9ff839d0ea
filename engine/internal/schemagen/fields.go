package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// record is a mapping with these keys.
func (g *generator) record(fields []config.Field) *schema {
	keys := map[string]string{}
	for _, f := range fields {
		keys[f.GoName] = f.Name
	}
	var (
		ps       properties
		required []string
	)
	for _, f := range fields {
		r := rules[ruleName(f)]
		g.used[ruleName(f)] = true
		if f.Required || r.required {
			required = append(required, f.Name)
		}
		ps = append(ps, property{f.Name, g.field(f, r, keys)})
	}
	return mapping(ps, required)
}

// ruleName is the key of a field in rules.
func ruleName(f config.Field) string {
	return f.Owner[strings.LastIndex(f.Owner, "/")+1:] + "." + f.GoName
}

// field is the value of a key.
func (g *generator) field(f config.Field, r rule, keys map[string]string) *schema {
	f = withRule(f, r)
	var s *schema
	if f.GoType == nil { // defaults: a section, no field of the pipeline
		s = g.record(f.Fields)
		r.doc = "defaults are the settings of what does not have its own."
	} else {
		s = g.value(f.GoType, f, r)
		s.Default = defaultValue(f)
	}
	s.Description = r.doc
	if r.doc == "" {
		doc, err := g.comments.field(f.Owner, f.GoName, keys)
		g.note(err)
		s.Description = doc
	}
	if s.Description == "" {
		g.note(fmt.Errorf("%s.%s has no comment", f.Owner, f.GoName))
	}
	if f.Secret && !strings.Contains(s.Description, "never printed") {
		s.Description += " It is never printed."
	}
	return s
}

// withRule adds to f what r knows better.
func withRule(f config.Field, r rule) config.Field {
	if r.enum != nil {
		f.Enum = r.enum
	}
	for from, to := range map[*string]*string{&r.standard: &f.Default, &r.min: &f.Min, &r.max: &f.Max, &r.above: &f.Above} {
		if *from != "" {
			*to = *from
		}
	}
	return f
}

// value is a value of type t. f holds the rules of the key that it belongs to.
func (g *generator) value(t reflect.Type, f config.Field, r rule) *schema {
	if t.Kind() == reflect.Pointer {
		return nullable(g.value(t.Elem(), f, r))
	}
	if fresh, ok := texts[t]; ok && (len(f.Enum) == 0 || t.Kind() != reflect.String) {
		return bounded(fresh(), t, f)
	}
	record := len(f.Fields) > 0
	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) && (record || t.Kind() != reflect.String):
		return g.shortened(t, f)
	case t.Kind() == reflect.Struct:
		return g.record(f.Fields)
	case t.Kind() == reflect.Interface:
		return &schema{}
	}
	if elem, ok := orderedValue(t); ok {
		return g.entries(elem, f, r)
	}
	switch t.Kind() {
	case reflect.Map:
		return g.entries(t.Elem(), f, r)
	case reflect.Slice:
		return g.list(t.Elem(), f, r)
	}
	return scalar(t, f, r)
}

// orderedValue returns V when t is a pipe.OrderedMap[V].
func orderedValue(t reflect.Type) (reflect.Type, bool) {
	if t.PkgPath() != reflect.TypeFor[pipe.Size]().PkgPath() || !strings.HasPrefix(t.Name(), "OrderedMap[") {
		return nil, false
	}
	v, _ := t.Elem().FieldByName("Value")
	return v.Type, true
}

// shortened is a mapping that may also be written as a text.
func (g *generator) shortened(t reflect.Type, f config.Field) *schema {
	key, ok := shortFor[t]
	if !ok {
		panic(fmt.Sprintf("BUG: texts.go does not say how a %s is written", t))
	}
	object := g.record(f.Fields)
	if t == reflect.TypeFor[config.Policy]() {
		object = byPolicy(object)
	}
	i := slices.IndexFunc(f.Fields, func(inner config.Field) bool { return inner.Name == key })
	inner, r := f.Fields[i], rules[ruleName(f.Fields[i])]
	inner = withRule(inner, r)
	inner.Default = ""
	if t == reflect.TypeFor[config.Buffer]() {
		return either(object, wholeText(inner))
	}
	return either(object, g.value(inner.GoType, inner, r))
}

// wholeText is a whole number that is read as text: it may be quoted, and there
// is no upper bound.
func wholeText(f config.Field) *schema {
	return &schema{
		Type: []string{"integer", "string"}, Minimum: number(bound(f.GoType, f.Min)),
		Pattern: orExpansion(`[-+]?[0-9_]+`), PatternErrorMessage: "expected a number of events",
	}
}

// byPolicy allows each policy its own options only. The options of a policy that
// comes out of an expansion are not known.
func byPolicy(all *schema) *schema {
	s := &schema{Type: "object", Required: all.Required, Properties: all.Properties, Additional: false}
	types := rules["config.Policy.Type"].enum
	for _, typ := range types {
		own := properties{{"type", &schema{}}}
		for _, option := range policyOptions[typ] {
			own = append(own, property{option, &schema{}})
		}
		then := &schema{Properties: own, Additional: false}
		if typ == config.Block {
			then.DependentRequired = map[string][]string{"then": {"timeout"}}
		}
		s.AllOf = append(s.AllOf, &schema{
			If:   &schema{Required: []string{"type"}, Properties: properties{{"type", &schema{Const: typ}}}},
			Then: then,
		})
	}
	return s
}

// entries is a mapping of the user's names to values of type t.
func (g *generator) entries(t reflect.Type, f config.Field, r rule) *schema {
	s := entries(g.element(t, f))
	if r.keys != "" {
		s.PropertyNames = &schema{Pattern: r.keys, Not: &schema{Enum: []any{"failed", "else"}}}
	}
	if f.Required {
		s.MinProperties = 1
	}
	return s
}

// list is a list of values of type t. One text stands for a list of one.
func (g *generator) list(t reflect.Type, f config.Field, r rule) *schema {
	s := &schema{Type: "array", Items: g.element(t, f)}
	if f.Required {
		s.MinItems = 1
	}
	if _, special := texts[t]; special || t.Kind() != reflect.String {
		return s
	}
	if len(f.Enum) > 0 {
		return &schema{If: &schema{Type: "array"}, Then: s, Else: g.element(t, f)}
	}
	s.Type = []string{"array", "string", "number"}
	s.Pattern, s.PatternErrorMessage = `^[^,]*$|`+expansion, "write a list: [a, b]"
	return s
}

// element is a value in a list or mapping.
func (g *generator) element(t reflect.Type, f config.Field) *schema {
	f.Required, f.Default = false, ""
	return g.value(t, f, rule{})
}

// scalar is a text, a truth value or a number.
func scalar(t reflect.Type, f config.Field, r rule) *schema {
	switch t.Kind() {
	case reflect.String:
		return text(f, r)
	case reflect.Bool:
		return ref("boolean")
	case reflect.Float32, reflect.Float64:
		return numeric("number", t, f, r)
	}
	return numeric("integer", t, f, r)
}

func text(f config.Field, r rule) *schema {
	if len(f.Enum) > 0 {
		return oneOf(f.Enum, r.meanings)
	}
	s := &schema{Type: []string{"string", "number"}}
	if f.Required {
		s.MinLength = 1
	}
	if r.pattern != "" {
		s.Pattern = orExpansion(r.pattern)
	}
	if r.pattern != "" && !r.numbers {
		s.Type = "string"
	}
	return s
}

func numeric(def string, t reflect.Type, f config.Field, r rule) *schema {
	s := ref(def)
	addBounds(s, t, f)
	if s.Minimum == nil && t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64 {
		s.Minimum = number(0)
	}
	if r.below != "" {
		s.ExclusiveMaximum = number(bound(t, r.below))
	}
	return s
}

// bounded adds the bounds of f to a text. How large a text is cannot be known,
// only whether it is zero; a size may also be a number.
func bounded(s *schema, t reflect.Type, f config.Field) *schema {
	if f.Above != "" || f.Min != "" && bound(t, f.Min) > 0 {
		s = ref(strings.TrimPrefix(s.Ref, "#/$defs/") + aboveZero)
	}
	if t == reflect.TypeFor[pipe.Size]() {
		addBounds(s, t, f)
	}
	return s
}

func addBounds(s *schema, t reflect.Type, f config.Field) {
	if f.Min != "" {
		s.Minimum = number(bound(t, f.Min))
	}
	if f.Above != "" {
		s.ExclusiveMinimum = number(bound(t, f.Above))
	}
	if f.Max != "" {
		s.Maximum = number(bound(t, f.Max))
	}
}

// bound reads a limit the way the key's values are written.
func bound(t reflect.Type, limit string) float64 {
	v := reflect.New(t)
	if u, ok := v.Interface().(encoding.TextUnmarshaler); ok && u.UnmarshalText([]byte(limit)) == nil {
		if v.Elem().CanInt() {
			return float64(v.Elem().Int())
		}
		return v.Elem().Float()
	}
	x, err := strconv.ParseFloat(limit, 64)
	if err != nil {
		panic(fmt.Sprintf("BUG: %q is no limit for a key of type %s", limit, t))
	}
	return x
}

// defaultValue is the default of a key as a value, nil when there is none worth
// writing.
func defaultValue(f config.Field) any {
	t := f.GoType
	if t.Kind() == reflect.Bool {
		return f.Default == "true"
	}
	if f.Default == "" {
		return nil
	}
	switch {
	case t == reflect.TypeFor[pipe.Duration]():
		return shortDuration(f.Default)
	case t.Kind() == reflect.Slice:
		return strings.Fields(strings.Trim(f.Default, "[]"))
	}
	_, isText := texts[t]
	if _, err := strconv.ParseFloat(f.Default, 64); err == nil && !isText && t.Kind() != reflect.String {
		return json.Number(f.Default)
	}
	return f.Default
}

// shortDuration is a duration as one would write it: 1m, not 1m0s.
func shortDuration(s string) string {
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
