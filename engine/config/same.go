package config

import "reflect"

// same reports that two values are the same, without making Values of them: most
// do not change. When it reports false, Value.Equal decides: it tells a few apart
// that mean the same.
func (x *Inspector) same(a, b reflect.Value) bool {
	t := a.Type()
	if t != b.Type() {
		return false
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() && b.IsNil()
		}
		return x.same(a.Elem(), b.Elem())
	case reflect.Struct:
		if fields := x.fields(t, ""); len(fields) > 0 {
			return x.sameKeys(a, b, fields)
		}
		ta, ok := marshal(a)
		tb, _ := marshal(b)
		return ok && ta == tb
	case reflect.Map:
		return a.Len() == b.Len() && x.sameEntries(a, b)
	case reflect.Slice:
		return a.Len() == b.Len() && x.sameItems(a, b)
	}
	return a.Equal(b)
}

func (x *Inspector) sameKeys(a, b reflect.Value, fields []field) bool {
	for i := range fields {
		if index := fields[i].index; !x.same(a.FieldByIndex(index), b.FieldByIndex(index)) {
			return false
		}
	}
	return true
}

// sameItems compares lists of one length.
func (x *Inspector) sameItems(a, b reflect.Value) bool {
	_, pairs := orderedValue(a.Type())
	for i := range a.Len() {
		va, vb := a.Index(i), b.Index(i)
		if pairs {
			if va.Field(0).String() != vb.Field(0).String() {
				return false
			}
			va, vb = va.Field(1), vb.Field(1)
		}
		if !x.same(va, vb) {
			return false
		}
	}
	return true
}

// sameEntries compares mappings of one length.
func (x *Inspector) sameEntries(a, b reflect.Value) bool {
	for entries := a.MapRange(); entries.Next(); {
		other := b.MapIndex(entries.Key())
		if !other.IsValid() || !x.same(entries.Value(), other) {
			return false
		}
	}
	return true
}
