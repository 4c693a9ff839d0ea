//go:build unix

package sinks

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func execSink(t *testing.T, mode, script string) *Exec {
	return fresh(t, "exec", func(x *Exec) { x.Mode, x.Command = mode, []string{"sh", "-c", script} })
}

func TestExecConforms(t *testing.T) {
	dirs := map[pipe.Sink]string{}
	mark := func(name string) func(t *testing.T, s pipe.Sink) func() {
		return func(t *testing.T, s pipe.Sink) func() {
			file := filepath.Join(dirs[s], name)
			if err := os.WriteFile(file, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			return func() { os.Remove(file) }
		}
	}
	pipetest.Sink(t, pipetest.SinkCase{
		New: func(t *testing.T) pipe.Sink {
			dir := t.TempDir()
			x := execSink(t, "batch", `cd "$DIR" && while [ -e hang ]; do sleep 0.01; done; test ! -e broken && cat >> out`)
			x.Env = map[string]string{"DIR": dir}
			dirs[x] = dir
			return x
		},
		Written: func(t *testing.T, s pipe.Sink) []string {
			data, err := os.ReadFile(filepath.Join(dirs[s], "out"))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			return strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' })
		},
		Hang: mark("hang"), Break: mark("broken"),
	})
}

func texts(t *testing.T, lines ...string) []*pipe.Event {
	t.Helper()
	feed, err := pipetest.NewFeed(lines...)
	if err != nil {
		t.Fatal(err)
	}
	return feed.Events
}

func TestExecBatch(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	x := execSink(t, "batch", "echo begin >> "+out+"; cat >> "+out)
	open(t, x)
	for _, lines := range [][]string{{"a", "b"}, {"c"}} {
		if err := x.Write(t.Context(), texts(t, lines...)); err != nil {
			t.Fatal(err)
		}
	}
	if data, _ := os.ReadFile(out); string(data) != "begin\na\nb\nbegin\nc\n" {
		t.Errorf("written: %q", data)
	}
}

func TestExecStream(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	x := execSink(t, "stream", "echo begin >> "+out+"; cat >> "+out)
	shut := open(t, x)
	for _, lines := range [][]string{{"a", "b"}, {"c"}} {
		if err := x.Write(t.Context(), texts(t, lines...)); err != nil {
			t.Fatal(err)
		}
	}
	shut()
	if data, _ := os.ReadFile(out); string(data) != "begin\na\nb\nc\n" {
		t.Errorf("written: %q", data)
	}
}

func TestExecFails(t *testing.T) {
	x := execSink(t, "batch", "cat > /dev/null; exit 3")
	open(t, x)
	if err := x.Write(t.Context(), texts(t, "a")); err == nil || err.Error() != "command sh: exit status 3" || pipe.ClassOf(err, "") != pipe.Retryable {
		t.Errorf("exit 3: %v", err)
	}
	// A command that is gone is started again with the next write.
	count := filepath.Join(t.TempDir(), "count")
	s := execSink(t, "stream", "echo x >> "+count+"; exit 1")
	open(t, s)
	lines := strings.Repeat("x", 1<<20) // more than the pipe holds
	for range 2 {
		if err := s.Write(t.Context(), texts(t, lines)); err == nil || pipe.ClassOf(err, "") != pipe.Retryable {
			t.Errorf("a command that is gone: %v", err)
		}
	}
	if data, _ := os.ReadFile(count); string(data) != "x\nx\n" {
		t.Errorf("started %q", data)
	}
	missing := fresh(t, "exec", func(x *Exec) { x.Mode, x.Command = "stream", []string{"no-such-program"} })
	if err := missing.Open(t.Context(), pipetest.Env()); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("a missing program: %v", err)
	}
}

// TestExecHangs ends a command that does not read, or does not end, with the call.
func TestExecHangs(t *testing.T) {
	for _, mode := range []string{"batch", "stream"} {
		x := execSink(t, mode, "sleep 1000")
		open(t, x)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		began := time.Now()
		err := x.Write(ctx, texts(t, strings.Repeat("x", 1<<20)))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %v after %v", mode, err, time.Since(began))
		}
	}
}

func TestExecValidate(t *testing.T) {
	if err := new(Exec).Validate(); err == nil || !strings.Contains(err.Error(), "must name a program") {
		t.Errorf("no command: %v", err)
	}
}
