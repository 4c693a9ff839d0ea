package sources

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

// listenError says what to do about a port that cannot be had.
func listenError(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen %s: address already in use: another process has the port; change listen or stop it", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen %s: permission denied: ports below 1024 need privileges; use a higher port in listen", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen %s: this machine does not have the address; use 0.0.0.0 in listen for all it has", address)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("listen %s: %w", address, err)
}

// maxHeader is the most bytes that the headers of a request may have.
const maxHeader = 32 << 10

// HTTP/2 limits: requests on one connection, and how much of a body may arrive
// before somebody reads it.
const (
	h2Streams = 100
	h2Window  = 64 << 10
)

// serve starts the server on ln.
func (s *HTTPServer) serve(ln net.Listener, secure *web.Certificates, env pipe.Env) {
	s.log, s.maxEvent, s.listener, s.idle = env.Log, env.MaxEventBytes, ln, idle(env)
	if s.maxEvent <= 0 {
		s.maxEvent = int(s.MaxBody)
	}
	s.gate.limit, s.gate.room = s.MaxConcurrent, s.MaxQueue
	s.inbox.wake = make(chan struct{}, 1)
	s.bodies.open = map[*http.ResponseController]bool{}
	s.refusals.open(env.Log)
	s.clients.init(s.PerClient, func() { s.refusals.crowded(s.PerClient.MaxClients) })
	s.served, s.over, s.failed = make(chan struct{}), make(chan struct{}), make(chan error, 1)
	s.server = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.ReadTimeout.D(),
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    maxHeader,
		// Every path but ours is not found, "*" too.
		DisableGeneralOptionsHandler: true,
		ConnState:                    s.count,
		ErrorLog:                     slog.NewLogLogger(env.Log.Handler(), slog.LevelDebug),
		// An unread body must wait at the client, not in our buffers.
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: h2Streams, MaxReceiveBufferPerStream: h2Window,
			MaxReceiveBufferPerConnection: h2Streams * h2Window, // so that no stream blocks another
			// A peer that is gone, or reads nothing, must not keep its connection.
			WriteByteTimeout: answerIn, SendPingTimeout: 30 * time.Second, PingTimeout: answerIn},
	}
	if secure != nil {
		s.server.TLSConfig = secure.Config()
		s.watching.Go(func() { secure.Watch(s.over, s.log) })
	}
	bounded := &boundedListener{Listener: ln, places: make(chan struct{}, s.MaxConnections), over: s.over,
		connect: s.connect, disconnect: s.clients.disconnect}
	go func() {
		defer close(s.served)
		var err error
		if secure != nil {
			err = s.server.ServeTLS(bounded, "", "")
		} else {
			err = s.server.Serve(bounded)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("listen %s: %w", s.Listen, err)
		}
	}()
	s.log.Info("listening", "address", ln.Addr().String(), "path", s.Path, "tls", secure != nil)
}

// connect counts a connection at its client, and reports whether it may stay. The
// clients behind a trusted proxy share its connections: they are not counted.
func (s *HTTPServer) connect(from net.Addr) (*client, bool) {
	key, proxy := s.origins.connection(from)
	if proxy {
		return nil, true
	}
	c, allowed := s.clients.connect(key)
	if !allowed {
		s.refusals.connection(key)
	}
	return c, allowed
}

// count counts the connections' goroutines. One lives on for half a second after
// it has answered a body that was too large, so that the client reads the answer.
func (s *HTTPServer) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.conns.Done()
	}
}
