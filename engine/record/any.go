package record

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// FromAny returns the value of what Go code computed: nil, booleans, numbers,
// strings, []byte (as text), time.Time (as RFC 3339 with nanoseconds),
// time.Duration (such as "1.5s"), json.Number, a Value, and slices, arrays and
// maps of them, the members of a map sorted by name; or pointers to and types
// made of any of these. Not-a-number and the infinities become null. The error
// says what cannot be put into an event.
func FromAny(a *Arena, x any) (Value, error) {
	switch x := x.(type) {
	case nil:
		return Null(), nil
	case Value:
		return x, nil
	case bool:
		return Bool(x), nil
	case int:
		return Int(int64(x), a), nil
	case int64:
		return Int(x, a), nil
	case float64:
		return Float(x, a), nil
	case string:
		return Str(x), nil
	case []byte:
		return Text(x), nil
	}
	text, err := appendAny(a.buffer(), x, 0)
	if err != nil {
		return Value{}, err
	}
	defer a.keepBuffer(text)
	return RawJSON(a.Copy(text)), nil
}

func appendAny(dst []byte, x any, depth int) ([]byte, error) {
	switch x := x.(type) {
	case nil:
		return append(dst, "null"...), nil
	case Value:
		return x.AppendJSON(dst), nil
	case []byte:
		return AppendQuoted(dst, x), nil
	case time.Time:
		dst = x.AppendFormat(append(dst, '"'), time.RFC3339Nano)
		return append(dst, '"'), nil
	case time.Duration:
		return AppendQuoted(dst, []byte(x.String())), nil
	case json.Number:
		return appendNumber(dst, string(x))
	}
	return appendReflected(dst, reflect.ValueOf(x), depth)
}

// appendNumber appends a number literal that nobody has checked.
func appendNumber(dst []byte, literal string) ([]byte, error) {
	var s scanner
	if literal == "" || s.number([]byte(literal), 0) != len(literal) {
		return nil, fmt.Errorf("%q is not a JSON number", literal)
	}
	return append(dst, literal...), nil
}

func appendReflected(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	switch v.Kind() {
	case reflect.Bool:
		return strconv.AppendBool(dst, v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(dst, v.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.AppendUint(dst, v.Uint(), 10), nil
	case reflect.Float32, reflect.Float64:
		return appendFloatOrNull(dst, v.Float(), v.Type().Bits()), nil
	case reflect.String:
		return AppendQuoted(dst, []byte(v.String())), nil
	}
	if depth++; depth > maxDepth {
		return nil, fmt.Errorf("a value is nested more than %d levels deep, or holds itself", maxDepth)
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(dst, "null"...), nil
		}
		return appendAny(dst, v.Elem().Interface(), depth)
	case reflect.Slice, reflect.Array:
		return appendArray(dst, v, depth)
	case reflect.Map:
		return appendMap(dst, v, depth)
	}
	return nil, fmt.Errorf("a %s cannot be put into an event", v.Kind())
}

func appendFloatOrNull(dst []byte, x float64, bits int) []byte {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return append(dst, "null"...)
	}
	return appendFloat(dst, x, bits)
}

func appendArray(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	var err error
	dst = append(dst, '[')
	for i := range v.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendAny(dst, v.Index(i).Interface(), depth); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func appendMap(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	names := make([]string, 0, v.Len())
	values := make(map[string]reflect.Value, v.Len())
	for it := v.MapRange(); it.Next(); {
		name, err := mapKey(it.Key())
		if err != nil {
			return nil, err
		}
		names = append(names, name)
		values[name] = it.Value()
	}
	slices.Sort(names)
	var err error
	dst = append(dst, '{')
	for i, name := range slices.Compact(names) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendQuoted(dst, []byte(name)), ':')
		if dst, err = appendAny(dst, values[name].Interface(), depth); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// mapKey returns the name that a map's key gives a member: a string is itself,
// and true and 12 are "true" and "12".
func mapKey(k reflect.Value) (string, error) {
	if k.Kind() == reflect.Interface {
		k = k.Elem()
	}
	switch k.Kind() {
	case reflect.String:
		return k.String(), nil
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Pointer, reflect.Invalid:
	default:
		if text, err := appendReflected(nil, k, 0); err == nil {
			return string(text), nil
		}
	}
	return "", fmt.Errorf("a map whose keys are not strings, numbers or booleans cannot be put into an event")
}
