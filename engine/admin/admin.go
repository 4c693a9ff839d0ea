// Package admin is the HTTP endpoint of a running pipeline: health, figures,
// changes, taps and the live page.
//
// What keeps strangers out, in the order in which a request meets it:
//
//  1. An address that other machines can reach is refused at the start, unless a
//     token or client certificates protect it.
//  2. Connections, headers, bodies and times are bounded, so that no client can
//     take what the pipeline needs.
//  3. On a loopback address the Host header must name this machine: a page that
//     points its own name at 127.0.0.1 (DNS rebinding) does not get through.
//  4. With a token everything but the page's own files and the two probes wants
//     it, as a bearer token and nowhere else.
//  5. Without a token a request must not come from another site's page; a change
//     must carry a header and a content type that only a page of the same origin,
//     or no page at all, can send.
//
// Answers never say how the pipeline is built inside: what went wrong in here is
// logged, and the client is told that it was.
package admin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/explain"
	"github.com/pipectl/pipectl/engine/web"
)

// Pipeline is what is shown; *engine.Engine is one.
type Pipeline interface {
	Status() engine.Status
	Config() *config.Pipeline
	Tap(edge string, o engine.TapOptions) (*engine.Tap, error)
}

// Control makes changes; *control.Controller does.
type Control interface {
	Reload(ctx context.Context, who string) (control.Outcome, error)
	Apply(ctx context.Context, yaml []byte, c control.Change) (control.Outcome, error)
	PatchEdge(ctx context.Context, id string, settings []byte, c control.Change) (control.Outcome, error)
	PatchEdges(ctx context.Context, settings map[string]json.RawMessage, c control.Change) (control.Outcome, error)
	Confirm(ctx context.Context, generation uint64, who string) error
	Revert(ctx context.Context, who string) (control.Outcome, error)
	Last() control.Last
	History() []control.Entry
}

// Recorder remembers the last minutes; *explain.Recorder does.
type Recorder interface {
	History(since time.Time) explain.History
	Why(window time.Duration) explain.Report
}

// Options say what an endpoint serves, and to whom.
type Options struct {
	Engine   Pipeline
	Control  Control
	Recorder Recorder
	Page     http.Handler // serves / and what it needs; nil: there is no page
	Metrics  http.Handler // serves /metrics; nil: there are none
	Log      *slog.Logger // nil discards

	Token   string          // what clients must send; empty means nothing
	TLS     config.AdminTLS // empty means plain HTTP
	Version string          // of this program, shown in the status
}

// Server is an admin endpoint that listens.
type Server struct {
	o        Options
	listener net.Listener
	http     *http.Server
	secure   *web.Certificates // nil for plain HTTP
	local    bool              // it listens on a loopback address
	token    [sha256.Size]byte

	streams chan struct{} // a place for each stream that is open
	closed  atomic.Bool
	ending  chan struct{} // closed when streams must end
	ended   chan struct{} // closed when everything is closed
	moments moments
	refused refusals
}

// Bounds of what clients may take.
const (
	maxHeader   = 32 << 10 // bytes
	maxBody     = 10 << 20 // bytes of a whole configuration
	maxPatch    = 1 << 20  // bytes of settings of edges
	maxConns    = 256
	maxStreams  = 32
	headerWait  = 5 * time.Second  // for a whole header, and for a TLS handshake
	bodyWait    = 30 * time.Second // for a whole request
	answerWait  = 90 * time.Second // for an answer, the work included
	idleWait    = 60 * time.Second // between two requests of a connection
	streamWait  = 10 * time.Second // for one message of a stream to be taken
	closingWait = 2 * time.Second  // for requests at work when the server ends
)

// Listen opens an endpoint at addr, host:port. It refuses with a *RefusedError an
// address that other machines can reach when nothing would keep strangers out.
func Listen(addr string, o Options) (*Server, error) {
	if (config.Admin{Listen: addr, Token: o.Token, TLS: o.TLS}).Exposed() {
		return nil, exposed(addr)
	}
	secure, err := certificates(o.TLS)
	if err != nil {
		return nil, &RefusedError{Addr: addr, Err: err}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, listenError(addr, err)
	}
	local := isLoopback(l.Addr())
	if !local && o.Token == "" && o.TLS.ClientCA == "" { // a name of another interface
		l.Close()
		return nil, exposed(addr)
	}
	return newServer(l, o, secure, local), nil
}

// Addr returns the address it listens on, with the port that was chosen.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Serve answers requests until ctx ends or Close is called, and returns nil then.
func (s *Server) Serve(ctx context.Context) error {
	defer s.Close() // waits for what is at work
	defer context.AfterFunc(ctx, s.Close)()
	if s.secure != nil {
		go s.secure.Watch(s.ending, s.o.Log)
	}
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends the streams, waits up to two seconds for requests at work and closes
// everything. It may be called more than once.
func (s *Server) Close() {
	if s.closed.CompareAndSwap(false, true) {
		close(s.ending)
		ctx, cancel := context.WithTimeout(context.Background(), closingWait)
		defer cancel()
		if s.http.Shutdown(ctx) != nil {
			s.http.Close()
		}
		s.listener.Close() // when Serve was never called
		close(s.ended)
	}
	<-s.ended
}
