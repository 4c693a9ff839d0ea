package sinks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
	"github.com/pipectl/pipectl/engine/record"
)

// fresh returns a sink of a registered type with its defaults, changed by set.
func fresh[S any](t testing.TB, typ string, set func(S)) S {
	t.Helper()
	c, ok := pipe.Lookup(pipe.KindSink, typ)
	if !ok {
		t.Fatalf("no sink %s is registered", typ)
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

// open opens a sink and closes it when the test ends, unless shut has done so.
func open(t testing.TB, s pipe.Opener) (shut func()) {
	t.Helper()
	if err := s.Open(context.Background(), pipetest.Env()); err != nil {
		t.Fatalf("open: %v", err)
	}
	closed := false
	shut = func() {
		t.Helper()
		if closed {
			return
		}
		closed = true
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.(pipe.Closer).Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	t.Cleanup(shut)
	return shut
}

type nobody struct{}

func (nobody) MessageDone(*pipe.Group, any, pipe.Outcome) {}
func (nobody) GroupDone(*pipe.Group)                      {}

// batch makes events of lines; those that begin with "{" are JSON objects.
func batch(t testing.TB, lines ...string) []*pipe.Event {
	t.Helper()
	var b pipe.Batch
	b.Reset(nobody{}, "test", 1)
	for i, line := range lines {
		body := record.FromText([]byte(line))
		if strings.HasPrefix(line, "{") {
			var err error
			if body, err = record.FromJSON([]byte(line), &b.Arena); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
		b.Add(body, int64(i+1))
	}
	events, _, _ := b.Take(time.Date(2026, 3, 1, 23, 30, 0, 0, time.UTC))
	return events
}

func write(t testing.TB, s pipe.Sink, lines ...string) {
	t.Helper()
	if err := s.Write(t.Context(), batch(t, lines...)); err != nil {
		t.Fatalf("write %.100q: %v", lines, err)
	}
}

// contents returns the files below dir, by their paths there.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func wantFile(t testing.TB, path, want string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || string(data) != want {
		t.Errorf("%s: got %.300q (%v), want %.300q", filepath.Base(path), data, err, want)
	}
}

func wantError(t testing.TB, err error, class pipe.Class, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want one with %q", parts)
	}
	if got := pipe.ClassOf(err, ""); got != class {
		t.Errorf("%v: got class %q, want %q", err, got, class)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got %q, want it to say %q", err, part)
		}
	}
}

func numbered(from, to int) []string {
	var lines []string
	for i := from; i < to; i++ {
		lines = append(lines, fmt.Sprintf("line %06d", i))
	}
	return lines
}

func joined(lines []string) string { return strings.Join(lines, "\n") + "\n" }

func splitLines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}

func TestDiscard(t *testing.T) {
	pipetest.Sink(t, pipetest.SinkCase{New: func(t *testing.T) pipe.Sink { return fresh[*Discard](t, "discard", nil) }})
}
