package sources

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
	"github.com/pipectl/pipectl/engine/syslog"
	"github.com/pipectl/pipectl/engine/web"
)

func newSyslog(t testing.TB, set func(*Syslog)) *Syslog {
	t.Helper()
	return freshSource(t, "syslog", func(s *Syslog) {
		s.Listen, s.ReadBuffer, s.Timezone, s.Year = "127.0.0.1:0", 0, "UTC", 2026
		if set != nil {
			set(s)
		}
	})
}

func TestSyslog(t *testing.T) {
	want := make([]string, 200)
	for i := range want {
		want[i] = fmt.Sprintf(`{"facility":"user","severity":"notice","timestamp":"2026-01-01T00:00:01Z","hostname":"h","app_name":"a","proc_id":"%d","message":"m"}`, i)
	}
	for _, protocol := range []string{"udp", "tcp", "unix", "unix_datagram"} {
		t.Run(protocol, func(t *testing.T) {
			pipetest.Source(t, func() pipe.Source {
				return newSyslog(t, func(s *Syslog) {
					if s.Protocol = protocol; s.file() {
						s.Listen = socketPath(t)
					}
				})
			}, pipetest.SourceOptions{
				Want: want, Endless: true, Unstable: true,
				Feed: func(src pipe.Source) {
					c := connect(t, addrOf(src.(*Syslog)))
					go func() {
						for i := range want {
							if _, err := fmt.Fprintf(c, "<13>Jan  1 00:00:01 h a[%d]: m\n", i); err != nil {
								return // the source is gone
							}
						}
					}()
				},
			})
		})
	}
}

// addrOf is where to connect to a source.
func addrOf(s *Syslog) net.Addr {
	switch s.Protocol {
	case "unix":
		return unixAddr(socketStream, s.Listen)
	case "unix_datagram":
		return unixAddr(socketDatagram, s.Listen)
	}
	return s.Addr()
}

// On one connection messages may be counted or not, one after the other.
func TestSyslogFraming(t *testing.T) {
	s := newSyslog(t, func(s *Syslog) { s.Protocol = "tcp" })
	r := startNet(t, s)
	c := connect(t, s.Addr())
	say(t, c, "<13>one\n8 <13>t\nwo<13>three\x0010 <14>four\n!<15>five\n")
	for _, want := range []string{"one", "t\\nwo", "three", "four\\n!", "five"} {
		if got := r.take(1)[0]; !strings.HasSuffix(got, `"message":"`+want+`"}`) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	say(t, c, "no priority\n<13>six\n")
	r.fails("from 127.0.0.1:", "syslog: byte 0: a priority such as <13> should be here")
	if got := r.take(1)[0]; !strings.HasSuffix(got, `"message":"six"}`) {
		t.Errorf("got %s after a failure", got)
	}
}

func TestSyslogValidate(t *testing.T) {
	f := func(set func(*Syslog), want string) {
		t.Helper()
		c, _ := pipe.Lookup(pipe.KindSource, "syslog")
		s := c.New().(*Syslog)
		set(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f(func(s *Syslog) { s.Listen = "/dev/log" }, "listen: ")
	f(func(s *Syslog) { s.Protocol, s.Listen = "unix", "in.sock" }, `listen: "in.sock" is not an absolute path`)
	f(func(s *Syslog) { s.Mode = "0600" }, "mode: is for a socket file, not for protocol udp")
	f(func(s *Syslog) { s.Framing = codec.FramingLines }, "framing: a datagram is a message")
	f(func(s *Syslog) { s.TLS = &web.ServerTLS{} }, "tls: needs protocol tcp, got udp")
	f(func(s *Syslog) { s.Year = 12 }, "year: ")
	f(func(s *Syslog) { s.Timezone = "Mars/Base" }, `timezone: unknown time zone "Mars/Base"`)
	f(func(s *Syslog) { s.IdleTimeout = -1 }, "idle_timeout: ")
}

func TestSyslogTraits(t *testing.T) {
	f := func(protocol string, unpaused bool) {
		t.Helper()
		s := &Syslog{Protocol: protocol}
		if got := s.Traits(); got.Unpaused != unpaused || got.Replays || !strings.Contains(got.Why, protocol) {
			t.Errorf("%s: got %+v", protocol, got)
		}
	}
	f("udp", true)
	f("tcp", false)
	f("unix_datagram", false)
}

// program looks for a real peer; a machine without it skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path = filepath.Join("/usr/sbin", name); exec.Command(path, "-v").Run() != nil {
			t.Skipf("%s is not installed on this machine", name)
		}
	}
	return path
}

