// Package record is the content of an event: raw bytes that are read where they
// lie and written back as they came, except for what was changed. A JSON object
// is checked and its members indexed in one pass; values are decoded when asked for.
package record

import "bytes"

// messageKey is the one field of an event that is a line of text.
const messageKey = "message"

type form uint8

const (
	noForm    form = iota
	textForm       // buf is a line
	rawForm        // buf is the whole object, as it came
	partsForm      // buf holds the members that idx refers to, in any order, and perhaps others
)

// A Body is the content of one event: a line of text, or a JSON object. It is a
// small value. A copy shares the bytes, which nobody writes to again: editing the
// one does not change the other, even in another goroutine with another arena.
// One Body may be read by several goroutines at once, but not while it is edited.
//
// The zero Body has no content: no fields, written as an empty object.
type Body struct {
	buf  []byte
	idx  index
	form form
}

// FromText returns the body of an event that is a line of text, or any other
// payload. It has one field, message, and is written as these very bytes until
// an edit makes an object of it. The body keeps line, which must not be changed any more.
func FromText(line []byte) Body {
	return Body{buf: line, form: textForm}
}

// NewObject returns an empty object. If about n members are added to it next, and
// nothing else is done with a meanwhile, they need not be moved to make room.
func NewObject(a *Arena, n int) Body {
	return Body{buf: a.textRoom(32 * n), idx: index{cells: a.cellRoom(n)}, form: partsForm}
}

// IsText reports whether the body is a line of text that was not edited.
func (b *Body) IsText() bool { return b.form == textForm }

// IsZero reports whether the body is the zero Body.
func (b *Body) IsZero() bool { return b.form == noForm }

// Size returns the number of bytes of the body: exact if it was not edited, else
// about what AppendJSON writes. It encodes nothing.
func (b *Body) Size() int {
	if b.form != partsForm {
		return len(b.buf)
	}
	n := len("{}")
	for i := range b.idx.len() {
		e := b.idx.at(i)
		n += e.stop() - e.start() + len(`",`)
	}
	return n
}

// Whole returns the number of bytes of a body that was not edited, and whether it
// was not: Size without the work for those that were.
func (b *Body) Whole() (n int, ok bool) { return len(b.buf), b.form != partsForm }

// Get returns the value at p, and the zero Value if there is none. Of several
// members with the same name the last one counts.
func (b *Body) Get(p *Path) Value {
	v := b.field(&p.steps[0])
	for i := 1; i < len(p.steps); i++ {
		v = v.step(&p.steps[i])
	}
	return v
}

// Field returns the value of the top-level member of that name.
func (b *Body) Field(name string) Value {
	k := newKey(name)
	return b.field(&k)
}

func (b *Body) field(k *step) Value {
	if b.form == textForm {
		if k.key == messageKey {
			return Text(b.buf)
		}
		return Value{}
	}
	i := b.find(k, b.idx.len())
	if i < 0 {
		return Value{}
	}
	e := b.idx.at(i)
	if e.oddKey() {
		return b.member(e)
	}
	return b.value(e, e.start()+len(k.key)+1)
}

// member returns the value of a member.
func (b *Body) member(e entry) Value {
	end, _ := stringEnd(b.buf, e.start())
	return b.value(e, end)
}

// find returns the last member of that name before the one at end, or -1.
func (b *Body) find(k *step, end int) int {
	i := end - 1
	if b.idx.wide || k.odd {
		for i >= 0 && !b.named(b.idx.at(i), k) {
			i--
		}
		return i
	}
	// The same for nearly all events, several times as fast: the first eight bytes
	// of a name, which are all of a short one, are compared as one word.
	buf, cells, n := b.buf, b.idx.cells, len(k.key)
	for ; i >= 0; i-- {
		at := int(cells[i] & maxNarrow)
		if at+8 > len(buf) || cells[i]&narrowFlag != 0 {
			if b.named(unpack(cells[i]), k) {
				return i
			}
		} else if word(buf, at)|k.rest == k.head {
			if n < 8 || at+n < len(buf) && buf[at+n] == '"' && string(buf[at:at+n]) == k.key {
				return i
			}
		}
	}
	return -1
}

// named reports whether a member has this name.
func (b *Body) named(e entry, k *step) bool {
	if e.oddKey() {
		return equalContent(b.key(e), true, k.key)
	}
	at := int(e.key)
	end := at + len(k.key)
	return end < len(b.buf) && b.buf[end] == '"' && string(b.buf[at:end]) == k.key && !k.odd
}

// key returns the name of a member, as it is between its quotes.
func (b *Body) key(e entry) []byte {
	end, _ := stringEnd(b.buf, e.start())
	return b.buf[e.start() : end-1 : end-1]
}

