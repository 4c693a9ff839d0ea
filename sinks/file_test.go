package sinks

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// faulty is a file on a disk with little room.
type faulty struct {
	target
	room  int // bytes that still fit, when full
	full  bool
	syncs int
	bad   error // what Sync says
}

func (f *faulty) Write(p []byte) (int, error) {
	if f.full && len(p) > f.room {
		n, _ := f.target.Write(p[:f.room])
		f.room = 0
		return n, &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	}
	if f.full {
		f.room -= len(p)
	}
	return f.target.Write(p)
}

func (f *faulty) Sync() error {
	f.syncs++
	if f.bad != nil {
		return f.bad
	}
	return f.target.Sync()
}

// fault puts a faulty disk under the one file of a sink.
func fault(s *File) *faulty {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.open.oldest()
	x := &faulty{target: f.dst}
	f.dst = x
	return x
}

func unpacked(t testing.TB, path string, c codec.Compression) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := codec.Decompress(f, c, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s cannot be read: %v", path, err)
	}
	return string(data)
}

func TestFileConformance(t *testing.T) {
	f := func(name string, set func(*File)) {
		t.Run(name, func(t *testing.T) {
			pipetest.Sink(t, pipetest.SinkCase{
				New: func(t *testing.T) pipe.Sink {
					return fresh(t, "file", func(s *File) {
						s.Path = filepath.Join(t.TempDir(), "sub", "out.log")
						set(s)
					})
				},
				Written: func(t *testing.T, sink pipe.Sink) []string {
					s := sink.(*File)
					if s.Rotate != nil {
						var all strings.Builder
						for _, name := range sortedNames(t, filepath.Dir(s.Path)) {
							all.WriteString(unpacked(t, filepath.Join(filepath.Dir(s.Path), name), s.Compress))
						}
						return splitLines(all.String())
					}
					return splitLines(unpacked(t, s.Path, s.Compress))
				},
				Break: func(_ *testing.T, sink pipe.Sink) func() {
					x := fault(sink.(*File))
					x.full, x.room = true, 100
					return sync.OnceFunc(func() { x.full = false })
				},
				TakesBack: true,
			})
		})
	}
	f("plain", func(*File) {})
	f("gzip", func(s *File) { s.Compress = codec.CompressGzip })
	f("zstd", func(s *File) { s.Compress = codec.CompressZstd })
	f("fsync", func(s *File) { s.Fsync = FileSync{batch: true} })
	f("rotated", func(s *File) { s.Rotate = &FileRotate{Bytes: 5000} })
}

// sortedNames returns the files of a folder in the order they were written.
func sortedNames(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	last := ""
	for _, e := range entries {
		if e.Name() == "out.log" {
			last = e.Name()
			continue
		}
		names = append(names, e.Name())
	}
	return append(names, last)
}

func TestFileModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	run := func(mode, line string) error {
		s := fresh(t, "file", func(s *File) { s.Path, s.Mode = path, mode })
		if err := s.Open(t.Context(), pipetest.Env()); err != nil {
			return err
		}
		write(t, s, line)
		return s.Close(t.Context())
	}
	f := func(mode, line, want string) {
		t.Helper()
		if err := run(mode, line); err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		wantFile(t, path, want)
	}
	f("exclusive", "a", "a\n")
	f("append", "b", "a\nb\n")
	f("truncate", "c", "c\n")
	f("append", "d", "c\nd\n")
	wantError(t, run("exclusive", "e"), pipe.Fatal, path, "exists", "mode append")
	wantFile(t, path, "c\nd\n")
}

func TestFileTruncatesOncePerRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	os.WriteFile(path, []byte("old\n"), 0o644)
	s := fresh(t, "file", func(s *File) { s.Path, s.Mode, s.Rotate = path, "truncate", &FileRotate{Bytes: 1} })
	open(t, s)
	write(t, s, "a")
	write(t, s, "b")
	wantFile(t, path, "b\n")
	all := ""
	for _, text := range contents(t, filepath.Dir(path)) {
		all += text
	}
	if strings.Contains(all, "old") || !strings.Contains(all, "a\n") {
		t.Errorf("got %q, want what this run wrote and nothing else", all)
	}
}

func TestFileCSVHeaderOncePerFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.csv")
	for range 2 {
		s := fresh(t, "file", func(s *File) { s.Path, s.Codec = path, codec.CSV() })
		shut := open(t, s)
		err := s.Write(t.Context(), batch(t, `{"a":1,"b":2}`, `{"a":3,"b":4,"c":5}`, `{"b":6}`))
		var part *pipe.PartialError
		if !errors.As(err, &part) || len(part.Items) != 1 || part.Items[0].Index != 1 {
			t.Fatalf("got %v, want a failure of event 1 alone", err)
		}
		shut()
	}
	wantFile(t, path, "a,b\n1,2\n,6\n1,2\n,6\n")
}

