package admin

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/web"
)

// RefusedError says why an endpoint is not opened although it could be: the
// configuration is at fault, not the machine.
type RefusedError struct {
	Addr string
	Err  error
}

func (e *RefusedError) Error() string { return fmt.Sprintf("admin endpoint %s: %v", e.Addr, e.Err) }

func (e *RefusedError) Unwrap() error { return e.Err }

func exposed(addr string) error {
	return &RefusedError{addr, errors.New("can be reached from other machines and needs a token: " +
		"listen on 127.0.0.1, or set admin.token, such as with --set 'admin.token=${PIPECTL_TOKEN}', or admin.tls.client_ca")}
}

// listenError says what to do when an address cannot be had.
func listenError(addr string, err error) error {
	var cause error = err
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		cause = op.Err
	}
	hint := ""
	switch host, port, _ := net.SplitHostPort(addr); {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("admin endpoint %s: the port is taken, perhaps by another pipectl; choose another one with --admin %s, any free one with --admin %s, or none with --admin off",
			addr, net.JoinHostPort(host, nextPort(port)), net.JoinHostPort(host, "0"))
	case errors.Is(err, syscall.EACCES):
		hint = "; ports below 1024 need privileges: choose a higher one"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "; this machine does not have the address"
	}
	return fmt.Errorf("admin endpoint %s: %w%s", addr, cause, hint)
}

func nextPort(port string) string {
	if n, err := strconv.Atoi(port); err == nil && n < 65535 {
		return strconv.Itoa(n + 1)
	}
	return "9465"
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// certificates reads the files of t; nil without any.
func certificates(t config.AdminTLS) (*web.Certificates, error) {
	if t == (config.AdminTLS{}) {
		return nil, nil
	}
	if t.Cert == "" || t.Key == "" {
		return nil, errors.New("tls: a certificate and its key are needed: set admin.tls.cert and admin.tls.key")
	}
	files := web.ServerTLS(t)
	return files.Open("http/1.1")
}

// newServer makes a server of a listener; secure is nil for plain HTTP.
func newServer(l net.Listener, o Options, secure *web.Certificates, local bool) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l = &boundedListener{Listener: l, places: make(chan struct{}, maxConns), closed: make(chan struct{})}
	if secure != nil {
		l = tls.NewListener(l, secure.Config())
	}
	s := &Server{o: o, listener: l, secure: secure, local: local, token: sha256.Sum256([]byte(o.Token)),
		streams: make(chan struct{}, maxStreams), ending: make(chan struct{}), ended: make(chan struct{}), refused: refusals{log: o.Log}}
	s.http = &http.Server{
		Handler: s.handler(), MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerWait, ReadTimeout: bodyWait, WriteTimeout: answerWait, IdleTimeout: idleWait,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug), // what clients do wrong
	}
	return s
}

// URL returns where the page is, for a browser on this machine.
func (s *Server) URL() string {
	scheme := "http://"
	if s.o.TLS.Cert != "" {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		panic("BUG: " + err.Error())
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + net.JoinHostPort(host, port) + "/"
}

// boundedListener has at most as many connections open as places has room for.
// Others wait in the system's queue.
type boundedListener struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &boundedConn{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type boundedConn struct {
	net.Conn
	leave func()
}

func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}
