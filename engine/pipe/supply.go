package pipe

import (
	"sync"
	"sync/atomic"
)

// Supply hands out pieces of memory and takes them back once every event that
// is in them is settled or detached: read buffers, and the events themselves.
// Memory that was just used is several times cheaper to fill than fresh memory,
// and leaves the garbage collector little to do. It may be used from several
// goroutines.
//
// So settling is the moment after which neither an event nor its bytes may be
// touched. A group with an event that was returned or pinned leaves its pieces to
// the garbage collector: somebody who ignored a stop may still look at them.
type Supply[T any] struct {
	fresh func() T

	mu   sync.Mutex // guards free
	free []*Piece[T]
}

// maxFree bounds the pieces that wait for their next use.
const maxFree = 64

// Piece is a piece of memory with a count of those who use it.
type Piece[T any] struct {
	Mem  T
	refs atomic.Int32
	home *Supply[T]
}

// Chunk is a read buffer.
type Chunk = Piece[[]byte]

// NewChunks makes a supply of read buffers of size bytes.
func NewChunks(size int) *Supply[[]byte] {
	return &Supply[[]byte]{fresh: func() []byte { return make([]byte, size) }}
}

// Get returns a piece, held once by the caller. It contains what its last user
// left in it.
func (s *Supply[T]) Get() *Piece[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		p := s.free[n-1]
		s.free[n-1], s.free = nil, s.free[:n-1]
		p.refs.Store(1)
		return p
	}
	p := &Piece[T]{Mem: s.fresh(), home: s}
	p.refs.Store(1)
	return p
}

// Release gives up one hold. The piece may be used again once nobody holds it.
func (p *Piece[T]) Release() {
	switch n := p.refs.Add(-1); {
	case n < 0:
		panic("BUG: a piece of memory was released twice")
	case n == 0:
		s := p.home
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.free) < maxFree {
			s.free = append(s.free, p)
		}
	}
}

// Keep holds a read buffer until every event of the batch is settled. Call it
// once per batch and buffer that the bodies of the batch point into.
func (b *Batch) Keep(k *Chunk) {
	k.refs.Add(1)
	b.group.chunks = append(b.group.chunks, k)
}

// slab is where events are; all of one slab are read one after another.
type slab = Piece[[]Event]

// slabEvents is how many events share one slab: enough to make it rare, few
// enough that one event left behind pins little (about 6 KiB).
const slabEvents = 64

// slabBytes is how many bytes the events of a slab have before no more are added:
// as long as one of them is in use, and until its memory is used again, a slab pins
// the read buffers of all. So one that has more is not used again, either.
const slabBytes = 128 << 10

// newEvent returns memory for the next event, kept until the batch is settled.
func (b *Batch) newEvent() *Event {
	full := b.filled >= slabBytes
	if b.slab == nil || b.used == slabEvents || full {
		if b.slab != nil && !full {
			b.slab.Release()
		}
		if b.slabs == nil {
			b.slabs = &Supply[[]Event]{fresh: func() []Event { return make([]Event, slabEvents) }}
		}
		b.slab, b.used, b.filled, b.kept = b.slabs.Get(), 0, 0, false
	}
	if !b.kept {
		b.kept = true
		b.slab.refs.Add(1)
		b.group.slabs = append(b.group.slabs, b.slab)
	}
	b.used++
	return &b.slab.Mem[b.used-1]
}

// cellsPerBatch is room for the indexes of a batch of 256 JSON objects with a
// dozen members each (32 KiB).
const cellsPerBatch = 8192

// lendCells gives the arena memory for the indexes of the group's bodies, if the
// source makes any. Small batches share a piece, so that one that stays behind
// pins little; a batch gets what is left of it if the last one would have fitted.
func (b *Batch) lendCells() {
	if b.cell == nil && !b.Arena.Indexed() {
		b.Arena.Lend(nil) // what it has is another group's, and may be used again
		return
	}
	var rest []uint32
	if b.cell != nil {
		rest = b.Arena.Rest(b.cell.Mem)
	}
	if used := b.lent - len(rest); len(rest) == 0 || len(rest) < used+used/4 {
		if b.cell != nil {
			b.cell.Release()
		}
		if b.cells == nil {
			b.cells = &Supply[[]uint32]{fresh: func() []uint32 { return make([]uint32, cellsPerBatch) }}
		}
		b.cell = b.cells.Get()
		rest = b.cell.Mem
	}
	b.cell.refs.Add(1)
	b.group.cells, b.lent = b.cell, len(rest)
	b.Arena.Lend(rest)
}

// depart is called when n instances have left the group's memory, and gives it
// up after the last one, unless somebody may still look at it.
func (g *Group) depart(n int64) {
	if n == 0 || g.resident.Add(-n) != 0 {
		return
	}
	chunks, slabs, cells := g.chunks, g.slabs, g.cells
	g.chunks, g.slabs, g.cells = nil, nil, nil // a detached event may keep the group for long
	if g.pinned.Load() {
		return
	}
	for _, k := range chunks {
		k.Release()
	}
	for _, s := range slabs {
		s.Release()
	}
	if cells != nil {
		cells.Release()
	}
}
