package sources

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// match is a regular file that the paths name.
type match struct {
	path    string
	info    fs.FileInfo
	literal bool // the path was written out
}

// isGlob reports whether path is a pattern: a name with special characters that
// exists under that very name is not.
func isGlob(path string) bool {
	if !strings.ContainsAny(path, `*?[{\`) {
		return false
	}
	_, err := os.Lstat(path)
	return err != nil
}

// found is what the paths name at one moment.
type found struct {
	files   []match  // sorted by path, each file once
	missing []string // paths without special characters that do not exist
	empty   []string // patterns that match nothing
	odd     []string // neither files nor directories, named by a pattern
}

// find looks for the files now. What cannot be looked at is an error if strict
// says so, and else as good as not there.
func (f *File) find(strict bool) (found, error) {
	var r found
	seen := map[fileID]bool{}
	for i, path := range f.Paths {
		if !isGlob(path) {
			if err := f.findOne(&r, seen, i, filepath.Clean(path)); err != nil && strict {
				return r, err
			}
			continue
		}
		var options []doublestar.GlobOption
		if strict {
			options = append(options, doublestar.WithFailOnIOErrors())
		}
		if strings.Contains(path, "**") { // links may lead in circles
			options = append(options, doublestar.WithNoFollow())
		}
		names, err := doublestar.FilepathGlob(path, options...)
		if err != nil {
			return r, fmt.Errorf("paths[%d]: %s: %w", i, path, err)
		}
		any := false
		for _, name := range names {
			any = f.findMatch(&r, seen, filepath.Clean(name)) || any
		}
		if !any {
			r.empty = append(r.empty, path)
		}
	}
	slices.SortFunc(r.files, func(a, b match) int { return strings.Compare(a.path, b.path) })
	return r, nil
}

// findOne adds a path that was written out: what it names must be a file.
func (f *File) findOne(r *found, seen map[fileID]bool, i int, path string) error {
	info, err := os.Stat(path)
	switch {
	case os.IsNotExist(err):
		r.missing = append(r.missing, path)
		return nil
	case err != nil:
		return fmt.Errorf("paths[%d]: %w", i, err)
	case info.IsDir():
		return fmt.Errorf("paths[%d]: %s is a directory; write %s to read the files in it, or %s to go deeper",
			i, path, filepath.Join(path, "*"), filepath.Join(path, "**"))
	case !info.Mode().IsRegular():
		return fmt.Errorf("paths[%d]: %s is %s, not a file; read it with the source type stdin: pipectl run … < %s", i, path, kindOf(info.Mode()), path)
	}
	f.add(r, seen, match{path, info, true})
	return nil
}

// findMatch adds what a pattern matched, and reports whether it is a file.
func (f *File) findMatch(r *found, seen map[fileID]bool, path string) bool {
	if f.excluded(path) {
		return false
	}
	info, err := os.Stat(path)
	switch {
	case err != nil, info.IsDir(): // gone in the meantime, or a broken link
		return false
	case !info.Mode().IsRegular():
		r.odd = append(r.odd, path)
		return false
	}
	f.add(r, seen, match{path, info, false})
	return true
}

// add takes each file once, even if links give it several names.
func (f *File) add(r *found, seen map[fileID]bool, m match) {
	if id := idOf(m.info); !seen[id] {
		seen[id] = true
		r.files = append(r.files, m)
	}
}

func (f *File) excluded(path string) bool {
	for _, pattern := range f.Exclude {
		name := path
		if !strings.ContainsRune(pattern, '/') {
			name = filepath.Base(path)
		}
		if ok, _ := doublestar.PathMatch(pattern, name); ok {
			return true
		}
	}
	return false
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
