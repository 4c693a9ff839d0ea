package sinks

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// receiver is a server that keeps the lines that it gets.
type receiver struct {
	t       testing.TB
	network string
	address string
	secure  *tls.Config

	mu     sync.Mutex // guards what follows
	lines  []string
	conns  []net.Conn
	opened int
	ln     net.Listener
	gate   chan struct{} // nil, or open until nobody reads any more
	done   sync.WaitGroup
}

func newReceiver(t testing.TB, network, address string) *receiver {
	t.Helper()
	return startReceiver(&receiver{t: t, network: network, address: address})
}

func startReceiver(r *receiver) *receiver {
	r.t.Helper()
	r.listen()
	r.t.Cleanup(func() { r.down(); r.done.Wait() })
	return r
}

func (r *receiver) listen() {
	ln, err := net.Listen(r.network, r.address)
	if err != nil {
		r.t.Error(err)
		return
	}
	r.mu.Lock()
	r.ln, r.address = ln, ln.Addr().String()
	r.mu.Unlock()
	r.done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if b, ok := c.(*net.TCPConn); ok {
				b.SetReadBuffer(64 << 10) // so that a server that hangs shows soon
			}
			if r.secure != nil {
				c = tls.Server(c, r.secure)
			}
			r.mu.Lock()
			r.conns = append(r.conns, c)
			r.opened++
			r.mu.Unlock()
			r.done.Go(func() { r.serve(c) })
		}
	})
}

func (r *receiver) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		r.mu.Lock()
		gate := r.gate
		r.mu.Unlock()
		if gate != nil {
			<-gate
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return // what is unfinished does not count
		}
		r.mu.Lock()
		r.lines = append(r.lines, strings.TrimSuffix(line, "\n"))
		r.mu.Unlock()
	}
}

// got waits until n lines are there, or for a moment, and returns all.
func (r *receiver) got(n int) []string {
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		lines := append([]string(nil), r.lines...)
		r.mu.Unlock()
		if len(lines) >= n || time.Now().After(end) {
			return lines
		}
	}
}

// down closes the listener and its connections.
func (r *receiver) down() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ln.Close()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

// hang stops reading.
func (r *receiver) hang() (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate = make(chan struct{})
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		close(r.gate)
		r.gate = nil
	})
}

// noticed waits until the sink knows that its connections are gone.
func noticed(t testing.TB, s *streamSink) {
	t.Helper()
	for _, w := range s.all {
		if w.conn != nil {
			<-w.idle
		}
	}
}

// streamCase runs the suite on a sink of lines; stream returns its connections.
func streamCase[S pipe.Sink](t *testing.T, network string, make func(r *receiver) S, stream func(S) *streamSink) {
	var mu sync.Mutex
	receivers := map[pipe.Sink]*receiver{}
	of := func(s pipe.Sink) *receiver {
		mu.Lock()
		defer mu.Unlock()
		return receivers[s]
	}
	pipetest.Sink(t, pipetest.SinkCase{
		New: func(t *testing.T) pipe.Sink {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(shortDir(t), "out.sock")
			}
			r := newReceiver(t, network, address)
			s := make(r)
			mu.Lock()
			receivers[s] = r
			mu.Unlock()
			return s
		},
		Written: func(t *testing.T, s pipe.Sink) []string { return settled(of(s)) },
		Hang:    func(t *testing.T, s pipe.Sink) func() { return of(s).hang() },
		Break: func(t *testing.T, s pipe.Sink) func() {
			r := of(s)
			settled(r) // what was confirmed is only on the way
			r.down()
			noticed(t, stream(s.(S)))
			return sync.OnceFunc(r.listen)
		},
	})
}

// settled returns the lines once no more have come for a while: a sink that was
// confirmed nothing but the writing cannot say when they are there.
func settled(r *receiver) []string {
	last := -1
	for {
		time.Sleep(60 * time.Millisecond)
		lines := r.got(0)
		if len(lines) == last {
			return lines
		}
		last = len(lines)
	}
}

func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pipectl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestTCP(t *testing.T) {
	streamCase(t, "tcp", func(r *receiver) *TCP {
		return fresh(t, "tcp", func(s *TCP) { s.Address, s.Codec, s.SendBuffer = r.address, codec.Lines(), 64<<10 })
	}, func(s *TCP) *streamSink { return &s.stream })
}

func TestTCPConnections(t *testing.T) {
	r := newReceiver(t, "tcp", "127.0.0.1:0")
	s := fresh(t, "tcp", func(s *TCP) { s.Address, s.Connections = r.address, 3 })
	open(t, s)
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() { write(t, s, "a", "b") })
	}
	all.Wait()
	if got := r.got(60); len(got) != 60 {
		t.Errorf("%d lines are there, want 60", len(got))
	}
	if r.opened > 3 || s.MaxConcurrent() != 3 {
		t.Errorf("%d connections were made, at most 3 may be", r.opened)
	}
}