func TestFileOpenErrors(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "plain"), []byte("not compressed, and long enough\n"), 0o644)
	f := func(set func(*File), want ...string) {
		t.Helper()
		s := fresh(t, "file", set)
		err := s.Open(t.Context(), pipetest.Env())
		if err == nil {
			s.Close(t.Context())
			t.Fatalf("got no error, want %q", want)
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("got %q, want it to say %q", err, part)
			}
		}
	}
	f(func(s *File) { s.Path = dir }, dir, "is a directory")
	f(func(s *File) { s.Path, s.CreateDirs = filepath.Join(dir, "no", "x"), false }, "no such file", "create_dirs: true")
	f(func(s *File) { s.Path = filepath.Join(dir, "plain", "x") }, "not a directory")
	f(func(s *File) { s.Path, s.Compress = filepath.Join(dir, "plain"), codec.CompressGzip }, "not gzip", "move it away")
	f(func(s *File) { s.Path, s.Compress = filepath.Join(dir, "plain"), codec.CompressZstd }, "not zstd", "move it away")
	wantFile(t, filepath.Join(dir, "plain"), "not compressed, and long enough\n")
}

func TestFileValidate(t *testing.T) {
	f := func(set func(*File), field, want string) {
		t.Helper()
		s := &File{Path: "out.log", Mode: modeAppend, Missing: "unknown"}
		set(s)
		var fe *pipe.FieldError
		err := s.Validate()
		if !errors.As(err, &fe) || fe.Field != field || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error at %s with %q", err, field, want)
		}
	}
	f(func(s *File) { s.Path = "a{b" }, "path", "without a }")
	f(func(s *File) { s.Path = "a}b" }, "path", "without a {")
	f(func(s *File) { s.Path = "{time:}" }, "path", "layout")
	f(func(s *File) { s.Path = "{time:today}" }, "path", "layout")
	f(func(s *File) { s.Path = "{meta:}" }, "path", "metadata")
	f(func(s *File) { s.Path = "{a[}" }, "path", "{a[}")
	f(func(s *File) { s.Path, s.Mode = "{a}", modeTruncate }, "mode", "appended")
	f(func(s *File) { s.Permissions = "rw" }, "permissions", "octal")
	f(func(s *File) { s.Permissions = "0999" }, "permissions", "octal")
	f(func(s *File) { s.Permissions = "0444" }, "permissions", "write")
	f(func(s *File) { s.Missing = "../x" }, "missing", "file name")
	f(func(s *File) { s.Missing = "" }, "missing", "file name")
	var rotate FileRotate
	if err := rotate.Validate(); err == nil {
		t.Error("rotate without bytes or interval is valid")
	}
	rotate.Interval = 1
	if err := rotate.Validate(); err == nil {
		t.Error("rotate every nanosecond is valid")
	}
	var fsync FileSync
	for _, bad := range []string{"", "always", "0s", "-1s", "5"} {
		if err := fsync.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("fsync %q is valid", bad)
		}
	}
	for _, good := range []string{"never", "batch", "1s"} {
		err := fsync.UnmarshalText([]byte(good))
		if text, _ := fsync.MarshalText(); err != nil || string(text) != good {
			t.Errorf("fsync %q became %q, %v", good, text, err)
		}
	}
}

func BenchmarkFile(b *testing.B) {
	f := func(name string, set func(*File)) {
		b.Run(name, func(b *testing.B) {
			s := fresh(b, "file", func(s *File) {
				s.Path = filepath.Join(b.TempDir(), "out.log")
				set(s)
			})
			open(b, s)
			line := string(bytes.Repeat([]byte("x"), 264))
			lines := make([]string, 256)
			for i := range lines {
				lines[i] = line
			}
			in := batch(b, lines...)

			b.ReportAllocs()
			for b.Loop() {
				if err := s.Write(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/256, "ns/event")
		})
	}
	f("null", func(s *File) { s.Path = os.DevNull })
	f("disk", func(s *File) { s.Rotate = &FileRotate{Bytes: 64 << 20, Keep: 1} })
	f("gzip", func(s *File) { s.Compress = codec.CompressGzip })
	f("zstd", func(s *File) { s.Compress = codec.CompressZstd })
}
