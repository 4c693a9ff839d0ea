package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// needStrace skips tests that cannot do without strace, and says so.
func needStrace(t *testing.T) {
	t.Helper()
	if err := exec.Command("strace", "-f", "-o", os.DevNull, "true").Run(); err != nil {
		t.Skipf("SKIPPED, NOT PASSED: system calls can only be watched and failed with strace (apt-get install strace), and where ptrace is allowed: %v", err)
	}
}

// fileOps are the files of a pipeline that is killed at exact system calls, and
// the calls that change them or depend on them.
var fileOps = []struct {
	file  string
	calls []string
}{
	{"state.tmp", []string{"openat", "write", "fsync", "close", "renameat", "unlinkat"}},
	{"state", []string{"openat", "read", "renameat"}},
	{".", []string{"openat", "fsync"}},
	{"out/all.ndjson", []string{"openat", "write", "fsync", "ftruncate", "close"}},
	{"out/all.ndjson.torn", []string{"openat", "write", "fsync", "close"}},
	{"in.0", []string{"openat", "read", "close"}},
}

// TestKilledAtEveryFileOperation kills a process before each system call that
// touches its input, its output or its checkpoint: the first, the second, and so
// on until it gets through. strace counts the calls of each thread for itself, so
// a few are left to TestKilledAtRandom.
func TestKilledAtEveryFileOperation(t *testing.T) {
	needStrace(t)
	t.Parallel()
	var mu sync.Mutex
	kills := map[string]int{}
	var busy sync.WaitGroup
	for _, op := range fileOps {
		busy.Go(func() {
			for _, call := range op.calls {
				n, err := killedAt(t, op.file, call)
				if err != nil {
					t.Errorf("%s of %s: %v", call, op.file, err)
				}
				mu.Lock()
				kills[op.file+" "+call] = n
				mu.Unlock()
			}
		})
	}
	busy.Wait()
	all := 0
	for _, op := range fileOps {
		for _, call := range op.calls {
			n := kills[op.file+" "+call]
			if all += n; n == 0 && !t.Failed() {
				t.Errorf("%s of %s never happened: the test is about something else than the program", call, op.file)
			}
		}
	}
	t.Logf("%d kills at %d kinds of file operations: nothing lost", all, len(kills))
}

// killedAt kills one pipeline after another at the nth such call, for n from 1 on,
// and returns how many died of it.
func killedAt(t *testing.T, file, call string) (kills int, err error) {
	const most = 100
	for n := 1; n < most; n++ {
		w, err := tornWorld(t)
		if err != nil {
			return 0, err
		}
		path := filepath.Join(w.dir, file)
		w.under = []string{"strace", "-f", "-qq", "-o", os.DevNull, "-P", path, "-e", "trace=" + call,
			"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n)}
		w.story = fmt.Sprintf("killed at call %d", n)
		if err := w.start(); err != nil {
			return 0, err
		}
		if err := errors.Join(w.ended(), w.check()); err != nil {
			return 0, err
		}
		killed := w.kills > 0
		w.under = nil
		if err := errors.Join(w.finish(), w.tornLineKept(), os.RemoveAll(w.dir)); err != nil {
			return 0, fmt.Errorf("after call %d: %w", n, err)
		}
		if !killed {
			return n - 1, nil
		}
	}
	return 0, fmt.Errorf("there are more than %d such calls", most)
}

// tornLine is what a crash has left in the output of a tornWorld.
const tornLine = `{"n":77,"pad":"xxx`

// tornWorld is a pipeline that was killed before: half of its input is settled,
// and its output ends in a part of a line.
func tornWorld(t *testing.T) (*world, error) {
	const lines = 200
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir}
	in, err := newFileInput(w, 1, lines, true)
	if err != nil {
		return nil, err
	}
	w.input, w.output = in, &fileOutput{dir: filepath.Join(dir, "out"), lines: lines}
	yaml := `version: 1
sources: {in: {type: file, paths: [$PWD/in.0], codec: ndjson, checkpoint: $PWD/state}}
sinks: {out: {type: file, path: $PWD/out/all.ndjson, codec: ndjson, fsync: batch}}
edges: [in -> out]
`
	yaml = strings.ReplaceAll(yaml, "$PWD", dir)
	if err := os.WriteFile(filepath.Join(dir, "pipeline.yaml"), []byte(yaml), 0o600); err != nil {
		return nil, err
	}
	if err := errors.Join(in.grow(w, lines/2), w.start(), w.ended(), w.check(), in.grow(w, lines)); err != nil {
		return nil, err
	}
	in.follow = false
	out, err := os.OpenFile(filepath.Join(dir, "out", "all.ndjson"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	_, err = out.WriteString(tornLine)
	return w, errors.Join(err, out.Close())
}

// tornLineKept checks that the part of a line was moved out of the output; a kill
// between writing it there and cutting it off makes it come twice.
func (w *world) tornLineKept() error {
	text, err := os.ReadFile(filepath.Join(w.dir, "out", "all.ndjson.torn"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if line != tornLine+"\n" {
			return fmt.Errorf("the unfinished line became %q", text)
		}
	}
	return nil
}
