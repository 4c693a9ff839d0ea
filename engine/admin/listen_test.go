package admin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/web"
)

func TestAddressesThatOthersReach(t *testing.T) {
	ca := newCA(t)
	secured := ca.server(t)
	f := func(addr, token string, files config.AdminTLS, ok bool) {
		t.Helper()
		s, err := Listen(addr, Options{Token: token, TLS: files})
		if err == nil {
			s.Close()
		}
		var refused *RefusedError
		switch {
		case ok && err != nil, !ok && err == nil:
			t.Errorf("%s: %v", addr, err)
		case !ok && (!errors.As(err, &refused) || !strings.Contains(err.Error(), "listen on 127.0.0.1, or set admin.token")):
			t.Errorf("%s: the error does not say what to do: %v", addr, err)
		}
	}
	none := config.AdminTLS{}
	f("127.0.0.1:0", "", none, true)
	f("127.7.7.7:0", "", none, true)
	f("localhost:0", "", none, true)
	f(":0", "", none, false)
	f(":9464", "", none, false)
	f("0.0.0.0:0", "", none, false)
	f("[::]:0", "", none, false)
	f("[::ffff:0.0.0.0]:0", "", none, false)
	f("10.1.2.3:9464", "", none, false)
	f(":0", "correct horse", none, true)
	f("0.0.0.0:0", "correct horse", none, true)
	f("0.0.0.0:0", "", secured, true) // client certificates
	f("0.0.0.0:0", "", config.AdminTLS{Cert: secured.Cert, Key: secured.Key}, false)
	if name, err := os.Hostname(); err == nil {
		if ips, err := net.LookupIP(name); err == nil && len(ips) > 0 && !ips[0].IsLoopback() {
			f(name+":0", "", none, false) // a name of another interface
		}
	}
}

func TestListenErrorsSayWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	f := func(addr string, o Options, want ...string) {
		t.Helper()
		s, err := Listen(addr, o)
		if err == nil {
			s.Close()
			t.Fatalf("%s: it listens", addr)
		}
		for _, w := range append(want, "admin endpoint "+addr+": ") {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: got %q, want %q in it", addr, err, w)
			}
		}
	}
	f(taken.Addr().String(), Options{}, "the port is taken", "--admin 127.0.0.1:", "--admin 127.0.0.1:0", "--admin off")
	f("203.0.113.7:9464", Options{Token: "correct horse"}, "this machine does not have the address")
	missing := config.AdminTLS{Cert: "missing.pem", Key: "missing.key"}
	f("127.0.0.1:0", Options{TLS: missing}, "tls: cert: open missing.pem: ", "no such file")
	f("127.0.0.1:0", Options{TLS: config.AdminTLS{Cert: "a.pem"}}, "a certificate and its key are needed")
	f("127.0.0.1:0", Options{TLS: config.AdminTLS{ClientCA: "a.pem"}}, "a certificate and its key are needed")
	files := newCA(t).server(t)
	files.ClientCA = files.Key
	f("127.0.0.1:0", Options{TLS: files}, "tls: client_ca", "no certificate in PEM")
}

// serve runs a server with a fake pipeline until the test ends.
func serve(t *testing.T, addr string, o Options) (*Server, *fake) {
	t.Helper()
	f := &fake{cfg: parse(t, smallYAML), state: engine.Running}
	o.Engine, o.Control, o.Recorder = f, controlOf{f}, f
	s, err := Listen(addr, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, f
}

func fetch(t *testing.T, c *http.Client, method, url string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Pipectl", "1")
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func TestURL(t *testing.T) {
	f := func(addr string, o Options, want string) {
		t.Helper()
		s, _ := serve(t, addr, o)
		_, port, _ := net.SplitHostPort(s.Addr())
		if want = strings.Replace(want, "PORT", port, 1); s.URL() != want {
			t.Errorf("%s: got %s, want %s", addr, s.URL(), want)
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		if status, _, err := fetch(t, client, "GET", s.URL()+"healthz"); err != nil || status != 200 {
			t.Errorf("%s: got %d, %v", s.URL(), status, err)
		}
	}
	f("127.0.0.1:0", Options{}, "http://127.0.0.1:PORT/")
	f("0.0.0.0:0", Options{Token: "correct horse"}, "http://localhost:PORT/")
	f("localhost:0", Options{TLS: newCA(t).serverOnly(t)}, "https://127.0.0.1:PORT/")
	if probe, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Log("this machine has no IPv6 loopback, [::1] is not tried:", err)
	} else {
		probe.Close()
		f("[::1]:0", Options{}, "http://[::1]:PORT/")
	}
}

func TestClientCertificates(t *testing.T) {
	ours, theirs := newCA(t), newCA(t)
	s, f := serve(t, "127.0.0.1:0", Options{TLS: ours.server(t)})
	client := func(certs ...tls.Certificate) *http.Client {
		return &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{RootCAs: ours.pool(), Certificates: certs}}}
	}
	status, body, err := fetch(t, client(ours.client(t, "alice")), "POST", s.URL()+"api/v1/reload")
	if err != nil || status != 200 || f.last.Who != "api alice from 127.0.0.1" {
		t.Errorf("with our certificate: %d %s %v, who is %q", status, body, err, f.last.Who)
	}
	f.took()
	for name, c := range map[string]*http.Client{
		"without a certificate":          client(),
		"with a stranger's certificate":  client(theirs.client(t, "mallory")),
		"with the server's for a client": client(ours.load(t, ours.serverOnly(t))),
	} {
		for _, path := range []string{"healthz", "", "api/v1/status", "api/v1/reload"} {
			if status, body, err := fetch(t, c, "POST", s.URL()+path); err == nil {
				t.Errorf("%s: %s: %d %s", name, path, status, body)
			}
		}
	}
	plain := "http" + strings.TrimPrefix(s.URL(), "https")
	if status, _, err := fetch(t, http.DefaultClient, "GET", plain+"api/v1/status"); err == nil && status != 400 {
		t.Errorf("plain HTTP: %d", status)
	}
	http.DefaultClient.CloseIdleConnections()
	if calls := f.took(); calls != "" {
		t.Errorf("got through: %s", calls)
	}
}

