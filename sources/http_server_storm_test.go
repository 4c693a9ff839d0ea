package sources

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

var torture = os.Getenv("PIPECTL_TORTURE") != ""

// mob is many clients, of which none behaves.
type mob struct {
	r     *httpRig
	pool  *x509.CertPool          // nil: plain HTTP
	peers map[string]*http.Client // by address
	bomb  string

	mu        sync.Mutex // guards what follows
	delivered map[string]bool
	codes     map[int]int
}

// address is one of a few that clients come from.
func address() string { return fmt.Sprintf("127.0.0.%d", 2+rand.IntN(5)) }

func (m *mob) dialFrom(ctx context.Context, from string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	return d.DialContext(ctx, "tcp", m.r.src.Addr().String())
}

// dial opens a connection for HTTP/1 by hand. It does not say why it cannot: the
// source may close it at once.
func (m *mob) dial() net.Conn {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := m.dialFrom(ctx, address())
	if err != nil {
		return nil
	}
	c.SetDeadline(time.Now().Add(200 * time.Millisecond))
	if m.pool == nil {
		return c
	}
	s := tls.Client(c, &tls.Config{RootCAs: m.pool, ServerName: "source"})
	if s.HandshakeContext(ctx) != nil {
		c.Close()
		return nil
	}
	return s
}

// clients makes one client for each address, with HTTP/2 where there is TLS.
func (m *mob) clients() {
	m.peers = map[string]*http.Client{}
	for i := range 6 {
		from := fmt.Sprintf("127.0.0.%d", 2+i)
		tr := &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: 20 * time.Millisecond, ForceAttemptHTTP2: m.pool != nil,
			TLSClientConfig: &tls.Config{RootCAs: m.pool, ServerName: "source"},
			DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return m.dialFrom(ctx, from) }}
		m.r.t.Cleanup(tr.CloseIdleConnections)
		m.peers[from] = &http.Client{Transport: tr, Timeout: time.Second}
	}
}

// part sends what a client sends before something happens to it.
func (m *mob) part(text string) {
	c := m.dial()
	if c == nil {
		return
	}
	io.WriteString(c, text)
	time.Sleep(rand.N(4 * time.Millisecond))
	switch rand.IntN(3) {
	case 0:
		if tcp, ok := c.(*net.TCPConn); ok {
			tcp.SetLinger(0) // a reset
		}
	case 1: // it reads something and goes
		bufio.NewReader(c).ReadString('\n')
	}
	c.Close()
}

const postHead = "POST / HTTP/1.1\r\nHost: x\r\n"

