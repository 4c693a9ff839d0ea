package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// tooLarge starts to read past the current event once it cannot fit any more,
// and forgets what was seen of it.
func (r *Reader) tooLarge() {
	if !r.over {
		if r.seen <= r.max+len("\r\n") {
			return
		}
		r.over = true
		r.head = bytes.Clone(r.buf[r.start : r.start+min(r.seen, r.max, excerpt)])
	}
	r.past += int64(r.seen)
	r.pastLines += int64(bytes.Count(r.buf[r.start:r.start+r.seen], []byte{'\n'}))
	r.buf = r.buf[:r.start]
	r.seen = 0
}

// emit hands on the event that scan found the end of. It reports false when
// the batch must end before it, or with what is wrong with the whole stream.
func (r *Reader) emit(b *pipe.Batch) (bool, error) {
	frame := r.buf[r.start : r.start+r.seen]
	payload, large := r.codec.trim(frame), r.sized(frame)
	if blank := len(payload) == 0 && large == nil; blank && r.codec.Type != TypeLines {
		r.advance(frame)
		return true, nil
	}
	if !r.place(b) {
		return false, nil
	}
	if large == nil && r.ample() {
		payload = bytes.Clone(payload)
	}
	pos := r.pos + r.past + int64(len(frame))
	switch {
	case r.codec.Type == TypeCSV && r.names == nil:
		if err := r.header(b, payload, pos, large); err != nil {
			r.err, r.buf, r.seen, r.found, r.over = err, r.buf[:r.start], 0, false, false
			return false, err
		}
	case large != nil:
		r.fail(b, r.head, pos, large)
	default:
		r.add(b, payload, pos)
	}
	r.advance(frame)
	return true, nil
}

// advance leaves the event behind.
func (r *Reader) advance(frame []byte) {
	if r.line > 0 {
		r.line += r.linesIn(frame)
	}
	r.pos += r.past
	r.drop(len(frame))
	r.seen, r.found, r.over, r.past, r.pastLines, r.head = 0, false, false, 0, 0, nil
	r.json.next()
	r.csv.next()
}

func (r *Reader) linesIn(frame []byte) int64 {
	if r.codec.Type == TypeNDJSON || r.codec.Type == TypeLines {
		return 1
	}
	return r.pastLines + int64(bytes.Count(frame, []byte{'\n'}))
}

// place makes sure that the next message of b gets its line number: a batch
// counts them from its first message, so that a gap begins a new batch. Where
// JSON values do not have a line each, numbers end and offsets must do.
func (r *Reader) place(b *pipe.Batch) bool {
	if r.whole || b.Line() == r.line {
		return true
	}
	if b.Messages() > 0 {
		if r.codec.Type == TypeJSON {
			r.line = 0
		}
		return false
	}
	b.From(r.Partition, r.line)
	return true
}

// sized returns an error when the event in frame is larger than allowed; r.head
// then shows its beginning.
func (r *Reader) sized(frame []byte) error {
	if !r.over {
		if len(r.codec.unbroken(frame)) <= r.max {
			return nil
		}
		r.head = bytes.Clone(frame[:min(r.max, excerpt)])
	}
	return fmt.Errorf("%s is larger than limits.max_event_bytes (%s): %d bytes", r.codec.unit(), pipe.Size(r.max), r.past+int64(len(frame)))
}

// add decodes one event into b, or fails it.
func (r *Reader) add(b *pipe.Batch, payload []byte, pos int64) {
	payload = payload[:len(payload):len(payload)]
	var body record.Body
	var err error
	switch r.codec.Type {
	case TypeJSON, TypeNDJSON:
		body, err = r.object(payload, &b.Arena)
	case TypeCSV:
		body, err = r.record(payload, &b.Arena)
	default:
		body = record.FromText(payload)
	}
	if err != nil {
		r.fail(b, payload, pos, err)
		return
	}
	b.Add(body, pos)
	r.last = pos
}

func (r *Reader) fail(b *pipe.Batch, text []byte, pos int64, err error) {
	if r.whole && r.codec.Type != TypeRaw {
		err = fmt.Errorf("line %d: %w", r.line, err)
	}
	b.Fail(record.FromText(text), pos, pipe.Classed(pipe.Poison, err))
	r.last = pos
}

// finish ends the stream: what is left of it is its last event.
func (r *Reader) finish(b *pipe.Batch, had int) error {
	if r.err != io.EOF {
		return r.err
	}
	r.seen = len(r.buf) - r.start
	if r.seen > 0 || r.over {
		if _, err := r.emit(b); err != nil {
			return err
		}
	}
	if r.codec.Type == TypeJSON && r.json.unclosed() && r.place(b) {
		r.json.array = arrayNone
		r.fail(b, nil, r.pos, errors.New("unexpected end of input: the array at the top is not closed"))
	}
	if b.Len() > had {
		return nil
	}
	return io.EOF
}

// unbroken takes the line break off a frame.
func (c *Codec) unbroken(frame []byte) []byte {
	if c.Type == TypeRaw {
		return frame
	}
	n := len(frame)
	if n > 0 && frame[n-1] == '\n' {
		n--
	}
	if n > 0 && frame[n-1] == '\r' {
		n--
	}
	return frame[:n]
}

// trim takes off a frame what is not part of the event.
func (c *Codec) trim(frame []byte) []byte {
	if c.Type == TypeJSON || c.Type == TypeNDJSON {
		return trimSpace(frame)
	}
	return c.unbroken(frame)
}

// trimSpace takes JSON's white space off both ends.
func trimSpace(p []byte) []byte {
	for len(p) > 0 && isSpace(p[0]) {
		p = p[1:]
	}
	for len(p) > 0 && isSpace(p[len(p)-1]) {
		p = p[:len(p)-1]
	}
	return p
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }
