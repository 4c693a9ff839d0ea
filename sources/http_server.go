package sources

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

func init() {
	pipe.RegisterSource("http_server", func() pipe.Source {
		return &HTTPServer{
			Listen:         "127.0.0.1:8080",
			Path:           "/",
			Methods:        []string{http.MethodPost},
			Codec:          codec.JSON(),
			Respond:        respondDelivered,
			MaxWait:        pipe.Duration(5 * time.Second),
			MaxConcurrent:  64,
			MaxQueue:       256,
			MaxBody:        4 << 20,
			MaxConnections: 4096,
			ReadTimeout:    pipe.Duration(15 * time.Second),
			AnswerTimeout:  pipe.Duration(time.Minute),
			PerClient:      HTTPServerPerClient{MaxClients: 16384},
		}
	})
}

// The values of respond.
const (
	respondDelivered = "delivered"
	respondAccepted  = "accepted"
)

// HTTPServer takes events that clients send to it over HTTP.
//
// With respond: delivered nothing is lost as long as clients repeat what was not
// answered with 200; a client that repeats after it missed the answer sends the
// events twice. With respond: accepted what is in the pipeline is lost when it
// is killed, and clients do not know.
//
// A request is taken whole or not at all: when one of its events cannot be
// decoded the answer is 400 with the line, and none of them enters.
//
// A traceparent header and its tracestate become metadata of the events, so that a
// trace goes on through the pipeline: see docs/tracing.md.
//
// When the pipeline is full, requests wait with their body unread, and then get
// 503 with a Retry-After that is computed from how fast requests leave. So the
// most memory that bodies can take is max_concurrent times max_body. While a body
// arrives that is compressed or does not tell its length it takes up to twice
// that, and one in zstd up to 8 MiB more.
//
// Example:
//
//	type: http_server
//	listen: 127.0.0.1:8080
//	path: /events
//	codec: ndjson
//	respond: delivered
type HTTPServer struct {
	// Listen is the address and port to listen at, such as 0.0.0.0:8080 for every
	// interface. The default, 127.0.0.1:8080, can be reached from this machine
	// only. Port 0 takes any free port.
	Listen string `yaml:"listen"`

	// Path is the one path that takes events, / by default. Every other is
	// answered with 404.
	Path string `yaml:"path"`

	// Methods are the allowed methods, POST by default.
	Methods []string `yaml:"methods" enum:"POST,PUT,PATCH"`

	// Codec is the format of the bodies. The default, json, takes one object,
	// several one after another (ndjson), or an array of them. A body may be
	// compressed, with Content-Encoding gzip or zstd.
	Codec codec.Codec `yaml:"codec"`

	// Respond says when a request is answered: delivered (the default), with 200
	// once every sink has confirmed its events; accepted, with 202 once the
	// pipeline has taken them, which is faster and loses what a crash catches.
	Respond string `yaml:"respond" enum:"delivered,accepted"`

	// MaxWait is how long a request may wait for room, for its turn and for the
	// pipeline to take its events, before it is refused with 503; 5s by default. Keep
	// it below the timeout of the clients. The time its body takes to arrive does not
	// count, and a request with its body here gets 50 ms at least.
	MaxWait pipe.Duration `yaml:"max_wait"`

	// MaxConcurrent is how many requests may be inside at once, 64 by default: with
	// respond: delivered, from the first byte of the body until it is delivered, so
	// that it also bounds how many requests travel through the pipeline. Raise it
	// when sinks are slow to confirm and memory allows max_body times as much.
	MaxConcurrent int `yaml:"max_concurrent" min:"1"`

	// MaxQueue is how many more requests may wait for their turn, 256 by default.
	// The next one is refused at once. 0 lets none wait.
	MaxQueue int `yaml:"max_queue" min:"0"`

	// MaxBody is the largest body, before and after decompression; 4MiB by default.
	// A larger one is refused with 413.
	MaxBody pipe.Size `yaml:"max_body" min:"1"`

	// MaxConnections is how many connections may be open, 4096 by default. More
	// stay unaccepted until one closes.
	MaxConnections int `yaml:"max_connections" min:"1"`

	// ReadTimeout is how long the headers, and then the body, may take to arrive;
	// 15s by default. Raise it for clients on slow lines: each may hold one of
	// max_concurrent places that long. A late body is answered with 408.
	ReadTimeout pipe.Duration `yaml:"read_timeout" above:"0"`

	// AnswerTimeout is how long a request whose events are in the pipeline waits for
	// their delivery, 1m by default, before it is answered with 504. The events
	// travel on and keep their place; a client that repeats them sends them twice.
	// 0 waits without limit. It needs respond: delivered.
	AnswerTimeout pipe.Duration `yaml:"answer_timeout"`

	// Headers are the request headers that become metadata of the events, under the
	// name written here: with [X-Tenant], meta("X-Tenant"). Any client can set any
	// header: do not trust them more than the clients.
	Headers []string `yaml:"headers"`

	// Token is what clients must send as "Authorization: Bearer TOKEN"; others get
	// 401. None by default: who can reach the port can send events.
	Token string `yaml:"token" secret:"true"`

	// PerClient bounds what one client may take, so that it leaves something for the
	// others. What is more is answered with 429 and Retry-After. There are no such
	// limits by default. A client is an address; of IPv6, a network of 64 bits.
	PerClient HTTPServerPerClient `yaml:"per_client"`

	// TrustedProxies are the addresses and networks, such as 10.0.0.0/8, of the
	// proxies and load balancers before the source. Of the requests that they pass on,
	// the client is who client_header names; of all others, who the connection comes
	// from, whatever headers they have.
	TrustedProxies []string `yaml:"trusted_proxies"`

	// ClientHeader is the header in which trusted_proxies say who the client is. The
	// default, X-Forwarded-For, is read from its end, to the first address that is none
	// of theirs. Any other, such as X-Real-IP or X-Api-Key, names the client by its
	// whole value, up to 128 bytes: the proxies must set it, and not pass on what
	// clients sent. A request without it counts as the proxy's own.
	ClientHeader string `yaml:"client_header"`

	// Health is the path, such as /health/load, at which load balancers learn whether
	// requests find a place: GET gets 200 with the load while less than 0.8 of
	// max_concurrent is taken, else 503, and 503 during a drain. It needs no token.
	// Empty, the default, means that there is none.
	Health string `yaml:"health"`

	// TLS makes the source speak HTTPS. Without it, it speaks plain HTTP.
	TLS *web.ServerTLS `yaml:"tls"`

	log      *slog.Logger
	maxEvent int
	server   *http.Server
	listener net.Listener
	idle     *pipe.Clock
	gate     gate
	clients  clients
	origins  origins
	refusals refusals
	inbox    inbox
	bodies   bodyReaders
	served   chan struct{} // closed when the server's loop has ended
	failed   chan error    // why it ended by itself
	over     chan struct{} // closed by Close: nothing will be settled any more
	conns    sync.WaitGroup
	handlers sync.WaitGroup
	watching sync.WaitGroup // the one that looks at the certificates

	mu      sync.Mutex // guards what follows
	closed  bool       // Close has begun: no more handlers
	serving int        // handlers
}

