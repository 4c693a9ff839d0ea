package codec

import (
	"bytes"
	"errors"
	"io"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

const (
	chunkSize  = 64 << 10 // the largest read buffer, and the usual one under load
	firstChunk = 4 << 10  // the first one: many streams are short, or slow
	maxEvents  = 256      // events per Read
	excerpt    = 4 << 10  // what a failure shows of an event that is too large
	emptyReads = 100      // reads without data or error before giving up
)

var bom = []byte("\xef\xbb\xbf")

// Reader decodes a byte stream into batches. It is not safe for concurrent use.
//
// It never holds more of the stream than one event of the largest allowed size
// and one buffer. Larger events are read past, and fail with their first 4 KiB.
type Reader struct {
	// Partition is passed to Batch.From with the line number. Set it before the
	// first Read.
	Partition string

	// Growing says that the end of the stream may move: at io.EOF an unfinished
	// last event waits, and a later Read goes on. Clear it to have the next Read
	// deliver what is left.
	Growing bool

	codec *Codec
	src   io.Reader
	max   int
	chunk int  // size of the next buffer: double the last one if a read filled that
	whole bool // all is one message: no partition, no line numbers

	chunks *pipe.Supply[[]byte] // supply of buffers of chunkSize, made when first needed
	held   *pipe.Chunk          // the one that buf is in; nil when buf is of another size

	buf   []byte // read and not yet dropped; the room behind it is free
	start int    // where the next event begins in buf
	seen  int    // bytes of that event that scan has looked through
	found bool   // its end is at seen
	pos   int64  // offset of start in the stream
	last  int64  // offset after the last event
	line  int64  // line number of start, 0 when unknown
	begun bool   // a byte order mark was looked for
	err   error  // why the stream ended; sticky

	over      bool   // the current event is too large and being read past
	past      int64  // how much of it is gone from buf
	pastLines int64  // line breaks in that
	head      []byte // its first bytes

	json  jsonScanner
	csv   csvScanner
	names []string // of csv, nil until the header is read
	cells [][]byte
}

// NewReader returns a reader of src, which is read in pieces of up to 64 KiB.
// maxEvent is the largest payload of one event in bytes.
func (c *Codec) NewReader(src io.Reader, maxEvent int) *Reader {
	r := &Reader{codec: c, src: src, max: maxEvent, chunk: firstChunk, line: 1}
	r.csv.delimiter = c.delimiter()
	if !c.Header {
		r.names = c.Columns
	}
	return r
}

// Decode appends the events in data to b, all of them, as parts of one message
// if b has one open. They point into data, which must not change afterwards.
// Input that cannot be decoded becomes failures of b whose text begins with
// its line. An error is about data as a whole (a csv header that makes no sense).
func (c *Codec) Decode(b *pipe.Batch, data []byte, maxEvent int) error {
	r := c.NewReader(nil, maxEvent)
	r.buf, r.err, r.whole = data[:len(data):len(data)], io.EOF, true
	for {
		switch err := r.read(b); err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

// Resume makes a fresh reader go on at offset of a stream that was read before;
// its source must deliver the bytes from there. beginning reads the same stream
// from its start: it is needed only when NeedsBeginning, else it may be nil.
func (r *Reader) Resume(offset int64, beginning io.Reader) error {
	if offset == 0 {
		return nil
	}
	if r.codec.NeedsBeginning() {
		var scratch pipe.Batch
		scratch.Reset(nil, "", 0)
		first := r.codec.NewReader(beginning, r.max)
		if err := first.Read(&scratch); err != nil && err != io.EOF {
			return err
		}
		if first.names == nil {
			return errors.New("the csv header is gone: the input is empty")
		}
		r.names = first.names
	}
	r.pos, r.line, r.begun = offset, 0, true
	r.json.array = arrayResumed
	return nil
}

// NeedsBeginning reports whether the first bytes of a stream say how to read the rest.
func (c *Codec) NeedsBeginning() bool { return c.Type == TypeCSV && c.Header }

// Offset returns the offset in the stream after the last decoded event.
func (r *Reader) Offset() int64 { return r.pos }

// Last returns the offset in the stream after the last event or failure, which
// Offset may have left behind: blank lines follow. It is 0 before the first one.
func (r *Reader) Last() int64 { return r.last }

// Pending returns how many bytes were read from the stream beyond Offset.
func (r *Reader) Pending() int64 { return int64(len(r.buf)-r.start) + r.past }

// Read appends to b the events that are there, at least one event or failure,
// at most 256. It calls its source only when there is none, and then waits
// while the source waits. Positions are offsets in the stream after the event.
// It returns io.EOF at the end, and the source's error when that fails, without
// having appended anything. Both are final, except io.EOF while Growing and the
// errors of a context: after them a later Read goes on.
func (r *Reader) Read(b *pipe.Batch) error {
	b.From(r.Partition, r.line)
	return r.read(b)
}

func (r *Reader) read(b *pipe.Batch) error {
	had := b.Len()
	err := r.some(b, had)
	if b.Len() > had && r.held != nil {
		b.Keep(r.held)
	}
	return err
}

// some reads until b has more than it had, or cannot get more.
func (r *Reader) some(b *pipe.Batch, had int) error {
	for {
		err := r.decode(b, had+maxEvents)
		switch {
		case b.Len() > had:
			return nil
		case err != nil:
			return err
		case r.err != nil:
			return r.finish(b, had)
		}
		if err := r.fill(); err != nil {
			return err
		}
	}
}

// decode appends the whole events that are in the buffer, until b has most.
func (r *Reader) decode(b *pipe.Batch, most int) error {
	if !r.begun && !r.begin() {
		return nil
	}
	if (r.codec.Type == TypeLines || r.codec.Type == TypeNDJSON) && !r.over && !r.found && (r.whole || b.Line() == r.line) {
		r.decodeLines(b, most)
	}
	for b.Len() < most {
		if r.codec.Type == TypeJSON && r.seen == 0 && !r.over && !r.found {
			switch r.jsonStart(b) {
			case jsonAdded:
				continue
			case jsonStop:
				return nil
			}
		}
		if !r.found {
			n, done := r.scan(r.buf[r.start+r.seen:])
			r.seen += n
			r.found = done
		}
		if !r.found {
			r.tooLarge()
			return nil
		}
		if ok, err := r.emit(b); !ok {
			return err
		}
	}
	return nil
}

// begin drops a byte order mark; it reports false when more must be read first.
func (r *Reader) begin() bool {
	if data := r.buf[r.start:]; bytes.HasPrefix(data, bom) {
		r.drop(len(bom))
	} else if len(data) < len(bom) && bytes.HasPrefix(bom, data) && r.err == nil {
		return false
	}
	r.begun = true
	return true
}

func (r *Reader) drop(n int) {
	r.start += n
	r.pos += int64(n)
}

// scan looks for the end of the current event in p, which goes on where the
// last scan stopped. n bytes of p belong to it; done means that it ends there.
func (r *Reader) scan(p []byte) (n int, done bool) {
	switch r.codec.Type {
	case TypeRaw:
		return len(p), false
	case TypeJSON:
		return r.json.scan(p)
	case TypeCSV:
		return r.csv.scan(p)
	}
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		return i + 1, true
	}
	return len(p), false
}

// decodeLines is decode for the common case: lines that are whole, not too large,
// and hold an object if they must.
func (r *Reader) decodeLines(b *pipe.Batch, most int) {
	data, start, seen, ample := r.buf, r.start, r.seen, r.ample()
	for room := most - b.Len(); room > 0; room-- {
		i := bytes.IndexByte(data[start+seen:], '\n')
		if i < 0 {
			seen = len(data) - start
			break
		}
		end := start + seen + i
		line := data[start:end:end]
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[: n-1 : n-1]
		}
		if len(line) > r.max {
			break
		}
		if ample {
			line = bytes.Clone(line)
		}
		pos := r.pos + int64(end+1-start)
		if r.codec.Type == TypeNDJSON {
			body, err := record.FromJSON(line, &b.Arena)
			if err != nil {
				break // blank or broken: the long way says what it is
			}
			b.Add(body, pos)
		} else {
			b.AddText(line, pos)
		}
		r.pos = pos
		start, seen = end+1, 0
		if r.line > 0 {
			r.line++
		}
	}
	if start != r.start {
		r.last = r.pos
	}
	r.start, r.seen = start, seen
}
