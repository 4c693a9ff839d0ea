package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// diskFaults are the files of a pipeline, the calls that can fail on them, and how.
var diskFaults = []struct {
	file  string
	calls []string // call:error
}{
	{"state.tmp", []string{"openat:ENOSPC", "write:ENOSPC", "write:EIO", "fsync:EIO", "close:EIO", "renameat:EIO"}},
	{"state", []string{"openat:EACCES", "read:EIO"}},
	{".", []string{"openat:EMFILE", "fsync:EIO"}},
	{"out/all.ndjson", []string{"openat:EACCES", "write:ENOSPC", "write:EIO", "fsync:EIO", "ftruncate:EIO", "close:EIO"}},
	{"out/all.ndjson.torn", []string{"openat:EROFS", "write:ENOSPC", "fsync:EIO", "close:EIO"}},
	{"in.0", []string{"openat:EMFILE", "read:EIO"}},
}

// TestDiskFaults fails each system call that touches a pipeline's files: the first,
// in the long form also the second and so on, as strace counts them, for each
// thread; and then all of them. Whether the pipeline tries
// again, gives up, or does not start: everything before the checkpoint must have
// arrived, and once the disk is well again everything else.
func TestDiskFaults(t *testing.T) {
	needStrace(t)
	t.Parallel()
	var mu sync.Mutex
	once, always := 0, 0
	codes := map[int]int{}
	var busy sync.WaitGroup
	for _, f := range diskFaults {
		busy.Go(func() {
			for _, call := range f.calls {
				for n := 1; n == 1 || long(); n++ {
					w, injected, err := faulted(t, f.file, call, fmt.Sprint(n))
					if err != nil {
						t.Errorf("%s of %s at call %d: %v", call, f.file, n, err)
						break
					}
					if !injected {
						break
					}
					mu.Lock()
					once++
					codes[w.code]++
					mu.Unlock()
				}
				w, injected, err := faulted(t, f.file, call, "1+")
				if err != nil || !injected {
					t.Errorf("%s of %s at every call: %v; it happened: %v", call, f.file, err, injected)
					continue
				}
				mu.Lock()
				always++
				codes[w.code]++
				mu.Unlock()
			}
		})
	}
	busy.Wait()
	t.Logf("%d calls failed once, %d kinds of calls every time; exit codes %v: nothing lost", once, always, codes)
}

// faultedWorld is a world whose disk had a fault, and how the process ended.
type faultedWorld struct {
	*world
	code int
}

// faulted runs a pipeline on whose file the call fails, when it happens for the
// nth time or, with 1+, always; then it runs it on a healthy disk. It reports
// whether the call happened.
func faulted(t *testing.T, file, call, when string) (w faultedWorld, injected bool, err error) {
	if w.world, err = tornWorld(t); err != nil {
		return w, false, err
	}
	trace := filepath.Join(w.dir, "trace")
	name, errno, _ := strings.Cut(call, ":")
	w.under = []string{"strace", "-f", "-qq", "-o", trace, "-P", filepath.Join(w.dir, file), "-e", "trace=" + name,
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%s", name, errno, when)}
	w.story = fmt.Sprintf("%s of %s at call %s", call, file, when)
	if err := w.start("--set", "shutdown.timeout=300ms"); err != nil {
		return w, false, err
	}
	if err := w.endsWithFault(); err != nil {
		return w, false, err
	}
	text, err := os.ReadFile(trace)
	injected = bytes.Contains(text, []byte("(INJECTED)"))
	w.under = nil
	if err := errors.Join(err, w.check(), w.finish(), w.tornLineKept(), os.RemoveAll(w.dir)); err != nil {
		return w, false, fmt.Errorf("exit code %d, then: %w", w.code, err)
	}
	return w, injected, nil
}

// endsWithFault waits until the process has ended. One that goes on trying is
// asked to. When it failed it must say what, and where.
func (w *faultedWorld) endsWithFault() error {
	over := make(chan struct{})
	go func() {
		w.now.Wait()
		close(over)
	}()
	w.awaitStart(over)
	select {
	case <-over:
	case <-time.After(700 * time.Millisecond):
		if err := w.signalTraced(); err != nil {
			return err
		}
		select {
		case <-over:
		case <-time.After(20 * time.Second):
			w.now.Process.Kill()
			<-over
			return errors.New("it did not end")
		}
	}
	log, err := os.ReadFile(filepath.Join(w.dir, "run.log"))
	w.code = w.now.ProcessState.ExitCode()
	switch {
	case err != nil:
		return err
	case w.code == 0, w.code == 3:
		return nil
	case w.code != 1 || !bytes.Contains(log, []byte(w.dir)):
		return fmt.Errorf("exit code %d\n%s", w.code, log)
	}
	return nil
}

// awaitStart waits until the process listens to signals, or is over: on a busy
// machine its start takes seconds.
func (w *faultedWorld) awaitStart(over <-chan struct{}) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if log, _ := os.ReadFile(filepath.Join(w.dir, "run.log")); bytes.Contains(log, []byte("pipeline starts")) {
			return
		}
		select {
		case <-over:
			return
		default:
		}
	}
}

// signalTraced sends SIGTERM to the process that strace runs.
func (w *faultedWorld) signalTraced() error {
	pid := w.now.Process.Pid
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	var child int
	if _, err := fmt.Sscan(string(text), &child); err != nil {
		return nil // it has ended meanwhile
	}
	if err := syscall.Kill(child, syscall.SIGTERM); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
