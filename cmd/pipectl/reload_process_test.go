package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSink("test_never_opens", func() pipe.Sink { return &neverOpens{} })
}

// neverOpens is a sink whose Open does not come back, whatever its context says.
type neverOpens struct{}

func (*neverOpens) Open(context.Context, pipe.Env) error {
	fmt.Fprintln(os.Stderr, "test_never_opens is opening")
	select {}
}

func (*neverOpens) Write(context.Context, []*pipe.Event) error { return nil }

// file is what the process runs.
func (p *process) file() string { return p.cmd.Args[2] }

// rewrite replaces the process's file by another, as editors do.
func (p *process) rewrite(old, new string) {
	p.t.Helper()
	next := filepath.Join(filepath.Dir(p.file()), "next")
	put(p.t, next, strings.Replace(flowing, old, new, 1))
	mustDo(p.t, os.Rename(next, p.file()))
}

func TestHangupReloadsAProcess(t *testing.T) {
	p := startRun(t, flowing)
	p.awaitData()
	p.signal(syscall.SIGHUP)
	p.await("result=unchanged generation=1 who=SIGHUP")
	p.rewrite("in -> out", "{from: in, to: out, buffer: 7, policy: drop-oldest}")
	p.signal(syscall.SIGHUP)
	p.await("result=applied generation=2 who=SIGHUP class=live")
	p.rewrite("in -> out", "{from: in, to: out, buffer: 0}")
	p.signal(syscall.SIGHUP)
	p.await("result=refused generation=2 who=SIGHUP")
	p.says(`edge in->out: block, 1024 events, 16MiB -> drop-oldest, 7 events, 16MiB`, `pipeline.yaml:5:37: error: edge in->out: buffer: must be at least 1, got 0`)
	p.signal(syscall.SIGTERM)
	p.exit(0, spare)
}

// A pipeline without a file has nothing to reload, and outlives the signal.
func TestHangupWithoutAFile(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "pipeline.yaml")
	mustDo(t, syscall.Mkfifo(fifo, 0o644))
	go os.WriteFile(fifo, []byte(flowing), 0o644)
	p := startFile(t, fifo)
	p.awaitData()
	p.signal(syscall.SIGHUP)
	p.await("there is no file to reload")
	p.signal(syscall.SIGTERM)
	p.exit(0, spare)
}

func TestWatchReloadsAProcess(t *testing.T) {
	p := startRun(t, flowing, "--watch")
	p.awaitData()
	p.rewrite("in -> out", "{from: in, to: out, buffer: 7}")
	p.await("result=applied generation=2 who=watch class=live")
	p.rewrite("in -> out", "{from: in, to: out, bufer: 7}")
	p.await("result=refused generation=2 who=watch")
	p.rewrite("in -> out", "{from: in, to: out, buffer: 9}")
	p.await("result=applied generation=3 who=watch class=live")
	p.signal(syscall.SIGTERM)
	p.exit(0, spare)
}

// A reload that hangs does not keep the process from ending.
func TestSignalEndsAProcessThatReloads(t *testing.T) {
	p := startRun(t, flowing)
	p.awaitData()
	p.rewrite("type: stdout", "type: test_never_opens")
	p.signal(syscall.SIGHUP)
	p.await("test_never_opens is opening")
	start := time.Now()
	p.signal(syscall.SIGTERM)
	p.await("drained after")
	p.exit(0, stopLimit+spare)
	if took := time.Since(start); took > stopLimit+spare {
		t.Errorf("took %v after the signal", took)
	}
}
