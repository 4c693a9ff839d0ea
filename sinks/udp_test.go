package sinks

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
	"github.com/pipectl/pipectl/engine/record"
)

// catcher keeps the datagrams that it gets.
type catcher struct {
	conn net.PacketConn

	mu   sync.Mutex // guards what follows
	got  []string
	done sync.WaitGroup
}

func newCatcher(t testing.TB, network, address string) *catcher {
	t.Helper()
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	c := &catcher{conn: conn}
	if b, ok := conn.(interface{ SetReadBuffer(int) error }); ok {
		b.SetReadBuffer(1 << 20)
	}
	c.done.Go(func() {
		buf := make([]byte, 1<<20)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			c.mu.Lock()
			c.got = append(c.got, string(buf[:n]))
			c.mu.Unlock()
		}
	})
	t.Cleanup(c.close)
	return c
}

func (c *catcher) close() {
	c.conn.Close()
	c.done.Wait()
}

func (c *catcher) all(n int) []string {
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		got := slices.Clone(c.got)
		c.mu.Unlock()
		if len(got) >= n || time.Now().After(end) {
			return got
		}
	}
}

func TestUDP(t *testing.T) {
	var mu sync.Mutex
	catchers := map[pipe.Sink]*catcher{}
	pipetest.Sink(t, pipetest.SinkCase{
		New: func(t *testing.T) pipe.Sink {
			if strings.Contains(t.Name(), "large_events") {
				t.Skip("an event of 1 MiB is none for a datagram: see TestUDPTooLarge")
			}
			c := newCatcher(t, "udp", "127.0.0.1:0")
			s := fresh(t, "udp", func(s *UDP) { s.Address, s.Codec = c.conn.LocalAddr().String(), codec.Lines() })
			mu.Lock()
			defer mu.Unlock()
			catchers[s] = c
			return s
		},
		Written: func(t *testing.T, s pipe.Sink) []string {
			mu.Lock()
			c := catchers[s]
			mu.Unlock()
			last := -1
			for {
				time.Sleep(50 * time.Millisecond) // a confirmed datagram is only on the way
				if got := c.all(0); len(got) == last {
					return got
				} else {
					last = len(got)
				}
			}
		},
		Poison: func() record.Body { return record.FromText(make([]byte, maxUDP+1)) },
	})
}

// What is too large fails, and nothing of it is sent.
func TestUDPTooLarge(t *testing.T) {
	c := newCatcher(t, "udp", "127.0.0.1:0")
	f := func(max pipe.Size, size int, want string) {
		t.Helper()
		s := fresh(t, "udp", func(s *UDP) { s.Address, s.Codec, s.MaxDatagram = c.conn.LocalAddr().String(), codec.Lines(), max })
		open(t, s)
		err := s.Write(t.Context(), batch(t, "before", strings.Repeat("x", size), "after"))
		var part *pipe.PartialError
		switch {
		case want == "" && err != nil:
			t.Errorf("%d bytes of %d: %v", size, max, err)
		case want != "" && (!errors.As(err, &part) || len(part.Items) != 1 || part.Items[0].Index != 1):
			t.Errorf("%d bytes of %d: got %v", size, max, err)
		case want != "":
			wantError(t, part.Items[0].Err, pipe.Poison, want)
		}
	}
	f(100, 100, "")
	f(100, 101, "the event makes a message of 101 bytes, more than max_datagram (100B)")
	f(maxUDP, maxUDP, "")
	f(maxUDP, maxUDP+1, "more than max_datagram")
	for i, got := range c.all(10) {
		if want := len(got); got != "before" && got != "after" && want != 100 && want != maxUDP {
			t.Errorf("datagram %d has %d bytes", i, len(got))
		}
	}
}

// When nobody listens the kernel says so at the next datagram: that one is not sent.
func TestUDPRefused(t *testing.T) {
	c := newCatcher(t, "udp", "127.0.0.1:0")
	address := c.conn.LocalAddr().String()
	c.close()
	s := fresh(t, "udp", func(s *UDP) { s.Address, s.Codec = address, codec.Lines() })
	open(t, s)
	var err error
	for end := time.Now().Add(3 * time.Second); err == nil && time.Now().Before(end); time.Sleep(time.Millisecond) {
		err = s.Write(t.Context(), batch(t, "x"))
	}
	wantError(t, err, pipe.Retryable, "udp "+address+": connection refused")
	again := newCatcher(t, "udp", address)
	write(t, s, "y")
	if got := again.all(1); !slices.Equal(got, []string{"y"}) {
		t.Errorf("got %q", got)
	}
}

func TestUnix(t *testing.T) {
	streamCase(t, "unix", func(r *receiver) *Unix {
		return fresh(t, "unix", func(s *Unix) { s.Path, s.Codec = r.address, codec.Lines() })
	}, func(s *Unix) *streamSink { return &s.stream })
}

