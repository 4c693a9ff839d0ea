package sources

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// HTTPServerTLS is the `tls` field of the http_server source.
type HTTPServerTLS struct {
	// Cert is the path of the PEM file with the server's certificate, followed by
	// the intermediate ones.
	Cert string `yaml:"cert" required:"true"`

	// Key is the path of the PEM file with the certificate's private key.
	Key string `yaml:"key" required:"true"`

	// ClientCA is the path of a PEM file with the authorities whose certificates
	// clients must show. Empty asks clients for none.
	ClientCA string `yaml:"client_ca"`
}

// config reads the files.
func (t *HTTPServerTLS) config() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("tls: certificate %s with key %s: %w", t.Cert, t.Key, err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if t.ClientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(t.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("tls: client_ca: %w", err)
	}
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls: client_ca %s holds no certificate in PEM format", t.ClientCA)
	}
	return c, nil
}

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

// HTTP/2 limits: requests on one connection, and how much of a body may arrive
// before somebody reads it.
const (
	h2Streams = 100
	h2Window  = 64 << 10
)

// serve starts the server on ln.
func (s *HTTPServer) serve(ln net.Listener, secure *tls.Config, env pipe.Env) {
	s.log, s.maxEvent, s.listener, s.idle = env.Log, env.MaxEventBytes, ln, idle(env)
	if s.maxEvent <= 0 {
		s.maxEvent = int(s.MaxBody)
	}
	s.gate.limit, s.gate.room = s.MaxConcurrent, s.MaxQueue
	s.inbox.wake = make(chan struct{}, 1)
	s.bodies.open = map[*http.ResponseController]bool{}
	s.rejected = map[int]int64{}
	s.served, s.over, s.failed = make(chan struct{}), make(chan struct{}), make(chan error, 1)
	s.server = &http.Server{
		Handler:           s,
		TLSConfig:         secure,
		ReadHeaderTimeout: s.ReadTimeout.D(),
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		// Every path but ours is not found, "*" too.
		DisableGeneralOptionsHandler: true,
		ConnState:                    s.count,
		ErrorLog:                     slog.NewLogLogger(env.Log.Handler(), slog.LevelDebug),
		// An unread body must wait at the client, not in our buffers.
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: h2Streams, MaxReceiveBufferPerStream: h2Window,
			MaxReceiveBufferPerConnection: h2Streams * h2Window}, // so that no stream blocks another
	}
	bounded := &boundedListener{Listener: ln, places: make(chan struct{}, s.MaxConnections), over: s.over}
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

// boundedListener accepts no more connections than it has places. The others
// wait in the kernel, whose backlog is bounded too.
type boundedListener struct {
	net.Listener
	places chan struct{}
	over   chan struct{}
}

func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.over:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &boundedConn{Conn: c, places: l.places}, nil
}

type boundedConn struct {
	net.Conn
	places chan struct{}
	once   sync.Once
}

func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.places })
	return err
}
