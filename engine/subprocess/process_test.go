//go:build unix

package subprocess

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lockedBuffer is a log that several goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T, c Command) (*Process, *lockedBuffer) {
	t.Helper()
	log := &lockedBuffer{}
	c.Log = slog.New(slog.NewTextHandler(log, nil))
	p, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(context.Background()) })
	return p, log
}

func TestPipes(t *testing.T) {
	p, log := start(t, Command{Args: []string{"sh", "-c", `echo "to the log" >&2; echo "$WORD in $PWD"; cat`}, Dir: "/", Env: map[string]string{"WORD": "a word"}, Input: true, Output: true})
	if _, err := io.WriteString(p.In, "back\n"); err != nil {
		t.Fatal(err)
	}
	p.In.Close()
	out, err := io.ReadAll(p.Out)
	if err != nil || string(out) != "a word in /\nback\n" {
		t.Errorf("output %q, error %v", out, err)
	}
	<-p.Done()
	if err := p.Err(); err != nil || !strings.Contains(log.String(), "to the log") {
		t.Errorf("error %v, log %s", err, log)
	}
}

func TestExitCode(t *testing.T) {
	p, log := start(t, Command{Args: []string{"sh", "-c", "echo no; exit 3"}})
	<-p.Done()
	if err := p.Err(); err == nil || err.Error() != "command sh: exit status 3" || !strings.Contains(log.String(), "line=no") {
		t.Errorf("error %v, log %s", err, log)
	}
	if _, err := Start(Command{Args: []string{"no-such-program"}, Output: true, Input: true}); err == nil || err.Error() != "command no-such-program: executable file not found in $PATH" {
		t.Errorf("a missing program: %v", err)
	}
}

// TestNothingIsLeftBehind stops a command that ignores SIGTERM and has started
// another: both are gone, within the grace.
func TestNothingIsLeftBehind(t *testing.T) {
	p, _ := start(t, Command{Args: []string{"sh", "-c", `trap "" TERM; sleep 1000 & echo $!; wait; wait`}, Output: true})
	line := make([]byte, 32)
	n, err := p.Out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	p.Stop(ctx)
	if took := time.Since(began); took > stopGrace {
		t.Errorf("stopping took %v", took)
	}
	for deadline := time.Now().Add(5 * time.Second); alive(child); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d is still there", child)
		}
	}
}

// alive reports whether a process is there and not merely waiting to be noticed.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// TestLeftBehindChildrenDoNotHoldThePipe ends a command whose child keeps the
// output open.
func TestLeftBehindChildrenDoNotHoldThePipe(t *testing.T) {
	p, _ := start(t, Command{Args: []string{"sh", "-c", "sleep 1000 & echo done"}, Output: true})
	out := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(p.Out)
		out <- string(b)
	}()
	select {
	case got := <-out:
		if got != "done\n" {
			t.Errorf("output %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("the output does not end")
	}
}

func TestLogIsBounded(t *testing.T) {
	p, log := start(t, Command{Args: []string{"sh", "-c", "yes | head -100000 >&2; sleep 0.2; echo last >&2"}})
	<-p.Done()
	if lines := strings.Count(log.String(), "\n"); lines > 80 || !strings.Contains(log.String(), "skipped=") {
		t.Errorf("%d lines are in the log", lines)
	}
}

func TestBackoff(t *testing.T) {
	var b Backoff
	want := firstWait
	for i := range 10 {
		if got := b.after(0); got > want || got < want*4/5 {
			t.Errorf("wait %d: %v, want %v less up to a fifth", i, got, want)
		}
		want = min(2*want, mostWait)
	}
	if got := b.after(longRun); got > firstWait {
		t.Errorf("after a long run: %v", got)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := new(Backoff).Wait(ctx, 0); err != context.DeadlineExceeded {
			t.Errorf("cancelled: %v", err)
		}
		began := time.Now()
		if err := new(Backoff).Wait(t.Context(), 0); err != nil || time.Since(began) > firstWait {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestCheckArgs(t *testing.T) {
	f := func(wantErr, wantHint string, args ...string) {
		t.Helper()
		hint, err := CheckArgs(args)
		if wantErr == "" && err == nil {
			return
		}
		if err == nil || !strings.Contains(err.Error(), wantErr) || hint != wantHint {
			t.Errorf("%q: %v, %s", args, err, hint)
		}
	}
	f("must name a program", "such as [sort, -u]")
	f("must name a program", "such as [sort, -u]", "", "x")
	f(`no program "ls -l"`, `write [ls, -l], or [sh, -c, "ls -l"] where a shell is meant`, "ls -l")
	f("", "", "ls", "-l")
	f("", "", "/opt/my tools/run")
}
