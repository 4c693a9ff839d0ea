package sinks

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// FileRotate is the `rotate` field of the file sink. A file put aside keeps its
// name with the time before its extension: errors-20260102T150405.000Z.ndjson
// (UTC). Files are put aside between batches, when one is written: an idle file
// stays.
type FileRotate struct {
	// Bytes is the size from which a file is put aside, such as 100MiB; compressed
	// bytes count. A file is larger by at most one batch. 0, the default, is no limit.
	Bytes pipe.Size `yaml:"bytes"`

	// Interval puts a file aside when a multiple of it has passed on the clock (UTC)
	// since the file was begun: 1h at the full hour, 1d at midnight. 0, the default, never.
	Interval pipe.Duration `yaml:"interval"`

	// Keep is how many files put aside stay for each path; older ones are deleted. 0,
	// the default, keeps all.
	Keep int `yaml:"keep" min:"0"`
}

// Validate checks the fields.
func (r *FileRotate) Validate() error {
	switch {
	case r.Bytes <= 0 && r.Interval <= 0:
		return pipe.Fieldf("", "needs bytes, interval, or both: without them no file is put aside")
	case r.Interval > 0 && r.Interval.D() < time.Second:
		return pipe.Fieldf("interval", "must be at least 1s, got %v", r.Interval)
	}
	return nil
}

// due reports whether f must be put aside before the next batch.
func (r *FileRotate) due(f *outFile, now time.Time) bool {
	if r == nil || !f.regular || f.size == 0 {
		return false
	}
	if r.Bytes > 0 && f.size >= int64(r.Bytes) {
		return true
	}
	return r.Interval > 0 && now.Truncate(r.Interval.D()).After(f.since)
}

// refresh readies f for a batch: it is put aside when that is due, and opened
// again when it is torn or its path names another file by now.
func (s *File) refresh(f *outFile) (*outFile, error) {
	now := time.Now()
	if s.Rotate.due(f, now) {
		if err := s.rotate(f, now); err != nil {
			return nil, err
		}
		return s.openFile(f.path, modeAppend)
	}
	if !f.torn && (now.Sub(f.looked) < lookEvery || !f.regular) {
		return f, nil
	}
	f.looked = now
	if info, err := os.Stat(f.path); err == nil && !f.torn && os.SameFile(info, f.info) {
		return f, nil
	}
	s.shut(f)
	return s.openFile(f.path, modeAppend)
}

// rotate closes f and puts it aside.
func (s *File) rotate(f *outFile, now time.Time) error {
	s.open.remove(f)
	if err := f.close(s.forced()); err != nil {
		return err
	}
	aside, err := putAside(f.path, now)
	if err != nil {
		return pipe.Classed(pipe.Retryable, fmt.Errorf("rotate %s: %w", f.path, err))
	}
	if s.forced() {
		if err := syncDir(aside); err != nil {
			return pipe.Classed(pipe.Retryable, fmt.Errorf("rotate %s: %w", f.path, err))
		}
	}
	s.log.Info("file rotated", "path", f.path, "to", aside, "bytes", f.size)
	if err := s.prune(f.path); err != nil {
		s.log.Warn("old files not deleted", "path", f.path, "error", err)
	}
	return nil
}

// asideLayout is the time in the name of a file put aside.
const asideLayout = "20060102T150405.000Z"

// splitExtension splits a path before its extension, to which .gz and .zst belong.
func splitExtension(path string) (stem, ext string) {
	ext = filepath.Ext(path)
	if ext == ".gz" || ext == ".zst" {
		ext = filepath.Ext(strings.TrimSuffix(path, ext)) + ext
	}
	if stem = strings.TrimSuffix(path, ext); filepath.Base(stem) == "." || strings.HasSuffix(stem, "/") || stem == "" {
		return path, "" // a name such as .log has no extension
	}
	return stem, ext
}

// putAside renames path to a free name with the time in it.
func putAside(path string, now time.Time) (string, error) {
	stem, ext := splitExtension(path)
	for ; ; now = now.Add(time.Millisecond) {
		aside := stem + "-" + now.UTC().Format(asideLayout) + ext
		if _, err := os.Lstat(aside); err == nil {
			continue
		}
		return aside, os.Rename(path, aside)
	}
}

// prune deletes the oldest files put aside beyond keep.
func (s *File) prune(path string) error {
	if s.Rotate.Keep <= 0 {
		return nil
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	stem, ext := splitExtension(filepath.Base(path))
	old := slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		at, ok := strings.CutPrefix(e.Name(), stem+"-")
		if !ok || !e.Type().IsRegular() {
			return true
		}
		at, ok = strings.CutSuffix(at, ext)
		_, err := time.Parse(asideLayout, at)
		return !ok || err != nil || len(at) != len(asideLayout)
	})
	for _, e := range old[:max(0, len(old)-s.Rotate.Keep)] { // sorted by name, which is by time
		if err := os.Remove(filepath.Join(filepath.Dir(path), e.Name())); err != nil {
			return err
		}
	}
	return nil
}
