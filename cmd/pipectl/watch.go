package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
)

// How a file is followed. A content counts once it was the same at two looks
// watchSettle apart, so that a file that is being written is left alone. The
// system tells of changes; watchEvery is for file systems that do not.
const (
	watchEvery  = time.Second
	watchSettle = 250 * time.Millisecond
	watchRetry  = time.Minute // at most between two tries while the pipeline cannot be changed
)

// fileWatch reloads a pipeline when the content of its file changes, however
// that is done: written in place, replaced by another file, or through a
// symbolic link that points elsewhere.
type fileWatch struct {
	path          string
	every, settle time.Duration

	seen    content // that is in force or was refused
	last    content // of the look before
	missing bool    // the file could not be read then
}

// content is what a file has in it, by its hash. The zero value is none.
type content [sha256.Size]byte

// newFileWatch notes what the file at path has in it. Call it before the file
// is loaded: what changes from then on is reloaded. It must be a regular file.
func newFileWatch(path string) (*fileWatch, error) {
	w := &fileWatch{path: path, every: watchEvery, settle: watchSettle}
	seen, err := contentOf(path)
	if err != nil {
		return nil, fmt.Errorf("cannot watch %s: %w", path, err)
	}
	w.seen = seen
	return w, nil
}

// start follows the file until the returned function is called.
func (w *fileWatch) start(log *slog.Logger, r reloader) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	events := w.subscribe(log)
	go func() {
		defer close(ended)
		w.run(ctx, events, log, r)
		if events != nil {
			events.Close()
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// subscribe asks the system to tell of changes in the file's directory: a file
// that is replaced, or a link that is, would not be heard of otherwise. Nil when
// the system does not.
func (w *fileWatch) subscribe(log *slog.Logger) *fsnotify.Watcher {
	events, err := fsnotify.NewWatcher()
	if err == nil {
		if err = events.Add(filepath.Dir(w.path)); err == nil {
			return events
		}
		events.Close()
	}
	log.Warn("the system does not tell of changes, looking at the file every second", "file", w.path, "error", err)
	return nil
}

func (w *fileWatch) run(ctx context.Context, events *fsnotify.Watcher, log *slog.Logger, r reloader) {
	if events == nil {
		events = &fsnotify.Watcher{} // its channels are nil: silent
	}
	timer := time.NewTimer(w.settle)
	soon := true
	retry := w.every
	for {
		select {
		case <-ctx.Done():
			return
		case <-events.Errors: // events were missed: looking finds out
		case e := <-events.Events:
			if !soon && w.concerns(e.Name) {
				soon = true
				timer.Reset(w.settle)
			}
		case <-timer.C:
			wait := w.every
			switch w.look(log) {
			case settling:
				wait = w.settle
			case changed:
				if _, err := r.Reload(ctx, "watch"); mayPass(err) {
					wait, retry = retry, min(2*retry, watchRetry)
					break
				}
				w.seen, retry = w.last, w.every
			}
			soon = wait <= w.settle
			timer.Reset(wait)
		}
	}
}

// concerns reports whether what happened to a file may have changed ours. A
// mounted Kubernetes volume replaces its link ..data.
func (w *fileWatch) concerns(name string) bool {
	base := filepath.Base(name)
	return base == filepath.Base(w.path) || strings.HasPrefix(base, "..")
}

// mayPass reports whether a reload was refused only for the moment.
func mayPass(err error) bool {
	var refused *engine.RefusedError
	return errors.As(err, &refused) && refused.Busy
}

// What a look at the file finds.
type sight int

const (
	same     sight = iota // as the pipeline has it, or it cannot be read
	settling              // other than at the look before
	changed               // other than the pipeline has it, and at rest
)

// look reads the file.
func (w *fileWatch) look(log *slog.Logger) sight {
	now, err := contentOf(w.path)
	if err != nil {
		if !w.missing {
			log.Warn("the file cannot be read, the configuration stays", "file", w.path, "error", err)
		}
		w.last, w.missing = content{}, true
		return same
	}
	before := w.last
	w.last, w.missing = now, false
	switch {
	case now == w.seen || now == content{}:
		return same
	case now != before:
		return settling
	}
	return changed
}

// contentOf reads a regular file. One that is empty has no content: it is
// about to be written.
func contentOf(path string) (content, error) {
	info, err := os.Stat(path)
	if err != nil {
		return content{}, plainError(err)
	}
	if !info.Mode().IsRegular() {
		return content{}, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return content{}, plainError(err)
	}
	defer f.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, io.LimitReader(f, config.MaxFileBytes+1)) // a larger one is refused whatever it says
	if err != nil {
		return content{}, plainError(err)
	}
	if n == 0 {
		return content{}, nil
	}
	return content(hash.Sum(nil)), nil
}
