package codec

import (
	"context"
	"errors"
	"io"

	"github.com/pipectl/pipectl/engine/pipe"
)

// fill reads once from the source. The buffer moves when little of it is free.
func (r *Reader) fill() error {
	if room := cap(r.buf) - len(r.buf); room < min(r.chunk, firstChunk)/4 {
		r.move()
	}
	for range emptyReads {
		room := r.buf[len(r.buf):cap(r.buf)]
		n, err := r.src.Read(room)
		r.buf = r.buf[:len(r.buf)+n]
		if n == len(room) && r.chunk < chunkSize {
			r.chunk *= 2
		}
		if err != nil && !r.passing(err) {
			r.err = err
		}
		if n > 0 || r.err != nil {
			return nil
		}
		if err != nil { // the end, for now
			r.chunk = min(r.chunk, firstChunk)
			if r.start == len(r.buf) {
				r.leave()
			}
			return err
		}
	}
	r.err = io.ErrNoProgress
	return nil
}

// leave lets go of the buffer, so that an idle stream holds none.
func (r *Reader) leave() {
	r.buf, r.start = nil, 0
	if r.held != nil {
		r.held.Release()
		r.held = nil
	}
}

// passing reports whether the stream may go on after err.
func (r *Reader) passing(err error) bool {
	return err == io.EOF && r.Growing || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// move begins a new buffer with what is not decoded of the old one.
func (r *Reader) move() {
	tail := r.buf[r.start:]
	size := r.chunk
	for size < 2*len(tail) {
		size *= 2
	}
	size = min(size, max(r.chunk, len(tail)+r.chunk, r.max+r.chunk))
	if r.ample() && size > chunkSize && size <= cap(r.buf) { // no event is in it
		r.buf = append(r.buf[:0], tail...)
		r.start = 0
		return
	}
	old := r.held
	r.buf = append(r.newBuffer(size), tail...)
	r.start = 0
	if old != nil {
		old.Release()
	}
}

// ample reports whether the buffer is larger than usual, for a large event. Events
// do not stay in such a buffer: one of them would pin it, and it may be twice as
// large. So it can be used again at once.
func (r *Reader) ample() bool { return !r.whole && cap(r.buf) > chunkSize }

// newBuffer returns an empty buffer. Those of the usual size are used again
// once the events in them are settled.
func (r *Reader) newBuffer(size int) []byte {
	if size != chunkSize {
		r.held = nil
		return make([]byte, 0, size)
	}
	if r.chunks == nil {
		r.chunks = pipe.NewChunks(chunkSize)
	}
	r.held = r.chunks.Get()
	return r.held.Mem[:0]
}
