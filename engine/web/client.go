// Package web is what those that speak HTTP share: a client with its connections,
// TLS, credentials, and what an answer means; and the certificates of servers.
package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Client is what the components that speak HTTP have in common.
type Client struct {
	// Headers are sent with each request. They are never printed: they often hold
	// credentials.
	Headers map[string]string `yaml:"headers" secret:"true"`

	// RequestTimeout bounds one request from dialling to the last byte of the
	// answer, 30s by default; then it is tried again. Raise it for servers that answer
	// late. 0 waits without limit.
	RequestTimeout pipe.Duration `yaml:"request_timeout"`

	// TLS is for https: authorities to trust and a client certificate.
	TLS *TLS `yaml:"tls"`

	place     string // the URL for messages: without what may be secret
	client    *http.Client
	transport *http.Transport
}

// Defaults returns a Client with its defaults.
func Defaults() Client { return Client{RequestTimeout: pipe.Duration(30 * time.Second)} }

// CheckHeaders checks the headers. taken are those that the component sets itself,
// with the options that set them.
func (c *Client) CheckHeaders(taken map[string]string) error {
	for name, value := range c.Headers {
		field := "headers." + name
		switch {
		case name == "" || strings.ContainsAny(name, " \t\r\n:"):
			return pipe.Fieldf(field, "%q is not the name of a header", name)
		case strings.ContainsAny(value, "\r\n\x00"):
			return pipe.Fieldf(field, "the value has a line break")
		case strings.EqualFold(name, "Content-Length"), strings.EqualFold(name, "Content-Encoding"):
			return pipe.Fieldf(field, "is set by the request itself: use compress for Content-Encoding")
		}
		for header, by := range taken {
			if by != "" && strings.EqualFold(name, header) {
				return pipe.Fieldf(field, "is set by %s already", by)
			}
		}
	}
	return nil
}

// CheckURL checks the option url of a component. It may have a path and a query.
// credentials is the option that user and password belong into.
func CheckURL(text, credentials string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return pipe.Fieldf("url", "this is not a URL: write http://host:port/path")
	case u.Scheme != "http" && u.Scheme != "https":
		return &pipe.FieldError{Field: "url", Err: fmt.Errorf("the scheme must be http or https, got %q", u.Scheme), Hint: "write http://host:port/path"}
	case u.Hostname() == "":
		return pipe.Fieldf("url", "the host is missing: write %s://host:port/path", u.Scheme)
	case u.User != nil:
		return pipe.Fieldf("url", "user and password do not belong here: use %s", credentials)
	case u.Fragment != "":
		return pipe.Fieldf("url", "a fragment (#%s) is never sent: remove it", u.Fragment)
	}
	return nil
}

// Place is a URL for messages: without what may be secret in it.
func Place(u *url.URL) string { return u.Scheme + "://" + u.Host + u.EscapedPath() }

// Prepare makes the client ready for requests to address, over at most so many
// connections. It does not connect. Redirects are not followed.
func (c *Client) Prepare(address string, connections int) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("url: this is not a URL")
	}
	c.place = Place(u)
	secure, err := c.TLS.Config()
	if err != nil {
		return err
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	c.transport = &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        secure,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConns:           connections,
		MaxIdleConnsPerHost:    connections,
		MaxConnsPerHost:        connections,
		IdleConnTimeout:        90 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // what is read of an answer is bounded as it comes
		ForceAttemptHTTP2:      true,
	}
	c.client = &http.Client{
		Transport:     c.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// Hang closes the idle connections.
func (c *Client) Hang() {
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
}

// SetHeaders gives a request the configured headers, in the place of what it has.
func (c *Client) SetHeaders(req *http.Request) {
	for name, value := range c.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
}

// Answer is what a server said.
type Answer struct {
	Code   int
	Header http.Header
	Body   []byte // no more than was asked for
	Whole  bool   // Body is all of it
	at     *url.URL
	from   string // "POST http://host/path"
}

// Ask makes a request and reads its answer, of which it returns the first most
// bytes. An error means that there was no answer: it has a class, or it is that of
// ctx. make gets the context that the request must have.
func (c *Client) Ask(ctx context.Context, most int64, make func(context.Context) (*http.Request, error)) (*Answer, error) {
	limited := ctx
	if c.RequestTimeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, c.RequestTimeout.D())
		defer cancel()
	}
	req, err := make(limited)
	if err != nil {
		return nil, pipe.Classed(pipe.Fatal, fmt.Errorf("%s: %w", c.place, err))
	}
	from := req.Method + " " + c.place
	resp, err := c.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, c.unanswered(from, err, limited.Err() != nil)
	}
	defer resp.Body.Close()
	a := &Answer{Code: resp.StatusCode, Header: resp.Header, at: resp.Request.URL, from: from}
	if a.Body, a.Whole, err = readSome(resp.Body, most); err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	} else if err != nil && a.Good() && most > MaxExcerpt {
		return nil, c.unanswered(from, fmt.Errorf("the answer breaks off: %w", err), limited.Err() != nil)
	}
	return a, nil
}
