package config

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pipectl/pipectl/engine/pipe"
)

// scope decodes one thing that has a name in messages: a node, an edge, the
// file itself.
type scope struct {
	r      *reporter
	who    string // "sink out"; empty for the file
	pos    Pos    // where what is missing is reported
	places places
	nodes  map[string]*node // what was found at each path
	failed bool
}

func newScope(r *reporter, who string, pos Pos) *scope {
	return &scope{r: r, who: who, pos: pos, places: places{}, nodes: map[string]*node{}}
}

func (s *scope) fail(p Pos, path, code, msg, hint string) {
	s.failed = true
	s.r.error(p, code, join(s.who, path, msg), hint)
}

func (s *scope) wrongType(n *node, path, want string) {
	hint := ""
	switch {
	case n.kind != scalarNode:
	case n.tag == boolTag && want == "text":
		hint = fmt.Sprintf("quote it if the text is meant: %q", n.text)
	case want == "true or false" && slices.Contains([]string{"true", "false"}, n.text):
		hint = "remove the quotes"
	case want == "true or false":
		hint = "write true or false"
	case n.quoted && (want == "a whole number" || want == "a number"):
		hint = "remove the quotes"
	}
	s.fail(n.pos, path, "wrong-type", fmt.Sprintf("expected %s, got %s", want, n.what()), hint)
}

// A resetter is replaced as a whole when the file gives it, whatever the
// default was.
type resetter interface{ reset() }

// value decodes n into v. f holds the rules of the field; it is the zero field
// for values without any.
func (s *scope) value(n *node, v reflect.Value, path string, f field) {
	if n.bad {
		s.failed = true
		return
	}
	s.places[path], s.nodes[path] = n.pos, n
	t := v.Type()
	if f.secret && n.kind == scalarNode {
		s.r.secrets.add(n.text)
	}
	if t.Kind() == reflect.Pointer {
		s.pointer(n, v, path, f)
		return
	}
	if n.kind == nullNode && t.Kind() != reflect.Interface {
		s.wrongType(n, path, expects(t))
		return
	}
	if x, ok := v.Addr().Interface().(resetter); ok {
		x.reset()
	}
	before := s.failed
	s.failed = false
	s.kinds(n, v, path, f)
	if !s.failed {
		s.limits(n, v, path, f)
	}
	if x, ok := v.Addr().Interface().(pipe.Validator); ok && !s.failed && path != "" {
		s.report(x.Validate(), path, "")
	}
	s.failed = s.failed || before
}

func (s *scope) pointer(n *node, v reflect.Value, path string, f field) {
	if n.kind == nullNode {
		v.SetZero()
		return
	}
	fresh := reflect.New(v.Type().Elem())
	if !v.IsNil() {
		fresh.Elem().Set(v.Elem())
	}
	s.value(n, fresh.Elem(), path, f)
	v.Set(fresh)
}

// kinds decodes by the kind of v.
func (s *scope) kinds(n *node, v reflect.Value, path string, f field) {
	t := v.Type()
	if readsText(t) && (n.kind == scalarNode || !isRecord(t)) {
		s.text(n, v, path)
		return
	}
	if _, ok := orderedValue(t); ok {
		s.ordered(n, v, path, f)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		if n.kind != mapNode {
			s.wrongType(n, path, expects(t))
			return
		}
		s.mapping(n, path, mappingRules{}, target{v, fieldsOf(t)})
	case reflect.Map:
		s.stringMap(n, v, path, f)
	case reflect.Slice:
		s.list(n, v, path, f)
	case reflect.Interface:
		s.plain(n, v)
	default:
		s.scalar(n, v, path)
	}
}

// text gives a scalar to UnmarshalText.
func (s *scope) text(n *node, v reflect.Value, path string) {
	if n.kind != scalarNode {
		s.wrongType(n, path, expects(v.Type()))
		return
	}
	s.report(v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.text)), path, "")
}

func (s *scope) scalar(n *node, v reflect.Value, path string) {
	t := v.Type()
	ok := n.kind == scalarNode && setScalar(n, v)
	if !ok && n.kind == scalarNode && n.tag == intTag && (isInt(t) || isUint(t)) {
		s.fail(n.pos, path, "bad-value", fmt.Sprintf("the number %s is out of range", n.text), "")
		return
	}
	if !ok {
		s.wrongType(n, path, expects(t))
	}
}

// setScalar sets a text, a truth value or a number, and reports whether it could.
func setScalar(n *node, v reflect.Value) bool {
	number := strings.ReplaceAll(n.text, "_", "")
	switch t := v.Type(); {
	case t.Kind() == reflect.String:
		if n.tag == boolTag && !n.loose {
			return false
		}
		v.SetString(n.text)
		return true
	case t.Kind() == reflect.Bool:
		lower := strings.ToLower(n.text)
		v.SetBool(lower == "true")
		return (n.tag == boolTag || n.loose) && (lower == "true" || lower == "false")
	case isInt(t):
		i, err := strconv.ParseInt(number, 0, 64)
		if err != nil || v.OverflowInt(i) || n.tag != intTag && !n.loose {
			return false
		}
		v.SetInt(i)
	case isUint(t):
		i, err := strconv.ParseUint(number, 0, 64)
		if err != nil || v.OverflowUint(i) || n.tag != intTag && !n.loose {
			return false
		}
		v.SetUint(i)
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		x, err := strconv.ParseFloat(number, 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) || n.tag != intTag && n.tag != floatTag && !n.loose {
			return false
		}
		v.SetFloat(x)
	}
	return true
}

