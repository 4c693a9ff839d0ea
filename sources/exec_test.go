//go:build unix

package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func newExec(script string) *Exec {
	return &Exec{Command: []string{"sh", "-c", script}, Codec: codec.Lines(), Restart: "never"}
}

func TestExecConformance(t *testing.T) {
	var want []string
	for i := range 20_000 {
		want = append(want, fmt.Sprint(i+1))
	}
	pipetest.Source(t, func() pipe.Source { return newExec("seq 1 20000") }, pipetest.SourceOptions{Want: want, FromStart: true})
}

// TestExecConformanceOfAnEndlessCommand leaves the end to the pipeline.
func TestExecConformanceOfAnEndlessCommand(t *testing.T) {
	pipetest.Source(t, func() pipe.Source { return newExec("seq 1 100; sleep 1000") }, pipetest.SourceOptions{
		Want: strings.Fields(strings.Join(numbers(100), " ")), Endless: true, FromStart: true,
	})
}

func numbers(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint(i+1))
	}
	return list
}

// TestExecStopsUnderPressure reads a little of an endless command and finds that
// it has been held up soon after.
func TestExecStopsUnderPressure(t *testing.T) {
	count := filepath.Join(t.TempDir(), "count")
	x := newExec(`i=0; while :; do i=$((i+1)); echo "$i $(printf %01000d 0)" || exit; echo $i > ` + count + `; done`)
	openExec(t, x)
	if got, err := pipetest.NewPuller(t, x).Read(t.Context()); err != nil || len(got) == 0 {
		t.Fatal(len(got), err)
	}
	written := func() string {
		data, _ := os.ReadFile(count)
		return string(data)
	}
	before := written()
	for deadline := time.Now().Add(20 * time.Second); ; before = written() {
		time.Sleep(300 * time.Millisecond)
		if now := written(); now == before && now != "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the command goes on")
		}
	}
	var lines int
	if fmt.Sscan(before, &lines); lines > 64+3*64+16 { // the pipe, the buffers, the batch, in lines of a kilobyte
		t.Errorf("the command wrote %d lines ahead", lines)
	}
}

func openExec(t *testing.T, x *Exec) *bytes.Buffer {
	t.Helper()
	var log bytes.Buffer
	if err := x.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := x.Open(t.Context(), pipe.Env{MaxEventBytes: 1 << 20, Log: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close(context.Background()) })
	return &log
}

// readExec reads until the source ends or has given n events.
func readExec(t *testing.T, x *Exec, n int) (events int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for p := pipetest.NewPuller(t, x); events < n; {
		got, err := p.Read(ctx)
		events += len(got)
		if err != nil {
			return events, err
		}
	}
	return events, nil
}

func TestExecEnds(t *testing.T) {
	x := newExec("echo a; echo b")
	openExec(t, x)
	if n, err := readExec(t, x, 100); n != 2 || !errors.Is(err, io.EOF) {
		t.Errorf("%d events, then %v", n, err)
	}
	failing := newExec("echo a; exit 4")
	openExec(t, failing)
	if n, err := readExec(t, failing, 100); n != 1 || err == nil || err.Error() != "command sh: exit status 4" {
		t.Errorf("%d events, then %v", n, err)
	}
	missing := &Exec{Command: []string{"no-such-program"}, Codec: codec.Lines(), Restart: "never"}
	if err := missing.Open(t.Context(), pipe.Env{}); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("a missing program: %v", err)
	}
}

func TestExecRestarts(t *testing.T) {
	f := func(restart, script string, want int, ends bool) {
		t.Helper()
		x := newExec(script)
		x.Restart = restart
		log := openExec(t, x)
		n, err := readExec(t, x, want)
		if n != want || ends != errors.Is(err, io.EOF) || ends == (err == nil) {
			t.Errorf("%s: %d events, then %v", restart, n, err)
		}
		if !strings.Contains(log.String(), "started again") {
			t.Errorf("%s: the log does not say it: %s", restart, log)
		}
	}
	once := filepath.Join(t.TempDir(), "once")
	f("on_failure", "echo a; if mkdir "+once+" 2>/dev/null; then exit 1; fi; exit 0", 2, false)
	f("always", "echo a", 2, false)
}

// TestExecIsCancelled cancels a Read that waits, and goes on with the next.
func TestExecIsCancelled(t *testing.T) {
	x := newExec("sleep 0.3; echo late; sleep 1000")
	openExec(t, x)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if got, err := pipetest.NewPuller(t, x).Read(ctx); !errors.Is(err, context.DeadlineExceeded) || len(got) != 0 {
		t.Errorf("%d events, %v", len(got), err)
	}
	if n, err := readExec(t, x, 1); n != 1 || err != nil {
		t.Errorf("afterwards: %d events, %v", n, err)
	}
}

func TestExecValidate(t *testing.T) {
	if err := (&Exec{Codec: codec.Lines(), Restart: "never"}).Validate(); err == nil || !strings.Contains(err.Error(), "must name a program") {
		t.Errorf("no command: %v", err)
	}
}