// misbehave does one thing that a client may do.
func (m *mob) misbehave(name string) {
	body := fmt.Sprintf(`{"n":%q}`, name)
	whole := fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", postHead, len(body), body)
	switch rand.IntN(14) {
	default:
		m.post(body, 0)
	case 0: // impatient
		m.post(body, rand.N(8*time.Millisecond))
	case 1:
		m.post(body+"rubbish", 0)
	case 2:
		m.post(strings.Repeat(" ", 10001), 0)
	case 3:
		m.post(m.bomb, 0, "Content-Encoding", "gzip")
	case 4:
		m.post(body, 0, "Content-Encoding", "br")
	case 5:
		m.post(body, rand.N(20*time.Millisecond), "X-Forwarded-For", address()+", "+address())
	case 6:
		m.part(postHead[:rand.IntN(len(postHead))])
	case 7:
		m.part(whole[:len(whole)-1-rand.IntN(len(body))])
	case 8:
		m.part(whole + whole + whole) // one after another, without waiting
	case 9:
		m.part(postHead + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"n\":\r\nZZ\r\n")
	case 10:
		m.part(postHead + "Content-Length: 7\r\nExpect: 100-continue\r\n\r\n")
	case 11:
		m.part("GET /" + name + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
	}
}

// post sends a request and remembers the answer.
func (m *mob) post(body string, patience time.Duration, headers ...string) {
	ctx := context.Background()
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	url := "http://source/"
	if m.pool != nil {
		url = "https://source/"
	}
	var content io.Reader = strings.NewReader(body)
	if rand.IntN(2) == 0 {
		content = io.MultiReader(content) // does not tell its length
	}
	req, _ := http.NewRequestWithContext(ctx, "POST", url, content)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := m.peers[address()].Do(req)
	code := 0
	if err == nil {
		code = resp.StatusCode
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.codes[code]++
	if code == 200 && !m.delivered[body] {
		m.r.t.Errorf("%s was answered 200 and not delivered", body)
	}
}

// pipeline settles what is read, each event in its own way, until ctx ends.
func (m *mob) pipeline(ctx context.Context) {
	var settling sync.WaitGroup
	defer settling.Wait()
	for {
		events, err := m.r.read(ctx)
		if err != nil {
			return
		}
		for _, e := range events {
			o := pipe.Outcome(rand.IntN(int(pipe.Failed) + 1))
			if o.Acked() {
				m.mu.Lock()
				m.delivered[string(bytes.Clone(e.Body.AppendText(nil)))] = true
				m.mu.Unlock()
			}
			settling.Go(func() {
				time.Sleep(rand.N(12 * time.Millisecond))
				pipe.Settle([]*pipe.Event{e}, o)
			})
		}
	}
}

// TestHTTPServerCountersNeverLeak: whatever clients do, and however they go, in the
// end no place is taken, nobody waits, and no client has requests or connections.
func TestHTTPServerCountersNeverLeak(t *testing.T) {
	f := func(name string, secure bool) {
		t.Run(name, func(t *testing.T) {
			cert, key, pool := certificate(t)
			r := startHTTP(t, func(s *HTTPServer) {
				s.MaxConcurrent, s.MaxQueue, s.MaxWait, s.MaxBody = 4, 6, pipe.Duration(15*time.Millisecond), 10000
				s.AnswerTimeout, s.ReadTimeout, s.MaxConnections = pipe.Duration(10*time.Millisecond), pipe.Duration(100*time.Millisecond), 100
				s.PerClient = HTTPServerPerClient{MaxConcurrent: 3, MaxConnections: 12, Rate: 500, Burst: 50, MaxClients: 4}
				s.TrustedProxies = []string{"127.0.0.6"}
				if secure {
					s.TLS = &web.ServerTLS{Cert: cert, Key: key}
				}
			})
			m := &mob{r: r, bomb: gzipped(strings.Repeat(" ", 1<<20)), delivered: map[string]bool{}, codes: map[int]int{}}
			if secure {
				m.pool = pool
			}
			m.clients()
			m.rage(t, 0)
			m.settle(t)
			m.rage(t, 1) // the same again, with a drain in the middle
			m.settle(t)
			likely := []int{0, 200, 400, 413, 503}
			if torture {
				likely = append(likely, 415, 429, 500, 504)
			}
			for _, code := range likely {
				if m.codes[code] == 0 {
					t.Errorf("the storm brought no answer %d: %v", code, m.codes)
				}
			}
		})
	}
	f("plain", false)
	f("http2", true)
}

// rage lets all clients loose on a pipeline.
func (m *mob) rage(t *testing.T, round int) {
	times := 20
	switch {
	case torture:
		times = 1000
	case m.pool != nil: // handshakes are dear
		times = 8
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var clients, engine sync.WaitGroup
	engine.Go(func() { m.pipeline(ctx) })
	for n := range 16 {
		clients.Go(func() {
			for i := range times {
				m.misbehave(fmt.Sprintf("%d.%d.%d", round, n, i))
				if round == 1 && n == 0 && i == times/2 {
					m.r.src.Drain()
				}
			}
		})
	}
	clients.Wait()
	for i := 0; round == 0 && m.codes[200] == 0; i++ { // it still works, however slow the machine
		m.post(fmt.Sprintf(`{"n":"after.%d"}`, i), 0)
	}
	for _, c := range m.peers {
		c.CloseIdleConnections()
	}
	// Clients that went away early have left events in the pipeline.
	until(t, "everything is settled", func() bool { in, waiting, _ := m.r.src.gate.load(); return in+waiting == 0 })
	cancel()
	engine.Wait()
}

// settle waits until nothing is counted any more.
func (m *mob) settle(t *testing.T) {
	t.Helper()
	left := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if left = m.left(); left == "" {
			return
		}
	}
	t.Fatalf("still counted: %s", left)
}

// left says what is still counted.
func (m *mob) left() string {
	s := m.r.src
	in, waiting, peak := s.gate.load()
	_, open, conns := s.clients.load()
	serving := handlers(s)
	s.bodies.mu.Lock()
	bodies := len(s.bodies.open)
	s.bodies.mu.Unlock()
	if in|waiting|open|conns|serving|bodies|s.inbox.waiting() != 0 || peak > s.MaxConcurrent {
		return fmt.Sprintf("%d inside (peak %d), %d waiting, %d requests and %d connections of clients, %d handlers, %d bodies, %d to be read",
			in, peak, waiting, open, conns, serving, bodies, s.inbox.waiting())
	}
	return ""
}
