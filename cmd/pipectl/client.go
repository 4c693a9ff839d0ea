package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// The address of the admin endpoint when none is given, and its usual port.
const (
	defaultAdmin = "127.0.0.1:9464"
	adminPort    = "9464"
)

// How long an answer may take. Changes may open a new sink first.
const (
	readTimeout   = 10 * time.Second
	changeTimeout = 60 * time.Second
)

// maxAnswer bounds an answer of the admin endpoint, in bytes.
const maxAnswer = 64 << 20

// connection says which running pipeline a command talks to, and how. Its flags
// are the same for all of these commands.
type connection struct {
	addr  string
	token string
	ca    string
	cert  string
	key   string
}

// flags adds the options that lead to a running pipeline.
func (c *connection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.addr, "addr", "", "`ADDRESS` of the pipeline's admin endpoint, host:port or a URL (default $PIPECTL_ADDR, else "+defaultAdmin+")")
	f.StringVar(&c.token, "token", "", "`TOKEN` that the endpoint wants (default $PIPECTL_TOKEN, which other users cannot see)")
	f.StringVar(&c.ca, "tls-ca", "", "`FILE` with the authority that signed the endpoint's certificate")
	f.StringVar(&c.cert, "tls-cert", "", "`FILE` with the certificate to show to the endpoint")
	f.StringVar(&c.key, "tls-key", "", "`FILE` with the key of --tls-cert")
}

// client talks to the admin endpoint of a running pipeline.
type client struct {
	base       *url.URL
	token      string
	tokenFrom  string // --token or PIPECTL_TOKEN
	http       *http.Client
	withoutTLS bool // no TLS option was given
}

// open makes a client. It connects to nothing.
func (c *connection) open() (*client, error) {
	addr := cmp.Or(c.addr, os.Getenv("PIPECTL_ADDR"), defaultAdmin)
	withoutTLS := c.ca == "" && c.cert == "" && c.key == ""
	base, err := adminURL(addr, !withoutTLS)
	if err != nil {
		return nil, err
	}
	k := &client{base: base, token: c.token, tokenFrom: "--token", withoutTLS: withoutTLS}
	if k.token == "" {
		k.token, k.tokenFrom = os.Getenv("PIPECTL_TOKEN"), "PIPECTL_TOKEN"
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	if t.TLSClientConfig, err = c.tls(); err != nil {
		return nil, err
	}
	k.http = &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return k, nil
}

// adminURL completes an address: the scheme and the port may be left out.
func adminURL(addr string, secure bool) (*url.URL, error) {
	text := addr
	if !strings.Contains(text, "://") {
		scheme := "http://"
		if secure {
			scheme = "https://"
		}
		if strings.HasPrefix(text, ":") {
			text = "127.0.0.1" + text
		}
		text = scheme + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usagef("--addr: %q is no address; give host:port or a URL such as https://pipes.example:9464", addr)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), adminPort)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return u, nil
}

func (c *connection) tls() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if (c.cert == "") != (c.key == "") {
		return nil, usagef("--tls-cert and --tls-key belong together: give both")
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, usagef("--tls-cert %s: %w", c.cert, err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	if c.ca != "" {
		pem, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, usagef("--tls-ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef("--tls-ca: %s has no certificate in PEM", c.ca)
		}
	}
	return conf, nil
}

// String is the address as people write it.
func (k *client) String() string {
	if k.base.Scheme == "http" && k.base.Path == "" {
		return k.base.Host
	}
	return k.base.String()
}

// call is one request to the admin endpoint.
type call struct {
	method string
	path   []string // its parts, not escaped
	query  url.Values
	body   []byte
	accept string // media type; default application/json
	kind   string // media type of body; default application/json
}

func get(path ...string) call { return call{method: http.MethodGet, path: path} }

// send makes a request and returns the answer when it is a good one. The caller
// closes its body.
func (k *client) send(ctx context.Context, c call) (*http.Response, error) {
	u := *k.base
	escaped := u.EscapedPath()
	for _, part := range c.path {
		u.Path += "/" + part
		escaped += "/" + url.PathEscape(part)
	}
	u.RawPath, u.RawQuery = escaped, c.query.Encode()
	req, err := http.NewRequestWithContext(ctx, c.method, u.String(), bytes.NewReader(c.body))
	if err != nil {
		return nil, usagef("%s: %w", k, err)
	}
	req.Header.Set("Accept", cmp.Or(c.accept, "application/json"))
	req.Header.Set("X-Pipectl", "1") // what a page of another site cannot send
	if c.method != http.MethodGet {
		req.Header.Set("Content-Type", cmp.Or(c.kind, "application/json"))
	}
	if k.token != "" {
		req.Header.Set("Authorization", "Bearer "+k.token)
	}
	resp, err := k.http.Do(req)
	if err != nil {
		return nil, k.unreachable(err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		return nil, k.refused(resp)
	}
	return resp, nil
}

// fetch makes a request and returns the whole answer.
func (k *client) fetch(ctx context.Context, c call) ([]byte, error) {
	limit := readTimeout
	if c.method != http.MethodGet {
		limit = changeTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := k.send(ctx, c)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, k.unreachable(err)
	}
	if len(data) > maxAnswer {
		return nil, fmt.Errorf("%s: the answer is larger than %s", k, bytesText(maxAnswer))
	}
	return data, nil
}

// ask makes a request, decodes the answer into v and returns it as it came.
func (k *client) ask(ctx context.Context, c call, v any) ([]byte, error) {
	data, err := k.fetch(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return nil, k.stranger("its answer is not what pipectl sends")
	}
	return data, nil
}

// unescaped are the characters that a JSON encoder escapes for the sake of HTML.
var unescaped = map[string]byte{`\u003c`: '<', `\u003e`: '>', `\u0026`: '&'}

// plainJSON writes those characters as they are: edges are called a->b.
func plainJSON(answer []byte) []byte {
	plain := make([]byte, 0, len(answer))
	for len(answer) > 0 {
		n := 1
		if answer[0] == '\\' && len(answer) > 1 {
			n = 2
			if c, ok := unescaped[string(answer[:min(6, len(answer))])]; ok {
				plain, answer = append(plain, c), answer[6:]
				continue
			}
		}
		plain, answer = append(plain, answer[:n]...), answer[n:]
	}
	return plain
}

// writeJSON writes an answer as it came, indented.
func writeJSON(w io.Writer, answer []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, plainJSON(bytes.TrimSpace(answer)), "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := b.WriteTo(w)
	return err
}
