package record

// The functions here read objects and arrays inside an event. Those have no index:
// their text, which is known to be valid, is skipped up to what is wanted.

// skip returns the end of the value that starts at b[i], and whether it is a
// string with an escape.
func skip(b []byte, i int) (end int, escaped bool) {
	switch b[i] {
	case '"':
		return stringEnd(b, i+1)
	case '{', '[':
		return skipNested(b, i), false
	}
	for i < len(b) && b[i] > ' ' && b[i] != ',' && b[i] != '}' && b[i] != ']' {
		i++
	}
	return i, false
}

// skipNested is skip for objects and arrays.
func skipNested(b []byte, i int) int {
	for depth := 0; ; i++ {
		switch b[i] {
		case '"':
			i, _ = stringEnd(b, i+1)
			i--
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
}

// stringEnd returns the end of a string from after its opening quote, and whether
// it has an escape.
func stringEnd(b []byte, i int) (end int, escaped bool) {
	for {
		switch i = plain(b, i); b[i] {
		case '"':
			return i + 1, escaped
		case '\\':
			escaped = true
			i += 2
		default:
			i++
		}
	}
}

// A reader goes through the members of an object or the elements of an array.
type reader struct {
	b      []byte // the whole object or array
	object bool
	oddKey bool
	key    []byte // of the current member, between its quotes
	val    Value  // of the current member or element
	start  int    // where that starts in b
	i      int    // where it ends
}

func (v Value) reader() reader {
	return reader{b: v.b, object: v.kind == KindObject, i: 1}
}

// next goes to the next member or element, and reports whether there is one.
func (r *reader) next() bool {
	b, i := r.b, r.i
	for b[i] == ',' || b[i] <= ' ' {
		i++
	}
	if b[i] == '}' || b[i] == ']' {
		return false
	}
	r.start = i
	if r.object {
		var end int
		end, r.oddKey = stringEnd(b, i+1)
		r.key = b[i+1 : end-1 : end-1]
		for i = end; b[i] == ':' || b[i] <= ' '; i++ {
		}
	}
	end, escaped := skip(b, i)
	r.val = jsonValue(b[i:end:end], escaped)
	r.i = end
	return true
}

// text returns the text of the current member or element, lead what of it is
// before the value.
func (r *reader) text() []byte { return r.b[r.start:r.i] }
func (r *reader) lead() []byte { return r.b[r.start : r.i-len(r.val.b)] }

// at reports whether k names the current member, or the current element, the i-th.
func (r *reader) at(k *step, i int) bool {
	if r.object {
		return !k.isIndex && equalContent(r.key, r.oddKey, k.key)
	}
	return k.isIndex && k.index == i
}

// step returns the member or element of v that k names: the last of several.
func (v Value) step(k *step) (found Value) {
	if v.kind != KindObject && v.kind != KindArray {
		return found
	}
	r := v.reader()
	for i := 0; r.next(); i++ {
		if r.at(k, i) {
			if found = r.val; k.isIndex {
				break
			}
		}
	}
	return found
}

// find returns which member or element of v is the one that k names, or -1, and
// how many there are.
func (v Value) find(k *step) (last, count int) {
	last = -1
	for r := v.reader(); r.next(); count++ {
		if r.at(k, count) {
			last = count
		}
	}
	return last, count
}

// Elements calls f with every element of an array until f returns false. A value
// that is not an array has none.
func (v Value) Elements(f func(v Value) bool) {
	if v.kind != KindArray {
		return
	}
	r := v.reader()
	for r.next() && f(r.val) {
	}
}

// Members calls f with every member of an object until f returns false. A value
// that is not an object has none. A name that occurs several times is passed
// several times; the last one counts. f must not change key nor keep it.
func (v Value) Members(f func(key []byte, v Value) bool) {
	if v.kind != KindObject {
		return
	}
	r := v.reader()
	for r.next() {
		key := r.key
		if r.oddKey {
			key = appendUnescaped(nil, key)
		}
		if !f(key, r.val) {
			return
		}
	}
}
