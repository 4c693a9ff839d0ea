package record

import (
	"bytes"
	"errors"
	"unsafe"
)

// An edit never changes what is there: it appends the new member to buf, and makes
// a new index that refers to it. Copies of the body still have the old index.

var errTooLarge = errors.New("the event would be larger than 2 GiB")

// Set sets the value at p. Objects on the way that are missing or null are made,
// arrays too if the index is 0; an index one past the end of an array appends to it.
// Of several members with the same name one remains. On a line of text Set first
// makes an object whose member message is the line. The error says what is in the
// way, such as a number where p needs an object; the body is then as it was.
func (b *Body) Set(a *Arena, p *Path, v Value) error {
	if !v.Exists() {
		v = Null()
	}
	before := *b
	err := b.put(a, p, v)
	if err != nil {
		*b = before
	}
	return err
}

// Delete removes the value at p, and reports whether there was one. What follows
// an element of an array moves up.
func (b *Body) Delete(a *Arena, p *Path) bool {
	switch {
	case !p.IsTop():
		return b.Get(p).Exists() && b.put(a, p, Value{}) == nil
	case b.form == textForm && p.text == messageKey:
		*b = NewObject(a, 0)
		return true
	}
	return b.removeAll(a, &p.steps[0], b.idx.len())
}

// removeAll removes all members of that name before the one at end, and reports
// whether there were any.
func (b *Body) removeAll(a *Arena, k *step, end int) bool {
	at := b.find(k, end)
	if at < 0 {
		return false
	}
	b.edit(a, 0)
	for ; at >= 0; at = b.find(k, at) {
		b.idx.remove(at)
	}
	b.done(a)
	return true
}

// Add appends a top-level member that the object does not have yet. It does not
// look, which makes building an object fast. It panics if the object becomes
// larger than 2 GiB.
func (b *Body) Add(a *Arena, key string, v Value) {
	err := b.toObject(a)
	m := member{text: a.buffer()}
	m.name(key)
	m.value(v)
	if err == nil {
		err = b.add(a, &m)
	}
	if err != nil {
		panic("BUG: record: " + err.Error())
	}
	a.keepBuffer(m.text)
}

// A member is the text of a member that is to be written.
type member struct {
	text      []byte
	oddKey    bool // its name has an escape
	oddString bool // it is a string with an escape
}

func (m *member) name(key string) {
	m.text = AppendQuoted(m.text, unsafe.Slice(unsafe.StringData(key), len(key)))
	m.oddKey = len(m.text) != len(key)+2 && bytes.IndexByte(m.text, '\\') >= 0
	m.text = append(m.text, ':')
}

func (m *member) value(v Value) {
	at := len(m.text)
	m.text = v.AppendJSON(m.text)
	m.oddString = v.spelt == asEscaped ||
		v.spelt == asText && len(m.text)-at != len(v.b)+2 && bytes.IndexByte(m.text[at:], '\\') >= 0
}

// Rename moves the value at from to to, replacing what is there, and reports
// whether there was a value. A top-level member that gets another top-level name
// keeps its position. The error is that of Set; the body is then as it was.
func (b *Body) Rename(a *Arena, from, to *Path) (bool, error) {
	before := *b
	v := b.Get(from)
	if !v.Exists() || from.text == to.text {
		return v.Exists(), nil
	}
	var err error
	if from.IsTop() && to.IsTop() {
		err = b.renameTop(a, v, &from.steps[0], &to.steps[0])
	} else {
		b.Delete(a, from)
		err = b.put(a, to, v)
	}
	if err != nil {
		*b = before
		return false, err
	}
	return true, nil
}

func (b *Body) renameTop(a *Arena, v Value, from, to *step) error {
	if err := b.toObject(a); err != nil {
		return err
	}
	b.removeAll(a, to, b.idx.len())
	m := member{text: a.buffer()}
	m.name(to.key)
	m.value(v)
	a.keepBuffer(m.text)
	return b.replace(a, b.onlyOne(a, from), &m)
}

