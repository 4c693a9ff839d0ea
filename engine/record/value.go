package record

import (
	"bytes"
	"math"
	"strconv"
	"unsafe"
)

// spelling says how the bytes of a Value stand for it.
type spelling uint8

const (
	asJSON    spelling = iota // JSON; a string is in quotes and has no escapes
	asEscaped                 // JSON; a string in quotes with escapes
	asText                    // the characters of a string
)

// A Value is one value of an event, or one to be put into an event: a small
// struct that shares the bytes it was read from. Numbers keep their literals.
// The zero Value is a missing one; where it is written, it is written as null.
type Value struct {
	b     []byte
	kind  Kind
	spelt spelling
}

var nullText, trueText, falseText = []byte("null"), []byte("true"), []byte("false")

// Null returns the JSON value null.
func Null() Value { return Value{b: nullText, kind: KindNull} }

// Bool returns the JSON value true or false.
func Bool(x bool) Value {
	if x {
		return Value{b: trueText, kind: KindBool}
	}
	return Value{b: falseText, kind: KindBool}
}

// Int returns x as a number.
func Int(x int64, a *Arena) Value {
	var scratch [20]byte
	return Number(a.Copy(strconv.AppendInt(scratch[:0], x, 10)))
}

// Float returns x as a number, in as few digits as tell it from all others. What
// JSON has no number for, not-a-number and the infinities, becomes null.
func Float(x float64, a *Arena) Value {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return Null()
	}
	var scratch [32]byte
	return Number(a.Copy(appendFloat(scratch[:0], x, 64)))
}

// Text returns a string of these characters, which are kept and must not be
// changed any more. Bytes that are not UTF-8 become U+FFFD when it is written.
func Text(b []byte) Value { return Value{b: b, kind: KindString, spelt: asText} }

// Str is Text for a string.
func Str(s string) Value {
	// Nothing writes to the bytes of a Value. To copy them instead would be the
	// only allocation, and most of the time, of setting a field to a string.
	return Text(unsafe.Slice(unsafe.StringData(s), len(s)))
}

// Number returns a number from its JSON literal, which the caller has checked. It
// is kept and must not be changed any more.
func Number(literal []byte) Value { return Value{b: literal, kind: KindNumber} }

// RawJSON returns the value that b is the JSON text of. The caller has checked it;
// it is kept and must not be changed any more. Line breaks in it are left out.
func RawJSON(b []byte) Value {
	if bytes.IndexByte(b, '\n') >= 0 || bytes.IndexByte(b, '\r') >= 0 {
		b = appendCompact(nil, b)
	}
	if b = bytes.Trim(b, " \t"); len(b) == 0 {
		return Value{}
	}
	return jsonValue(b, b[0] == '"' && bytes.IndexByte(b, '\\') >= 0)
}

// jsonValue returns the value of a JSON text without space around it.
func jsonValue(b []byte, escaped bool) Value {
	v := Value{b: b, kind: kinds[b[0]]}
	if escaped {
		v.spelt = asEscaped
	}
	return v
}

// Kind returns what the value is.
func (v Value) Kind() Kind { return v.kind }

// Exists reports whether there is a value, and be it null.
func (v Value) Exists() bool { return v.kind != KindMissing }

// Int returns the value of an integer literal that fits. 1.0 and 1e3 are none.
func (v Value) Int() (int64, bool) {
	if v.kind != KindNumber {
		return 0, false
	}
	return parseInt(v.b)
}

// Float returns the nearest float64 of any number; for one that is too large, an infinity.
func (v Value) Float() (float64, bool) {
	if v.kind != KindNumber {
		return 0, false
	}
	return parseFloat(v.b), true
}

// Bool returns the value of true and false.
func (v Value) Bool() (value, ok bool) {
	if v.kind != KindBool {
		return false, false
	}
	return v.b[0] == 't', true
}

// content returns the characters of a string, except that escapes are still in it
// if the value is spelt asEscaped.
func (v Value) content() []byte {
	if v.spelt == asText {
		return v.b
	}
	end := len(v.b) - 1
	return v.b[1:end:end]
}

// Bytes returns the characters of a string. They are shared, and must not be
// changed, unless the string has escapes: then they are written over scratch. Of
// any other value it returns the JSON text, and of a missing one nothing.
func (v Value) Bytes(scratch []byte) []byte {
	if v.kind != KindString {
		return v.b
	}
	if v.spelt == asEscaped {
		return appendUnescaped(scratch[:0], v.content())
	}
	return v.content()
}

// Key is Bytes of a value that keys are compared by; ok is false for null and a
// missing value, which are no keys.
func (v Value) Key(scratch []byte) (key []byte, ok bool) {
	if v.kind == KindMissing || v.kind == KindNull {
		return nil, false
	}
	return v.Bytes(scratch), true
}

// String returns the characters of a string, or the JSON text of any other value.
func (v Value) String() string { return string(v.Bytes(nil)) }

// EqualString reports whether the value is a string of these characters.
func (v Value) EqualString(s string) bool {
	return v.kind == KindString && equalContent(v.content(), v.spelt == asEscaped, s)
}

// Raw returns the value as JSON text, of which it may be a shared part that must
// not be changed.
func (v Value) Raw() []byte {
	if v.spelt == asText || v.kind == KindMissing {
		return v.AppendJSON(nil)
	}
	return v.b
}

// AppendJSON appends the value as JSON text, on one line.
func (v Value) AppendJSON(dst []byte) []byte {
	switch {
	case v.spelt == asText:
		return AppendQuoted(dst, v.b)
	case v.kind == KindMissing:
		return append(dst, "null"...)
	}
	return append(dst, v.b...)
}

// Any returns the value as Go has it: nil, bool, int for an integer literal that
// fits, else float64, string, []any or map[string]any.
func (v Value) Any() any {
	switch v.kind {
	case KindBool:
		return v.b[0] == 't'
	case KindNumber:
		if n, ok := parseInt(v.b); ok && int64(int(n)) == n {
			return int(n)
		}
		return parseFloat(v.b)
	case KindString:
		return v.String()
	case KindArray:
		list := []any{}
		v.Elements(func(v Value) bool {
			list = append(list, v.Any())
			return true
		})
		return list
	case KindObject:
		object := map[string]any{}
		v.Members(func(key []byte, v Value) bool {
			object[string(key)] = v.Any()
			return true
		})
		return object
	}
	return nil
}
