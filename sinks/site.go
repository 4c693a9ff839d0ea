package sinks

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

// site is an HTTP server of a sink. A reload hands it on: the successor joins it
// while the old sink still answers, and answers itself once that one has left, so
// that the port never closes.
type site struct {
	listen string
	tls    *ServerTLS
	ln     net.Listener
	server *http.Server
	served chan struct{}  // closed when Serve has returned
	work   sync.WaitGroup // what looks at the certificates

	mu       sync.Mutex // guards what follows
	handlers []siteHandler
}

type siteHandler struct {
	owner   any
	handler http.Handler
}

// Limits of a site.
const (
	siteMaxHeader   = 16 << 10
	siteMaxConns    = 2048 // more than the most viewers
	siteReadTimeout = 10 * time.Second
	siteWriteGrace  = 10 * time.Second // for a viewer that reads nothing
)

// sited is a sink that has a site.
type sited interface{ at() *site }

// openSite listens, or joins the site of the sink that owner takes over from if it
// listens on the same address. secure is nil for plain HTTP.
func openSite(listen string, secure *ServerTLS, owner any, h http.Handler, env pipe.Env) (*site, error) {
	if old, ok := env.Predecessor.(sited); ok && old.at() != nil {
		if s, err := old.at().join(listen, secure, owner, h); s != nil || err != nil {
			return s, err
		}
	}
	var certificates *web.Certificates
	if secure != nil {
		var err error
		if certificates, err = secure.Open("http/1.1"); err != nil { // a WebSocket needs HTTP/1.1
			return nil, err
		}
	}
	bare, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, siteError(listen, err)
	}
	ln := &fewConns{Listener: bare, places: make(chan struct{}, siteMaxConns), over: make(chan struct{})}
	s := &site{listen: listen, tls: secure, ln: ln, served: make(chan struct{}), handlers: []siteHandler{{owner, h}}}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: siteReadTimeout, ReadTimeout: siteReadTimeout, IdleTimeout: time.Minute,
		MaxHeaderBytes: siteMaxHeader, ErrorLog: slog.NewLogLogger(env.Log.Handler(), slog.LevelDebug)}
	var accept net.Listener = ln
	if certificates != nil {
		accept = tls.NewListener(ln, certificates.Config())
		s.work.Go(func() { certificates.Watch(s.served, env.Log) })
	}
	go func() {
		defer close(s.served)
		if err := s.server.Serve(accept); !errors.Is(err, http.ErrServerClosed) {
			env.Log.Error("the server of the sink has ended", "address", ln.Addr().String(), "error", err)
		}
	}()
	env.Log.Info("listening", "address", ln.Addr().String(), "tls", secure != nil)
	return s, nil
}

func siteError(listen string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen %s: address already in use: another process or sink has the port; change listen or stop it", listen)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen %s: permission denied: ports below 1024 need privileges; use a higher port in listen", listen)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("listen %s: %w", listen, err)
}

// join adds a handler; nil when it is another site that is wanted, or this one is over.
func (s *site) join(listen string, secure *ServerTLS, owner any, h http.Handler) (*site, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listen != listen || len(s.handlers) == 0 {
		return nil, nil
	}
	if same := s.tls == nil && secure == nil || s.tls != nil && secure != nil && *s.tls == *secure; !same {
		return nil, fmt.Errorf("listen %s: tls cannot be changed while this address is in use: choose another port, or restart (new files under the old names are taken up by themselves)", listen)
	}
	s.handlers = append(s.handlers, siteHandler{owner, h})
	return s, nil
}

// ServeHTTP answers with the oldest handler.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	var h http.Handler = http.NotFoundHandler()
	if len(s.handlers) > 0 {
		h = s.handlers[0].handler
	}
	s.mu.Unlock()
	h.ServeHTTP(w, r)
}

// leave takes owner's handler away. With the last one the server ends: it waits for
// answers that are being written until ctx ends.
func (s *site) leave(ctx context.Context, owner any) error {
	s.mu.Lock()
	s.handlers = slices.DeleteFunc(s.handlers, func(h siteHandler) bool { return h.owner == owner })
	last := len(s.handlers) == 0
	s.mu.Unlock()
	if !last {
		return nil
	}
	err := s.server.Shutdown(ctx)
	if err != nil {
		s.server.Close()
	}
	<-s.served
	s.work.Wait()
	return err
}

// address is where the site listens; for tests and for port 0.
func (s *site) address() string { return s.ln.Addr().String() }

// validateSite checks listen and path.
func validateSite(listen, path string) (errs []error) {
	if _, port, err := net.SplitHostPort(listen); err != nil || port == "" {
		errs = append(errs, pipe.Fieldf("listen", "%q is not an address to listen on: write host:port, such as 127.0.0.1:9200", listen))
	}
	if u, err := url.Parse(path); !strings.HasPrefix(path, "/") || err != nil || u.Path != path {
		errs = append(errs, pipe.Fieldf("path", "%q is not a path: it begins with / and has no query", path))
	}
	return errs
}

// gate decides who may ask.
type gate struct {
	token   string
	origins []string
}

// validateOrigins checks the origins field.
func validateOrigins(origins []string) (errs []error) {
	for i, o := range origins {
		u, err := url.Parse(o)
		if o == "*" || err == nil && u.Scheme != "" && u.Host != "" && o == u.Scheme+"://"+u.Host {
			continue
		}
		errs = append(errs, pipe.Fieldf(fmt.Sprintf("origins[%d]", i), "%q is not an origin: write https://dashboard.example, or * for all", o))
	}
	return errs
}

// admits reports whether the request may be answered; else it has been.
func (g *gate) admits(w http.ResponseWriter, r *http.Request, path string) bool {
	switch {
	case r.URL.Path != path:
		http.NotFound(w, r)
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET")
		http.Error(w, "only GET is answered here", http.StatusMethodNotAllowed)
	case !g.originAllowed(r):
		http.Error(w, "pages of this origin may not read here", http.StatusForbidden)
	case !g.tokenRight(r):
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "a token is needed", http.StatusUnauthorized)
	default:
		if o := r.Header.Get("Origin"); o != "" {
			w.Header().Set("Access-Control-Allow-Origin", o)
			w.Header().Add("Vary", "Origin")
		}
		return true
	}
	return false
}

// originAllowed: programs send no origin; a browser does, and must be on a page of
// the same address or of one that is listed.
func (g *gate) originAllowed(r *http.Request) bool {
	o := r.Header.Get("Origin")
	if o == "" || slices.Contains(g.origins, "*") || slices.Contains(g.origins, o) {
		return true
	}
	u, err := url.Parse(o)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

func (g *gate) tokenRight(r *http.Request) bool {
	if g.token == "" {
		return true
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		given = r.URL.Query().Get("token") // a browser's EventSource and WebSocket can send no header
	}
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(g.token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// fewConns is a listener that accepts only so many connections at a time; further
// ones wait in the kernel.
type fewConns struct {
	net.Listener
	places chan struct{}
	over   chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (l *fewConns) Accept() (net.Conn, error) {
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
	return &placedConn{Conn: c, free: sync.OnceFunc(func() { <-l.places })}, nil
}

// Close implements net.Listener.
func (l *fewConns) Close() error {
	l.once.Do(func() { close(l.over) })
	return l.Listener.Close()
}

// placedConn gives its place back when it is closed.
type placedConn struct {
	net.Conn
	free func()
}

// Close implements net.Conn.
func (c *placedConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}
