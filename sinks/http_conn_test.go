package sinks

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func TestHTTPKeepsConnections(t *testing.T) {
	f := newFar(t, (*httptest.Server).Start)
	s := httpTo(t, f, nil)
	open(t, s)
	for i := range 20 {
		f.set(func(w http.ResponseWriter, _ *http.Request) {
			if i%2 == 1 {
				w.WriteHeader(500)
			}
			w.Write(bytes.Repeat([]byte("x"), 20<<10))
		})
		s.Write(t.Context(), batch(t, "a"))
	}
	if len(f.conns) != 1 {
		t.Errorf("20 requests took %d connections, want 1", len(f.conns))
	}
}

func TestHTTPReadsLittleOfAnAnswer(t *testing.T) {
	f := newFar(t, (*httptest.Server).Start)
	s := httpTo(t, f, nil)
	open(t, s)
	sent := make(chan int, 1)
	f.set(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(400)
		n := 0
		for n < 1<<30 {
			k, err := w.Write(make([]byte, 64<<10))
			if n += k; err != nil {
				break
			}
		}
		sent <- n
	})
	wantError(t, s.Write(t.Context(), batch(t, "a")), pipe.Permanent, "400")
	if n := <-sent; n > 64<<20 {
		t.Errorf("took %d bytes of an endless answer", n)
	}
}

func TestHTTPConnectionErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	s := fresh(t, "http", func(s *HTTP) { s.URL = "http://" + address + "/in" })
	open(t, s)
	wantError(t, s.Write(t.Context(), batch(t, "a")), pipe.Retryable, "POST http://"+address+"/in: ", "connection refused")

	f := newFar(t, (*httptest.Server).Start)
	f.hang = make(chan struct{})
	s = httpTo(t, f, func(s *HTTP) { s.RequestTimeout = pipe.Duration(20 * time.Millisecond) })
	open(t, s)
	wantError(t, s.Write(t.Context(), batch(t, "a")), pipe.Retryable, "no answer within request_timeout 20ms")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	s.RequestTimeout = 0
	if err := s.Write(ctx, batch(t, "a")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the context", err)
	}
	close(f.hang)

	f = newFar(t, (*httptest.Server).Start)
	f.answer = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	s = httpTo(t, f, nil)
	open(t, s)
	wantError(t, s.Write(t.Context(), batch(t, "a")), pipe.Retryable, "EOF")
}

func TestHTTPTLS(t *testing.T) {
	f := newFar(t, (*httptest.Server).StartTLS)
	f.Config.ErrorLog = nil
	ca := filepath.Join(t.TempDir(), "ca.pem")
	os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}), 0o600)
	send := func(c *TLS) error {
		s := httpTo(t, f, func(s *HTTP) { s.TLS = c })
		if err := s.Open(t.Context(), pipetest.Env()); err != nil {
			return err
		}
		defer s.Close(t.Context())
		return s.Write(t.Context(), batch(t, "a"))
	}
	wantError(t, send(nil), pipe.Retryable, "unknown authority", "set tls.ca")
	wantError(t, send(&TLS{CA: ca, ServerName: "no.example.org"}), pipe.Retryable, "set tls.server_name")
	for _, good := range []*TLS{{CA: ca}, {InsecureSkipVerify: true}, {CA: ca, ServerName: "example.com"}} {
		if err := send(good); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	if err := send(&TLS{CA: "/no/such.pem"}); err == nil || !strings.Contains(err.Error(), "tls: ca: ") {
		t.Errorf("got %v", err)
	}
	bad := filepath.Join(t.TempDir(), "bad.pem")
	os.WriteFile(bad, []byte("no certificate"), 0o600)
	if err := send(&TLS{CA: bad}); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
		t.Errorf("got %v", err)
	}
	if err := send(&TLS{Cert: bad, Key: bad}); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("got %v", err)
	}
	if _, err := x509.ParseCertificate(f.Certificate().Raw); err != nil {
		t.Error(err)
	}
}

// TestPayloadWhileItIsRead checks that a payload the transport still reads is
// not given to another batch.
func TestPayloadWhileItIsRead(t *testing.T) {
	s := fresh(t, "http", func(s *HTTP) { s.URL = "http://h/" })
	p := s.post.take()
	s.encode(p, batch(t, "one"))
	if err := p.pack(codec.CompressNone); err != nil {
		t.Fatal(err)
	}
	r := p.reader()
	s.post.recycle(p)
	if q := s.post.take(); q == p {
		t.Fatal("a payload with an open reader was used again")
	}
	text, err := io.ReadAll(r)
	if err != nil || !strings.Contains(string(text), "one") {
		t.Errorf("got %q, %v", text, err)
	}
	r.Close()
	r.Close()
	if p.open != 0 {
		t.Errorf("%d readers are open, want none", p.open)
	}
	if n, err := p.reader().Read(make([]byte, 0)); n != 0 || err != nil {
		t.Errorf("an empty read: got %d, %v", n, err)
	}
}
