package config

import (
	"bytes"
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

// Value is what a key of the file stands for, after defaults, --set and
// expansion, in the words of the file: a Duration is the text "5s", a component
// the mapping of its options.
type Value struct {
	Form    Form
	Text    string // of a text or a literal; secrets are in the clear
	Parts   []Part // of a list or a mapping; where the order means nothing, it is always the same
	Ordered bool   // a mapping whose order means something
	Secret  bool   // must not be printed

	implied bool // leaving it out of the file means the same
	word    bool // one of a few words: no secret, even if it looks like one
}

// Part is an item of a list, or an entry of a mapping.
type Part struct {
	Key   string // of an entry
	Value Value
}

// Form is the form of a value.
type Form uint8

// The forms.
const (
	Nothing Form = iota // there is no value
	Text                // has to be quoted where it looks like something else
	Literal             // a number, true or false
	List
	Mapping
)

// Equal reports whether two values mean the same.
func (v Value) Equal(o Value) bool {
	return v.Form == o.Form && v.Text == o.Text &&
		slices.EqualFunc(v.Parts, o.Parts, func(a, b Part) bool { return a.Key == b.Key && a.Value.Equal(b.Value) })
}

// String renders the value on one line, except for line breaks inside a text.
// Secrets become ***; what is empty stays empty.
func (v Value) String() string {
	switch v.Form {
	case Text, Literal:
		if v.Secret && v.Text != "" {
			return hidden
		}
		return v.Text
	case List:
		var items []string
		for _, item := range v.Parts {
			items = append(items, item.Value.inside())
		}
		return "[" + strings.Join(items, ", ") + "]"
	case Mapping:
		var entries []string
		for _, e := range v.Parts {
			if !e.Value.implied {
				entries = append(entries, e.Key+": "+e.Value.inside())
			}
		}
		return "{" + strings.Join(entries, ", ") + "}"
	}
	return ""
}

// inside renders the value as a part of another.
func (v Value) inside() string {
	s := v.String()
	if v.Form == Text && (s == "" || strings.ContainsAny(s, ",:[]{}\"\n")) {
		return strconv.Quote(s)
	}
	return s
}

// An Inspector reads the values of pipelines. It looks at exported fields only:
// the pipeline may be running. The zero value is ready; it keeps what it has
// learnt about types, and is not for concurrent use.
type Inspector struct {
	types map[keysOf][]field
	bases map[pipe.Kind]reflect.Value
	short bool // prefer the text form of what has one
}

// keysOf is a struct type, with the kind of node for Node.
type keysOf struct {
	reflect.Type
	kind pipe.Kind
}

// Pipeline returns the settings of the top level, without version, nodes and
// edges.
func (x *Inspector) Pipeline(p *Pipeline) Value {
	var base Pipeline
	base.fill()
	v := x.record(reflect.ValueOf(p).Elem(), reflect.ValueOf(base), x.fields(reflect.TypeFor[Pipeline](), ""))
	v.Parts = slices.DeleteFunc(v.Parts, func(e Part) bool { return e.Key == "version" })
	return v
}

// Node returns the settings of a node: its type, the options of its component,
// then those that the engine adds. Those that are the same in other, a node of
// the same kind or nil, are left out.
func (x *Inspector) Node(n, other *Node) Value {
	v, o, base := reflect.ValueOf(n).Elem(), reflect.ValueOf(other).Elem(), x.base(n.Kind)
	fields := x.fields(reflect.TypeFor[Node](), n.Kind)
	if !n.CallsOut() {
		fields = slices.DeleteFunc(slices.Clone(fields), func(f field) bool { return f.outward })
	}
	out := Value{Form: Mapping}
	x.keys(&out, v, o, base, fields[:1]) // type
	x.options(&out, n, other)
	x.keys(&out, v, o, base, fields[1:])
	return out
}

// base returns a node of a kind with its defaults, as they are when the file
// gives all that is not zero.
func (x *Inspector) base(kind pipe.Kind) reflect.Value {
	if b, known := x.bases[kind]; known {
		return b
	}
	n := NewNode(kind, "", "", nil)
	n.Batch.Interval = DefaultBatchInterval // of a batch that is given
	if x.bases == nil {
		x.bases = map[pipe.Kind]reflect.Value{}
	}
	x.bases[kind] = reflect.ValueOf(n).Elem()
	return x.bases[kind]
}

// options adds the options of a node's component.
func (x *Inspector) options(out *Value, n, other *Node) {
	v, o := reflect.ValueOf(n.Component), reflect.Value{}
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return
	}
	if other != nil && reflect.TypeOf(other.Component) == v.Type() {
		o = reflect.ValueOf(other.Component).Elem()
	}
	base := reflect.Zero(v.Elem().Type())
	if c, ok := pipe.Lookup(n.Kind, n.Type); ok && x.short {
		if fresh := reflect.ValueOf(c.New()); fresh.Type() == v.Type() {
			base = fresh.Elem()
		}
	}
	x.keys(out, v.Elem(), o, base, x.fields(v.Elem().Type(), ""))
}

