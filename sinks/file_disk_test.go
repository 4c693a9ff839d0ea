//go:build linux

package sinks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// TestFileTakesHalfABatchBack runs a real disk full.
func TestFileTakesHalfABatchBack(t *testing.T) {
	f := func(c codec.Compression) {
		dir := smallDisk(t, 96<<10)
		path := filepath.Join(dir, "out.log")
		s := fresh(t, "file", func(s *File) { s.Path, s.Compress = path, c })
		shut := open(t, s)
		ballast := filepath.Join(dir, "ballast")
		os.WriteFile(ballast, make([]byte, 40<<10), 0o644)
		var confirmed []string
		var failed []string
		for i := 0; failed == nil && i < 1000; i++ {
			lines := make([]string, 50)
			for j := range lines {
				lines[j] = fmt.Sprintf("%d.%d %x", i, j, strings.Repeat(fmt.Sprint(i*7919+j*104729), 10))
			}
			if err := s.Write(t.Context(), batch(t, lines...)); err != nil {
				wantError(t, err, pipe.Fatal, "write "+path, "no space left on device: free space", "on_full: wait")
				failed = lines
				break
			}
			confirmed = append(confirmed, lines...)
		}
		if failed == nil || len(confirmed) == 0 {
			t.Fatalf("the disk was never full, or always: %d lines", len(confirmed))
		}
		if got := unpacked(t, path, c); got != joined(confirmed) {
			t.Errorf("after the failure: got %d bytes, want the %d confirmed ones", len(got), len(joined(confirmed)))
		}
		if err := s.Write(t.Context(), batch(t, failed...)); err == nil {
			t.Error("a full disk took the batch")
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		write(t, s, failed...)
		shut()
		if got := unpacked(t, path, c); got != joined(append(confirmed, failed...)) {
			t.Errorf("after the retry: got %d bytes, want %d", len(got), len(joined(append(confirmed, failed...))))
		}
	}
	f(codec.CompressNone)
	f(codec.CompressGzip)
	f(codec.CompressZstd)
}

// smallDisk mounts a file system of so many bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("a disk can only be run full where tests may mount one: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func TestFileThatCannotTakeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	s := fresh(t, "file", func(s *File) { s.Path = path })
	open(t, s)
	write(t, s, "first")
	x := fault(s)
	x.full, x.room = true, 9
	other, _ := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	other.WriteString("of another program\n")
	other.Close()
	err := s.Write(t.Context(), batch(t, "second", "third"))
	wantError(t, err, pipe.Fatal, "could not be taken back", "another program")
	write(t, s, "second", "third") // through a new, healthy handle
	wantFile(t, path, "first\nof another program\nsecond\nsecond\nthird\n")
	wantFile(t, path+".torn", "th\n")
}

func TestFileFsync(t *testing.T) {
	f := func(sync string, want int) {
		t.Helper()
		s := fresh(t, "file", func(s *File) {
			s.Path = filepath.Join(t.TempDir(), "out.log")
			if err := s.Fsync.UnmarshalText([]byte(sync)); err != nil {
				t.Fatal(err)
			}
		})
		shut := open(t, s)
		x := fault(s)
		for range 3 {
			write(t, s, "a", "b")
		}
		shut()
		if x.syncs != want {
			t.Errorf("fsync %s: %d syncs, want %d", sync, x.syncs, want)
		}
	}
	f("never", 0)
	f("batch", 3)
	f("1h", 1) // at the end
}

func TestFileFsyncFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	s := fresh(t, "file", func(s *File) { s.Path, s.Fsync = path, FileSync{batch: true} })
	open(t, s)
	x := fault(s)
	x.bad = syscall.EIO
	err := s.Write(t.Context(), batch(t, "a"))
	wantError(t, err, pipe.Retryable, path, "fsync", "input/output error")
	wantFile(t, path, "")
	x.bad = nil
	write(t, s, "a")
	wantFile(t, path, "a\n")
}

func TestFileDevices(t *testing.T) {
	s := fresh(t, "file", func(s *File) { s.Path, s.Rotate = os.DevNull, &FileRotate{Bytes: 1} })
	open(t, s)
	for range 3 {
		write(t, s, "a")
	}
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	s = fresh(t, "file", func(s *File) { s.Path = "/dev/full" })
	open(t, s)
	wantError(t, s.Write(t.Context(), batch(t, "a")), pipe.Fatal, "/dev/full", "no space left on device")
	s.OnFull = onFullWait
	wantError(t, s.Write(t.Context(), batch(t, "a")), pipe.Retryable, "/dev/full", "no space left on device")
}

func TestFilePermissions(t *testing.T) {
	old := syscall.Umask(0o022)
	defer syscall.Umask(old)
	f := func(permissions string, dead bool, want os.FileMode) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "out.log")
		s := fresh(t, "file", func(s *File) { s.Path, s.Permissions = path, permissions })
		open(t, s)
		in := batch(t, "a")
		if dead {
			in[0].MarkDead()
		}
		if err := s.Write(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("permissions %q, dead letter %v: got %v, want %v", permissions, dead, info.Mode(), want)
		}
	}
	f("", false, 0o644)
	f("", true, 0o600)
	f("0666", false, 0o666) // exactly, whatever the umask
	f("0640", true, 0o640)
}

func TestFileRefusesNamedPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	s := fresh(t, "file", func(s *File) { s.Path = path })
	err := s.Open(t.Context(), pipetest.Env()) // opening it would wait for a reader
	wantError(t, err, pipe.Retryable, path, "named pipe")
}