// Validate checks what the rules of single fields do not.
func (s *HTTPServer) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, pipe.Fieldf(field, format, args...))
	}
	if _, port, err := net.SplitHostPort(s.Listen); err != nil {
		bad("listen", "%q is not an address: write host:port, such as 127.0.0.1:8080", s.Listen)
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		bad("listen", "%q is not a port: it is a number from 0 to 65535", port)
	}
	if !strings.HasPrefix(s.Path, "/") {
		bad("path", "%q must begin with /", s.Path)
	}
	if len(s.Methods) == 0 {
		bad("methods", "at least one is needed, such as POST")
	}
	for i, h := range s.Headers {
		if !isHeaderName(h) {
			bad(fmt.Sprintf("headers[%d]", i), "%q is not the name of a header", h)
		}
	}
	s.PerClient.validate(bad)
	s.validateHealth(bad)
	s.validateProxies(bad)
	var fe *pipe.FieldError
	if err := s.Codec.ValidateRead(); errors.As(err, &fe) {
		errs = append(errs, &pipe.FieldError{Field: "codec." + fe.Field, Err: fe.Err, Hint: fe.Hint})
	}
	return errors.Join(errs...)
}

// Traits says that clients repeat what was not answered with 200.
func (s *HTTPServer) Traits() pipe.Traits {
	if s.Respond == respondAccepted {
		return pipe.Traits{Why: "http clients are answered 202 before delivery and do not repeat"}
	}
	return pipe.Traits{Replays: true, Rewinds: true, Why: "http clients must repeat what was not answered 200"}
}

