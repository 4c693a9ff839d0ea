package sources

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/pipectl/pipectl/engine/pipe"
)

// settleDown is how long after a look at the directories the next one follows
// at the earliest, however often they change.
const settleDown = 50 * time.Millisecond

// follower reads files that grow, are renamed, truncated, deleted and created.
//
// A file is its device and inode, never its path. It stays open while it has a
// path that we look for, and rotate_wait longer. Announcements of the system
// make reading prompt; nothing depends on them, because every file is looked at
// once per poll_interval as well.
type follower struct {
	f     *File
	tails map[fileID]*tail
	paths map[string]*tail // by the path of the last scan
	ready []*tail          // those that may have more to read, in turn
	scans int
	due   time.Time       // of the next scan
	told  map[string]bool // files that could not be opened, and were reported
	watch *watcher
}

type tail struct {
	*stream
	queued bool      // in ready
	scan   int       // the last one that saw it
	away   time.Time // since when no path leads to it; zero while one does
	fed    time.Time // when it last gave something
	mtime  time.Time // when its content was last known to be the same file's
	parked bool      // compressed and read as far as it goes; the file is closed
}

func newFollower(f *File) *follower {
	w := &follower{f: f, tails: map[fileID]*tail{}, paths: map[string]*tail{}, told: map[string]bool{}}
	w.watch = newWatcher(f)
	return w
}

// start opens what is there.
func (w *follower) start(ctx context.Context, now found, atEnd bool) error {
	w.scans++
	for _, m := range now.files {
		if err := w.enter(ctx, m, atEnd); err != nil {
			return err
		}
	}
	w.watch.follow(w.paths)
	w.due = time.Now() // the orphans are away: this scan will tell
	return nil
}

// read is File.Read.
func (w *follower) read(ctx context.Context, b *pipe.Batch) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !time.Now().Before(w.due) {
			if err := w.scan(ctx); err != nil {
				return err
			}
		}
		if len(w.ready) == 0 {
			if err := w.wait(ctx); err != nil {
				return err
			}
			continue
		}
		t := w.ready[0]
		w.ready[0] = nil
		w.ready = w.ready[1:]
		t.queued = false
		if err := w.take(t, b); err != nil || b.Len() > 0 {
			return err
		}
	}
}

func (w *follower) enqueue(t *tail) {
	if !t.queued {
		t.queued = true
		w.ready = append(w.ready, t)
	}
}

// take reads once from t, which goes to the back of the line if it gave something.
func (w *follower) take(t *tail, b *pipe.Batch) error {
	err := t.read(b)
	switch {
	case err == nil:
		t.fed = time.Now()
		w.enqueue(t)
		return nil
	case err == io.EOF && t.r.Growing:
		return w.look(t) // it may have grown since, without another announcement
	case err == io.EOF && !t.isPacked():
		w.end(t)
		return nil
	case err == io.EOF:
		w.park(t)
		return nil
	case t.isPacked() && errors.Is(err, io.ErrUnexpectedEOF):
		w.f.log.Warn("the compressed file is cut off; waiting for its rest", "file", t.path)
		w.park(t)
		return nil
	}
	return err
}

// park closes a compressed file until it changes.
func (w *follower) park(t *tail) {
	t.parked = true
	t.close(false)
}

// end closes a file that was read to its last byte.
func (w *follower) end(t *tail) {
	t.close(t.disk.over || !t.away.IsZero()) // else it came back at the last moment
	if w.tails[t.id] == t {
		delete(w.tails, t.id)
	}
}

// scan looks at the directories and at every file.
func (w *follower) scan(ctx context.Context) error {
	now, err := w.f.find(false)
	if err != nil {
		return err
	}
	w.scans++
	start := time.Now()
	w.due = start.Add(w.f.PollInterval.D())
	clear(w.paths)
	added := slices.DeleteFunc(now.files, w.see)
	for _, t := range w.tails { // what is left of old files comes before new ones
		if t.scan != w.scans && t.away.IsZero() {
			t.away = start
			w.f.log.Info("the file was renamed or deleted; it is read to its end", "file", t.path)
		}
		if err := w.visit(t, start); err != nil {
			return err
		}
	}
	for _, m := range added {
		if err := w.enter(ctx, m, false); err != nil {
			return err
		}
	}
	w.watch.follow(w.paths)
	return nil
}

// see notes that a path leads to a file, and reports whether that is open.
func (w *follower) see(m match) bool {
	t := w.tails[idOf(m.info)]
	if t == nil {
		return false
	}
	t.scan, t.away = w.scans, time.Time{}
	w.paths[m.path] = t
	if t.path != m.path {
		w.f.log.Info("the file was renamed", "file", t.path, "to", m.path)
		w.f.book.update(func() { t.path = m.path })
	}
	return true
}

