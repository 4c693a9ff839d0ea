package sources

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func newUDP(t testing.TB, set func(*UDP)) *UDP {
	t.Helper()
	return freshSource(t, "udp", func(s *UDP) {
		s.Listen, s.ReadBuffer = "127.0.0.1:0", 0
		if set != nil {
			set(s)
		}
	})
}

func TestUDP(t *testing.T) {
	want := make([]string, 100)
	for i := range want {
		want[i] = fmt.Sprintf("datagram %d", i)
	}
	pipetest.Source(t, func() pipe.Source { return newUDP(t, nil) }, pipetest.SourceOptions{
		Want: want, Endless: true, Unstable: true,
		Feed: func(src pipe.Source) {
			c := connect(t, src.(*UDP).Addr())
			for _, line := range want {
				say(t, c, line)
			}
		},
		Taken: func(src pipe.Source) int64 { return src.(*UDP).server.taken.Load() }, MaxAhead: aheadDatagrams * 100,
	})
}

func TestUDPDatagrams(t *testing.T) {
	s := newUDP(t, func(s *UDP) { s.MaxDatagram = 100 })
	r := startNet(t, s)
	c := connect(t, s.Addr())
	say(t, c, "a\n")
	say(t, c, "")
	say(t, c, "b\nc\n")
	r.want("a", "", "b", "c")
	say(t, c, strings.Repeat("x", 100))
	r.want(strings.Repeat("x", 100))
	say(t, c, strings.Repeat("x", 101))
	r.fails("from "+c.LocalAddr().String(), "datagram is larger than max_datagram (100B)")
	other := connect(t, s.Addr())
	say(t, c, "from c")
	say(t, other, "from other")
	for range 2 {
		all, err := r.p.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			want := map[string]net.Addr{"from c": c.LocalAddr(), "from other": other.LocalAddr()}[e.Text].String()
			if got, _ := e.Event.Meta(metaPeer); got != want {
				t.Errorf("%s has peer %s, want %s", e.Text, got, want)
			}
		}
		r.p.Settle(all, pipe.Delivered)
		if len(all) == 2 {
			break
		}
	}
}

// The largest datagram that there is arrives whole.
func TestUDPLargest(t *testing.T) {
	s := newUDP(t, func(s *UDP) { s.Codec = codec.Raw() })
	r := startNet(t, s)
	large := strings.Repeat("0123456\n", maxUDP/8)
	say(t, connect(t, s.Addr()), large)
	r.want(large)
}

// What the kernel drops while nobody reads is counted, and the log says it.
func TestUDPDrops(t *testing.T) {
	s := newUDP(t, func(s *UDP) { s.ReadBuffer = 16 << 10 })
	r := startNet(t, s)
	if _, known := kernelDrops(s.conn); !known {
		if runtime.GOOS == "linux" {
			t.Error("linux should tell its drops")
		}
		if got := s.Rejected(); got != nil {
			t.Errorf("got %v where nothing is known", got)
		}
		t.Skip("this system does not tell its drops")
	}
	if got := s.Rejected()["kernel_drop"]; got != 0 {
		t.Errorf("%d drops before there was a datagram", got)
	}
	const sent = 5000
	c := connect(t, s.Addr())
	for i := range sent {
		say(t, c, fmt.Sprintf("%d %s", i, strings.Repeat("x", 500)))
	}
	dropped := s.Rejected()["kernel_drop"]
	if dropped == 0 {
		t.Fatal("nothing was dropped")
	}
	got := len(r.take(sent - int(dropped)))
	if again := s.Rejected()["kernel_drop"]; again != dropped {
		t.Errorf("%d drops, then %d without a datagram", dropped, again)
	}
	if got+int(dropped) != sent {
		t.Errorf("%d came and %d were dropped of %d", got, dropped, sent)
	}
	r.says("the kernel dropped datagrams")
	r.p.Close()
	if again := s.Rejected()["kernel_drop"]; again != dropped {
		t.Errorf("%d drops, %d after the end", dropped, again)
	}
}