// Open binds the port and serves it.
func (s *HTTPServer) Open(ctx context.Context, env pipe.Env) error {
	var err error
	var secure *web.Certificates
	if s.TLS != nil {
		if secure, err = s.TLS.Open("h2", "http/1.1"); err != nil {
			return err
		}
	}
	if s.origins, err = newOrigins(s.ClientHeader, s.TrustedProxies); err != nil {
		return err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return listenError(s.Listen, err)
	}
	s.serve(ln, secure, env)
	return nil
}

// Addr returns the address it listens at, once open.
func (s *HTTPServer) Addr() net.Addr { return s.listener.Addr() }

// Read takes the requests that are ready, or waits for one.
func (s *HTTPServer) Read(ctx context.Context, b *pipe.Batch) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p := s.inbox.take(); p != nil {
			for p != nil && !s.hand(p, b) {
				p = s.inbox.take()
			}
			return nil
		}
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
}

// wait waits until there may be a request, or ctx ends.
func (s *HTTPServer) wait(ctx context.Context) error {
	defer s.idle.Leave(s.idle.Enter())
	select {
	case <-s.inbox.wake:
	case err := <-s.failed:
		return err
	case <-s.over:
		return errors.New("the source is closed")
	case <-ctx.Done():
	}
	return nil
}

// fills reports whether b is full.
func fills(b *pipe.Batch) bool { return b.Len() >= 256 || b.Bytes() >= 64<<10 }

// sharesMeta is how many events make it worth to give a request a batch of its own:
// its metadata is then one list for all of them.
const sharesMeta = 32

// hand moves the events of a request into b. full means that nothing else may
// follow.
func (s *HTTPServer) hand(p *post, b *pipe.Batch) (full bool) {
	alone := b.Len() == 0 && len(p.events) >= sharesMeta
	if alone {
		for _, m := range p.meta {
			b.SetMeta(m[0], m[1])
		}
	}
	if s.Respond == respondDelivered {
		b.Begin(p)
		defer b.End()
	}
	for _, body := range p.events {
		e := b.Add(body, 0)
		if !alone { // b.SetMeta would hold for the next request, too
			for _, m := range p.meta {
				e.SetMeta(m[0], m[1])
			}
		}
	}
	p.events = nil
	p.taken <- true
	if s.Respond == respondAccepted {
		s.leave(p)
	}
	return alone || fills(b)
}

// leave gives back the place of a request whose events the pipeline took.
func (s *HTTPServer) leave(p *post) {
	s.gate.leave()
	s.clients.leave(p.client)
}

// Settled lets the request's handler answer, and the next request in.
func (s *HTTPServer) Settled(token any, result pipe.Outcome) {
	p := token.(*post)
	p.result <- result
	s.leave(p)
}

// Drain refuses new requests, and those whose events the pipeline has not taken.
// Those in the pipeline are still answered.
func (s *HTTPServer) Drain() {
	s.server.SetKeepAlivesEnabled(false)
	s.gate.shut()
	s.inbox.shut()
	s.bodies.interrupt()
}

// Close answers who still waits, and releases the port.
func (s *HTTPServer) Close(ctx context.Context) error {
	if s.server == nil {
		return nil
	}
	s.Drain()
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	close(s.over)
	answered := make(chan struct{})
	go func() {
		s.handlers.Wait()
		close(answered)
	}()
	select {
	case <-answered:
	case <-ctx.Done(): // clients that do not read their answers
	}
	err := s.server.Close()
	<-s.served
	s.watching.Wait()
	s.conns.Wait() // none takes longer than half a second, see http_server_listen.go
	<-answered
	return err
}

// Rejected returns how many requests were not taken, by status code. 499 stands
// for clients that went away while they waited for their turn; 429 includes
// connections that were closed because their client had too many.
func (s *HTTPServer) Rejected() map[string]int64 { return s.refusals.byCode() }

// allows reports whether the method may carry events.
func (s *HTTPServer) allows(method string) bool { return slices.Contains(s.Methods, method) }
