package record

import (
	"bytes"
	"strings"
)

// A Name is the name of a member as it is written, worked out once.
type Name struct {
	written string // in quotes, with a colon
	odd     bool   // it has an escape
}

// NewName returns the Name of these characters.
func NewName(plain string) Name {
	written := string(AppendQuoted(nil, []byte(plain)))
	return Name{written + ":", strings.IndexByte(written, '\\') >= 0}
}

// IsZero reports whether n is the zero Name, which is the name of nothing.
func (n *Name) IsZero() bool { return n.written == "" }

// AppendTo appends the name as it is written, in quotes and with its colon.
func (n *Name) AppendTo(dst []byte) []byte { return append(dst, n.written...) }

// A Builder writes a new object member by member and indexes it meanwhile, so that
// nothing of it is read again: the body is the one that FromJSON makes of that
// text. Names must not occur twice. One Builder may make one object after the other.
type Builder struct {
	text  []byte
	cells []uint32 // the index as it would be if the text is short
	nest  bool     // a value is an object or array: FromJSON checks how deep it is
}

// Start begins an object after what room holds, in its free space while that is
// enough.
func (b *Builder) Start(room []byte) {
	b.text, b.cells, b.nest = append(room[len(room):], '{'), b.cells[:0], false
}

// Empty reports whether no member has been added.
func (b *Builder) Empty() bool { return len(b.text) == len("{") }

// Add adds a member; a missing value is written as null.
func (b *Builder) Add(n *Name, v Value) { b.add(b.name(n), n.odd, v) }

// AddNew is Add for a name that was not seen before.
func (b *Builder) AddNew(name []byte, v Value) {
	key := len(b.text) + 1
	b.text = AppendQuoted(b.text, name)
	odd := b.escaped(key-1, name)
	b.text = append(b.text, ':')
	b.add(key, odd, v)
}

func (b *Builder) add(key int, oddKey bool, v Value) {
	before := len(b.text)
	b.text = v.AppendJSON(b.text)
	b.nest = b.nest || v.kind == KindObject || v.kind == KindArray
	b.member(key, oddKey, v.spelt == asEscaped || v.spelt == asText && b.escaped(before, v.b))
}

// AddText adds a string of these characters, as Text has them.
func (b *Builder) AddText(n *Name, characters []byte) {
	key := b.name(n)
	before := len(b.text)
	b.text = AppendQuoted(b.text, characters)
	b.member(key, n.odd, b.escaped(before, characters))
}

// AddPlain adds a string of which the caller knows that nothing in it needs an
// escape: neither quotes nor backslashes, no control characters, all UTF-8.
func (b *Builder) AddPlain(n *Name, characters []byte) {
	key := b.name(n)
	b.text = append(append(append(b.text, '"'), characters...), '"')
	b.member(key, n.odd, false)
}

// AddNumber adds a number from its JSON literal, which the caller has checked.
func (b *Builder) AddNumber(n *Name, literal []byte) {
	key := b.name(n)
	b.text = append(b.text, literal...)
	b.member(key, n.odd, false)
}

// escaped reports whether the string that is written from start on has an escape.
func (b *Builder) escaped(start int, characters []byte) bool {
	return len(b.text)-start != len(characters)+len(`""`) && bytes.IndexByte(b.text[start:], '\\') >= 0
}

// name writes the name and returns where it starts, after its quote.
func (b *Builder) name(n *Name) int {
	key := len(b.text) + 1
	b.text = append(b.text, n.written...)
	return key
}

// member ends a member. Of a text that is too long for them the cells are not used.
func (b *Builder) member(key int, oddKey, oddString bool) {
	e := entry{uint32(key), uint32(len(b.text))}
	if oddKey {
		e.key |= flag
	}
	if oddString {
		e.end |= flag
	}
	b.cells = append(b.cells, e.pack())
	b.text = append(b.text, ',')
}

// Text ends the object and returns it, without what it would take to read it.
func (b *Builder) Text() []byte {
	if last := len(b.text) - 1; b.text[last] == ',' {
		b.text[last] = '}'
	} else {
		b.text = append(b.text, '}')
	}
	return b.text[:len(b.text):len(b.text)]
}

// Body ends the object and returns it. The error, a *SyntaxError, is of a text that
// is too large, or nested too deep.
func (b *Builder) Body(a *Arena) (Body, error) {
	text := b.Text()
	if b.nest || len(text) > maxNarrow {
		return FromJSON(text, a)
	}
	cells := append(a.cellRoom(len(b.cells)), b.cells...)
	a.take(0, len(cells))
	return Body{buf: text, idx: index{cells: cells[:len(cells):len(cells)]}, form: rawForm}, nil
}