// must runs a program to its end.
func must(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// TestSyslogFromLogger takes what logger(1) of util-linux sends.
func TestSyslogFromLogger(t *testing.T) {
	logger := program(t, "logger")
	if out, _ := exec.Command(logger, "--version").CombinedOutput(); !bytes.Contains(out, []byte("util-linux")) {
		t.Skip("logger is not that of util-linux")
	}
	f := func(protocol string, format syslog.Format, args ...string) {
		t.Helper()
		s := newSyslog(t, func(s *Syslog) {
			s.Protocol, s.Format, s.Year, s.Timezone = protocol, format, 0, "local"
			if s.file() {
				s.Listen = socketPath(t)
			}
		})
		r := startNet(t, s)
		to := []string{"-u", s.Listen}
		if !s.file() {
			host, port, _ := net.SplitHostPort(s.Addr().String())
			to = []string{"-n", host, "-P", port, "--" + protocol}
		}
		args = append(append(to, args...), "-p", "local3.err", "-t", "some-app", "--id=77", "hello from logger")
		must(t, logger, args...)
		all, err := r.p.Read(t.Context())
		if err != nil || len(all) != 1 || all[0].Err != nil {
			t.Fatalf("%q: got %+v, %v", args, all, err)
		}
		body := all[0].Event.Body
		field := func(name string) string { v := body.Field(name); return v.String() }
		at, err := time.Parse(time.RFC3339, field("timestamp"))
		if err != nil || time.Since(at).Abs() > time.Minute {
			t.Errorf("%q: got the time %s: %v", args, field("timestamp"), err)
		}
		got := field("facility") + " " + field("severity") + " " + field("app_name") + " " + field("proc_id") + " " + field("message")
		if want := "local3 err some-app 77 hello from logger"; got != want {
			t.Errorf("%q: got %q, want %q of %s", args, got, want, all[0].Text)
		}
		r.p.Settle(all, pipe.Delivered)
		r.p.Close()
	}
	f("udp", syslog.Auto)
	f("udp", syslog.RFC5424, "--rfc5424")
	f("udp", syslog.Auto, "--rfc3164")
	f("tcp", syslog.Auto, "--rfc5424")
	f("tcp", syslog.Auto, "--rfc3164", "--octet-count")
	f("tcp", syslog.Auto, "--rfc5424", "--octet-count")
	f("unix_datagram", syslog.Auto)
	f("unix", syslog.Auto)
}

// TestSyslogFromRsyslog takes what rsyslog forwards over tcp, counted and not, in its
// own forward format and in RFC 5424.
func TestSyslogFromRsyslog(t *testing.T) {
	rsyslogd := program(t, "rsyslogd")
	f := func(protocol, template, framing string) {
		t.Helper()
		s := newSyslog(t, func(s *Syslog) { s.Protocol = protocol })
		r := startNet(t, s)
		dir := filepath.Dir(socketPath(t))
		in := filepath.Join(dir, "log")
		_, port, _ := net.SplitHostPort(s.Addr().String())
		action := fmt.Sprintf(`action(type="omfwd" target="127.0.0.1" port="%s" protocol="%s" template="%s"`, port, protocol, template)
		if framing != "" {
			action += fmt.Sprintf(` TCP_Framing="%s"`, framing)
		}
		conf := filepath.Join(dir, "conf")
		text := "module(load=\"imuxsock\" SysSock.Use=\"off\")\ninput(type=\"imuxsock\" Socket=\"" + in + "\" CreatePath=\"off\")\n" + action + ")\n"
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(rsyslogd, "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { cmd.Process.Kill(); cmd.Wait() }()
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) { // it says nothing when it is ready
			if _, err := os.Lstat(in); err == nil {
				break
			}
			if time.Now().After(end) {
				t.Skipf("rsyslogd does not start here: %s", out.String())
			}
		}
		c, err := net.Dial("unixgram", in)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i := range 50 {
			fmt.Fprintf(c, "<13>Jan  1 00:00:01 app[%d]: message %d", i, i)
		}
		for i, got := range r.take(50) {
			for _, part := range []string{`"facility":"user","severity":"notice"`, `"app_name":"app"`, fmt.Sprintf(`"proc_id":"%d"`, i), fmt.Sprintf(`message %d"}`, i), `"hostname":`, `"timestamp":"20`} {
				if !strings.Contains(got, part) {
					t.Fatalf("%s %s: message %d is %s, want it to have %s", protocol, template, i, got, part)
				}
			}
		}
		r.p.Close()
	}
	f("udp", "RSYSLOG_ForwardFormat", "")
	f("tcp", "RSYSLOG_ForwardFormat", "traditional")
	f("tcp", "RSYSLOG_TraditionalForwardFormat", "octet-counted")
	f("tcp", "RSYSLOG_SyslogProtocol23Format", "octet-counted")
}

// TestTCPFromNetcat takes what nc sends.
func TestTCPFromNetcat(t *testing.T) {
	nc := program(t, "nc")
	s := newTCP(t, nil)
	r := startNet(t, s)
	host, port, _ := net.SplitHostPort(s.Addr().String())
	cmd := exec.Command(nc, "-w", "2", host, port)
	cmd.Stdin = strings.NewReader("one\ntwo")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	r.want("one")
	cmd.Process.Kill()
	r.want("two")
}
