package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// access says who may use a route.
type access int

const (
	public access = iota // everybody who can connect
	reader               // who has the token, when there is one
	writer               // the same, and no page of another site
)

// policy is what a browser may do with the page: run its own scripts and talk to
// where it came from.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard lets a request through to next, or refuses it.
func (s *Server) guard(a access, next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.admit(a, r); err != nil {
			s.refused.note(r, err)
			return err
		}
		return next(w, r)
	}
}

// admit returns why a request is refused, nil when it is not.
func (s *Server) admit(a access, r *http.Request) error {
	if s.local && !namesThisMachine(r.Host) {
		return &problem{status: http.StatusMisdirectedRequest, message: "this endpoint is for its own machine only: call it 127.0.0.1 or localhost"}
	}
	switch {
	case a == public:
		return nil
	case s.o.Token != "":
		return s.checkToken(r)
	case a == writer:
		return checkWriter(r)
	}
	return checkOrigin(r)
}

// namesThisMachine reports whether a Host header is a loopback address or
// localhost. The port may be another one: somebody may forward it.
func namesThisMachine(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// checkToken compares in constant time; hashes hide the length too.
func (s *Server) checkToken(r *http.Request) error {
	scheme, sent, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(sent)))
	if subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1 && strings.EqualFold(scheme, "bearer") {
		return nil
	}
	message := "the token is wrong"
	if sent == "" {
		message = "a token is needed: send it as Authorization: Bearer TOKEN"
	}
	return &problem{status: http.StatusUnauthorized, message: message}
}

// checkOrigin refuses what a browser sends on behalf of another site. Programs
// that are no browsers send neither header.
func checkOrigin(r *http.Request) error {
	strange := &problem{status: http.StatusForbidden, message: "requests from pages of other sites are refused"}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return strange
	}
	origin, sent := r.Header["Origin"]
	if !sent {
		return nil
	}
	if u, err := url.Parse(origin[0]); len(origin) != 1 || err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
		return strange
	}
	return nil
}

// checkWriter wants, without a token, what a page of another site cannot send: a
// header and a content type for which its browser asks first, and in vain.
func checkWriter(r *http.Request) error {
	if err := checkOrigin(r); err != nil {
		return err
	}
	if r.Header.Get("X-Pipectl") != "1" {
		return &problem{status: http.StatusForbidden, message: "changes need the header X-Pipectl: 1, or a token"}
	}
	sent := r.Header.Get("Content-Type")
	if sent == "" && r.ContentLength == 0 {
		return nil
	}
	switch kind, _, _ := mime.ParseMediaType(sent); kind {
	case "application/json", "application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml":
		return nil
	}
	return &problem{status: http.StatusUnsupportedMediaType, message: "changes need the header Content-Type: application/json or application/yaml"}
}

// refusals logs requests that are refused, without letting a client fill the log.
type refusals struct {
	log *slog.Logger

	mu    sync.Mutex // guards what follows
	next  time.Time  // before it nothing is logged
	count int        // refused since the last line
}

const refusalsEvery = 10 * time.Second

func (f *refusals) note(r *http.Request, err error) {
	f.mu.Lock()
	f.count++
	n, now := f.count, time.Now()
	quiet := now.Before(f.next)
	if !quiet {
		f.count, f.next = 0, now.Add(refusalsEvery)
	}
	f.mu.Unlock()
	if !quiet {
		f.log.Warn("admin: request refused", "from", remote(r), "path", r.URL.Path, "why", err, "refused", n)
	}
}

// remote is the address of a client without its port.
func remote(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// who names a client in the audit log.
func who(r *http.Request) string {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		if name := r.TLS.PeerCertificates[0].Subject.CommonName; name != "" {
			return "api " + name + " from " + remote(r)
		}
	}
	return "api " + remote(r)
}
