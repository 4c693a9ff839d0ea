package sources

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
	"github.com/pipectl/pipectl/engine/web"
)

// httpRig is a source with clients on one side and a pipeline on the other.
type httpRig struct {
	t      *testing.T
	src    *HTTPServer
	url    string
	client *http.Client
	dial   func(ctx context.Context) (net.Conn, error)

	dialFrom func(ctx context.Context, addr string) (net.Conn, error) // in memory only

	mu     sync.Mutex // guards what follows
	ledger *pipe.Ledger
	seq    uint64
	got    []string // texts of the events that Read brought
	meta   []string // and their metadata, but for the request's identity,
	ids    []string // which is here
}

func newHTTPServer(t *testing.T, set func(*HTTPServer)) *HTTPServer {
	t.Helper()
	c, ok := pipe.Lookup(pipe.KindSource, "http_server")
	if !ok {
		t.Fatal("http_server is not registered")
	}
	s := c.New().(*HTTPServer)
	s.Listen = "127.0.0.1:0"
	if set != nil {
		set(s)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

// startHTTP opens a source at a real port.
func startHTTP(t *testing.T, set func(*HTTPServer)) *httpRig {
	t.Helper()
	return startHTTPLogged(t, slog.New(slog.DiscardHandler), set)
}

func startHTTPLogged(t *testing.T, log *slog.Logger, set func(*HTTPServer)) *httpRig {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	s := newHTTPServer(t, set)
	env := pipetest.Env()
	env.Log = log
	if err := s.Open(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	var d net.Dialer
	return newHTTPRig(t, s, func(ctx context.Context) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", s.Addr().String())
	})
}

// memoryListener is a network inside the process, for tests with a fake clock.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memoryListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *memoryListener) dial(ctx context.Context) (net.Conn, error) { return l.dialFrom(ctx, "") }

// dialFrom connects as a peer with this address; an empty one is that of a pipe.
func (l *memoryListener) dialFrom(ctx context.Context, addr string) (net.Conn, error) {
	here, there := net.Pipe()
	if addr != "" {
		there = addressed{there, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))}
	}
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// addressed is a connection from an address.
type addressed struct {
	net.Conn
	remote net.Addr
}

func (c addressed) RemoteAddr() net.Addr { return c.remote }

// eager is a connection that buffers what is written, as a network does: both ends
// of TLS may write at the same time.
type eager struct {
	net.Conn
	out  chan []byte
	once sync.Once
}

func newEager(c net.Conn) *eager {
	e := &eager{Conn: c, out: make(chan []byte, 1000)}
	go func() {
		for b := range e.out {
			c.Write(b)
		}
	}()
	return e
}

func (e *eager) Write(b []byte) (int, error) {
	e.out <- slices.Clone(b)
	return len(b), nil
}

func (e *eager) Close() error {
	err := e.Conn.Close()
	e.once.Do(func() { close(e.out) })
	return err
}

// startHTTPInMemory opens a source inside a synctest bubble.
func startHTTPInMemory(t *testing.T, set func(*HTTPServer)) *httpRig {
	t.Helper()
	return startHTTPInMemoryLogged(t, slog.New(slog.DiscardHandler), set)
}

func startHTTPInMemoryLogged(t *testing.T, log *slog.Logger, set func(*HTTPServer)) *httpRig {
	t.Helper()
	l := &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	s := newHTTPServer(t, set)
	var secure *web.Certificates
	var err error
	if s.TLS != nil {
		if secure, err = s.TLS.Open("h2", "http/1.1"); err != nil {
			t.Fatal(err)
		}
	}
	if s.origins, err = newOrigins(s.ClientHeader, s.TrustedProxies); err != nil {
		t.Fatal(err)
	}
	env := pipetest.Env()
	env.Log = log
	s.serve(l, secure, env)
	r := newHTTPRig(t, s, l.dial)
	r.dialFrom = l.dialFrom
	return r
}

func newHTTPRig(t *testing.T, s *HTTPServer, dial func(context.Context) (net.Conn, error)) *httpRig {
	transport := &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		MaxIdleConnsPerHost: 2000, DisableCompression: true,
	}
	r := &httpRig{t: t, src: s, url: "http://source" + s.Path, dial: dial,
		client: &http.Client{Transport: transport}, ledger: pipe.NewLedger(pipe.Window{}, s)}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		transport.CloseIdleConnections()
		if in, waiting, _ := s.gate.load(); in != 0 || waiting != 0 {
			t.Errorf("at the end %d requests are inside and %d wait, want none", in, waiting)
		}
		if known, open, conns := s.clients.load(); open != 0 || conns != 0 || s.PerClient.Rate == 0 && known != 0 {
			t.Errorf("at the end %d clients are known with %d requests and %d connections, want none", known, open, conns)
		}
		if n := handlers(s); n != 0 {
			t.Errorf("at the end %d handlers are counted, want none", n)
		}
		if tally := r.ledger.Tally(); tally.OpenEvents != 0 {
			t.Errorf("the test left events open: %+v", tally)
		}
	})
	return r
}