func TestUDPReadBuffer(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only linux tells what it gave")
	}
	r := startNet(t, newUDP(t, func(s *UDP) { s.ReadBuffer = 1 << 30 }))
	r.says(`the kernel gave a smaller receive buffer than read_buffer: bursts are lost sooner`)
	var log logged
	u := newUDP(t, func(s *UDP) { s.ReadBuffer = 64 << 10 })
	env := pipetest.Env()
	env.Log = log.at(slog.LevelWarn)
	if err := u.Open(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	defer u.Close(t.Context())
	if got := log.lines(); len(got) > 0 {
		t.Errorf("a buffer that the kernel gives is no reason to warn: %q", got)
	}
	if n, known := receiveBuffer(u.conn); !known || n < 64<<10 {
		t.Errorf("the buffer has %d bytes (known: %t), want 64 KiB", n, known)
	}
}

// The kernel's count begins again after 2^32.
func TestDropCountWraps(t *testing.T) {
	u := newUDP(t, nil)
	startNet(t, u)
	if _, known := kernelDrops(u.conn); !known {
		t.Skip("this system does not tell its drops")
	}
	u.drops.mu.Lock()
	u.drops.last = 1<<32 - 5 // the kernel says 0
	u.drops.mu.Unlock()
	if got := u.Rejected()["kernel_drop"]; got != 5 {
		t.Errorf("got %d, want 5", got)
	}
}

// A drain hands on what was read ahead, and says what nobody takes.
func TestUDPDrain(t *testing.T) {
	s := newUDP(t, nil)
	r := startNet(t, s)
	c := connect(t, s.Addr())
	for i := range 3 {
		say(t, c, fmt.Sprint(i))
	}
	for s.server.taken.Load() < 3 {
		time.Sleep(time.Millisecond) // there is nobody to ask but the counter
	}
	s.Drain()
	r.want("0", "1", "2")
	r.p.Close()

	s = newUDP(t, nil)
	r = startNet(t, s)
	say(t, connect(t, s.Addr()), "lost")
	for s.server.taken.Load() < 4 {
		time.Sleep(time.Millisecond)
	}
	r.p.Close()
	r.says("they are lost\" datagrams=1")
}

// A source that is drained while it waits goes on waiting: it has not failed.
func TestDrainWhileWaiting(t *testing.T) {
	f := func(s pipe.Source) {
		t.Helper()
		r := startNet(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := r.p.Read(ctx)
			done <- err
		}()
		s.(pipe.Drainer).Drain()
		select {
		case err := <-done:
			t.Errorf("%T: the drain ended the read: %v", s, err)
			cancel()
			return
		case <-time.After(30 * time.Millisecond): // nothing must happen
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%T: got %v", s, err)
		}
		r.p.Close()
	}
	f(newUDP(t, nil))
	f(newTCP(t, nil))
	f(newUnix(t, socketPath(t), nil))
	f(newUnix(t, socketPath(t), func(s *Unix) { s.Socket = socketDatagram }))
	f(newSyslog(t, nil))
}

// Memory is used again, and what was handed on is not written over.
func TestUDPMemory(t *testing.T) {
	s := newUDP(t, func(s *UDP) { s.MaxDatagram = 1000 })
	r := startNet(t, s)
	c := connect(t, s.Addr())
	var open []pipetest.Pulled
	var want []string
	for i := range 3000 {
		line := fmt.Sprintf("%d %s", i, strings.Repeat(string(rune('a'+i%26)), i%900))
		say(t, c, line)
		want = append(want, line)
		for len(open)+len(r.texts) <= i {
			all, err := r.p.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, all...)
		}
	}
	var got []string
	for _, e := range open {
		got = append(got, string(e.Event.Body.AppendText(nil)))
	}
	if !slices.Equal(got, want) {
		t.Error("what was read has changed")
	}
	r.p.Settle(open, pipe.Delivered)
}

func TestUDPValidate(t *testing.T) {
	f := func(set func(*UDP), want string) {
		t.Helper()
		c, _ := pipe.Lookup(pipe.KindSource, "udp")
		s := c.New().(*UDP)
		set(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f(func(s *UDP) { s.Listen = "x" }, "listen: ")
	f(func(s *UDP) { s.MaxDatagram = 70000 }, "max_datagram: must be at most 65507")
	f(func(s *UDP) { s.Codec = codec.CSV() }, "codec.header: ")
}
