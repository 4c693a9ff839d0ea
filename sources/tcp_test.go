package sources

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
	"github.com/pipectl/pipectl/engine/web"
)

func TestTCP(t *testing.T) {
	var want []string
	for i := range 600 {
		want = append(want, fmt.Sprintf("line %d %s", i, strings.Repeat("x", i)))
	}
	var clients []net.Conn
	t.Cleanup(func() {
		for _, c := range clients {
			c.Close()
		}
	})
	pipetest.Source(t, func() pipe.Source { return newTCP(t, nil) }, pipetest.SourceOptions{
		Want: want, Endless: true, Unstable: true,
		Feed: func(src pipe.Source) {
			c, err := net.Dial("tcp", src.(*TCP).Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			clients = append(clients, c)
			go c.Write([]byte(strings.Join(want, "\n") + "\n"))
		},
		Taken: func(src pipe.Source) int64 { return src.(*TCP).server.taken.Load() }, MaxAhead: 64 << 10,
	})
}

func TestTCPFramings(t *testing.T) {
	f := func(framing codec.Framing, c codec.Codec, in string, want ...string) {
		t.Helper()
		s := newTCP(t, func(s *TCP) { s.Framing, s.Codec = framing, c })
		r := startNet(t, s)
		say(t, connect(t, s.Addr()), in)
		r.want(want...)
		r.p.Close()
	}
	f(codec.FramingLines, codec.Lines(), "a\r\n\nb\n", "a", "", "b")
	f(codec.FramingOctetCounted, codec.Lines(), "3 a\nb0 1 c", "a", "b", "", "c")
	f(codec.FramingOctetCounted, codec.Raw(), "3 a\nb1 c", "a\nb", "c")
	f(codec.FramingU32, codec.JSON(), "\x00\x00\x00\x07{\"a\":1}\x00\x00\x00\x11[{\"b\":1},{\"c\":1}]", `{"a":1}`, `{"b":1}`, `{"c":1}`)
	f(codec.FramingU16, codec.JSON(), "\x00\x00\x00\x11[{\"b\":1},{\"c\":1}]", `{"b":1}`, `{"c":1}`)
}

// What is too large or broken fails, and the connection goes on.
func TestTCPFailures(t *testing.T) {
	s := newTCP(t, func(s *TCP) { s.Codec, s.MaxFrame = codec.NDJSON(), 20 })
	r := startNet(t, s)
	c := connect(t, s.Addr())
	say(t, c, strings.Repeat("x", 100_000)+"\n{\"a\":\n{\"b\":1}\n")
	r.fails("from 127.0.0.1:", "message is larger than max_frame (20B): 100000 bytes")
	r.fails("from 127.0.0.1:", "not a JSON object")
	r.want(`{"b":1}`)
	say(t, c, `{"c":1}`)
	c.(*net.TCPConn).CloseWrite()
	r.want(`{"c":1}`)
	closed(t, c)

	lost := newTCP(t, func(s *TCP) { s.Framing = codec.FramingOctetCounted })
	r = startNet(t, lost)
	c = connect(t, lost.Addr())
	say(t, c, "1 aGET / HTTP/1.1\r\n")
	r.want("a")
	r.fails("this does not begin as framing octet_counted does (\"GET / HTTP/1.1")
	closed(t, c)
	r.says("connection closed: it makes no sense as the framing")
}

func TestTCPPeer(t *testing.T) {
	s := newTCP(t, func(s *TCP) { s.Codec = codec.JSON() })
	r := startNet(t, s)
	few, many := connect(t, s.Addr()), connect(t, s.Addr())
	say(t, few, "{\"n\":1}\n")
	say(t, many, strings.Repeat("{\"n\":2}\n", 100)+"[{\"n\":2},{\"n\":2}]\n")
	for seen := 0; seen < 103; {
		all, err := r.p.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			want := few.LocalAddr().String()
			if e.Text == `{"n":2}` {
				want = many.LocalAddr().String()
			}
			if got, _ := e.Event.Meta(metaPeer); got != want {
				t.Fatalf("%s is from %q, want %q", e.Text, got, want)
			}
		}
		seen += len(all)
		r.p.Settle(all, pipe.Delivered)
	}
}

// While nobody reads, the window of the sender closes: it must wait, with all that
// it has to say beyond the buffers of the kernel.
func TestTCPPressure(t *testing.T) {
	s := newTCP(t, nil)
	r := startNet(t, s)
	c := connect(t, s.Addr()).(*net.TCPConn)
	line := []byte(strings.Repeat("x", 1023) + "\n")
	c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	sent := 0
	var err error
	for err == nil && sent < 64<<20 {
		var n int
		n, err = c.Write(line)
		sent += n
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the sender could write %d bytes that nobody took: %v", sent, err)
	}
	if got := s.server.taken.Load(); got > 64<<10 {
		t.Errorf("%d bytes were read ahead, at most 64 KiB may be", got)
	}
	c.SetWriteDeadline(time.Time{}) // and when somebody reads, all of it comes
	done := make(chan error, 1)
	go func() {
		_, err := c.Write(append(line[sent%len(line):], "end\n"...))
		done <- err
	}()
	whole := sent/len(line) + 1
	texts := r.take(whole + 1)
	if err := <-done; err != nil || texts[len(texts)-1] != "end" {
		t.Errorf("the last is %.20q of %d, %v", texts[len(texts)-1], len(texts), err)
	}
}

