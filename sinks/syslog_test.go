package sinks

import (
	"bytes"
	"errors"
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
	"github.com/pipectl/pipectl/engine/syslog"
)

func newSyslog(t testing.TB, protocol, address string, set func(*Syslog)) *Syslog {
	t.Helper()
	return fresh(t, "syslog", func(s *Syslog) {
		s.Protocol, s.Address, s.Timezone, s.Hostname = protocol, address, "UTC", "here"
		if set != nil {
			set(s)
		}
	})
}

const syslogEvent = `{"timestamp":"2026-03-01T23:30:00Z","severity":"err","app_name":"app","message":"hello"}`

func TestSyslogDatagrams(t *testing.T) {
	for _, protocol := range []string{"udp", "unix_datagram"} {
		network, address := "udp", "127.0.0.1:0"
		if protocol == "unix_datagram" {
			network, address = "unixgram", filepath.Join(shortDir(t), "out.sock")
		}
		c := newCatcher(t, network, address)
		s := newSyslog(t, protocol, c.conn.LocalAddr().String(), func(s *Syslog) { s.MaxMessage = 480 })
		open(t, s)
		err := s.Write(t.Context(), batch(t, syslogEvent, `{"hostname":"a b"}`, strings.Repeat("x", 480)))
		var part *pipe.PartialError
		if !errors.As(err, &part) || len(part.Items) != 2 {
			t.Fatalf("%s: got %v", protocol, err)
		}
		wantError(t, part.Items[0].Err, pipe.Poison, `hostname: "a b" has a character`)
		wantError(t, part.Items[1].Err, pipe.Poison, "more than max_message (480B)")
		if got := c.all(1); len(got) != 1 || got[0] != "<11>1 2026-03-01T23:30:00Z here app - - - hello" {
			t.Errorf("%s: got %q", protocol, got)
		}
	}
}

func TestSyslogConnections(t *testing.T) {
	f := func(protocol string, framing codec.Framing, format syslog.Format, want string) {
		t.Helper()
		address := "127.0.0.1:0"
		if protocol == "unix" {
			address = filepath.Join(shortDir(t), "out.sock")
		}
		r := newReceiver(t, protocol, address)
		s := newSyslog(t, protocol, r.address, func(s *Syslog) { s.Framing, s.Format, s.MaxMessage = framing, format, 480 })
		open(t, s)
		err := s.Write(t.Context(), batch(t, syslogEvent, strings.Repeat("x", 480), "end\n"))
		var part *pipe.PartialError
		if !errors.As(err, &part) || part.Items[0].Index != 1 {
			t.Fatalf("got %v, want the second to fail", err)
		}
		if framing == codec.FramingLines {
			write(t, s, "end")
		}
		if got := strings.Join(r.got(1), "\n"); !strings.HasPrefix(got, want) {
			t.Errorf("%s %s: got %q, want %q", protocol, framing, got, want)
		}
	}
	f("tcp", codec.FramingOctetCounted, syslog.RFC5424, "47 <11>1 2026-03-01T23:30:00Z here app - - - hello")
	f("tcp", codec.FramingLines, syslog.RFC3164, "<11>Mar  1 23:30:00 here app: hello")
	f("unix", codec.FramingOctetCounted, syslog.RFC3164, "35 <11>Mar  1 23:30:00 here app: hello")
}

const rsyslogConf = `module(load="imtcp")
module(load="imudp")
input(type="imtcp" address="127.0.0.1" port="PORT")
input(type="imudp" address="127.0.0.1" port="PORT")
template(name="parts" type="string" string="%syslogfacility-text%|%syslogseverity-text%|%timereported:::date-rfc3339,date-utc%|%hostname%|%app-name%|%procid%|%msgid%|%structured-data%|%msg%\n")
action(type="omfile" file="OUT" template="parts")
`

// TestSyslogToRsyslog sends to rsyslog and reads what it has understood.
func TestSyslogToRsyslog(t *testing.T) {
	rsyslogd, err := exec.LookPath("rsyslogd")
	if err != nil {
		if rsyslogd = "/usr/sbin/rsyslogd"; exec.Command(rsyslogd, "-v").Run() != nil {
			t.Skip("rsyslogd is not installed on this machine")
		}
	}
	dir := shortDir(t)
	out := filepath.Join(dir, "out")
	free := func() string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		return port
	}
	port := free()
	conf := filepath.Join(dir, "conf")
	text := strings.NewReplacer("PORT", port, "OUT", out).Replace(rsyslogConf)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(rsyslogd, "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	event := `{"timestamp":"2026-03-01T23:30:00Z","facility":"local3","severity":"err","hostname":"web-1","app_name":"app","proc_id":"77","msg_id":"ID1","structured_data":{"a@1":{"x":"\"q\""}},"message":"hello %d"}`
	sent := 0
	send := func(protocol string, framing codec.Framing, format syslog.Format) {
		t.Helper()
		s := newSyslog(t, protocol, "127.0.0.1:"+port, func(s *Syslog) { s.Framing, s.Format = framing, format })
		open(t, s)
		sent++
		var err error
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) { // rsyslog says nothing when it is ready
			if err = s.Write(t.Context(), batch(t, fmt.Sprintf(event, sent))); err == nil || time.Now().After(end) {
				break
			}
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, said.String())
		}
	}
	send("tcp", codec.FramingOctetCounted, syslog.RFC5424)
	send("tcp", codec.FramingLines, syslog.RFC5424)
	send("tcp", codec.FramingOctetCounted, syslog.RFC3164)
	send("udp", codec.FramingOctetCounted, syslog.RFC5424)
	var got []byte
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && bytes.Count(got, []byte("\n")) < sent; time.Sleep(5 * time.Millisecond) {
		got, _ = os.ReadFile(out)
	}
	for _, want := range []string{
		`local3|err|2026-03-01T23:30:00.000000+00:00|web-1|app|77|ID1|[a@1 x="\"q\""]|hello 1`,
		`local3|err|2026-03-01T23:30:00.000000+00:00|web-1|app|77|ID1|[a@1 x="\"q\""]|hello 2`,
		`|web-1|app|77|-|-| hello 3`,
		`local3|err|2026-03-01T23:30:00.000000+00:00|web-1|app|77|ID1|[a@1 x="\"q\""]|hello 4`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("rsyslog has\n%s, want %s", got, want)
		}
	}
}
