package sources

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// freshSource returns a source of a registered type with its defaults, changed by set.
func freshSource[S any](t testing.TB, typ string, set func(S)) S {
	t.Helper()
	c, ok := pipe.Lookup(pipe.KindSource, typ)
	if !ok {
		t.Fatalf("no source %s is registered", typ)
	}
	s := c.New().(S)
	if set != nil {
		set(s)
	}
	if v, ok := any(s).(pipe.Validator); ok {
		if err := v.Validate(); err != nil {
			t.Fatalf("validate: %v", err)
		}
	}
	return s
}

func newTCP(t testing.TB, set func(*TCP)) *TCP {
	t.Helper()
	return freshSource(t, "tcp", func(s *TCP) {
		s.Listen = "127.0.0.1:0"
		if set != nil {
			set(s)
		}
	})
}

// netRig is an open source, whose events are collected in the background or not.
type netRig struct {
	t   *testing.T
	src pipe.Source
	log *logged
	p   *pipetest.Puller

	texts, errs []string // read and not looked at
}

// startNet opens src and checks at the end that it leaves nothing behind.
func startNet(t *testing.T, src pipe.Source) *netRig {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	r := &netRig{t: t, src: src, log: new(logged)}
	env := pipetest.Env()
	env.Log = r.log.at(slog.LevelInfo)
	if err := src.(pipe.Opener).Open(t.Context(), env); err != nil {
		t.Fatalf("open: %v", err)
	}
	r.p = pipetest.NewPuller(t, src)
	t.Cleanup(r.p.Close)
	return r
}

// fill reads until it has so many events and failures, and delivers what it read.
func (r *netRig) fill(texts, errs int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	for len(r.texts) < texts || len(r.errs) < errs {
		all, err := r.p.Read(ctx)
		for _, e := range all {
			if e.Err != nil {
				r.errs = append(r.errs, e.Err.Error())
			} else {
				r.texts = append(r.texts, e.Text)
			}
		}
		r.p.Settle(all, pipe.Delivered)
		if err != nil {
			r.t.Fatalf("after %d events %.200q and %q: %v", len(r.texts), r.texts, r.errs, err)
		}
	}
}

// take returns the next n events.
func (r *netRig) take(n int) []string {
	r.t.Helper()
	r.fill(n, 0)
	got := r.texts[:n]
	r.texts = r.texts[n:]
	return got
}

func (r *netRig) want(want ...string) {
	r.t.Helper()
	if got := r.take(len(want)); !slices.Equal(got, want) {
		r.t.Errorf("got %q, want %q; failures %q", got, want, r.errs)
	}
}

// fails takes one failure, whose text has all parts.
func (r *netRig) fails(parts ...string) {
	r.t.Helper()
	r.fill(0, 1)
	got := r.errs[0]
	r.errs = r.errs[1:]
	for _, part := range parts {
		if !strings.Contains(got, part) {
			r.t.Errorf("got %q, want it to say %q", got, part)
		}
	}
}

// says waits until the log has text.
func (r *netRig) says(text string) {
	r.t.Helper()
	all := ""
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if all += strings.Join(r.log.lines(), "\n"); strings.Contains(all, text) {
			return
		}
	}
	r.t.Errorf("the log does not say %q: %s", text, all)
}

// connect opens a connection to a source, which the test closes.
func connect(t testing.TB, a net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial(a.Network(), a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// say writes to a connection.
func say(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// closed waits until the other side has closed c.
func closed(t testing.TB, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %d bytes and %v, want the connection to be closed", n, err)
	}
}
