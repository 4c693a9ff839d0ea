package stages

import (
	"fmt"
	"time"
	"unsafe"

	"github.com/pipectl/pipectl/engine/record"
)

// fields is what a parser found in one line. It is used for one line after the
// other, so that its memory is.
type fields struct {
	list   []field
	index  map[string]int // of list by name, made when there are many
	object record.Body    // what json found instead of a list
	direct bool           // write fields at once: names occur once, and nothing else is in the event
	made   record.Builder // the object that is being written, at the end of chunk
	chunk  []byte         // fresh memory for objects
	room   []byte         // for text that the line does not have as it is needed
	source []byte         // for a line that is a JSON string with escapes
	value  record.Value   // what a format found that gives no fields
	read   time.Time      // when the event was read
}

type field struct {
	name  name
	value record.Value
}

// name is the name of a field; written is how it is written, if that was worth
// preparing.
type name struct {
	plain   string
	written record.Name
}

func newName(plain string) name { return name{plain, record.NewName(plain)} }

func newNames(plain []string) []name {
	names := make([]name, len(plain))
	for i := range plain {
		names[i] = newName(plain[i])
	}
	return names
}

// fewFields is up to how many fields a search from the start is cheap.
const fewFields = 32

// reset prepares for a line; lines is how many are still to come, with this one.
func (f *fields) reset(line []byte, lines int, direct bool) {
	f.list, f.index, f.object, f.value, f.direct = f.list[:0], nil, record.Body{}, record.Value{}, direct
	f.room = f.room[:0]
	if direct {
		f.begin(len(line)+256, lines)
	}
}

// add appends a field whose name is not there yet.
func (f *fields) add(n *name, v record.Value) {
	if f.direct {
		f.write(n, v)
		return
	}
	if f.index != nil {
		f.index[n.plain] = len(f.list)
	}
	f.list = append(f.list, field{*n, v})
}

// convert adds a field of the given type, or none if the value is empty.
func (f *fields) convert(format string, n *name, value []byte, t fieldType, at int, a *record.Arena) error {
	v, want := t.convert(value, a)
	if want != "" {
		return fmt.Errorf("%s: byte %d: field %s should be %s, got %q", format, at, n.plain, want, clip(value))
	}
	if v.Exists() {
		f.add(n, v)
	}
	return nil
}

// set adds a field or gives a new value to the one of that name.
func (f *fields) set(n *name, v record.Value) {
	if i := f.find(n.plain); i >= 0 {
		f.list[i].value = v
		return
	}
	f.add(n, v)
}

// cursor starts a walk over line that may use the room.
func (f *fields) cursor(line []byte) cursor { return cursor{line: line, room: f.room} }

func (f *fields) find(plain string) int {
	if f.index == nil && len(f.list) <= fewFields {
		for i := range f.list {
			if f.list[i].name.plain == plain {
				return i
			}
		}
		return -1
	}
	if f.index == nil {
		f.index = make(map[string]int, 4*fewFields)
		for i := range f.list {
			f.index[f.list[i].name.plain] = i
		}
	}
	if i, ok := f.index[plain]; ok {
		return i
	}
	return -1
}

// body makes an object of the fields of old, without those that were found
// again, and of what was found. size is about how large it will be.
func (f *fields) body(old *record.Body, size, lines int, a *record.Arena) (record.Body, error) {
	if !f.direct {
		f.spread()
		f.begin(size+32*len(f.list), lines)
		f.writeOld(old)
		for i := range f.list {
			f.write(&f.list[i].name, f.list[i].value)
		}
	}
	made, err := f.made.Body(a)
	f.keep(made.Size())
	return made, err
}

// written returns what was found as an object.
func (f *fields) written(lines int) []byte {
	switch {
	case !f.object.IsZero():
		return f.object.AppendJSON(nil)
	case f.direct:
		return f.end()
	}
	f.begin(64*len(f.list)+64, lines)
	for i := range f.list {
		f.write(&f.list[i].name, f.list[i].value)
	}
	return f.end()
}

// spread makes a list of what json found.
func (f *fields) spread() {
	if f.object.IsZero() {
		return
	}
	f.object.Range(func(key []byte, v record.Value) bool {
		start := len(f.room) // key is only lent
		f.room = append(f.room, key...)
		f.set(&name{plain: view(f.room[start:])}, v)
		return true
	})
}

func (f *fields) writeOld(old *record.Body) {
	if old.IsZero() {
		return
	}
	old.Range(func(key []byte, v record.Value) bool {
		if f.find(view(key)) < 0 {
			f.made.AddNew(key, v)
		}
		return true
	})
}

// begin starts an object in memory that is taken from the heap for several at once.
func (f *fields) begin(size, lines int) {
	const most = 16 << 10
	if cap(f.chunk)-len(f.chunk) < size {
		f.chunk = make([]byte, 0, max(size, min(most, size*lines)))
	}
	f.made.Start(f.chunk)
}

func (f *fields) write(n *name, v record.Value) {
	if n.written.IsZero() {
		f.made.AddNew([]byte(n.plain), v)
	} else {
		f.made.Add(&n.written, v)
	}
}

// end finishes the object.
func (f *fields) end() []byte {
	text := f.made.Text()
	f.keep(len(text))
	return text
}

// keep takes the memory of the object that was written, so that nothing else is
// ever written to it.
func (f *fields) keep(size int) {
	if n := len(f.chunk) + size; n <= cap(f.chunk) { // else it has outgrown the chunk
		f.chunk = f.chunk[:n]
	}
}

// view returns b as a string that shares its bytes. The bytes of events are
// never written to, which is what makes this right.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
