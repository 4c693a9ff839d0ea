package record

// Sizes of the chunks an Arena takes from the heap, in bytes: small enough that
// one surviving event pins little, large enough to be rare.
const (
	textChunk  = 16 << 10 // edited and built objects
	smallChunk = 2 << 10  // single values
	cellChunk  = 8 << 10  // indexes
)

// An Arena is where bodies keep what they need beside the bytes they were given:
// indexes, edited members, small values. It hands out pieces of larger chunks, so
// that an event costs no allocation of its own. Nothing of its own is ever handed
// out twice: a chunk is garbage when no body refers to it any more. Only memory
// that was lent to it is used again, and the lender answers for when: see Lend.
//
// An Arena also remembers the member names of the objects it has indexed, which
// makes the next object of the same shape cheaper: keep one per goroutine for as
// long as the goroutine runs. The zero value is ready to use; a nil *Arena works
// too and takes everything from the heap, where no object can grow in place. An
// Arena is not safe for concurrent use, but what came from it may be read
// anywhere, at any time.
type Arena struct {
	text    chunk[byte]   // for objects
	small   chunk[byte]   // for values: apart, so that objects can grow in place
	cells   chunk[uint32] // for indexes
	scratch []byte        // where a member is put together before it is copied to text
	shape   *shape
}

// A chunk is memory of which the first used elements are handed out.
type chunk[T any] struct {
	all  []T
	used int
}

// room returns an empty slice at the start of the free space, with room for n more
// elements. take hands out what was appended to it.
func (c *chunk[T]) room(n, size int) []T {
	if len(c.all)-c.used < n {
		c.all, c.used = make([]T, max(n+n/4, size)), 0
	}
	return c.all[c.used:c.used]
}

func (c *chunk[T]) take(n int) { c.used += n }

// follows reports whether n elements can be appended to s in place, because the
// free space begins where s ends. A copy of s that was extended before fails the
// test, as the free space begins later then; so each of the two keeps its own.
func (c *chunk[T]) follows(s []T, n int) bool {
	return cap(s) > len(s) && len(c.all)-c.used >= n && c.used < len(c.all) && &s[:len(s)+1][len(s)] == &c.all[c.used]
}

// Copy returns a copy of b.
func (a *Arena) Copy(b []byte) []byte {
	if a == nil || len(b) > smallChunk/4 {
		return exact(b)
	}
	c := append(a.small.room(len(b), smallChunk), b...)
	a.small.take(len(b))
	return c[:len(b):len(b)]
}

// Lend gives the arena memory for the indexes of the next bodies; what does not fit
// goes to chunks of its own. The lender may use the memory again, for another
// Lend, once nobody reads those bodies any more. Until the next Lend the arena
// goes on filling what is left of it, even if nothing was: a lender that gives the
// memory to somebody else without lending anew must take it back with Lend(nil).
func (a *Arena) Lend(cells []uint32) { a.cells = chunk[uint32]{all: cells} }

// Indexed reports whether bodies were indexed since the last Lend.
func (a *Arena) Indexed() bool { return a.cells.used > 0 }

// Rest returns the part of mem, which was lent, that is still free, nil once
// something did not fit into it. It may be lent again.
func (a *Arena) Rest(mem []uint32) []uint32 {
	all := a.cells.all
	if len(all) == 0 || len(mem) == 0 || &all[len(all)-1] != &mem[len(mem)-1] {
		return nil
	}
	return all[a.cells.used:]
}

// textRoom returns an empty slice with room for n bytes of objects.
func (a *Arena) textRoom(n int) []byte {
	if a == nil {
		return make([]byte, 0, n)
	}
	return a.text.room(n, textChunk)
}

// cellRoom returns an empty slice with room for n cells of an index.
func (a *Arena) cellRoom(n int) []uint32 {
	if a == nil {
		return make([]uint32, 0, n)
	}
	return a.cells.room(n, cellChunk/4)
}

// take hands out what was appended to the room there was, in place.
func (a *Arena) take(text, cells int) {
	if a != nil {
		a.text.take(text)
		a.cells.take(cells)
	}
}

// buffer returns the empty scratch buffer. Only one user may have it at a time.
func (a *Arena) buffer() []byte {
	if a == nil {
		return nil
	}
	return a.scratch[:0]
}

// keepBuffer gives the scratch buffer back if it has grown, but not too much.
func (a *Arena) keepBuffer(b []byte) {
	if a != nil && cap(b) > cap(a.scratch) && cap(b) <= 1<<20 {
		a.scratch = b
	}
}

// exact returns a copy of s in memory of just the right size.
func exact[T any](s []T) []T { return append(make([]T, 0, len(s)), s...) }