// After a break the whole batch is written again, to a new connection.
func TestTCPReconnects(t *testing.T) {
	r := newReceiver(t, "tcp", "127.0.0.1:0")
	s := fresh(t, "tcp", func(s *TCP) { s.Address, s.Codec = r.address, codec.Lines() })
	open(t, s)
	write(t, s, "one")
	r.got(1)
	r.down()
	noticed(t, &s.stream)
	wantError(t, s.Write(t.Context(), batch(t, "two")), pipe.Retryable, "tcp "+r.address+": ", "refused")
	r.listen()
	write(t, s, "two")
	if got := strings.Join(r.got(2), " "); got != "one two" {
		t.Errorf("got %q", got)
	}
}

// A write that is given up leaves a part of a message: the next one must not follow it.
func TestTCPCancelled(t *testing.T) {
	r := newReceiver(t, "tcp", "127.0.0.1:0")
	s := fresh(t, "tcp", func(s *TCP) { s.Address, s.Codec = r.address, codec.Lines() })
	open(t, s)
	release := r.hang()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := s.Write(ctx, batch(t, strings.Repeat("x", 64<<20)))
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 3*time.Second {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
	release()
	write(t, s, "whole")
	if got := r.got(1); len(got) != 1 || got[0] != "whole" {
		t.Errorf("got %.50q", got)
	}
}

func TestTCPFramings(t *testing.T) {
	f := func(framing codec.Framing, want string, failed ...int) {
		t.Helper()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		s := fresh(t, "tcp", func(s *TCP) { s.Address, s.Framing, s.Codec = ln.Addr().String(), framing, codec.Lines() })
		shut := open(t, s)
		err = s.Write(t.Context(), batch(t, "a", "b\nc", ""))
		shut()
		c, _ := ln.Accept()
		got, _ := io.ReadAll(c)
		c.Close()
		var part *pipe.PartialError
		if string(got) != want || (err != nil) != (failed != nil) || err != nil && (!errors.As(err, &part) || part.Items[0].Index != failed[0]) {
			t.Errorf("%s: got %q, %v, want %q", framing, got, err, want)
		}
	}
	f(codec.FramingLines, "a\n\n", 1)
	f(codec.FramingOctetCounted, "1 a3 b\nc0 ")
	f(codec.FramingU32, "\x00\x00\x00\x01a\x00\x00\x00\x03b\nc\x00\x00\x00\x00")
	f(codec.FramingU16, "\x00\x01a\x00\x03b\nc\x00\x00")
}

func TestTCPTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // only for its certificate
	defer web.Close()
	r := startReceiver(&receiver{t: t, network: "tcp", address: "127.0.0.1:0", secure: &tls.Config{Certificates: web.TLS.Certificates}})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	send := func(c *TLS) error {
		s := fresh(t, "tcp", func(s *TCP) { s.Address, s.TLS = r.address, c })
		defer open(t, s)()
		return s.Write(t.Context(), batch(t, "secret"))
	}
	if err := send(&TLS{CA: ca}); err != nil {
		t.Errorf("with its authority: %v", err)
	}
	if got := r.got(1); len(got) != 1 {
		t.Errorf("got %q", got)
	}
	wantError(t, send(&TLS{}), pipe.Retryable, "set tls.ca to the authority")
	wantError(t, send(&TLS{CA: ca, ServerName: "other.example"}), pipe.Retryable, "set tls.server_name")
	bad := fresh(t, "tcp", func(s *TCP) { s.Address, s.TLS = r.address, &TLS{CA: "/none"} })
	if err := bad.Open(t.Context(), pipetest.Env()); err == nil {
		t.Error("a missing ca is no error")
	}
}

func TestTCPValidate(t *testing.T) {
	f := func(set func(*TCP), want string) {
		t.Helper()
		c, _ := pipe.Lookup(pipe.KindSink, "tcp")
		s := c.New().(*TCP)
		s.Address = "h:1"
		set(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f(func(s *TCP) { s.Address = "h" }, `address: "h" is not an address: write host:port`)
	f(func(s *TCP) { s.Address = ":1" }, `address: ":1" is not an address`)
	f(func(s *TCP) { s.Address = "h:0" }, `address: "0" is not a port`)
	f(func(s *TCP) { s.KeepAlive = -1 }, "keep_alive: ")
	f(func(s *TCP) { s.Codec = codec.CSV() }, "codec.header: each event is a message of its own")
	f(func(s *TCP) { s.Codec = codec.CSV(); s.Codec.Header = false }, "codec.columns: ")
}

// TestTCPToNetcat writes to nc, which stops after its input has ended.
func TestTCPToNetcat(t *testing.T) {
	nc, err := exec.LookPath("nc")
	if err != nil {
		t.Skip("nc is not installed on this machine")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(nc, "-l", "127.0.0.1", port)
	cmd.Stdin = nil
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	s := fresh(t, "tcp", func(s *TCP) { s.Address, s.Codec = address, codec.Lines() })
	shut := open(t, s)
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if err = s.Write(t.Context(), batch(t, "to netcat", "again")); err == nil || time.Now().After(end) {
			break
		}
	}
	shut()
	got, _ := io.ReadAll(out)
	if err != nil || string(got) != "to netcat\nagain\n" {
		t.Errorf("nc got %q, %v", got, err)
	}
}
