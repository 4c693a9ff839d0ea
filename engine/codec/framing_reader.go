package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/pipectl/pipectl/engine/pipe"
)

// maxFrames is how many messages one Read returns at most.
const maxFrames = 256

// ErrFramingLost says that the bytes of a stream make no sense as its framing, so
// that the next message cannot be found.
var ErrFramingLost = errors.New("framing lost")

// Frame is one message of a stream, or what could be seen of it.
type Frame struct {
	Data []byte // the message without its framing; of one with an error, its first bytes
	Err  error  // why it is none; nil for a message
}

// FrameReader cuts a byte stream into messages. It is not safe for concurrent use.
//
// It never holds more than one message of the largest allowed size and one
// buffer, whatever length a peer announces. A larger message is read past and
// reported with up to 4 KiB of its beginning. What does not begin as the framing
// says, or announces more than 256 MiB, ends the stream with ErrFramingLost.
type FrameReader struct {
	framing Framing
	src     io.Reader
	max     int
	limit   string

	chunks *pipe.Supply[[]byte] // made when first needed
	held   *pipe.Chunk          // the one that buf is in; nil when buf is of another size
	chunk  int                  // size of the next buffer
	buf    []byte               // read and not yet dropped; the room behind it is free
	start  int                  // where the next message begins
	seen   int                  // bytes of it that have no line break
	skip   int64                // bytes of a counted message that are still to be read past
	over   bool                 // a line is too large and being read past
	past   int64                // how much of it is gone
	head   []byte               // its first bytes
	taken  int64                // bytes read in all
	err    error                // why the stream ended
}

// NewReader returns a reader of the messages of src. max is the largest message in
// bytes and limit the name of the option that says so, for messages to people.
func (f Framing) NewReader(src io.Reader, max int, limit string) *FrameReader {
	return &FrameReader{framing: f, src: src, max: max, limit: limit, chunk: firstChunk}
}

// Taken returns how many bytes were read from the stream.
func (r *FrameReader) Taken() int64 { return r.taken }

// Keep holds the memory of the messages that the last Read returned until every
// event of b is settled. Without it they are valid until the next Read only.
func (r *FrameReader) Keep(b *pipe.Batch) {
	if r.held != nil {
		b.Keep(r.held)
	}
}

// Release gives back the buffer, for when the stream is not read any more.
func (r *FrameReader) Release() {
	if r.held != nil {
		r.held.Release()
		r.held = nil
	}
	r.buf, r.start = nil, 0
}

// Read appends to frames the messages that are here, 256 at most, or waits for
// one. It returns io.EOF at the end, ErrFramingLost, or the source's error, always
// without having appended anything; what was unfinished has come before as a frame
// with an error, or, of lines that end with the stream, as the last message.
func (r *FrameReader) Read(frames []Frame) ([]Frame, error) {
	had := len(frames)
	for {
		for len(frames) < had+maxFrames {
			f, ok := r.next()
			if !ok {
				break
			}
			frames = append(frames, f)
		}
		if len(frames) > had {
			return frames, nil
		}
		if r.err != nil {
			if f, ok := r.rest(); ok {
				return append(frames, f), nil
			}
			return frames, r.err
		}
		r.fill()
	}
}

// next cuts the next message out of the buffer.
func (r *FrameReader) next() (f Frame, ok bool) {
	for {
		if n := min(r.skip, int64(len(r.buf)-r.start)); n > 0 {
			r.start += int(n)
			r.skip -= n
		}
		if r.skip > 0 || r.start == len(r.buf) {
			return f, false
		}
		if r.over || r.seen > 0 {
			f, ok = r.line()
		} else if size, n, s := r.framing.header(r.buf[r.start:]); s == lined {
			f, ok = r.line()
		} else {
			f, ok = r.count(size, n, s)
		}
		if ok && r.framing == FramingSyslog && f.Err == nil && len(f.Data) == 0 {
			continue // what some senders put between counted messages
		}
		return f, ok
	}
}

// count cuts out a message that n bytes behind its header of size bytes are.
func (r *FrameReader) count(size int, n int64, s state) (f Frame, ok bool) {
	data := r.buf[r.start:]
	switch {
	case s == needsMore:
		return f, false
	case s == lost || n > absurd && n > int64(r.max):
		f = r.lose(data)
		return f, true
	case n > int64(r.max):
		body := data[size:]
		head := bytes.Clone(body[:min(len(body), int(min(n, excerpt)))])
		r.start += size
		r.skip = n
		return Frame{Data: head, Err: r.large(n)}, true
	case int64(len(data)-size) < n:
		return f, false
	}
	end := size + int(n)
	r.start += end
	return Frame{Data: data[size:end:end]}, true
}

