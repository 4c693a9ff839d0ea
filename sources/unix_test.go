package sources

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// socketPath returns a path for a socket file that is short enough everywhere.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pipectl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "in.sock")
}

func newUnix(t testing.TB, path string, set func(*Unix)) *Unix {
	t.Helper()
	return freshSource(t, "unix", func(s *Unix) {
		s.Path = path
		if set != nil {
			set(s)
		}
	})
}

func unixAddr(socket, path string) net.Addr {
	network := map[string]string{socketStream: "unix", socketDatagram: "unixgram"}[socket]
	return &net.UnixAddr{Name: path, Net: network}
}

func TestUnix(t *testing.T) {
	for _, socket := range []string{socketStream, socketDatagram} {
		t.Run(socket, func(t *testing.T) {
			path := socketPath(t)
			want := make([]string, 300)
			for i := range want {
				want[i] = fmt.Sprintf("line %d", i)
			}
			pipetest.Source(t, func() pipe.Source { return newUnix(t, path, func(s *Unix) { s.Socket = socket }) }, pipetest.SourceOptions{
				Want: want, Endless: true, Unstable: true,
				Feed: func(src pipe.Source) {
					c, err := net.Dial(unixAddr(socket, path).Network(), path)
					if err != nil {
						t.Fatal(err)
					}
					go func() {
						defer c.Close()
						for _, line := range want {
							if _, err := c.Write([]byte(line + "\n")); err != nil {
								return // the source is gone
							}
						}
					}()
				},
			})
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket file is left: %v", err)
			}
		})
	}
}

// While nobody reads, senders wait: those of datagrams too.
func TestUnixPressure(t *testing.T) {
	for _, socket := range []string{socketStream, socketDatagram} {
		path := socketPath(t)
		s := newUnix(t, path, func(s *Unix) { s.Socket = socket })
		startNet(t, s)
		c := connect(t, unixAddr(socket, path))
		c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		line := []byte(strings.Repeat("x", 1000) + "\n")
		var err error
		sent := 0
		for ; err == nil && sent < 64<<20; sent += len(line) {
			_, err = c.Write(line)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %d bytes were taken that nobody read: %v", socket, sent, err)
		}
	}
}

func TestUnixMode(t *testing.T) {
	for _, socket := range []string{socketStream, socketDatagram} {
		path := socketPath(t)
		r := startNet(t, newUnix(t, path, func(s *Unix) { s.Socket, s.Mode = socket, "0622" }))
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != os.ModeSocket|0o622 {
			t.Errorf("%s: got %v, %v", socket, info.Mode(), err)
		}
		say(t, connect(t, unixAddr(socket, path)), "a\n")
		r.want("a")
	}
}

// A socket that was left behind is removed, and nothing else.
func TestUnixStale(t *testing.T) {
	f := func(name, want string, prepare func(path string)) {
		t.Helper()
		for _, socket := range []string{socketStream, socketDatagram} {
			path := socketPath(t)
			prepare(path)
			s := newUnix(t, path, func(s *Unix) { s.Socket = socket })
			err := s.Open(t.Context(), pipetest.Env())
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s, %s: got %v, want %q", name, socket, err, want)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(path); want != "" && err != nil {
				t.Errorf("%s, %s: the file is gone: %v", name, socket, err)
			}
		}
	}
	keep := func(path, network string) {
		if network == "unix" {
			ln, err := net.ListenUnix(network, &net.UnixAddr{Name: path, Net: network})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ln.Close() })
			return
		}
		c, err := net.ListenUnixgram(network, &net.UnixAddr{Name: path, Net: network})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	f("nothing", "", func(string) {})
	f("stale", "", func(path string) {
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		ln.SetUnlinkOnClose(false)
		ln.Close()
	})
	f("stale datagrams", "", func(path string) {
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		c.Close() // leaves its file
	})
	f("live", "another process listens there", func(path string) { keep(path, "unix") })
	f("live datagrams", "another process listens there", func(path string) { keep(path, "unixgram") })
	f("file", "no socket", func(path string) {
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	missing := newUnix(t, filepath.Join(filepath.Dir(socketPath(t)), "none", "in.sock"), nil)
	if err := missing.Open(t.Context(), pipetest.Env()); err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("no folder: got %v", err)
	}
}

// The file of another source that has come meanwhile is not removed.
func TestUnixLeavesTheNext(t *testing.T) {
	path := socketPath(t)
	first := newUnix(t, path, nil)
	startNet(t, first)
	os.Remove(path)
	r := startNet(t, newUnix(t, path, nil))
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	say(t, connect(t, unixAddr(socketStream, path)), "a\n")
	r.want("a")
}

func TestUnixValidate(t *testing.T) {
	f := func(set func(*Unix), want string) {
		t.Helper()
		c, _ := pipe.Lookup(pipe.KindSource, "unix")
		s := c.New().(*Unix)
		s.Path = "/x"
		set(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f(func(s *Unix) { s.Path = strings.Repeat("x", 101) }, "path: a path of 101 bytes is too long for a socket")
	f(func(s *Unix) { s.Mode = "rw" }, `mode: "rw" is no permission: write it in octal`)
	f(func(s *Unix) { s.Mode = "1777" }, "mode: ")
	f(func(s *Unix) { s.Socket, s.Framing = socketDatagram, codec.FramingU16 }, "framing: a datagram is a message")
	f(func(s *Unix) { s.IdleTimeout = -1 }, "idle_timeout: ")
	f(func(s *Unix) { s.Codec = codec.CSV() }, "codec.header: ")
}
