package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// openTerminal returns both ends of a new terminal of the given size.
func openTerminal(t *testing.T, width, height uint16) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("this machine makes no terminals: ", err)
	}
	ioctl := func(request uintptr, arg unsafe.Pointer) {
		t.Helper()
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(arg)); e != 0 {
			t.Fatal(e)
		}
	}
	var number, unlock int32
	ioctl(syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	ioctl(syscall.TIOCGPTN, unsafe.Pointer(&number))
	ioctl(syscall.TIOCSWINSZ, unsafe.Pointer(&[4]uint16{height, width}))
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	return master, terminal
}

// onTerminal runs pipectl with its standard error on a terminal, and its
// standard output too if told so. It returns all that was written there.
func onTerminal(t *testing.T, yaml string, stdoutToo bool, env []string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pipeline.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	master, terminal := openTerminal(t, 100, 30)
	cmd := exec.Command("pipectl", append([]string{"run", file}, args...)...)
	cmd.Env = append(os.Environ(), append([]string{"TERM=xterm-256color", "NO_COLOR="}, env...)...)
	cmd.Stderr = terminal
	if stdoutToo {
		cmd.Stdout = terminal
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	written, err := io.ReadAll(master)
	if err != nil && !errors.Is(err, syscall.EIO) { // EIO: nobody has it open any more
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v:\n%s", err, written)
	}
	return string(written)
}

const brief = `
version: 1
name: brief
sources: {in: {type: generate, rate: 500/s, count: 200}}
sinks: {out: {type: %s}}
edges: [in -> out]
`

func TestLiveViewOnATerminal(t *testing.T) {
	written := onTerminal(t, fmt.Sprintf(brief, "discard"), true, nil, "--log-level", "error")
	if !strings.Contains(written, "FILL") || !strings.Contains(written, "\x1b[32mrunning\x1b[0m") {
		t.Errorf("no picture was drawn: %q", written)
	}
	s := screen{width: 100}
	io.WriteString(&s, written)
	got := s.String() // what stays when the pipeline has ended: the receipt
	if strings.Contains(got, "FILL") || !strings.HasPrefix(got, "SOURCE ") || !strings.Contains(got, "exit code 0") {
		t.Errorf("the screen at the end:\n%s", got)
	}
}

func TestLiveViewIsLeftOut(t *testing.T) {
	f := func(why, sink string, env []string, args ...string) {
		t.Helper()
		written := onTerminal(t, fmt.Sprintf(brief, sink), true, env, args...)
		if strings.Contains(written, "\x1b") || !strings.Contains(written, "pipeline starts") {
			t.Errorf("%s: %q", why, written)
		}
	}
	f("--no-live", "discard", nil, "--no-live")
	f("a dumb terminal", "discard", []string{"TERM=dumb"})
	f("data goes to the same terminal", "stdout", nil)
}

func TestLiveViewWithoutColor(t *testing.T) {
	written := onTerminal(t, fmt.Sprintf(brief, "discard"), false, []string{"NO_COLOR=1"})
	if !strings.Contains(written, "FILL") || regexp.MustCompile(`\x1b\[[0-9;]*m`).MatchString(written) {
		t.Errorf("got %q", written)
	}
}
