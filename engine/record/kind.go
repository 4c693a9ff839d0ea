package record

// Kind says what a Value is.
type Kind uint8

// The kinds of values. KindMissing is that of the zero Value: there is nothing.
const (
	KindMissing Kind = iota
	KindNull
	KindBool
	KindNumber
	KindString
	KindObject
	KindArray
)

// String returns the kind as users know it: missing, null, boolean, number,
// string, object or array.
func (k Kind) String() string {
	return [...]string{"missing", "null", "boolean", "number", "string", "object", "array"}[k]
}

// withArticle returns the kind as it is in a sentence: "a number".
func (k Kind) withArticle() string {
	switch k {
	case KindObject, KindArray:
		return "an " + k.String()
	case KindNull, KindMissing:
		return k.String()
	}
	return "a " + k.String()
}

// emptyOf returns an empty object or array.
func emptyOf(k Kind) Value {
	if k == KindObject {
		return Value{b: []byte("{}"), kind: k}
	}
	return Value{b: []byte("[]"), kind: k}
}

// kinds has the kind of a JSON value by its first byte.
var kinds = [256]Kind{
	'"': KindString, '{': KindObject, '[': KindArray, 't': KindBool, 'f': KindBool, 'n': KindNull, '-': KindNumber,
	'0': KindNumber, '1': KindNumber, '2': KindNumber, '3': KindNumber, '4': KindNumber,
	'5': KindNumber, '6': KindNumber, '7': KindNumber, '8': KindNumber, '9': KindNumber,
}
