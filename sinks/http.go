package sinks

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSink("http", func() pipe.Sink {
		return &HTTP{
			Method:            http.MethodPost,
			Codec:             codec.NDJSON(),
			Body:              bodyStream,
			Compress:          codec.CompressNone,
			IdempotencyHeader: "Idempotency-Key",
			RequestTimeout:    pipe.Duration(30 * time.Second),
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
type HTTP struct {
	// URL is where the batches go. User and password belong into basic_auth.
	URL string `yaml:"url" required:"true"`

	// Method is POST (the default), PUT or PATCH.
	Method string `yaml:"method" enum:"POST,PUT,PATCH"`

	// Headers are sent with each request. They are never printed: they often hold
	// credentials.
	Headers map[string]string `yaml:"headers" secret:"true"`

	// Codec is the format of the body, ndjson by default. How many events it holds is
	// up to the sink's batch option; without one, what is there at the moment.
	Codec codec.Codec `yaml:"codec"`

	// Body is stream (the default), the events as the codec writes them one after
	// another; or array, one JSON array of them, which needs the json codec.
	Body string `yaml:"body" enum:"stream,array"`

	// Compress compresses the body and says so in Content-Encoding: none (the
	// default), gzip or zstd. The server must know it.
	Compress codec.Compression `yaml:"compress" enum:"none,gzip,zstd"`

	// BasicAuth sends user and password.
	BasicAuth *BasicAuth `yaml:"basic_auth"`

	// BearerToken is sent as "Authorization: Bearer TOKEN".
	BearerToken string `yaml:"bearer_token" secret:"true"`

	// IdempotencyHeader is the header that carries a key made of the IDs of the
	// batch's events: the same for every attempt. "Idempotency-Key" by default; empty
	// sends none.
	IdempotencyHeader string `yaml:"idempotency_header"`

	// RequestTimeout bounds one request from dialling to the last byte of the
	// answer, 30s by default; then it is tried again. Raise it for servers that answer
	// late. 0 waits without limit.
	RequestTimeout pipe.Duration `yaml:"request_timeout"`

	// TLS is for https: authorities to trust and a client certificate.
	TLS *TLS `yaml:"tls"`

	client    *http.Client
	transport *http.Transport
	place     string // the URL for messages: without what may be secret
	payloads  sync.Pool
}

// BasicAuth is a user with a password.
type BasicAuth struct {
	// User is the user's name.
	User string `yaml:"user" required:"true"`

	// Password is the user's password.
	Password string `yaml:"password" secret:"true"`
}

// Validate checks what the rules of single fields do not.
func (s *HTTP) Validate() error {
	if err := s.validateURL(); err != nil {
		return err
	}
	if s.Body == bodyArray && s.Codec.Type != codec.TypeJSON && s.Codec.Type != codec.TypeNDJSON {
		return pipe.Fieldf("body", "array needs codec json, got %s", s.Codec.Type)
	}
	if s.BasicAuth != nil && s.BearerToken != "" {
		return pipe.Fieldf("bearer_token", "cannot be combined with basic_auth: both set the Authorization header")
	}
	for name, value := range s.Headers {
		field := "headers." + name
		switch {
		case name == "" || strings.ContainsAny(name, " \t\r\n:"):
			return pipe.Fieldf(field, "%q is not the name of a header", name)
		case strings.ContainsAny(value, "\r\n\x00"):
			return pipe.Fieldf(field, "the value has a line break")
		case strings.EqualFold(name, "Authorization") && (s.BasicAuth != nil || s.BearerToken != ""):
			return pipe.Fieldf(field, "is set by basic_auth or bearer_token already")
		case strings.EqualFold(name, "Content-Length"), strings.EqualFold(name, "Content-Encoding"):
			return pipe.Fieldf(field, "is set by the sink: use compress for Content-Encoding")
		}
	}
	return nil
}

func (s *HTTP) validateURL() error {
	u, err := url.Parse(s.URL)
	switch {
	case err != nil:
		return pipe.Fieldf("url", "this is not a URL: write http://host:port/path")
	case u.Scheme != "http" && u.Scheme != "https":
		return &pipe.FieldError{Field: "url", Err: fmt.Errorf("the scheme must be http or https, got %q", u.Scheme), Hint: "write http://host:port/path"}
	case u.Hostname() == "":
		return pipe.Fieldf("url", "the host is missing: write %s://host:port/path", u.Scheme)
	case u.User != nil:
		return pipe.Fieldf("url", "user and password do not belong here: use basic_auth")
	case u.Fragment != "":
		return pipe.Fieldf("url", "a fragment (#%s) is never sent: remove it", u.Fragment)
	}
	return nil
}

// Open prepares the client. It does not connect: a server that is down at the
// start is waited for like one that goes down later.
func (s *HTTP) Open(context.Context, pipe.Env) error {
	u, err := url.Parse(s.URL)
	if err != nil {
		return err
	}
	s.place = u.Scheme + "://" + u.Host + u.EscapedPath()
	secure, err := s.TLS.config()
	if err != nil {
		return err
	}
	if _, err := codec.NewCompressor(io.Discard, s.Compress); err != nil {
		return err
	}
	s.transport = newTransport(secure)
	s.client = &http.Client{
		Transport:     s.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// Write sends in as one request.
func (s *HTTP) Write(ctx context.Context, in []*pipe.Event) error {
	if len(in) == 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	p, bad, err := s.encode(in)
	if err != nil {
		return err
	}
	if len(bad) < len(in) {
		if err := s.send(ctx, p, in, len(in)-len(bad)); err != nil {
			return err
		}
	}
	s.recycle(p)
	if len(bad) > 0 {
		return &pipe.PartialError{Items: bad}
	}
	return nil
}

// send makes the request and judges the answer.
func (s *HTTP) send(ctx context.Context, p *payload, in []*pipe.Event, n int) error {
	limited := ctx
	if s.RequestTimeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, s.RequestTimeout.D())
		defer cancel()
	}
	req, err := s.request(limited, p, in)
	if err != nil {
		return pipe.Classed(pipe.Fatal, fmt.Errorf("%s %s: %w", s.Method, s.place, err))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.sendError(err, limited.Err() != nil)
	}
	defer resp.Body.Close()
	return s.judge(resp, readAnswer(resp.Body), n, len(p.data))
}

// request builds the request of a batch.
func (s *HTTP) request(ctx context.Context, p *payload, in []*pipe.Event) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, s.Method, s.URL, p.reader())
	if err != nil {
		return nil, err
	}
	req.ContentLength = int64(len(p.data))
	req.GetBody = func() (io.ReadCloser, error) { return p.reader(), nil }
	h := req.Header
	h.Set("User-Agent", "pipectl")
	h.Set("Content-Type", s.contentType())
	if e := traced(in); e != nil {
		for _, name := range []string{pipe.TraceParent, pipe.TraceState} {
			if v, ok := e.Meta(name); ok {
				h.Set(name, v)
			}
		}
	}
	for name, value := range s.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		h.Set(name, value)
	}
	if s.Compress != codec.CompressNone {
		h.Set("Content-Encoding", string(s.Compress))
	}
	if s.IdempotencyHeader != "" {
		h.Set(s.IdempotencyHeader, idempotencyKey(in))
	}
	if s.BearerToken != "" {
		h.Set("Authorization", "Bearer "+s.BearerToken)
	}
	if s.BasicAuth != nil {
		req.SetBasicAuth(s.BasicAuth.User, s.BasicAuth.Password)
	}
	return req, nil
}

func (s *HTTP) contentType() string {
	if s.Body == bodyArray {
		return "application/json"
	}
	return s.Codec.ContentType()
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
	if s.transport != nil {
		s.transport.CloseIdleConnections()
	}
	return nil
}