// put is Set; a missing v deletes what p names, which must exist.
func (b *Body) put(a *Arena, p *Path, v Value) error {
	if err := b.toObject(a); err != nil {
		return err
	}
	k := &p.steps[0]
	m := member{text: a.buffer()}
	m.name(k.key)
	if p.IsTop() {
		m.value(v)
	} else {
		var err error
		if m.text, err = appendWith(m.text, b.field(k), p, 1, v); err != nil {
			return err
		}
	}
	a.keepBuffer(m.text)
	if at := b.onlyOne(a, k); at >= 0 {
		return b.replace(a, at, &m)
	}
	return b.add(a, &m)
}

// onlyOne removes all members of that name but the last, and returns where that
// is, or -1.
func (b *Body) onlyOne(a *Arena, k *step) int {
	at := b.find(k, b.idx.len())
	if at > 0 && b.removeAll(a, k, at) {
		at = b.find(k, b.idx.len())
	}
	return at
}

// toObject makes an object of a line of text.
func (b *Body) toObject(a *Arena) error {
	if b.form != textForm {
		return nil
	}
	m := member{text: a.buffer()}
	m.name(messageKey)
	m.value(Text(b.buf))
	a.keepBuffer(m.text)
	object := Body{form: partsForm}
	if err := object.add(a, &m); err != nil {
		return err
	}
	*b = object
	return nil
}

// fits returns an error if a member would make the object too large.
func (b *Body) fits(m *member) error {
	if n := len(m.text) + 2; len(b.buf)+n > maxText && b.splicedSize()+n > maxText {
		return errTooLarge
	}
	return nil
}

// add appends a member to an object.
func (b *Body) add(a *Arena, m *member) error {
	if err := b.fits(m); err != nil {
		return err
	}
	n := len(m.text) + 1
	if b.form == partsForm && b.canGrow(a, n) && !b.idx.wide && len(b.buf)+n <= maxNarrow && a.cells.follows(b.idx.cells, 1) {
		b.idx.append(b.write(a, m))
		a.take(0, 1)
		return nil
	}
	b.edit(a, n)
	b.idx.append(b.write(a, m))
	b.done(a)
	return nil
}

// replace puts a member in the place of another.
func (b *Body) replace(a *Arena, at int, m *member) error {
	if err := b.fits(m); err != nil {
		return err
	}
	b.edit(a, len(m.text)+1)
	b.idx.set(at, b.write(a, m))
	b.done(a)
	return nil
}

// canGrow reports whether n bytes can be appended to buf in place.
func (b *Body) canGrow(a *Arena, n int) bool {
	return a != nil && len(b.buf)+n <= maxText && a.text.follows(b.buf, n)
}

// edit starts an edit: afterwards the index is the body's own, with room for one
// more entry, and n bytes can be appended to buf in place. done ends the edit.
func (b *Body) edit(a *Arena, n int) {
	members := b.idx.len()
	switch size := len(b.buf) + n; {
	case n > 0 && (b.form != partsForm || !b.canGrow(a, n)):
		size = b.splicedSize() + n
		x := newIndex(a, members+1, size)
		b.buf = b.splice(a.textRoom(size), &x)
		a.take(len(b.buf), 0)
		b.idx = x
	case b.idx.wide == (size > maxNarrow):
		x := newIndex(a, members+1, size)
		x.cells = append(x.cells, b.idx.cells...)
		b.idx = x
	default:
		x := newIndex(a, members+1, size)
		for i := range members {
			x.append(b.idx.at(i))
		}
		b.idx = x
	}
	b.form = partsForm
}

// done ends an edit.
func (b *Body) done(a *Arena) { a.take(0, len(b.idx.cells)) }

// write appends a member to buf, and returns its entry.
func (b *Body) write(a *Arena, m *member) entry {
	start := len(b.buf)
	b.buf = append(b.buf, m.text...)
	b.buf = append(b.buf, ',')
	a.take(len(m.text)+1, 0)
	e := entry{uint32(start + 1), uint32(start + len(m.text))}
	if m.oddKey {
		e.key |= flag
	}
	if m.oddString {
		e.end |= flag
	}
	return e
}