// read calls Read once, as the engine would.
func (r *httpRig) read(ctx context.Context) ([]*pipe.Event, error) {
	var b pipe.Batch
	r.mu.Lock()
	r.seq++
	b.Reset(r.ledger, "in", r.seq)
	r.mu.Unlock()
	err := r.src.Read(ctx, &b)
	events, failed, g := b.Take(time.Now())
	if len(failed) > 0 {
		r.t.Errorf("%d events failed, want none ever: a request is refused instead", len(failed))
	}
	if err != nil {
		return nil, err
	}
	r.ledger.Count(g)
	pipe.SettleEmpty(g)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		r.got = append(r.got, string(e.Body.AppendText(nil)))
		var meta []string
		e.RangeMeta(func(k, v string) bool {
			if k == requestIDKey {
				r.ids = append(r.ids, v)
			} else {
				meta = append(meta, k+"="+v)
			}
			return true
		})
		slices.Sort(meta)
		r.meta = append(r.meta, strings.Join(meta, " "))
	}
	return slices.Clone(events), nil
}

// run reads and settles everything until stop is called.
func (r *httpRig) run(outcome pipe.Outcome) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for {
			events, err := r.read(ctx)
			if err != nil {
				return
			}
			pipe.Settle(events, outcome)
		}
	})
	return func() { cancel(); done.Wait() }
}

type httpAnswer struct {
	code   int
	header http.Header
	text   string
	err    error
}

func (r *httpRig) send(req *http.Request) httpAnswer {
	resp, err := r.client.Do(req)
	if err != nil {
		return httpAnswer{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return httpAnswer{resp.StatusCode, resp.Header, string(text), err}
}

func (r *httpRig) post(body string, headers ...string) httpAnswer {
	req, err := http.NewRequest("POST", r.url, strings.NewReader(body))
	if err != nil {
		r.t.Error(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return r.send(req)
}

// postLater posts in the background.
func (r *httpRig) postLater(body string, headers ...string) <-chan httpAnswer {
	c := make(chan httpAnswer, 1)
	go func() { c <- r.post(body, headers...) }()
	return c
}

// as returns a rig whose requests come from another address, over connections of
// their own.
func (r *httpRig) as(addr string) *httpRig {
	transport := &http.Transport{MaxIdleConnsPerHost: 2000, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return r.dialFrom(ctx, addr) }}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &httpRig{t: r.t, src: r.src, url: r.url, client: &http.Client{Transport: transport}}
}

func (r *httpRig) want(got httpAnswer, code int, text string) {
	r.t.Helper()
	if got.err != nil || got.code != code || !strings.Contains(got.text, text) {
		r.t.Errorf("got %d %s (%v), want %d with %q", got.code, got.text, got.err, code, text)
	}
}

func gzipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return b.String()
}

func zstded(text string) string {
	z, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	defer z.Close()
	return string(z.EncodeAll([]byte(text), nil))
}

// waiting returns how many posts nobody has taken.
func (q *inbox) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.queue)
}

// handlers returns how many requests are being answered.
func handlers(s *HTTPServer) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serving
}
