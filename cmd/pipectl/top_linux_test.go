package main

import (
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/admin"
)

// onTop runs pipectl top on a terminal, in front of a pipeline of this process.
func onTop(t *testing.T, r *running, env ...string) (keys io.Writer, written func() string, wait func() error) {
	t.Helper()
	master, terminal := openTerminal(t, 100, 30)
	cmd := exec.Command("pipectl", "top", "--addr", r.addr)
	cmd.Env = append(cmd.Environ(), append([]string{"TERM=xterm-256color", "NO_COLOR="}, env...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	terminal.Close()
	var mu sync.Mutex
	var b strings.Builder
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			mu.Lock()
			b.Write(buf[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	written = func() string { mu.Lock(); defer mu.Unlock(); return b.String() }
	wait = func() error { err := cmd.Wait(); <-closed; return err }
	return master, written, wait
}

// awaitText waits until the terminal has shown a text.
func awaitText(t *testing.T, written func() string, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(written(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			all := written()
			t.Fatalf("%q was not shown; the last of it: %q", text, all[max(0, len(all)-2000):])
		}
	}
}

// A whole visit: look, pick an edge, change its policy, see what came of it, end.
func TestTopOnATerminal(t *testing.T) {
	t.Parallel()
	r := runLive(t, slowYAML, admin.Options{})
	keys, written, wait := onTop(t, r)
	awaitText(t, written, "in->crawl")
	awaitText(t, written, "\x1b[?1049h") // a screen of its own
	io.WriteString(keys, "\r")
	awaitText(t, written, "leave")   // in the line of keys
	io.WriteString(keys, "\x1b[C\r") // the next policy
	awaitText(t, written, "is in force")
	r.await("the policy is another one", func(s engine.Status) bool { return s.Edges["in->crawl"].Policy == "drop-oldest" })
	io.WriteString(keys, "q")
	if err := wait(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(written(), "\x1b[?1049l") {
		t.Error("the screen is not given back")
	}
}

func TestTopWithoutColor(t *testing.T) {
	t.Parallel()
	r := runLive(t, slowYAML, admin.Options{})
	keys, written, wait := onTop(t, r, "NO_COLOR=1")
	awaitText(t, written, "in->crawl")
	io.WriteString(keys, "\x03")
	if err := wait(); err != nil {
		t.Error(err)
	}
	for _, color := range []string{"\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[38;"} {
		if strings.Contains(written(), color) {
			t.Errorf("there is colour: %q", color)
		}
	}
}
