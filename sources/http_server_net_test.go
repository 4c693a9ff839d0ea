package sources

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

// The tests in this file use real connections.

// until waits for what another goroutine is about to bring about.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// TestHTTPServerHalfClosedClient: a client that has sent all it has to say closes
// its sending side and waits for the answer.
func TestHTTPServerHalfClosedClient(t *testing.T) {
	r := startHTTP(t, nil)
	c, err := net.Dial("tcp", r.src.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n{\"a\":1}")
	c.(*net.TCPConn).CloseWrite()
	events, err := r.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // let the end of the connection arrive
	pipe.Settle(events, pipe.Delivered)
	if line, err := bufio.NewReader(c).ReadString('\n'); line != "HTTP/1.1 200 OK\r\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

// TestHTTPServerClientLeaves: the events of a client that does not wait for its
// answer travel on, and its place comes back when they are settled.
func TestHTTPServerClientLeaves(t *testing.T) {
	r := startHTTP(t, func(s *HTTPServer) { s.MaxConcurrent = 2 })
	ctx, leave := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "POST", r.url, strings.NewReader(`{"n":1}`))
	answer := make(chan httpAnswer, 1)
	go func() { answer <- r.send(req) }()
	events, err := r.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leave()
	<-answer
	// One that leaves with half its body sent, and one that leaves untaken.
	c, err := net.Dial("tcp", r.src.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 70\r\n\r\n{")
	until(t, "its body is being read", func() bool { in, _, _ := r.src.gate.load(); return in == 2 })
	c.Close()
	until(t, "its place is free", func() bool { in, _, _ := r.src.gate.load(); return in == 1 })
	ctx, leave = context.WithCancel(t.Context())
	req, _ = http.NewRequestWithContext(ctx, "POST", r.url, strings.NewReader(`{"n":2}`))
	go func() { answer <- r.send(req) }()
	until(t, "it can be read", func() bool { return r.src.inbox.waiting() == 1 })
	leave()
	<-answer
	more, err := r.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pipe.Settle(slices.Concat(events, more), pipe.Delivered)
	if in, waiting, peak := r.src.gate.load(); in != 0 || waiting != 0 || peak != 2 {
		t.Errorf("%d inside, %d waiting, peak %d, want 0, 0, 2", in, waiting, peak)
	}
	if want := []string{`{"n":1}`, `{"n":2}`}; !slices.Equal(r.got, want) {
		t.Errorf("got %q, want %q", r.got, want)
	}
}

// TestHTTPServerBomb sends little that unpacks to much.
func TestHTTPServerBomb(t *testing.T) {
	r := startHTTP(t, func(s *HTTPServer) { s.MaxBody = 1 << 20 })
	f := func(encoding string, pack func(io.Writer) io.WriteCloser) {
		t.Helper()
		var b strings.Builder
		z := pack(&b)
		zeros := make([]byte, 1<<20)
		for range 32 {
			z.Write(zeros)
		}
		z.Close()
		if b.Len() > 1<<20 {
			t.Fatalf("%s: the bomb has %d bytes", encoding, b.Len())
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r.want(r.post(b.String(), "Content-Encoding", encoding), 413, "larger than 1048576 bytes")
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
			t.Errorf("%s: a bomb of 32 MiB took %d MiB", encoding, used>>20)
		}
	}
	f("gzip", func(w io.Writer) io.WriteCloser {
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		return z
	})
	f("zstd", func(w io.Writer) io.WriteCloser {
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		if err != nil {
			t.Fatal(err)
		}
		return z
	})
	var b strings.Builder
	z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	z.Write([]byte(strings.Repeat("x", 100)))
	z.Flush() // a streamed frame: its header asks for the window
	z.Close()
	r.want(r.post(b.String(), "Content-Encoding", "zstd"), 400, "not valid zstd")
}

// certificate makes a certificate for 127.0.0.1 that signs itself.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"source"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pemCert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
	os.WriteFile(cert, pemCert, 0o600)
	os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(pemCert)
	return cert, key, pool
}

// TestHTTPServerHTTP2 has many requests on one connection. Those that wait must
// keep their bodies to themselves, and must not keep others from sending theirs.
func TestHTTPServerHTTP2(t *testing.T) {
	cert, key, pool := certificate(t)
	r := startHTTP(t, func(s *HTTPServer) {
		s.TLS = &web.ServerTLS{Cert: cert, Key: key, ClientCA: cert}
		s.MaxConcurrent, s.MaxWait, s.Codec.Type = 2, pipe.Duration(30*time.Second), "raw"
	})
	plain := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "source"}}}
	if resp, err := plain.Post("https://"+r.src.Addr().String(), "", strings.NewReader("x")); err == nil {
		resp.Body.Close()
		t.Error("a client without a certificate was let in")
	}
	plain.CloseIdleConnections()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	dials := 0
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: pool, ServerName: "source", Certificates: []tls.Certificate{pair}},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			dials++
			return r.dial(ctx)
		},
	}
	defer transport.CloseIdleConnections()
	r.client, r.url = &http.Client{Transport: transport}, "https://source/"
	stop := r.run(pipe.Delivered)
	r.want(r.post("x"), 200, "1") // the connection is there
	stop()
	body := strings.Repeat("y", 1<<20)
	var answers []<-chan httpAnswer
	for range 40 {
		answers = append(answers, r.postLater(body))
	}
	until(t, "all have asked", func() bool { in, waiting, _ := r.src.gate.load(); return in+waiting == 40 })
	defer r.run(pipe.Delivered)()
	for _, a := range answers {
		r.want(<-a, 200, "1")
	}
	if _, _, peak := r.src.gate.load(); peak != 2 || dials != 1 {
		t.Errorf("at most %d were inside on %d connections, want 2 on 1", peak, dials)
	}
}

