package sources

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// BenchmarkTCP measures how fast messages of one connection come in, per message.
func BenchmarkTCP(b *testing.B) {
	s := newTCP(b, nil)
	benchStream(b, s, func() net.Addr { return s.Addr() }, strings.Repeat("x", 119)+"\n")
}

// BenchmarkSyslogTCP is BenchmarkTCP for syslog.
func BenchmarkSyslogTCP(b *testing.B) {
	s := newSyslog(b, func(s *Syslog) { s.Protocol = "tcp" })
	benchStream(b, s, func() net.Addr { return s.Addr() }, "<13>Jan  1 00:00:01 host app[12]: hello there this is a message of about the usual length, or a bit more than that\n")
}

func benchStream(b *testing.B, s pipe.Source, address func() net.Addr, line string) {
	if err := s.(pipe.Opener).Open(b.Context(), pipetest.Env()); err != nil {
		b.Fatal(err)
	}
	defer s.(pipe.Closer).Close(b.Context())
	c := connect(b, address())
	go io.Copy(c, &endless{text: strings.Repeat(line, 500)})
	ledger := pipe.NewLedger(pipe.Window{}, nil)
	var batch pipe.Batch
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for n := 0; n < b.N; {
		batch.Reset(ledger, "in", uint64(n))
		if err := s.Read(b.Context(), &batch); err != nil {
			b.Fatal(err)
		}
		events, _, g := batch.Take(time.Now())
		ledger.Count(g)
		n += len(events)
		pipe.Settle(events, pipe.Delivered)
	}
}

// endless repeats a text.
type endless struct {
	text string
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text[e.at:])
	e.at = (e.at + n) % len(e.text)
	return n, nil
}
