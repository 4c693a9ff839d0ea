package sinks

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

// maxConnections is how many connections to one host are kept open between
// requests, and how many requests are under way at most.
const maxConnections = 64

// poster sends batches as requests. The sinks that speak HTTP are made of it: they
// encode what is to be sent, and judge the answer.
type poster struct {
	client   *web.Client
	method   string
	url      string
	compress codec.Compression
	header   func(req *http.Request, in []*pipe.Event) // sets what the sink's requests have

	payloads sync.Pool
}

// open prepares the client. It does not connect.
func (s *poster) open() error {
	if _, err := codec.NewCompressor(io.Discard, s.compress); err != nil {
		return err
	}
	return s.client.Prepare(s.url, maxConnections)
}

// take returns an empty payload.
func (s *poster) take() *payload {
	p, _ := s.payloads.Get().(*payload)
	if p == nil {
		p = &payload{}
	}
	p.raw = reuse(p.raw)
	return p
}

// recycle keeps the memory of p for another batch, unless the transport still
// reads it: it may, for a while after the answer.
func (s *poster) recycle(p *payload) {
	p.mu.Lock()
	free := p.open == 0
	p.mu.Unlock()
	if free && cap(p.raw) <= keepBuffer {
		s.payloads.Put(p)
	}
}

// send makes a request of p, which holds events of in, and returns the answer with
// the first most bytes of its body.
func (s *poster) send(ctx context.Context, p *payload, in []*pipe.Event, most int64) (*web.Answer, error) {
	if err := p.pack(s.compress); err != nil {
		return nil, err
	}
	return s.client.Ask(ctx, most, func(ctx context.Context) (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, s.method, s.url, p.reader())
		if err != nil {
			return nil, err
		}
		req.ContentLength = int64(len(p.data))
		req.GetBody = func() (io.ReadCloser, error) { return p.reader(), nil }
		req.Header.Set("User-Agent", "pipectl")
		if e := traced(in); e != nil {
			for _, name := range []string{pipe.TraceParent, pipe.TraceState} {
				if v, ok := e.Meta(name); ok {
					req.Header.Set(name, v)
				}
			}
		}
		s.header(req, in)
		s.client.SetHeaders(req)
		if s.compress != codec.CompressNone {
			req.Header.Set("Content-Encoding", string(s.compress))
		}
		return req, nil
	})
}

// lowerBatch says what to do about 413.
func lowerBatch(events int, p *payload) string {
	return fmt.Sprintf("the batch has %d events in %d bytes: lower batch.events or batch.bytes", events, len(p.data))
}

// traced returns an event whose trace context stands for the request: the traced
// events of the batch must all be of one trace. It is nil when there is none.
func traced(in []*pipe.Event) *pipe.Event {
	var first *pipe.Event
	var trace [16]byte
	last := ""
	for _, e := range in {
		parent, ok := e.Meta(pipe.TraceParent)
		if !ok || parent == last {
			continue
		}
		c, ok := pipe.ParseTraceParent(parent)
		switch last = parent; {
		case !ok:
		case first == nil:
			first, trace = e, c.Trace
		case c.Trace != trace:
			return nil
		}
	}
	return first
}
