package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// fakeInside is a pipeline of which tests say what it is.
type fakeInside struct {
	mu     sync.Mutex
	status string
	follow func(string, slog.Record)
}

func (f *fakeInside) StatusJSON() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []byte(f.status), nil
}

func (f *fakeInside) Follow(g func(string, slog.Record)) func() {
	f.follow = g
	return func() { f.follow = nil }
}

func (f *fakeInside) set(status string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = status
}

// insideStatus has the own path node -> out, and in -> keep -> store beside it.
func insideStatus(generation, dropped int, breaker string, outage bool, more string) string {
	return fmt.Sprintf(`{"pipeline":"p","outcome":"running","generation":%d,"seconds":1.5,"balance":{"read":7},"memory":{"budget":0},
"sources":{"node":{"type":"internal"},"in":{"type":"generate","read":7}},"stages":{"keep":{"type":"filter","outage":%v}},
"edges":{"node->out":{"from":"node","to":"out","dropped":{"newest":%d}},"in->keep":{"from":"in","to":"keep","dropped":{"newest":%d}},"keep->store":{"from":"keep","to":"store"}},
"sinks":{"out":{"type":"file","breaker":{"state":%q}},"store":{"type":"http","breaker":{"state":%q}}}%s}`, generation, outage, dropped, dropped, breaker, breaker, more)
}

func newInternal(t testing.TB, in pipe.Inside, set func(*Internal)) *Internal {
	t.Helper()
	c, _ := pipe.Lookup(pipe.KindSource, "internal")
	s := c.New().(*Internal)
	s.inside = in
	if set != nil {
		set(s)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestInternalConformance(t *testing.T) {
	in := &fakeInside{status: insideStatus(1, 0, "closed", false, "")}
	c := pipetest.SourceOptions{Endless: true, Unstable: true}
	for _, name := range []string{"first", "second"} {
		c.Want = append(c.Want, `{"kind":"log","time":"2026-03-01T00:00:00Z","pipeline":"p","level":"error","message":"`+name+`","fields":{}}`)
	}
	c.Feed = func(pipe.Source) {
		for _, name := range []string{"first", "second"} {
			in.follow("", slog.NewRecord(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), slog.LevelError, name, 0))
		}
	}
	pipetest.Source(t, func() pipe.Source {
		return newInternal(t, in, func(s *Internal) { s.Include = []string{insideLogs} })
	}, c)
}

func TestInternalFigures(t *testing.T) {
	in := &fakeInside{status: insideStatus(1, 0, "closed", false, "")}
	s := newInternal(t, in, func(s *Internal) { s.Include = []string{insideEdges, insideSinks} })
	p := pipetest.Pull(t, s)
	list, err := p.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`{"kind":"edge","time":T,"pipeline":"p","name":"in->keep","from":"in","to":"keep","dropped":{"newest":0}}`,
		`{"kind":"edge","time":T,"pipeline":"p","name":"keep->store","from":"keep","to":"store"}`,
		`{"kind":"edge","time":T,"pipeline":"p","name":"node->out","from":"node","to":"out","dropped":{"newest":0}}`,
		`{"kind":"sink","time":T,"pipeline":"p","name":"out","type":"file","breaker":{"state":"closed"}}`,
		`{"kind":"sink","time":T,"pipeline":"p","name":"store","type":"http","breaker":{"state":"closed"}}`}
	wantLines(t, list, want...)
	p.Close()
}

