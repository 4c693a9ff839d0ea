package record

// An entry is where one member of an object is in its text.
type entry struct {
	key uint32 // start of the name, after its quote; with flag if it has an escape
	end uint32 // end of the value; with flag if that is a string with an escape
}

const (
	flag    = 1 << 31
	maxText = flag - 1 // longest text that can be indexed
)

func (e entry) start() int      { return int(e.key &^ flag) }
func (e entry) stop() int       { return int(e.end &^ flag) }
func (e entry) oddKey() bool    { return e.key&flag != 0 }
func (e entry) oddString() bool { return e.end&flag != 0 }

// An index holds the entries of an object. As memory that was never used before
// is what costs most in reading an event, the index of a text of less than 32 KiB
// is narrow: an entry is one cell, with key in its lower half and end in its
// upper half, and the flags in the top bits of these. In a wide index it is two.
type index struct {
	cells []uint32
	wide  bool
}

const (
	narrowFlag = 1 << 15
	maxNarrow  = narrowFlag - 1 // longest text with a narrow index
)

func (x *index) len() int {
	if x.wide {
		return len(x.cells) / 2
	}
	return len(x.cells)
}

func (x *index) at(i int) entry {
	if x.wide {
		return entry{x.cells[2*i], x.cells[2*i+1]}
	}
	return unpack(x.cells[i])
}

func unpack(cell uint32) entry {
	return entry{
		key: cell&maxNarrow | cell&narrowFlag<<16,
		end: cell>>16&maxNarrow | cell&flag,
	}
}

func (e entry) pack() uint32 {
	return e.key&maxNarrow | e.key>>16&narrowFlag | e.end<<16&^flag | e.end&flag
}

func (x *index) set(i int, e entry) {
	if x.wide {
		x.cells[2*i], x.cells[2*i+1] = e.key, e.end
	} else {
		x.cells[i] = e.pack()
	}
}

func (x *index) append(e entry) {
	if x.wide {
		x.cells = append(x.cells, e.key, e.end)
	} else {
		x.cells = append(x.cells, e.pack())
	}
}

// remove takes out an entry.
func (x *index) remove(i int) {
	w := 1
	if x.wide {
		w = 2
	}
	x.cells = append(x.cells[:w*i], x.cells[w*(i+1):]...)
}

// newIndex returns an empty index with room for n entries in a text of size bytes.
// Room is taken when the index is complete.
func newIndex(a *Arena, n, size int) index {
	if size > maxNarrow {
		return index{cells: a.cellRoom(2 * n), wide: true}
	}
	return index{cells: a.cellRoom(n)}
}