// Datagrams to a program wait for it, and begin anew when it does.
func TestUnixDatagrams(t *testing.T) {
	path := filepath.Join(shortDir(t), "out.sock")
	s := fresh(t, "unix", func(s *Unix) { s.Path, s.Socket, s.Codec = path, socketDatagram, codec.Lines() })
	open(t, s)
	wantError(t, s.Write(t.Context(), batch(t, "x")), pipe.Retryable, "unixgram "+path+": ", "no such file")
	c := newCatcher(t, "unixgram", path)
	write(t, s, "one", "two\nlines", "")
	if got := c.all(3); !slices.Equal(got, []string{"one", "two\nlines", ""}) {
		t.Errorf("got %q", got)
	}
	c.close()
	wantError(t, s.Write(t.Context(), batch(t, "x")), pipe.Retryable, "unixgram "+path+": ")
	os.Remove(path)
	c = newCatcher(t, "unixgram", path)
	write(t, s, "three")
	if got := c.all(1); !slices.Equal(got, []string{"three"}) {
		t.Errorf("got %q", got)
	}
	err := s.Write(t.Context(), batch(t, "a", strings.Repeat("x", 8<<20), "b"))
	var part *pipe.PartialError
	if !errors.As(err, &part) || len(part.Items) != 1 || part.Items[0].Index != 1 {
		t.Fatalf("got %v", err)
	}
	wantError(t, part.Items[0].Err, pipe.Poison, "more than the system sends in one datagram")
}

// A program that does not read makes the sink wait, and what it had taken counts.
func TestUnixDatagramsWait(t *testing.T) {
	path := filepath.Join(shortDir(t), "out.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := fresh(t, "unix", func(s *Unix) { s.Path, s.Socket, s.Codec = path, socketDatagram, codec.Lines() })
	open(t, s)
	lines := make([]string, 5000)
	for i := range lines {
		lines[i] = strings.Repeat("x", 200)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = s.Write(ctx, batch(t, lines...))
	var part *pipe.PartialError
	if !errors.As(err, &part) {
		t.Fatalf("got %v, want some of them written", err)
	}
	taken := 0
	conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	for buf := make([]byte, 1000); ; taken++ {
		if _, err := conn.Read(buf); err != nil {
			break
		}
	}
	if failed := len(part.Items); failed+taken != len(lines) || taken == 0 {
		t.Errorf("%d failed and %d arrived of %d", failed, taken, len(lines))
	}
	if !errors.Is(part.Items[0].Err, context.DeadlineExceeded) {
		t.Errorf("got %v", part.Items[0].Err)
	}
}

func TestUDPValidate(t *testing.T) {
	f := func(kind string, set func(any), want string) {
		t.Helper()
		c, _ := pipe.Lookup(pipe.KindSink, kind)
		s := c.New()
		set(s)
		if err := s.(pipe.Validator).Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("udp", func(s any) { s.(*UDP).Address = "x" }, "address: ")
	f("udp", func(s any) { s.(*UDP).Address, s.(*UDP).MaxDatagram = "h:1", 70000 }, "max_datagram: must be at most 65507")
	f("unix", func(s any) { s.(*Unix).Socket, s.(*Unix).Framing = socketDatagram, codec.FramingU16 }, "framing: a datagram is a message")
	f("unix", func(s any) { s.(*Unix).Socket, s.(*Unix).Connections = socketDatagram, 2 }, "connections: ")
	f("unix", func(s any) { s.(*Unix).Codec = codec.CSV() }, "codec.header: ")
	f("syslog", func(s any) { s.(*Syslog).Address = "x" }, "address: ")
	f("syslog", func(s any) { s.(*Syslog).Facility = "me" }, "facility: unknown facility me")
	f("syslog", func(s any) { s.(*Syslog).Severity = "loud" }, "severity: unknown severity loud")
	f("syslog", func(s any) { s.(*Syslog).Hostname = "a b" }, "hostname: ")
	f("syslog", func(s any) { s.(*Syslog).AppName = strings.Repeat("x", 49) }, "app_name: ")
	f("syslog", func(s any) { s.(*Syslog).Timezone = "Mars" }, "timezone: ")
	f("syslog", func(s any) { s.(*Syslog).TLS = &TLS{} }, "tls: needs protocol tcp")
	f("syslog", func(s any) { s.(*Syslog).Framing = codec.FramingLines }, "framing: ")
	f("syslog", func(s any) { s.(*Syslog).MaxMessage = 70000 }, "max_message: must be at most 65507 over udp")
	f("syslog", func(s any) { s.(*Syslog).Protocol, s.(*Syslog).MaxMessage = "tcp", 1<<40 }, "max_message: must be below 2GiB")
	f("syslog", func(s any) { s.(*Syslog).KeepAlive = -1 }, "keep_alive: ")
	f("syslog", func(s any) { s.(*Syslog).Connections = 2 }, "connections: ")
}
