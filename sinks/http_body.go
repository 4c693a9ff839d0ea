package sinks

import (
	"bytes"
	"io"
	"sync"

	"github.com/pipectl/pipectl/engine/codec"
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

// pack makes data of raw.
func (p *payload) pack(kind codec.Compression) (err error) {
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