// wantLines compares events without their times.
func wantLines(t testing.TB, list []pipetest.Pulled, want ...string) {
	t.Helper()
	var got []string
	for _, e := range list {
		text := e.Text
		if i := strings.Index(text, `"time":"`); i >= 0 {
			end := i + 8 + strings.IndexByte(text[i+8:], '"')
			text = text[:i] + `"time":T` + text[end+1:]
		}
		got = append(got, text)
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func TestInternalChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &fakeInside{status: insideStatus(1, 3, "closed", false, "")}
		p := pipetest.Pull(t, newInternal(t, in, func(s *Internal) { s.Include = []string{insideChanges} }))
		next := func(status string, want ...string) {
			t.Helper()
			began := time.Now()
			in.set(status)
			list, err := p.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i := range want {
				want[i] = `{"kind":"change","time":T,"pipeline":"p",` + want[i] + `}`
			}
			wantLines(t, list, want...)
			if d := time.Since(began); d > 30*time.Second {
				t.Errorf("it took %v", d)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if list, _ := p.Read(ctx); len(list) > 0 { // the first look changes nothing
			t.Errorf("got %v", list)
		}
		cancel()
		next(insideStatus(2, 8, "open", true, ""), `"change":"reloaded","from":1,"to":2`, `"change":"dropped","edge":"in->keep","reason":"newest","events":5`,
			`"change":"outage","node":"keep","on":true`, `"change":"breaker","node":"store","from":"closed","to":"open"`)
		next(insideStatus(2, 8, "open", false, `,"stall":{"since":"x"}`), `"change":"stall","on":true`, `"change":"outage","node":"keep","on":false`)
		p.Close()
	})
}

func TestInternalLogs(t *testing.T) {
	in := &fakeInside{status: insideStatus(1, 0, "closed", false, "")}
	p := pipetest.Pull(t, newInternal(t, in, func(s *Internal) { s.Include, s.MaxPending = []string{insideLogs}, 4 }))
	log := func(node string, level slog.Level, text string, args ...any) {
		r := slog.NewRecord(time.Now(), level, text, 0)
		r.Add(args...)
		in.follow(node, r)
	}
	log("store", slog.LevelWarn, "write failed", "error", errors.New("no route"), "attempt", 3)
	log("store", slog.LevelInfo, "below the level")
	log("out", slog.LevelError, "of its own path")
	log("", slog.LevelError, "about its own path", "node", "out")
	log("", slog.LevelError, "pipeline fails")
	log("", slog.LevelError, "one too many")
	list, err := p.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, list, `{"kind":"log","time":T,"pipeline":"p","level":"warn","message":"write failed","node":"store","fields":{"attempt":"3","error":"no route"}}`,
		`{"kind":"log","time":T,"pipeline":"p","level":"error","message":"pipeline fails","fields":{}}`,
		`{"kind":"log_lost","time":T,"pipeline":"p","messages":1}`)
	p.Close()
	if in.follow != nil {
		t.Error("it still listens")
	}
}

// TestInternalDrain: the last figures come when reading is stopped, once.
func TestInternalDrain(t *testing.T) {
	in := &fakeInside{status: insideStatus(1, 0, "closed", false, "")}
	p := pipetest.Pull(t, newInternal(t, in, func(s *Internal) { s.Include = []string{insidePipeline} }))
	want := `{"kind":"pipeline","time":T,"pipeline":"p","seconds":1.5,"balance":{"read":7},"memory":{"budget":0},"outcome":"running","generation":1}`
	list, err := p.Read(t.Context())
	wantLines(t, list, want)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	list, err = p.Read(ctx)
	wantLines(t, list, want)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if list, err = p.Read(ctx); len(list) > 0 || err == nil || err == io.EOF {
		t.Errorf("got %d more, %v", len(list), err)
	}
	p.Close()
}

func TestInternalValidate(t *testing.T) {
	f := func(set func(*Internal), field, want string) {
		t.Helper()
		s := &Internal{Interval: pipe.Duration(time.Second), Include: []string{insideLogs}, LogLevel: "warn"}
		set(s)
		var fe *pipe.FieldError
		if err := s.Validate(); !errors.As(err, &fe) || fe.Field != field || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error at %s with %q", err, field, want)
		}
	}
	f(func(s *Internal) { s.Interval = 1 }, "interval", "100ms")
	f(func(s *Internal) { s.Include = nil }, "include", "at least one")
	f(func(s *Internal) { s.Include = []string{"logs", "edge"} }, "include[1]", "edges")
	f(func(s *Internal) { s.LogLevel = "loud" }, "log_level", "debug")
	if err := newInternal(t, nil, nil).Open(t.Context(), pipetest.Env()); err == nil {
		t.Error("opened without a pipeline")
	}
}