func TestTCPMaxConnections(t *testing.T) {
	s := newTCP(t, func(s *TCP) { s.MaxConnections = 2 })
	r := startNet(t, s)
	a, b, c := connect(t, s.Addr()), connect(t, s.Addr()), connect(t, s.Addr())
	say(t, a, "a\n")
	r.want("a")
	say(t, b, "b\n")
	r.want("b")
	say(t, c, "c\n") // the kernel has it
	r.says("max_connections is reached")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if all, err := r.p.Read(ctx); len(all) > 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third connection was accepted: %d events, %v", len(all), err)
	}
	a.Close()
	r.want("c")
}

func TestTCPIdle(t *testing.T) {
	s := newTCP(t, func(s *TCP) { s.IdleTimeout = pipe.Duration(50 * time.Millisecond) })
	r := startNet(t, s)
	c := connect(t, s.Addr())
	say(t, c, "a\nhalf")
	r.want("a")
	r.fails("the stream ended in the middle of a message, after 4 bytes")
	closed(t, c)
	r.says("idle_timeout is over")
}

// A drain ends what waits and hands on what was read.
func TestTCPDrain(t *testing.T) {
	s := newTCP(t, nil)
	r := startNet(t, s)
	idle := connect(t, s.Addr())
	say(t, idle, "a\n")
	r.want("a")
	busy := connect(t, s.Addr())
	say(t, busy, "b\n")
	for s.server.taken.Load() < 4 {
		time.Sleep(time.Millisecond) // until it was read, there is nobody to ask but the counter
	}
	s.Drain()
	closed(t, idle)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var got []string
	for len(got) == 0 {
		all, err := r.p.Read(ctx)
		for _, e := range all {
			got = append(got, e.Text)
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("read: %v", err)
		}
	}
	if !slices.Equal(got, []string{"b"}) {
		t.Errorf("got %q after the drain", got)
	}
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("a connection was accepted after the drain")
	}
}

// What nobody takes is said.
func TestTCPLost(t *testing.T) {
	s := newTCP(t, nil)
	r := startNet(t, s)
	say(t, connect(t, s.Addr()), "a\nb\n")
	for s.server.taken.Load() < 4 {
		time.Sleep(time.Millisecond)
	}
	r.p.Close()
	r.says(`msg="messages were read from connections that the pipeline did not take any more: they are lost" messages=2`)
}

func TestTCPTLS(t *testing.T) {
	cert, key, pool := certificate(t)
	s := newTCP(t, func(s *TCP) { s.TLS = &web.ServerTLS{Cert: cert, Key: key} })
	r := startNet(t, s)
	plain := connect(t, s.Addr())
	say(t, plain, "hello\n")
	c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{RootCAs: pool, ServerName: "source", NextProtos: []string{"syslog"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	say(t, c, "secret\n")
	r.want("secret")
	say(t, c, "half")
	c.Close()
	r.want("half")
}

// Many connections come and go; nothing of what they said is missing or changed.
func TestTCPStorm(t *testing.T) {
	const clients, lines = 40, 200
	s := newTCP(t, func(s *TCP) { s.MaxConnections = 7 })
	r := startNet(t, s)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			c, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for j := range lines {
				fmt.Fprintf(c, "%d %d %s\n", i, j, strings.Repeat("x", i*j%700))
			}
		})
	}
	got := r.take(clients * lines)
	all.Wait()
	next := make([]int, clients)
	for _, line := range got {
		var i, j int
		var rest string
		fmt.Sscanf(line, "%d %d %s", &i, &j, &rest)
		if j != next[i] || len(rest) != i*j%700 || strings.Trim(rest, "x") != "" {
			t.Fatalf("client %d: got %.40q, want line %d", i, line, next[i])
		}
		next[i]++
	}
	if len(r.errs) > 0 {
		t.Errorf("failures: %q", r.errs)
	}
}

func TestTCPValidate(t *testing.T) {
	f := func(set func(*TCP), want string) {
		t.Helper()
		c, _ := pipe.Lookup(pipe.KindSource, "tcp")
		s := c.New().(*TCP)
		set(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f(func(s *TCP) { s.Listen = "9000" }, `listen: "9000" is not an address: write host:port`)
	f(func(s *TCP) { s.Listen = ":http" }, `listen: "http" is not a port`)
	f(func(s *TCP) { s.IdleTimeout = -1 }, "idle_timeout: must not be below 0")
	f(func(s *TCP) { s.Codec = codec.CSV() }, "codec.header: each message is decoded on its own")
}

func TestTCPOpenErrors(t *testing.T) {
	first := newTCP(t, nil)
	startNet(t, first)
	second := newTCP(t, func(s *TCP) { s.Listen = first.Addr().String() })
	if err := second.Open(t.Context(), pipetest.Env()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
	if err := second.Close(t.Context()); err != nil {
		t.Error(err)
	}
	bad := newTCP(t, func(s *TCP) { s.TLS = &web.ServerTLS{Cert: "/none", Key: "/none"} })
	if err := bad.Open(t.Context(), pipetest.Env()); err == nil || !strings.Contains(err.Error(), "tls: cert") {
		t.Errorf("got %v", err)
	}
}
