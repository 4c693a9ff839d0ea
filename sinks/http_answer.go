package sinks

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Limits of the client.
const (
	maxConnections = 64       // to one host, kept open between requests
	maxAnswer      = 64 << 10 // bytes of an answer that are read; more closes the connection
	maxExcerpt     = 256      // bytes of an answer that a message shows
)

func newTransport(secure *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        secure,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConns:           maxConnections,
		MaxIdleConnsPerHost:    maxConnections,
		MaxConnsPerHost:        maxConnections,
		IdleConnTimeout:        90 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // answers are small, and bounded as they come
		ForceAttemptHTTP2:      true,
	}
}

// readAnswer reads an answer to its end, so that the connection can be used
// again, but not further than maxAnswer, and returns its start. An error does
// not matter: the status has said what counts.
func readAnswer(r io.Reader) []byte {
	start := make([]byte, maxExcerpt)
	n, err := io.ReadFull(r, start)
	if err == nil {
		io.CopyN(io.Discard, r, maxAnswer-maxExcerpt)
	}
	return start[:n]
}

// sendError classes what kept a request from being answered: all of it may pass.
func (s *HTTP) sendError(err error, timeout bool) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	remedy := ""
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case timeout:
		err, remedy = errors.New("no answer within request_timeout "+s.RequestTimeout.String()), ""
	case errors.As(err, &authority):
		remedy = ": set tls.ca to the authority that signed the server's certificate"
	case errors.As(err, &host):
		remedy = ": set tls.server_name to a name that is in the server's certificate"
	}
	return pipe.Classed(pipe.Retryable, fmt.Errorf("%s %s: %w%s", s.Method, s.place, err, remedy))
}

// judge classes an answer; nil is a confirmation.
func (s *HTTP) judge(resp *http.Response, body []byte, events, bytes int) error {
	code := resp.StatusCode
	if code >= 200 && code < 300 {
		return nil
	}
	e := &pipe.Error{Class: pipe.Permanent}
	remedy := ""
	switch {
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable:
		e.Class, e.RetryAfter = pipe.Throttled, retryAfter(resp.Header, time.Now())
	case code == http.StatusRequestTimeout, code >= 500:
		e.Class = pipe.Retryable
	case code >= 300 && code < 400:
		remedy = fmt.Sprintf(": redirects are not followed; if %s is right, put it into url", location(resp))
	case code == http.StatusUnauthorized:
		remedy = ": check basic_auth, bearer_token or headers"
	case code == http.StatusForbidden:
		remedy = ": the credentials are known but may not write here"
	case code == http.StatusNotFound:
		remedy = ": check the path in url"
	case code == http.StatusRequestEntityTooLarge:
		remedy = fmt.Sprintf(": the batch has %d events in %d bytes: lower batch.events or batch.bytes", events, bytes)
	}
	e.Err = fmt.Errorf("%s %s: %d %s%s%s", s.Method, s.place, code, http.StatusText(code), remedy, excerpt(body))
	return e
}

// location is where a redirect points, without what may be secret.
func location(resp *http.Response) string {
	u, err := resp.Location()
	if err != nil {
		return "the new place (which the answer does not name)"
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

// excerpt shows the start of an answer on one line.
func excerpt(body []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "?")), " ")
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, text)
	if text == "" {
		return ""
	}
	return fmt.Sprintf(" (the answer: %s)", text)
}

// retryAfter reads a Retry-After header, in seconds or as a date; 0 when there
// is none that makes sense. It is never negative. How much of it is obeyed is up
// to the sink's retry.max.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	} else if errors.Is(err, strconv.ErrRange) {
		return time.Duration(1<<31) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now))
}