// Edge returns the ends, the name and the settings of an edge. Those that are
// the same in other, an edge or nil, are left out.
func (x *Inspector) Edge(e, other *Edge) Value {
	base := Edge{EdgeSettings: DefaultEdge()}
	base.Policy = Policy{}
	if e.Policy.Type == Sample {
		base.Policy.reset()
	}
	out := Value{Form: Mapping}
	if from := output(e.From, e.Port); other == nil || from != output(other.From, other.Port) {
		out.Parts = append(out.Parts, Part{"from", Value{Form: Text, Text: from, word: true}})
	}
	if other == nil || e.To != other.To {
		out.Parts = append(out.Parts, Part{"to", Value{Form: Text, Text: e.To, word: true}})
	}
	x.keys(&out, reflect.ValueOf(e).Elem(), reflect.ValueOf(other).Elem(), reflect.ValueOf(&base).Elem(), x.fields(reflect.TypeFor[Edge](), ""))
	return out
}

// fields is fieldsOf, for nodes of a kind if there is one, once for each type.
func (x *Inspector) fields(t reflect.Type, kind pipe.Kind) []field {
	key := keysOf{t, kind}
	list, known := x.types[key]
	if known {
		return list
	}
	if list = fieldsOf(t); kind != "" {
		list = forKind(list, kind)
	}
	if x.types == nil {
		x.types = map[keysOf][]field{}
	}
	x.types[key] = list
	return list
}

// record reads a struct with keys. base is the same struct with its defaults.
func (x *Inspector) record(v, base reflect.Value, fields []field) Value {
	out := Value{Form: Mapping, Parts: make([]Part, 0, len(fields)), implied: true}
	x.keys(&out, v, reflect.Value{}, base, fields)
	return out
}

// keys adds the fields of a struct to a mapping, without those that are the same
// in other, if there is one.
func (x *Inspector) keys(out *Value, v, other, base reflect.Value, fields []field) {
	for i := range fields {
		f := &fields[i]
		if other.IsValid() && x.same(v.FieldByIndex(f.index), other.FieldByIndex(f.index)) {
			continue
		}
		out.Parts = append(out.Parts, Part{Key: f.name, Value: x.value(v.FieldByIndex(f.index), base.FieldByIndex(f.index), f)})
		e := &out.Parts[len(out.Parts)-1].Value
		e.word = len(f.enum) > 0 || f.name == "type"
		out.implied = out.implied && e.implied
	}
}

// value reads v, whose default is base.
func (x *Inspector) value(v, base reflect.Value, f *field) Value {
	out := x.kinds(v, base, f)
	out.Secret = f.secret
	return out
}

func (x *Inspector) kinds(v, base reflect.Value, f *field) Value {
	t := v.Type()
	switch t.Kind() {
	case reflect.Pointer:
		return x.pointer(v, base, f)
	case reflect.Interface:
		return x.plain(v, base, f)
	case reflect.Struct:
		if fields := x.fields(t, ""); len(fields) > 0 {
			return x.shortest(x.record(v, base, fields), v, base)
		}
	}
	if text, ok := marshal(v); ok {
		return Value{Form: Text, Text: text, implied: v.IsZero() && base.IsZero()}
	}
	switch t.Kind() {
	case reflect.Map:
		return x.stringMap(v, base, f)
	case reflect.Slice:
		if _, ok := orderedValue(t); ok {
			return x.ordered(v, base, f)
		}
		return x.list(v, base, f)
	}
	out := scalar(v)
	out.implied = v.IsZero() && base.IsZero()
	return out
}

