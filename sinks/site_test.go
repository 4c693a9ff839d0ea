package sinks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// certificate writes a certificate of 127.0.0.1 and its key to files.
func certificate(t *testing.T) (files ServerTLS, pool *x509.CertPool) {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	pair := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files = ServerTLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for name, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, files.Key: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return files, pool
}

// TestSiteTLS: whoever listens can do so with TLS, and speaks nothing else then.
func TestSiteTLS(t *testing.T) {
	files, pool := certificate(t)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	f := func(s live, path string, talk func(url string)) {
		t.Helper()
		if err := s.Open(t.Context(), pipetest.Env()); err != nil {
			t.Fatal(err)
		}
		talk("https://" + s.at().address() + path)
		if resp, err := http.Get("http://" + s.at().address() + path); err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: plain HTTP is answered %s", path, resp.Status)
			}
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	sse := &SSE{Listen: "127.0.0.1:0", Path: "/events", TLS: &files, MaxViewers: 1, Buffer: 10, BufferBytes: 1 << 20}
	f(sse, "/events", func(url string) {
		resp, err := client.Get(url)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", resp, err)
		}
		resp.Body.Close()
	})
	ws := &WebSocket{Listen: "127.0.0.1:0", Path: "/", TLS: &files, MaxViewers: 1, Buffer: 10, BufferBytes: 1 << 20}
	f(ws, "/", func(url string) {
		c, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			t.Fatal(err)
		}
		c.CloseNow()
	})
	metrics := &Prometheus{Listen: "127.0.0.1:0", Path: "/metrics", TLS: &files}
	if err := metrics.Open(t.Context(), pipetest.Env()); err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get("https://" + metrics.at().address() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 1 {
		t.Errorf("%s %s: %s", resp.Proto, resp.Status, body)
	}
	if err := metrics.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSiteTLSChanges: a reload keeps the port only with the same TLS, and says so.
func TestSiteTLSChanges(t *testing.T) {
	files, _ := certificate(t)
	open := func(old pipe.Sink, listen string, secure *ServerTLS) (*Prometheus, error) {
		s := &Prometheus{Listen: listen, Path: "/metrics", TLS: secure}
		env := pipetest.Env()
		if old != nil {
			env.Predecessor = old
		}
		return s, s.Open(t.Context(), env)
	}
	same := files
	first, err := open(nil, "127.0.0.1:0", &files)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close(context.Background())
	second, err := open(first, "127.0.0.1:0", &same)
	if err != nil || second.at() != first.at() {
		t.Fatalf("the same files: %v", err)
	}
	second.Close(t.Context())
	if _, err := open(first, "127.0.0.1:0", nil); err == nil || !strings.Contains(err.Error(), "tls cannot be changed") {
		t.Errorf("without TLS: %v", err)
	}
	missing := ServerTLS{Cert: "no.pem", Key: "no.key"}
	if _, err := open(nil, "127.0.0.1:0", &missing); err == nil || !strings.Contains(err.Error(), "tls: cert: open no.pem") {
		t.Errorf("missing files: %v", err)
	}
}
