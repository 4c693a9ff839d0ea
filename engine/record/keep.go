package record

// Keep leaves only what the paths name, and the objects and arrays that hold it;
// those that would be empty go too. Paths that name nothing are ignored. A line of
// text stays one if message is kept, and else becomes an empty object.
func (b *Body) Keep(a *Arena, paths []*Path) {
	if b.form == textForm {
		for _, p := range paths {
			if p.text == messageKey {
				return
			}
		}
		*b = NewObject(a, 0)
		return
	}
	before := *b
	b.edit(a, 0)
	b.idx.cells = b.idx.cells[:0]
	nested := false
	for i := range before.idx.len() {
		e := before.idx.at(i)
		whole, part := b.keeps(e, paths)
		if whole || part && before.isLast(i) {
			b.idx.append(e)
		}
		nested = nested || part && !whole
	}
	b.done(a)
	if nested {
		b.trim(a, paths)
	}
}

// keeps reports whether a path names a member, or something in it.
func (b *Body) keeps(e entry, paths []*Path) (whole, part bool) {
	for _, p := range paths {
		if b.named(e, &p.steps[0]) {
			part = true
			whole = whole || p.IsTop()
		}
	}
	return whole, part
}

// isLast reports whether no member after i has the same name.
func (b *Body) isLast(i int) bool {
	e := b.idx.at(i)
	k := newKey(string(appendContent(nil, b.key(e), e.oddKey())))
	return b.find(&k, b.idx.len()) == i
}

// trim takes out of the top-level members what no path names.
func (b *Body) trim(a *Arena, paths []*Path) {
	for i := 0; i < b.idx.len(); i++ {
		e := b.idx.at(i)
		if whole, _ := b.keeps(e, paths); whole {
			continue
		}
		var active []*Path
		for _, p := range paths {
			if b.named(e, &p.steps[0]) {
				active = append(active, p)
			}
		}
		m := member{text: append(append(a.buffer(), '"'), b.key(e)...), oddKey: e.oddKey()}
		m.text = append(m.text, `":`...)
		var ok bool
		m.text, ok = appendKept(m.text, b.member(e), active, 1)
		a.keepBuffer(m.text)
		if !ok {
			b.edit(a, 0)
			b.idx.remove(i)
			b.done(a)
			i--
		} else if err := b.replace(a, i, &m); err != nil {
			panic("BUG: record: " + err.Error())
		}
	}
}

// appendKept appends what the paths name in v, to which their first n steps lead,
// and reports whether there is anything.
func appendKept(dst []byte, v Value, paths []*Path, n int) ([]byte, bool) {
	for _, p := range paths {
		if len(p.steps) == n {
			return v.AppendJSON(dst), true
		}
	}
	if v.kind != KindObject && v.kind != KindArray {
		return dst, false
	}
	start := len(dst)
	dst = append(dst, v.b[0])
	r := v.reader()
	for i := 0; r.next(); i++ {
		var active []*Path
		for _, p := range paths {
			if last, _ := v.find(&p.steps[n]); last == i {
				active = append(active, p)
			}
		}
		if len(active) == 0 {
			continue
		}
		before, ok := len(dst), false
		if dst, ok = appendKept(append(dst, r.lead()...), r.val, active, n+1); ok {
			dst = append(dst, ',')
		} else {
			dst = dst[:before]
		}
	}
	if len(dst) == start+1 {
		return dst[:start], false
	}
	dst[len(dst)-1] = v.b[len(v.b)-1] // in place of the comma
	return dst, true
}
