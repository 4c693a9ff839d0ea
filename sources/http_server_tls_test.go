package sources

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

// files is a directory with the files of a tls section, and what is put there.
type files struct {
	t   *testing.T
	dir string
}

func (f files) name(what string) string { return filepath.Join(f.dir, what+".pem") }

func (f files) put(what, from string) {
	f.t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(f.name(what), data, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f files) section() *web.ServerTLS {
	return &web.ServerTLS{Cert: f.name("cert"), Key: f.name("key")}
}

// TestHTTPServerRenewsCertificates: new connections get what is in the files, soon
// after it is there and as long as it is good; old ones go on.
func TestHTTPServerRenewsCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert1, key1, pool1 := certificate(t)
		cert2, key2, pool2 := certificate(t)
		dir := files{t, t.TempDir()}
		dir.put("cert", cert1)
		dir.put("key", key1)
		var log logged
		r := startHTTPInMemoryLogged(t, log.at(slog.LevelInfo), func(s *HTTPServer) { s.TLS = dir.section() })
		log.lines()
		time.Sleep(time.Second) // from here on between the instants at which the source looks
		use := func(pool *x509.CertPool, good bool) {
			t.Helper()
			raw, err := r.dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c := tls.Client(newEager(raw), &tls.Config{RootCAs: pool, ServerName: "source"})
			defer c.Close()
			if err := c.HandshakeContext(t.Context()); (err == nil) != good {
				t.Errorf("handshake: got %v, want it to be good: %t", err, good)
			}
		}
		logs := func(want ...string) {
			t.Helper()
			got := log.lines()
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || !regexp.MustCompile(want[i]).MatchString(got[i]) {
					t.Fatalf("logged %q, want %q", got, want)
				}
			}
		}
		use(pool1, true)
		dials := 0
		r.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool1, ServerName: "source"},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				dials++
				c, err := r.dial(ctx)
				return newEager(c), err
			}}
		defer r.client.CloseIdleConnections()
		r.url = "https://source/"
		defer r.run(pipe.Delivered)()
		r.want(r.post(`{"n":1}`), 200, "1")

		dir.put("cert", cert2) // its key is not there yet
		time.Sleep(web.CertificatesEvery)
		logs(`level=WARN msg="certificate not renewed; the old one stays in use" error="tls: certificate .*cert.pem with key .*key.pem: .*private key does not match`)
		use(pool1, true)
		time.Sleep(3 * web.CertificatesEvery)
		logs()
		dir.put("key", key2)
		use(pool1, true)
		time.Sleep(web.CertificatesEvery)
		logs(`level=INFO msg="certificate in use" cert=.*cert.pem expires=2000-01-01T01`)
		use(pool1, false)
		use(pool2, true)
		r.want(r.post(`{"n":2}`), 200, "1")
		if dials != 1 {
			t.Errorf("%d connections, want the first one to go on", dials)
		}

		os.Remove(dir.name("key"))
		time.Sleep(web.CertificatesEvery)
		logs(`level=WARN msg="certificate not renewed; the old one stays in use" error="tls: key: open .*key.pem: no such file or directory"`)
		os.WriteFile(dir.name("key"), []byte("rubbish"), 0o600)
		time.Sleep(2 * web.CertificatesEvery)
		logs(`level=WARN msg="certificate not renewed; the old one stays in use" error="tls: certificate .*cert.pem with key .*key.pem: .*failed to find any PEM data`)
		use(pool2, true)
		dir.put("key", key2)
		time.Sleep(web.CertificatesEvery)
		logs(`level=INFO msg="certificate in use"`)
		use(pool2, true)
	})
}

// TestHTTPServerRenewsClientAuthorities: who is not trusted any more is not let in,
// not even with the ticket of an earlier connection.
func TestHTTPServerRenewsClientAuthorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert, key, pool := certificate(t)
		mine, mineKey, _ := certificate(t)
		other, _, _ := certificate(t)
		dir := files{t, t.TempDir()}
		dir.put("cert", cert)
		dir.put("key", key)
		dir.put("ca", mine)
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.TLS = dir.section(); s.TLS.ClientCA = dir.name("ca") })
		pair, err := tls.LoadX509KeyPair(mine, mineKey)
		if err != nil {
			t.Fatal(err)
		}
		conf := &tls.Config{RootCAs: pool, ServerName: "source", Certificates: []tls.Certificate{pair}, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
		resumed := false
		r.client.Transport = &http.Transport{DisableKeepAlives: true, DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			raw, err := r.dial(ctx)
			if err != nil {
				return nil, err
			}
			c := tls.Client(newEager(raw), conf)
			err = c.HandshakeContext(ctx)
			resumed = c.ConnectionState().DidResume
			return c, err
		}}
		r.url = "https://source/"
		defer r.run(pipe.Delivered)()
		time.Sleep(time.Second) // from here on between the instants at which the source looks
		r.want(r.post(`{}`), 200, "1")
		r.want(r.post(`{}`), 200, "1")
		if !resumed {
			t.Error("the second connection did not use the ticket of the first: the test proves little")
		}
		dir.put("ca", other)
		time.Sleep(web.CertificatesEvery)
		if a := r.post(`{}`); a.err == nil {
			t.Errorf("got %d, want to be kept out", a.code)
		}
		dir.put("ca", mine)
		time.Sleep(web.CertificatesEvery)
		r.want(r.post(`{}`), 200, "1")
	})
}

func TestServerTLSErrors(t *testing.T) {
	cert, key, _ := certificate(t)
	_, otherKey, _ := certificate(t)
	f := func(c web.ServerTLS, want string) {
		t.Helper()
		if _, err := c.Open(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f(web.ServerTLS{Cert: "/no/c", Key: key}, "tls: cert: open /no/c: ")
	f(web.ServerTLS{Cert: cert, Key: "/no/k"}, "tls: key: open /no/k: ")
	f(web.ServerTLS{Cert: cert, Key: key, ClientCA: "/no/a"}, "tls: client_ca: open /no/a: ")
	f(web.ServerTLS{Cert: cert, Key: otherKey}, "tls: certificate "+cert+" with key "+otherKey+": ")
	f(web.ServerTLS{Cert: cert, Key: key, ClientCA: key}, "tls: client_ca "+key+" holds no certificate in PEM format")
}
