package sinks

import (
	"context"
	"encoding/hex"
	"hash/fnv"
	"io"
	"net/http"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

func init() {
	pipe.RegisterSink("http", func() pipe.Sink {
		return &HTTP{
			Method:            http.MethodPost,
			Codec:             codec.NDJSON(),
			Body:              bodyStream,
			Compress:          codec.CompressNone,
			IdempotencyHeader: "Idempotency-Key",
			Client:            web.Defaults(),
		}
	})
}

// The values of body.
const (
	bodyStream = "stream"
	bodyArray  = "array"
)

// HTTP sends each batch as one request, and confirms it when the answer is 2xx.
//
// A batch whose answer got lost is sent again, so that a server can see it
// twice: with the same idempotency key, from which a good server knows. Timeouts,
// broken connections, 408 and 5xx are tried again, 429 and 503 not before their
// Retry-After; any other answer says that the batch will never be taken, and
// fails it. Redirects are not followed.
//
// A batch whose traced events are all of one trace is sent with the traceparent
// and tracestate of the first of them: see docs/tracing.md.
//
// Example:
//
//	type: http
//	url: https://collector.example.com/events
//	bearer_token: ${TOKEN:-}
//	batch: {events: 500, interval: 1s}
type HTTP struct {
	// URL is where the batches go. User and password belong into basic_auth.
	URL string `yaml:"url" required:"true"`

	// Method is POST (the default), PUT or PATCH.
	Method string `yaml:"method" enum:"POST,PUT,PATCH"`

	// Codec is the format of the body, ndjson by default. How many events it holds is
	// up to the sink's batch option; without one, what is there at the moment.
	Codec codec.Codec `yaml:"codec"`

	// Body is stream (the default), the events as the codec writes them one after
	// another; or array, one JSON array of them, which needs the json codec.
	Body string `yaml:"body" enum:"stream,array"`

	// Compress compresses the body and says so in Content-Encoding: none (the
	// default), gzip or zstd. The server must know it.
	Compress codec.Compression `yaml:"compress" enum:"none,gzip,zstd"`

	// IdempotencyHeader is the header that carries a key made of the IDs of the
	// batch's events: the same for every attempt. "Idempotency-Key" by default; empty
	// sends none.
	IdempotencyHeader string `yaml:"idempotency_header"`

	web.Login  `yaml:",inline"`
	web.Client `yaml:",inline"`

	post poster
}

// Validate checks what the rules of single fields do not.
func (s *HTTP) Validate() error {
	if err := web.CheckURL(s.URL, "basic_auth"); err != nil {
		return err
	}
	if s.Body == bodyArray && s.Codec.Type != codec.TypeJSON && s.Codec.Type != codec.TypeNDJSON {
		return pipe.Fieldf("body", "array needs codec json, got %s", s.Codec.Type)
	}
	if err := s.CheckLogin(); err != nil {
		return err
	}
	return s.CheckHeaders(s.Taken())
}

// Open prepares the client. It does not connect: a server that is down at the
// start is waited for like one that goes down later.
func (s *HTTP) Open(context.Context, pipe.Env) error {
	s.post = poster{client: &s.Client, method: s.Method, url: s.URL, compress: s.Compress, header: s.header}
	return s.post.open()
}

// Write sends in as one request.
func (s *HTTP) Write(ctx context.Context, in []*pipe.Event) error {
	if len(in) == 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	p := s.post.take()
	defer s.post.recycle(p)
	bad := s.encode(p, in)
	if n := len(in) - len(bad); n > 0 {
		answer, err := s.post.send(ctx, p, in, web.MaxExcerpt)
		if err == nil {
			err = answer.Judge(map[int]string{
				http.StatusUnauthorized:          "check basic_auth, bearer_token or headers",
				http.StatusRequestEntityTooLarge: lowerBatch(n, p),
			})
		}
		if err != nil {
			return err
		}
	}
	if len(bad) > 0 {
		return &pipe.PartialError{Items: bad}
	}
	return nil
}

// encode makes the body of a batch. Events that cannot be encoded are left out
// and returned.
func (s *HTTP) encode(p *payload, in []*pipe.Event) (bad []pipe.ItemError) {
	enc := s.Codec.NewEncoder()
	array := s.Body == bodyArray
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
	return bad
}

// header is what a request has before the configured headers.
func (s *HTTP) header(req *http.Request, in []*pipe.Event) {
	contentType := s.Codec.ContentType()
	if s.Body == bodyArray {
		contentType = "application/json"
	}
	req.Header.Set("Content-Type", contentType)
	if s.IdempotencyHeader != "" {
		req.Header.Set(s.IdempotencyHeader, idempotencyKey(in))
	}
	s.Authorize(req)
}

// idempotencyKey names a batch by the events in it: all of them, for after a
// restart a batch can begin and end alike and hold something else between.
func idempotencyKey(in []*pipe.Event) string {
	h := fnv.New128a()
	for _, e := range in {
		io.WriteString(h, e.ID())
	}
	return hex.EncodeToString(h.Sum(nil))
}

// MaxConcurrent returns how many requests may be under way: as many as
// connections are kept.
func (s *HTTP) MaxConcurrent() int { return maxConnections }

// Close closes the idle connections.
func (s *HTTP) Close(context.Context) error {
	s.Hang()
	return nil
}
