package sinks

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
)

func TestSplitExtension(t *testing.T) {
	f := func(path, stem, ext string) {
		t.Helper()
		if gotStem, gotExt := splitExtension(path); gotStem != stem || gotExt != ext {
			t.Errorf("%s: got %q and %q, want %q and %q", path, gotStem, gotExt, stem, ext)
		}
	}
	f("out/app.ndjson", "out/app", ".ndjson")
	f("my.service.log.gz", "my.service", ".log.gz")
	f("a.zst", "a", ".zst")
	f("out.d/app", "out.d/app", "")
	f("out/.log", "out/.log", "")
}

func TestFileRotatesBySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := fresh(t, "file", func(s *File) {
			s.Path, s.Rotate = filepath.Join(dir, "app.log"), &FileRotate{Bytes: 100, Keep: 3}
		})
		open(t, s)
		os.WriteFile(filepath.Join(dir, "app-notes.log"), []byte("not ours"), 0o644)
		os.WriteFile(filepath.Join(dir, "other-20000101T000000.000Z.log"), []byte("not ours"), 0o644)
		for i := range 60 { // 10 lines of 12 bytes make a file
			write(t, s, fmt.Sprintf("line %06d", i))
			if i%9 == 0 {
				time.Sleep(time.Second)
			}
		}
		files := contents(t, dir)
		for _, name := range []string{"app-notes.log", "other-20000101T000000.000Z.log"} {
			if files[name] != "not ours" {
				t.Errorf("%s was touched", name)
			}
			delete(files, name)
		}
		names := slices.Sorted(maps.Keys(files))
		if len(names) != 4 || names[3] != "app.log" {
			t.Fatalf("got %v, want app.log and 3 before it", names)
		}
		all := ""
		for _, name := range names {
			all += files[name]
			if n := len(files[name]); n > 112 {
				t.Errorf("%s has %d bytes, want at most 100 and a batch", name, n)
			}
			if stamp := strings.TrimPrefix(name, "app-"); name != "app.log" && len(stamp) != len("20000101T000000.000Z.log") {
				t.Errorf("%s is not named by time", name)
			}
		}
		if want := joined(numbered(60-strings.Count(all, "\n"), 60)); all != want {
			t.Errorf("the files together are %q, want %q", all, want)
		}
	})
}

func TestFileRotatesByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // at midnight UTC
		dir := t.TempDir()
		s := fresh(t, "file", func(s *File) {
			s.Path, s.Rotate = filepath.Join(dir, "app.log.gz"), &FileRotate{Interval: 3600e9}
			s.Compress = codec.CompressGzip
		})
		open(t, s)
		for i := range 10 { // at 0:00, 0:20 ... 3:00
			write(t, s, fmt.Sprintf("line %06d", i))
			time.Sleep(20 * time.Minute)
		}
		want := map[string]string{
			"app-20000101T010000.000Z.log.gz": joined(numbered(0, 3)),
			"app-20000101T020000.000Z.log.gz": joined(numbered(3, 6)),
			"app-20000101T030000.000Z.log.gz": joined(numbered(6, 9)),
			"app.log.gz":                      joined(numbered(9, 10)),
		}
		got := map[string]string{}
		for name := range contents(t, dir) {
			got[name] = unpacked(t, filepath.Join(dir, name), codec.CompressGzip)
		}
		if !maps.Equal(got, want) {
			t.Errorf("got %q\nwant %q", got, want)
		}
	})
}

func TestFileRotatesWhatAnEarlierRunLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	os.WriteFile(path, []byte("yesterday\n"), 0o644)
	os.Chtimes(path, time.Time{}, time.Now().Add(-25*time.Hour))
	s := fresh(t, "file", func(s *File) { s.Path, s.Rotate = path, &FileRotate{Interval: 24 * 3600e9} })
	open(t, s)
	write(t, s, "today")
	wantFile(t, path, "today\n")
	if n := len(contents(t, filepath.Dir(path))); n != 2 {
		t.Errorf("%d files, want 2", n)
	}
}

func TestFileRotationFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "app.log")
	s := fresh(t, "file", func(s *File) { s.Path, s.Rotate = path, &FileRotate{Bytes: 1} })
	open(t, s)
	write(t, s, "first")
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	err := s.Write(t.Context(), batch(t, "second"))
	wantError(t, err, "retryable", "rotate "+path, "no such file")
	write(t, s, "second") // the folder is made anew
	wantFile(t, path, "second\n")
}

// TestFileFollowsItsPath moves the file away under the sink, as logrotate does.
func TestFileFollowsItsPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "app.log")
		s := fresh(t, "file", func(s *File) { s.Path, s.Mode = path, modeTruncate })
		open(t, s)
		write(t, s, "one")
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		write(t, s, "two") // nobody looks more than once a second
		moved := s.open.oldest()
		time.Sleep(lookEvery)
		write(t, s, "three")
		wantFile(t, path+".1", "one\ntwo\n")
		if err := moved.dst.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("the file that was moved away is still open: %v", err)
		}
		wantFile(t, path, "three\n")
		os.Remove(path)
		time.Sleep(lookEvery)
		write(t, s, "four")
		wantFile(t, path, "four\n")
	})
}

func TestFileSyncsEverySoOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fresh(t, "file", func(s *File) {
			s.Path, s.Fsync = filepath.Join(t.TempDir(), "out.log"), FileSync{every: time.Second}
		})
		shut := open(t, s)
		x := fault(s)
		f := func(want int) {
			t.Helper()
			time.Sleep(10 * time.Second)
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if x.syncs != want {
				t.Errorf("%d syncs, want %d", x.syncs, want)
			}
		}
		f(0) // nothing was written
		write(t, s, "a")
		f(1) // an idle file too, and once
		write(t, s, "b")
		write(t, s, "c")
		f(2)
		shut()
	})
}