// marshal returns the text of a value that has one of its own.
func marshal(v reflect.Value) (text string, ok bool) {
	if v.Type().PkgPath() == "" { // it has no methods
		return "", false
	}
	m, ok := v.Interface().(encoding.TextMarshaler)
	if !ok {
		return "", false
	}
	b, err := m.MarshalText()
	if err != nil {
		panic(fmt.Sprintf("BUG: a value of type %s cannot be written: %v", v.Type(), err))
	}
	switch m.(type) {
	case expr.Bool, expr.Value, expr.Template: // a block of YAML ends with a line break
		b = bytes.TrimSpace(b)
	}
	return string(b), true
}

// plain reads what the file may fill with anything.
func (x *Inspector) plain(v, base reflect.Value, f *field) Value {
	if v.IsNil() {
		return Value{implied: base.IsNil()}
	}
	out := x.value(v.Elem(), reflect.Zero(v.Elem().Type()), f)
	out.implied = false
	return out
}

func (x *Inspector) pointer(v, base reflect.Value, f *field) Value {
	if v.IsNil() {
		return Value{implied: base.IsNil()}
	}
	inner := reflect.Zero(v.Type().Elem())
	if !base.IsNil() {
		inner = base.Elem()
	}
	out := x.value(v.Elem(), inner, f)
	out.implied = false // {} is not nothing
	return out
}

// scalar reads what is a text or a literal of its own accord.
func scalar(v reflect.Value) Value {
	switch t := v.Type(); {
	case t.Kind() == reflect.String:
		return Value{Form: Text, Text: v.String()}
	case t.Kind() == reflect.Bool:
		return Value{Form: Literal, Text: strconv.FormatBool(v.Bool())}
	case isInt(t):
		return Value{Form: Literal, Text: strconv.FormatInt(v.Int(), 10)}
	case isUint(t):
		return Value{Form: Literal, Text: strconv.FormatUint(v.Uint(), 10)}
	case v.CanFloat():
		return Value{Form: Literal, Text: strconv.FormatFloat(v.Float(), 'g', -1, t.Bits())}
	}
	panic(fmt.Sprintf("BUG: a component has a field of type %s, which cannot be written as YAML: give it MarshalText", v.Type()))
}

func (x *Inspector) list(v, base reflect.Value, f *field) Value {
	out := Value{Form: List, implied: v.Len() == 0 && base.Len() == 0}
	zero := reflect.Zero(v.Type().Elem())
	for i := range v.Len() {
		out.Parts = append(out.Parts, Part{Value: x.value(v.Index(i), zero, f)})
	}
	return out
}

func (x *Inspector) ordered(v, base reflect.Value, f *field) Value {
	out := Value{Form: Mapping, Ordered: true, implied: v.Len() == 0 && base.Len() == 0}
	for i := range v.Len() {
		value := v.Index(i).FieldByName("Value")
		out.add(v.Index(i).FieldByName("Key").String(), x.value(value, reflect.Zero(value.Type()), f))
	}
	return out
}

func (x *Inspector) stringMap(v, base reflect.Value, f *field) Value {
	out := Value{Form: Mapping, implied: v.Len() == 0 && base.Len() == 0}
	byKey := map[string]reflect.Value{}
	for _, key := range v.MapKeys() {
		byKey[key.String()] = v.MapIndex(key)
	}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		out.add(key, x.value(byKey[key], reflect.Zero(v.Type().Elem()), f))
	}
	return out
}

// add adds an entry that the user named: it is there even if it is empty.
func (v *Value) add(key string, e Value) {
	e.implied = false
	v.Parts = append(v.Parts, Part{key, e})
}

// shortest returns the text form of a struct when that is wanted, there is one,
// and it says all of long; else long.
func (x *Inspector) shortest(long Value, v, base reflect.Value) Value {
	if !x.short || long.implied || !readsText(v.Type()) {
		return long
	}
	for _, e := range long.Parts {
		if e.Value.implied || e.Value.Form != Text && e.Value.Form != Literal {
			continue
		}
		if x.says(e.Value.Text, long, base) && x.says(e.Value.Text, long, reflect.Zero(v.Type())) {
			return e.Value
		}
	}
	return long
}

// says reports whether text, read over base, gives long.
func (x *Inspector) says(text string, long Value, base reflect.Value) bool {
	fresh := reflect.New(base.Type())
	fresh.Elem().Set(base)
	if r, ok := fresh.Interface().(resetter); ok {
		r.reset()
	}
	if fresh.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)) != nil {
		return false
	}
	if c, ok := fresh.Interface().(interface{ fill() }); ok {
		c.fill()
	}
	return x.record(fresh.Elem(), base, x.fields(base.Type(), "")).Equal(long)
}
