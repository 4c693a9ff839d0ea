package sinks

import (
	"bytes"
	"io"
	"sync"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

// payload is the body of a request. It can be read several times: the transport
// starts over when a kept connection turns out to be closed.
type payload struct {
	raw  []byte // encoded
	data []byte // what is sent: raw, or zip's content
	zip  codec.Compressor
	out  bytes.Buffer

	mu   sync.Mutex // guards what follows
	open int        // readers that the transport has not closed
}

// encode makes the body of a batch. Events that cannot be encoded are left out
// and returned.
func (s *HTTP) encode(in []*pipe.Event) (*payload, []pipe.ItemError, error) {
	p, _ := s.payloads.Get().(*payload)
	if p == nil {
		p = &payload{}
	}
	var bad []pipe.ItemError
	enc := s.Codec.NewEncoder()
	array := s.Body == bodyArray
	p.raw = reuse(p.raw)
	if array {
		p.raw = append(p.raw, '[')
	}
	for i, e := range in {
		var err error
		if p.raw, err = enc.Append(p.raw, e); err != nil {
			bad = append(bad, pipe.ItemError{Index: i, Err: err})
		} else if array {
			p.raw[len(p.raw)-1] = ',' // instead of the line's end
		}
	}
	if array && len(bad) < len(in) {
		p.raw[len(p.raw)-1] = ']'
	}
	return p, bad, p.compress(s.Compress)
}

// compress makes data of raw.
func (p *payload) compress(kind codec.Compression) (err error) {
	p.data = p.raw
	if kind == codec.CompressNone {
		return nil
	}
	p.out.Reset()
	if p.zip == nil {
		if p.zip, err = codec.NewCompressor(&p.out, kind); err != nil {
			return err
		}
	}
	p.zip.Reset(&p.out)
	if _, err = p.zip.Write(p.raw); err != nil {
		return err
	}
	err = p.zip.Close()
	p.data = p.out.Bytes()
	return err
}

// recycle keeps the memory of p for another batch, unless the transport still
// reads it: it may, for a while after the answer.
func (s *HTTP) recycle(p *payload) {
	p.mu.Lock()
	free := p.open == 0
	p.mu.Unlock()
	if free && cap(p.raw) <= keepBuffer {
		s.payloads.Put(p)
	}
}

// reader returns a new reader of the body.
func (p *payload) reader() io.ReadCloser {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open++
	return &payloadReader{of: p}
}

// payloadReader reads a payload once. Close ends it, also while another
// goroutine reads.
type payloadReader struct {
	of *payload

	mu     sync.Mutex // guards what follows
	at     int
	closed bool
}

func (r *payloadReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.at >= len(r.of.data) {
		return 0, io.EOF
	}
	n := copy(b, r.of.data[r.at:])
	r.at += n
	return n, nil
}

func (r *payloadReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		r.of.mu.Lock()
		r.of.open--
		r.of.mu.Unlock()
	}
	return nil
}