// lose ends a stream that cannot be understood.
func (r *FrameReader) lose(data []byte) Frame {
	head := bytes.Clone(data[:min(len(data), excerpt)])
	r.start, r.err = len(r.buf), ErrFramingLost
	return Frame{Data: head, Err: fmt.Errorf("this does not begin as framing %s does (%q): the sender uses another one, or lost count", r.framing, head[:min(len(head), 16)])}
}

// line cuts out a message that ends with a line break.
func (r *FrameReader) line() (f Frame, ok bool) {
	data := r.buf[r.start:]
	at, next := r.framing.end(data, r.seen)
	if at < 0 {
		r.seen = len(data)
		r.leaveBehind(data)
		return f, false
	}
	r.start += next
	r.seen = 0
	switch {
	case r.over:
		f = Frame{Data: r.head, Err: r.large(r.past + int64(at))}
		r.over, r.past, r.head = false, 0, nil
	case at > r.max:
		f = Frame{Data: bytes.Clone(data[:min(r.max, excerpt)]), Err: r.large(int64(at))}
	default:
		f.Data = data[:at:at]
	}
	return f, true
}

// leaveBehind forgets what is here of a line once it is too large.
func (r *FrameReader) leaveBehind(data []byte) {
	if !r.over && len(data) <= r.max+1 { // a "\r" may be the last
		return
	}
	if !r.over {
		r.over, r.head = true, bytes.Clone(data[:min(len(data), r.max, excerpt)])
	}
	r.past += int64(len(data))
	r.buf, r.seen = r.buf[:r.start], 0
}

func (r *FrameReader) large(n int64) error {
	return fmt.Errorf("message is larger than %s (%s): %d bytes", r.limit, pipe.Size(r.max), n)
}

// rest is what is left when the stream has ended.
func (r *FrameReader) rest() (f Frame, ok bool) {
	data := r.buf[r.start:]
	size, n, s := r.framing.header(data)
	whole := r.framing == FramingLines || r.framing == FramingSyslog && s != counted
	over, past := r.over, r.past
	unfinished := len(data) > 0 || over
	r.start, r.seen, r.over, r.past = len(r.buf), 0, false, 0
	switch {
	case !unfinished:
		return f, false
	case over:
		return Frame{Data: r.head, Err: r.large(past + int64(len(data)))}, true
	case r.err == io.EOF && whole:
		if data = bytes.TrimSuffix(data, []byte("\r")); len(data) > r.max {
			return Frame{Data: bytes.Clone(data[:min(r.max, excerpt)]), Err: r.large(int64(len(data)))}, true
		}
		if len(data) == 0 && r.framing == FramingSyslog {
			return f, false
		}
		return Frame{Data: data[:len(data):len(data)]}, true
	case s == counted:
		f.Err = fmt.Errorf("the stream ended in the middle of a message: %d of %d bytes", len(data)-size, n)
	default:
		f.Err = fmt.Errorf("the stream ended in the middle of a message, after %d bytes", len(data))
	}
	f.Data = bytes.Clone(data[:min(len(data), excerpt)])
	return f, true
}

// fill reads once from the source, after making room for it.
func (r *FrameReader) fill() {
	if cap(r.buf)-len(r.buf) < min(r.chunk, firstChunk)/4 {
		r.move()
	}
	for range emptyReads {
		room := r.buf[len(r.buf):cap(r.buf)]
		n, err := r.src.Read(room)
		r.buf = r.buf[:len(r.buf)+n]
		r.taken += int64(n)
		if n == len(room) && r.chunk < chunkSize {
			r.chunk *= 2
		}
		r.err = err
		if n > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}

// move begins a new buffer with what is not cut yet of the old one.
func (r *FrameReader) move() {
	tail, old := r.buf[r.start:], r.held
	size := r.chunk
	if len(tail) > size/2 {
		size = min(2*len(tail), max(r.max, len(tail))+chunkSize)
	}
	if size == chunkSize {
		if r.chunks == nil {
			r.chunks = pipe.NewChunks(chunkSize)
		}
		r.held = r.chunks.Get()
		r.buf = append(r.held.Mem[:0], tail...)
	} else {
		r.held = nil
		r.buf = append(make([]byte, 0, size), tail...)
	}
	r.start = 0
	if old != nil {
		old.Release()
	}
}