// value returns the value of a member whose name's closing quote is before at.
func (b *Body) value(e entry, at int) Value {
	if b.buf[at] == ':' && b.buf[at+1] > ' ' {
		at++
	} else {
		at += bytes.IndexByte(b.buf[at:], ':') + 1
		for b.buf[at] <= ' ' {
			at++
		}
	}
	end := e.stop()
	return jsonValue(b.buf[at:end:end], e.oddString())
}

// Range calls f with every top-level member, in the order they are written, until
// f returns false. A name that occurs several times is passed several times; the
// last one counts. f must not change key nor keep it after it returns.
func (b *Body) Range(f func(key []byte, v Value) bool) {
	if b.form == textForm {
		f([]byte(messageKey), Text(b.buf))
		return
	}
	for i := range b.idx.len() {
		e := b.idx.at(i)
		key := b.key(e)
		v := b.value(e, e.start()+len(key)+1)
		if e.oddKey() {
			key = appendUnescaped(nil, key)
		}
		if !f(key, v) {
			return
		}
	}
}

// AppendJSON appends the body as a JSON object on one line, without a line break
// at its end. An object that was not edited is the very bytes that came in; of one
// that was, everything between two changes is. A line of text becomes an object
// with the member message, in which bytes that are not UTF-8 become U+FFFD.
func (b *Body) AppendJSON(dst []byte) []byte {
	switch b.form {
	case rawForm:
		return append(dst, b.buf...)
	case textForm:
		dst = append(dst, `{"`+messageKey+`":`...)
		return append(AppendQuoted(dst, b.buf), '}')
	}
	dst = append(dst, '{')
	n := b.idx.len()
	for i := 0; i < n; {
		start, end, next := b.run(i, n)
		dst = append(append(dst, b.buf[start:end]...), ',')
		i = next
	}
	if n > 0 {
		dst = dst[:len(dst)-1]
	}
	return append(dst, '}')
}

// splice appends all members to dst, each run followed by a comma, and their
// entries to x.
func (b *Body) splice(dst []byte, x *index) []byte {
	n := b.idx.len()
	for i := 0; i < n; {
		start, end, next := b.run(i, n)
		by := uint32(len(dst) - start) // may be negative: it wraps around and back
		for ; i < next; i++ {
			e := b.idx.at(i)
			x.append(entry{e.key + by, e.end + by})
		}
		dst = append(append(dst, b.buf[start:end]...), ',')
	}
	return dst
}

// splicedSize returns how many bytes splice appends.
func (b *Body) splicedSize() int {
	size, n := 0, b.idx.len()
	for i := 0; i < n; {
		start, end, next := b.run(i, n)
		size += end - start + len(",")
		i = next
	}
	return size
}

// run returns the text of member i and of those after it that follow it in buf as
// they do in the object of n members, and the first that is not part of it.
func (b *Body) run(i, n int) (start, end, next int) {
	e := b.idx.at(i)
	start, end = e.start()-1, e.stop()
	if b.form == rawForm { // i is 0
		return start, b.idx.at(n - 1).stop(), n
	}
	for next = i + 1; next < n; next++ {
		e = b.idx.at(next)
		if !b.follows(end, e.start()-1) {
			break
		}
		end = e.stop()
	}
	return start, end, next
}

// follows reports whether there is nothing but a comma and white space between
// the end of a member and the start of another.
func (b *Body) follows(end, start int) bool {
	if start == end+1 {
		return b.buf[end] == ','
	}
	if start < end {
		return false
	}
	for _, c := range b.buf[end:start] {
		if c != ',' && c > ' ' {
			return false
		}
	}
	return true
}

// AppendText appends what a sink that writes lines should write: a line of text as
// it is, and anything else as AppendJSON does.
func (b *Body) AppendText(dst []byte) []byte {
	if b.form == textForm {
		return append(dst, b.buf...)
	}
	return b.AppendJSON(dst)
}

// Detach returns a copy in memory of its own and of just the right size, so that a
// small event that is kept does not keep a large buffer or arena alive.
func (b *Body) Detach() Body {
	if b.form != partsForm {
		return Body{buf: exact(b.buf), idx: index{exact(b.idx.cells), b.idx.wide}, form: b.form}
	}
	size := b.splicedSize() + len("{")
	d := Body{form: rawForm, idx: newIndex(nil, b.idx.len(), size)}
	text := b.splice(append(make([]byte, 0, max(size, 2)), '{'), &d.idx)
	if len(text) > 1 {
		text = text[:len(text)-1] // the comma
	}
	d.buf = append(text, '}')
	return d
}