// list decodes a list. A single text stands for a list of one text, unless it
// has a comma: that was probably meant as several.
func (s *scope) list(n *node, v reflect.Value, path string, f field) {
	t := v.Type()
	items := n.items
	if n.kind == scalarNode && t.Elem().Kind() == reflect.String && !readsText(t.Elem()) {
		if strings.Contains(n.text, ",") {
			s.fail(n.pos, path, "wrong-type", "expected a list, got "+n.what(), fmt.Sprintf("write a list: [%s]", n.text))
			return
		}
		items = []*node{n}
	} else if n.kind != listNode {
		s.wrongType(n, path, expects(t))
		return
	}
	f.required = false
	out := reflect.MakeSlice(t, len(items), len(items))
	for i, item := range items {
		s.value(item, out.Index(i), element(path, i), f)
	}
	v.Set(out)
}

func (s *scope) stringMap(n *node, v reflect.Value, path string, f field) {
	t := v.Type()
	if n.kind != mapNode {
		s.wrongType(n, path, expects(t))
		return
	}
	f.required = false
	out := reflect.MakeMapWithSize(t, len(n.pairs))
	for _, p := range n.pairs {
		elem := reflect.New(t.Elem()).Elem()
		s.value(p.val, elem, child(path, p.key), f)
		out.SetMapIndex(reflect.ValueOf(p.key).Convert(t.Key()), elem)
	}
	v.Set(out)
}

func (s *scope) ordered(n *node, v reflect.Value, path string, f field) {
	if n.kind != mapNode {
		s.wrongType(n, path, expects(v.Type()))
		return
	}
	f.required = false
	out := reflect.MakeSlice(v.Type(), len(n.pairs), len(n.pairs))
	for i, p := range n.pairs {
		out.Index(i).FieldByName("Key").SetString(p.key)
		s.value(p.val, out.Index(i).FieldByName("Value"), child(path, p.key), f)
	}
	v.Set(out)
}

// plain decodes into an any: what YAML itself would make of n.
func (s *scope) plain(n *node, v reflect.Value) {
	if x := s.anyOf(n); x != nil {
		v.Set(reflect.ValueOf(x))
	} else {
		v.SetZero()
	}
}

func (s *scope) anyOf(n *node) any {
	switch n.kind {
	case listNode:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = s.anyOf(item)
		}
		return list
	case mapNode:
		m := make(map[string]any, len(n.pairs))
		for _, p := range n.pairs {
			m[p.key] = s.anyOf(p.val)
		}
		return m
	case nullNode:
		s.failed = s.failed || n.bad
		return nil
	}
	s.failed = s.failed || n.bad
	var (
		i int64
		x float64
		b bool
	)
	switch {
	case n.tag == intTag && setScalar(n, reflect.ValueOf(&i).Elem()):
		return i
	case (n.tag == intTag || n.tag == floatTag) && setScalar(n, reflect.ValueOf(&x).Elem()):
		return x
	case n.tag == boolTag && setScalar(n, reflect.ValueOf(&b).Elem()):
		return b
	}
	return n.text
}

// target is a struct that a mapping fills.
type target struct {
	v      reflect.Value
	fields []field
}

// mappingRules say what a mapping may hold beside the fields of its targets.
type mappingRules struct {
	others  map[string]func(n *node, key Pos) // keys handled elsewhere; nil functions are ignored
	lenient bool                              // unknown keys are not reported
	hint    func(key string) string           // a better hint than did-you-mean, or ""
}

// mapping decodes n into the targets, which share its keys.
func (s *scope) mapping(n *node, path string, rules mappingRules, targets ...target) {
	known := known(rules, targets)
	for _, p := range n.pairs {
		if handle, ok := rules.others[p.key]; ok {
			if handle != nil {
				handle(p.val, p.pos)
			}
			continue
		}
		v, f, ok := find(p.key, targets)
		if ok {
			s.value(p.val, v, child(path, p.key), f)
			continue
		}
		if rules.lenient {
			continue
		}
		hint := ""
		if rules.hint != nil {
			hint = rules.hint(p.key)
		}
		if hint == "" {
			hint = didYouMean(p.key, known, "valid keys")
		}
		s.fail(p.pos, path, "unknown-key", fmt.Sprintf("unknown key %q", p.key), hint)
	}
	for _, t := range targets {
		for _, f := range t.fields {
			if f.required && n.get(f.name) == nil {
				s.fail(s.places.at(path, s.pos), child(path, f.name), "missing-key", "is required", "add: "+f.name+": "+placeholder(f))
			}
		}
	}
}

// placeholder shows what belongs behind a key.
func placeholder(f field) string {
	if len(f.enum) > 0 {
		return strings.Join(f.enum, " | ")
	}
	return "<" + typeWords(f.typ) + ">"
}

func known(rules mappingRules, targets []target) []string {
	var list []string
	for _, t := range targets {
		for _, name := range names(t.fields) {
			if slices.Contains(list, name) {
				panic(fmt.Sprintf("BUG: the key %q has two meanings", name))
			}
			list = append(list, name)
		}
	}
	for name := range rules.others {
		list = append(list, name)
	}
	return list
}

func find(key string, targets []target) (reflect.Value, field, bool) {
	for _, t := range targets {
		for _, f := range t.fields {
			if f.name == key {
				return t.v.FieldByIndex(f.index), f, true
			}
		}
	}
	return reflect.Value{}, field{}, false
}