// TestHTTPServerStorm: clients that come, wait, leave early and send rubbish, a
// pipeline that settles every which way, and a drain in the middle. Nobody is told
// 200 whose events were not delivered, and nothing is left over.
func TestHTTPServerStorm(t *testing.T) {
	r := startHTTP(t, func(s *HTTPServer) {
		s.MaxConcurrent, s.MaxQueue, s.MaxWait, s.MaxBody = 6, 10, pipe.Duration(20*time.Millisecond), 10000
	})
	var mu sync.Mutex
	delivered := map[string]bool{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	var settling sync.WaitGroup
	all.Go(func() {
		for {
			events, err := r.read(ctx)
			if err != nil {
				break
			}
			settling.Go(func() {
				time.Sleep(mathrand.N(10 * time.Millisecond))
				for _, e := range events {
					o := pipe.Outcome(mathrand.IntN(int(pipe.Failed) + 1))
					if o.Acked() {
						mu.Lock()
						delivered[string(e.Body.AppendText(nil))] = true
						mu.Unlock()
					}
					pipe.Settle([]*pipe.Event{e}, o)
				}
			})
		}
		settling.Wait()
	})
	codes := map[int]int{}
	for n := range 24 {
		all.Go(func() {
			for i := range 60 {
				name := fmt.Sprintf(`{"n":"%d.%d"}`, n, i)
				body, impatient := name, context.Background()
				switch mathrand.IntN(10) {
				case 0:
					body = name + "rubbish"
				case 1:
					body = strings.Repeat(" ", 10001)
				case 2, 3:
					var stop context.CancelFunc
					impatient, stop = context.WithTimeout(impatient, mathrand.N(8*time.Millisecond))
					defer stop()
				}
				req, _ := http.NewRequestWithContext(impatient, "POST", r.url, strings.NewReader(body))
				a := r.send(req)
				mu.Lock()
				codes[a.code]++
				if a.code == 200 && !delivered[name] {
					t.Errorf("%s was answered 200 and not delivered", name)
				}
				mu.Unlock()
				if n == 0 && i == 50 {
					r.src.Drain()
					cancel()
				}
			}
		})
	}
	all.Wait()
	for _, code := range []int{0, 200, 400, 413, 500, 503} {
		if codes[code] == 0 {
			t.Errorf("the storm brought no answer %d: %v", code, codes)
		}
	}
	if in, waiting, peak := r.src.gate.load(); in != 0 || waiting != 0 || peak != 6 {
		t.Errorf("%d inside, %d waiting, peak %d, want 0, 0, 6", in, waiting, peak)
	}
	if tally := r.ledger.Tally(); tally.OpenEvents != 0 || tally.Read != tally.Acked+tally.Nacked+tally.Returned {
		t.Errorf("the account does not balance: %+v", tally)
	}
}