// enter opens a file that was not there before.
func (w *follower) enter(ctx context.Context, m match, atEnd bool) error {
	s, err := w.f.open(ctx, m.path, atEnd)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, io.ErrUnexpectedEOF):
		return nil // gone again, or the beginning of a compressed file: the next scan will see
	case errors.Is(err, fs.ErrPermission) && w.scans > 1:
		if !w.told[m.path] {
			w.told[m.path] = true
			w.f.log.Warn("the file cannot be read; trying again", "file", m.path, "error", err)
		}
		return nil
	default:
		return err
	}
	delete(w.told, m.path)
	if old := w.tails[s.id]; old != nil { // renamed between the look and the opening
		s.close(false)
		old.scan, old.away = w.scans, time.Time{}
		w.paths[m.path] = old
		return nil
	}
	t := &tail{stream: s, scan: w.scans, fed: time.Now()}
	w.tails[s.id], w.paths[m.path] = t, t
	w.enqueue(t)
	return nil
}

// visit is the regular look at a file.
func (w *follower) visit(t *tail, now time.Time) error {
	if t.parked {
		return w.visitParked(t)
	}
	if err := w.look(t); err != nil {
		return err
	}
	last := t.fed
	if t.away.After(last) {
		last = t.away
	}
	if !t.away.IsZero() && !t.queued && now.Sub(last) >= w.f.RotateWait.D() {
		t.r.Growing = false // what is left of it is its last line
		w.enqueue(t)
	}
	return nil
}

// visitParked opens a compressed file again when it has changed.
func (w *follower) visitParked(t *tail) error {
	if !t.away.IsZero() {
		w.end(t)
		return nil
	}
	info, err := os.Stat(t.path)
	if err != nil || idOf(info) != t.id || info.Size() == t.size {
		return nil // renamed or deleted: the next scan will see
	}
	delete(w.tails, t.id)
	w.due = time.Now() // opens it
	return nil
}

// look sees whether an idle file has grown, or is another one by now.
func (w *follower) look(t *tail) error {
	if t.queued || t.parked {
		return nil
	}
	info, err := t.file.Stat()
	if err != nil {
		return err
	}
	size, at := info.Size(), t.disk.at.Load()
	same := size >= at && (info.ModTime().Equal(t.mtime) || t.print.matches(t.file))
	if !same && !t.isPacked() {
		return w.replace(t)
	}
	t.mtime = info.ModTime()
	w.f.book.update(func() {
		t.size, t.length = size, size
		if t.print.bytes < printBytes && size > t.print.bytes {
			if p, err := printOf(t.file, size); err == nil {
				t.print = p
			}
		}
	})
	if size > at {
		t.fed = time.Now()
		w.enqueue(t)
	}
	return nil
}

// replace ends a file whose content was thrown away, and begins with the new one.
func (w *follower) replace(t *tail) error {
	w.f.log.Info("the file was truncated; it is read from its start", "file", t.path, "read", t.at)
	t.disk.over, t.r.Growing = true, false
	w.f.book.update(func() { w.f.book.hide(t.known) })
	delete(w.tails, t.id)
	w.enqueue(t)
	w.due = time.Now() // opens it
	return nil
}

// wait sleeps until something may have changed.
func (w *follower) wait(ctx context.Context) error {
	timer := time.NewTimer(time.Until(w.due))
	defer timer.Stop()
	defer w.f.idle.Leave(w.f.idle.Enter())
	events, failures := w.watch.changes()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	case e := <-events:
		for more := true; more; { // and those that wait behind it
			if err := w.changed(e); err != nil {
				return err
			}
			select {
			case e, more = <-events:
			default:
				more = false
			}
		}
	case <-failures: // more changes than it has room for
		w.soon()
	}
	return nil
}

// changed takes in an announcement.
func (w *follower) changed(e fsnotify.Event) error {
	path := filepath.Clean(e.Name)
	written := e.Op&(fsnotify.Create|fsnotify.Remove|fsnotify.Rename) == 0
	if !written {
		w.watch.lost(path)
		w.soon()
		return nil
	}
	if t := w.paths[path]; t != nil {
		return w.look(t)
	}
	for _, t := range w.tails { // one that was renamed, perhaps
		if t.away.IsZero() {
			continue
		}
		if err := w.look(t); err != nil {
			return err
		}
	}
	return nil
}

// soon brings the next scan forward.
func (w *follower) soon() {
	if soon := time.Now().Add(settleDown); soon.Before(w.due) {
		w.due = soon
	}
}

func (w *follower) close() {
	w.watch.close()
	for _, t := range w.tails {
		t.close(false)
	}
	for _, t := range w.ready {
		t.close(false)
	}
}
