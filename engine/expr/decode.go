package expr

import (
	"github.com/pipectl/pipectl/engine/record"
)

// decode reads a field for the virtual machine; a nil path is the whole event.
func decode(b *record.Body, path *record.Path) any {
	if path != nil {
		return decodeValue(b.Get(path))
	}
	m := map[string]any{}
	b.Range(func(key []byte, v record.Value) bool {
		m[string(key)] = decodeValue(v)
		return true
	})
	return m
}

func decodeValue(v record.Value) any {
	s := scalarOf(&v)
	switch s.kind {
	case kindNil:
		return nil
	case kindBool:
		return s.b
	case kindInt:
		return s.i
	case kindFloat:
		return s.f
	case kindText:
		return string(s.text)
	}
	return v.Any()
}
