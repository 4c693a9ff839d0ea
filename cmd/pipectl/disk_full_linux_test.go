package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// smallDisk mounts a file system of so many bytes on dir.
func smallDisk(t *testing.T, dir string, size int) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("SKIPPED, NOT PASSED: a disk can only be run full where tests may mount one, as root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
}

// enlarge gives a smallDisk another size.
func enlarge(dir string, size int) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size))
}

// TestDiskRunsFull runs pipelines whose disk, a real one, is too small for their
// output. Those that fail have their checkpoint on it, too; those that wait are
// killed while it is full. When there is space all go on: nothing that was settled
// may be lost then.
func TestDiskRunsFull(t *testing.T) {
	t.Parallel()
	var runs, full atomic.Int64
	t.Cleanup(func() { t.Logf("%d runs, %d of them on a full disk: nothing lost", runs.Load(), full.Load()) })
	rounds := uint64(1)
	if long() {
		rounds = 12
	}
	f := func(name, sink string, waits bool) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range rounds {
				w := &fullWorld{world: &world{dir: t.TempDir(), rng: rand.New(rand.NewPCG(seed, 3))}}
				if err := fillDisk(t, w, sink, waits); err != nil {
					t.Fatalf("seed %d, run %d (%s): %v", seed, w.runs, w.story, err)
				}
				runs.Add(int64(w.runs))
				full.Add(int64(w.full))
			}
		})
	}
	f("fail", "codec: ndjson, path: out/all.ndjson, fsync: batch", false)
	f("fail while compressing", "codec: ndjson, path: out/all.ndjson.gz, compress: gzip", false)
	f("wait", "codec: ndjson, path: out/all.ndjson, on_full: wait", true)
	f("wait for many files", "codec: ndjson, path: 'out/{pad}.ndjson', max_open_files: 20, on_full: wait", true)
	f("wait while compressing", "codec: ndjson, path: out/all.ndjson.gz, compress: gzip, rotate: {bytes: 20KiB}, fsync: batch, on_full: wait", true)
}

// fullWorld is a world whose disk was full in some runs.
type fullWorld struct {
	*world
	full int
}

// fillDisk runs one pipeline full, again and again, and lets it finish.
func fillDisk(t *testing.T, w *fullWorld, sink string, waits bool) error {
	const lines, large = 3000, 16 << 20
	disk, page := w.dir, 4<<10
	if waits { // without space for its checkpoint none would start again
		disk = filepath.Join(w.dir, "out")
		if err := os.Mkdir(disk, 0o700); err != nil {
			return err
		}
	}
	smallDisk(t, disk, large)
	in, err := newFileInput(w.world, 1, lines, false)
	if err != nil {
		return err
	}
	w.input, w.output = in, &fileOutput{dir: filepath.Join(w.dir, "out"), lines: lines}
	yaml := fmt.Sprintf(`version: 1
shutdown: {timeout: 1s}
sources: {in: {type: file, paths: [in.0], codec: ndjson, checkpoint: state, max_in_flight: {events: 500}}}
sinks: {out: {type: file, %s, retry: {initial: 5ms, max: 20ms}, batch: {events: 100, interval: 10ms}}}
edges: [in -> out]
`, sink)
	log := filepath.Join(t.TempDir(), "log") // on a disk that has space
	if err := errors.Join(os.Symlink(log, filepath.Join(w.dir, "run.log")), os.WriteFile(filepath.Join(w.dir, "pipeline.yaml"), []byte(yaml), 0o600)); err != nil {
		return err
	}
	size, err := used(disk)
	if err != nil {
		return err
	}
	for range 5 { // a little more space each time
		size += page * (1 + w.rng.IntN(3))
		if err := errors.Join(enlarge(disk, size), w.runFull(waits)); err != nil {
			return err
		}
	}
	if waits { // the space comes while it runs
		time.AfterFunc(300*time.Millisecond, func() { enlarge(disk, large) })
	} else if err := enlarge(disk, large); err != nil {
		return err
	}
	return w.finish()
}

// used returns how many bytes a disk holds.
func used(dir string) (int, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(dir, &s)
	return int(s.Blocks-s.Bfree) * int(s.Bsize), err
}

// runFull runs the pipeline until the disk is full. One that waits for space is
// killed then; the other must end by itself and say what is wrong.
func (w *fullWorld) runFull(waits bool) error {
	if err := w.start(); err != nil {
		return err
	}
	over := make(chan struct{})
	go func() {
		w.now.Wait()
		close(over)
	}()
	if waits {
		for n := 0; n < 500 && !w.saysFull(); n++ {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Duration(w.rng.IntN(200)) * time.Millisecond)
		w.now.Process.Kill()
		w.kills++
	}
	select {
	case <-over:
	case <-time.After(20 * time.Second):
		w.now.Process.Kill()
		return errors.New("a full disk did not end it within 20 s")
	}
	if code := w.now.ProcessState.ExitCode(); !w.saysFull() || code >= 0 && (code != 1 || waits) {
		log, _ := os.ReadFile(filepath.Join(w.dir, "run.log"))
		return fmt.Errorf("exit code %d, or not a word about the disk:\n%s", code, log)
	}
	w.full++
	return w.check()
}

// saysFull reports whether the log of the run says that the disk is full.
func (w *fullWorld) saysFull() bool {
	log, _ := os.ReadFile(filepath.Join(w.dir, "run.log"))
	return bytes.Contains(log, []byte("no space left on device"))
}
