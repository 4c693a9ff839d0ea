package sources

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/pipectl/pipectl/engine/codec"
)

// sighting is a file of the folder that is not read yet.
type sighting struct {
	name  string // below path
	size  int64
	time  time.Time // of its last change, by the file system
	since time.Time // when it was first seen like this, by our clock
	seen  time.Time // in which look
}

// inboxFile is a file that was begun, until it is put away.
type inboxFile struct {
	*sighting
	path   string
	broken bool // it cannot be read to its end
	warned bool // that it cannot be put away

	// Guarded by the source.
	open     int  // messages not settled
	whole    bool // nothing more comes of it
	returned bool // something was not decided: it stays
	failed   int  // messages that failed or were refused
}

// openInbox is the file at hand.
type openInbox struct {
	*inboxFile
	file *os.File
	z    io.Closer
	r    *codec.Reader
}

func (o *openInbox) close() {
	o.z.Close()
	o.file.Close()
}

// next begins the next file; when there is none it returns how long to wait.
func (s *Directory) next() (wait time.Duration, err error) {
	s.mu.Lock()
	full := len(s.unfinished) >= s.MaxUnfinished
	s.mu.Unlock()
	if full {
		return s.Poll.D(), nil
	}
	if len(s.ready) == 0 {
		now := time.Now()
		if due := s.scanned.Add(s.Poll.D()); now.Before(due) {
			return due.Sub(now), nil
		}
		if err := s.scan(now); err != nil {
			return 0, fmt.Errorf("path %s: %w", s.Path, bare(err))
		}
	}
	if len(s.ready) == 0 {
		if !s.Follow && len(s.waiting) == 0 {
			return 0, io.EOF
		}
		return s.Poll.D(), nil
	}
	first := s.ready[0]
	s.ready = s.ready[1:]
	delete(s.waiting, first.name)
	s.lag.Add(-first.size)
	s.begin(first)
	return 0, nil
}

// scan looks through the folder and finds what may be read.
func (s *Directory) scan(now time.Time) error {
	s.scanned = now
	deep := slices.ContainsFunc(s.Include, func(p string) bool { return strings.Contains(p, "/") })
	away := []string{filepath.Clean(s.DoneDir), filepath.Clean(s.FailedDir)}
	bytes := int64(0)
	err := filepath.WalkDir(s.Path, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == s.Path:
			return err
		case err != nil: // gone, or not ours to read
			return nil
		case path == s.Path:
			return nil
		case strings.HasPrefix(d.Name(), "."), d.IsDir() && (!deep || slices.Contains(away, filepath.Clean(path))):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		bytes += s.sight(path, d, now)
		return nil
	})
	for name, w := range s.waiting {
		if w.seen != now {
			delete(s.waiting, name)
		} else if now.Sub(w.since) >= s.StableFor.D() {
			s.ready = append(s.ready, w)
		}
	}
	slices.SortFunc(s.ready, func(a, b *sighting) int { return strings.Compare(a.name, b.name) })
	s.lag.Store(bytes)
	return err
}

// sight notes a file, and returns how many bytes wait in it.
func (s *Directory) sight(path string, d fs.DirEntry, now time.Time) int64 {
	name, err := filepath.Rel(s.Path, path)
	if err != nil || !matches(s.Include, name) || matches(s.Exclude, name) || s.begun(name) {
		return 0
	}
	w := s.waiting[name]
	info, err := d.Info()
	if err != nil {
		return 0
	}
	if w == nil && len(s.waiting) >= s.MaxWaiting {
		return info.Size()
	}
	if w == nil || w.size != info.Size() || !w.time.Equal(info.ModTime()) {
		w = &sighting{name: name, size: info.Size(), time: info.ModTime(), since: now}
		s.waiting[name] = w
	}
	w.seen = now
	return w.size
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return doublestar.MatchUnvalidated(p, filepath.ToSlash(name)) })
}

// begun reports whether the file was read and is not put away yet.
func (s *Directory) begun(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unfinished[name] != nil
}

// begin opens a file. One that cannot be opened fails, unless it is gone.
func (s *Directory) begin(w *sighting) {
	f := &inboxFile{sighting: w, path: filepath.Join(s.Path, w.name)}
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	s.mu.Lock()
	s.unfinished[w.name] = f
	s.mu.Unlock()
	var z io.ReadCloser
	if err == nil {
		if z, err = codec.Decompress(file, s.Compression, zstdWindow); err != nil {
			file.Close()
		}
	}
	if err != nil {
		s.log.Warn("file cannot be read; it goes to failed_dir", "file", f.path, "error", bare(err))
		s.mu.Lock()
		f.broken, f.whole = true, true
		s.checkFinished(f)
		s.mu.Unlock()
		return
	}
	s.now = &openInbox{inboxFile: f, file: file, z: z, r: s.Codec.NewReader(z, s.maxEvent)}
	s.now.r.Partition = f.partition()
}

// partition names the file for the identity of its events: another file that comes
// under the same name later has others.
func (f *inboxFile) partition() string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%d %d", f.size, f.time.UnixNano())
	return fmt.Sprintf("%s#%08x", f.name, h.Sum32())
}

// putAway moves or deletes the files that are finished. What it cannot move now it
// tries again.
func (s *Directory) putAway() {
	s.moving.Lock()
	defer s.moving.Unlock()
	s.mu.Lock()
	list := s.finished
	s.finished = nil
	s.mu.Unlock()
	for _, f := range list {
		err := s.settle(f)
		s.mu.Lock()
		if err == nil {
			delete(s.unfinished, f.name)
		} else {
			s.finished = append(s.finished, f)
		}
		s.mu.Unlock()
		if err != nil && !f.warned {
			f.warned = true
			s.log.Error("finished file cannot be put away; it is tried again, and read again after a restart", "file", f.path, "error", bare(err))
		}
	}
}

// settle does with a file what its events say.
func (s *Directory) settle(f *inboxFile) error {
	info, err := os.Lstat(f.path)
	switch {
	case f.returned:
		return nil // it stays, for the next run
	case errors.Is(err, fs.ErrNotExist):
		s.log.Warn("file was taken away by somebody else while it was read", "file", f.path)
		return nil
	case err != nil:
		return err
	case info.Size() != f.size || !info.ModTime().Equal(f.time):
		s.log.Warn("file has changed while it was read; it is read again from its start", "file", f.path)
		return nil
	case f.broken || f.failed > 0:
		s.log.Warn("file has failed", "file", f.path, "moved_to", s.FailedDir, "failed_events", f.failed)
		return moveInto(s.FailedDir, f)
	case s.Delete:
		return os.Remove(f.path)
	}
	return moveInto(s.DoneDir, f)
}

// mostNames bounds how many names of put-away files are tried.
const mostNames = 10_000

// moveInto moves a file below dir, under a name that is free.
func moveInto(dir string, f *inboxFile) error {
	to := filepath.Join(dir, f.name)
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	for n := range mostNames {
		name := to
		if n > 0 {
			name = fmt.Sprintf("%s.%d", to, n)
		}
		if _, err := os.Lstat(name); err == nil {
			continue
		}
		return os.Rename(f.path, name)
	}
	return fmt.Errorf("%s and %d names like it are taken", to, mostNames)
}