// With a token and client certificates both are needed.
func TestCertificateAndToken(t *testing.T) {
	ca := newCA(t)
	s, _ := serve(t, "127.0.0.1:0", Options{TLS: ca.server(t), Token: "correct horse"})
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.client(t, "alice")}}}}
	if status, _, err := fetch(t, c, "GET", s.URL()+"api/v1/status"); err != nil || status != 401 {
		t.Errorf("got %d, %v", status, err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	ca := newCA(t)
	s, _ := serve(t, "127.0.0.1:0", Options{TLS: ca.serverOnly(t)})
	c, err := tls.Dial("tcp", s.Addr(), &tls.Config{RootCAs: ca.pool(), MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	if err == nil {
		c.Close()
		t.Error("TLS 1.1 is accepted")
	}
}

// A server that was never asked to serve is closed as well.
func TestCloseWithoutServe(t *testing.T) {
	s, err := Listen("127.0.0.1:0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
	if c, err := net.Dial("tcp", s.Addr()); err == nil {
		c.Close()
		t.Error("it still listens")
	}
	if err := s.Serve(context.Background()); err != nil {
		t.Errorf("Serve after Close: %v", err)
	}
}

// ca is an authority that signs certificates for tests.
type ca struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	c := &ca{dir: t.TempDir(), key: key}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	c.write(t, "ca.pem", "CERTIFICATE", der)
	return c
}

func (c *ca) write(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(c.dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// sign makes a certificate and its key, and returns their files.
func (c *ca) sign(t *testing.T, name string, use x509.ExtKeyUsage) config.AdminTLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{use}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, &key.PublicKey, c.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return config.AdminTLS{Cert: c.write(t, name+".pem", "CERTIFICATE", der), Key: c.write(t, name+".key", "EC PRIVATE KEY", keyDER)}
}

func (c *ca) serverOnly(t *testing.T) config.AdminTLS {
	t.Helper()
	return c.sign(t, "server", x509.ExtKeyUsageServerAuth)
}

// server are files for a server that wants client certificates.
func (c *ca) server(t *testing.T) config.AdminTLS {
	t.Helper()
	files := c.serverOnly(t)
	files.ClientCA = filepath.Join(c.dir, "ca.pem")
	return files
}

func (c *ca) client(t *testing.T, name string) tls.Certificate {
	t.Helper()
	return c.load(t, c.sign(t, name, x509.ExtKeyUsageClientAuth))
}

func (c *ca) load(t *testing.T, files config.AdminTLS) tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func (c *ca) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.cert)
	return p
}

// TestRenewsCertificates: new files are served without a restart.
func TestRenewsCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, next := newCA(t), newCA(t)
		files := first.serverOnly(t)
		secure, err := certificates(files)
		if err != nil {
			t.Fatal(err)
		}
		l := newPipes()
		s := newServer(l, Options{TLS: files}, secure, true)
		served := make(chan error)
		go func() { served <- s.Serve(t.Context()) }()
		use := func(c *ca, ok bool) {
			t.Helper()
			here := l.dial()
			conn := tls.Client(here, &tls.Config{RootCAs: c.pool(), ServerName: "localhost"})
			if err := conn.HandshakeContext(t.Context()); (err == nil) != ok {
				t.Errorf("handshake: %v, want success %v", err, ok)
			}
			here.Close()
		}
		use(first, true)
		renewed := next.serverOnly(t)
		for from, to := range map[string]string{renewed.Cert: files.Cert, renewed.Key: files.Key} {
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(web.CertificatesEvery + time.Second)
		use(first, false)
		use(next, true)
		s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
