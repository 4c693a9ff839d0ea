package sources

import (
	"path/filepath"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/fsnotify/fsnotify"
)

// watcher asks the system to announce changes in directories. It works without:
// where the system cannot, or has no room for more, everything is found by looking.
type watcher struct {
	f    *File
	fs   *fsnotify.Watcher // nil when there is none
	dirs map[string]bool
	told bool
}

func newWatcher(f *File) *watcher {
	w := &watcher{f: f, dirs: map[string]bool{}}
	if f.polling {
		return w
	}
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		w.complain(err)
		return w
	}
	w.fs = fs
	return w
}

func (w *watcher) complain(err error) {
	if !w.told {
		w.told = true
		w.f.log.Warn("changes of files are not announced; looking for them regularly instead", "every", w.f.PollInterval.D(), "error", err)
	}
}

// changes returns where announcements come from. While nobody receives, they
// wait in the system, and overflow there into one error.
func (w *watcher) changes() (<-chan fsnotify.Event, <-chan error) {
	if w.fs == nil {
		return nil, nil
	}
	return w.fs.Events, w.fs.Errors
}

// follow asks for announcements of the directories of all files, and of those
// where patterns begin.
func (w *watcher) follow(paths map[string]*tail) {
	if w.fs == nil {
		return
	}
	want := map[string]bool{}
	for path := range paths {
		want[filepath.Dir(path)] = true
	}
	for _, p := range w.f.Paths {
		dir := filepath.Dir(filepath.Clean(p))
		if isGlob(p) {
			base, _ := doublestar.SplitPattern(filepath.ToSlash(p))
			dir = filepath.Clean(filepath.FromSlash(base))
		}
		want[dir] = true
	}
	for dir := range w.dirs {
		if !want[dir] {
			w.lost(dir)
		}
	}
	for dir := range want {
		if w.dirs[dir] {
			continue
		}
		if err := w.fs.Add(dir); err == nil {
			w.dirs[dir] = true
		} else if exists(dir) {
			w.complain(err)
		}
	}
}

// lost gives up a directory, if it is one that is watched.
func (w *watcher) lost(dir string) {
	if w.dirs[dir] {
		delete(w.dirs, dir)
		w.fs.Remove(dir) // when it is gone the system has removed it already
	}
}

func (w *watcher) close() {
	if w.fs != nil {
		w.fs.Close()
	}
}
