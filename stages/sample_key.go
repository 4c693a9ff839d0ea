package stages

import (
	"github.com/pipectl/pipectl/engine/record"
)

// keyText returns a key as it is compared: the characters of a text, the JSON of
// anything else. It may be in scratch. It is false for nil, which is no key.
func keyText(v record.Value, scratch *[]byte) (key []byte, ok bool) {
	switch v.Kind() {
	case record.KindMissing, record.KindNull:
		return nil, false
	case record.KindString:
		key = v.Bytes(*scratch)
	default:
		key = v.AppendJSON((*scratch)[:0])
	}
	if cap(key) > cap(*scratch) && v.Kind() != record.KindString {
		*scratch = key[:0]
	}
	return key, true
}
