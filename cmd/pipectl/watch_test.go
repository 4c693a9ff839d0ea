package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/control"
)

// reloads is a reloader that notes what the file said at each reload.
type reloads struct {
	path string
	seen chan string

	mu   sync.Mutex // guards what follows
	errs []error    // answers, in order; nil when used up
}

func (r *reloads) Reload(_ context.Context, who string) (control.Outcome, error) {
	data, err := os.ReadFile(r.path)
	if err != nil {
		data = []byte(err.Error())
	}
	r.seen <- who + ": " + string(data)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.errs) == 0 {
		return control.Outcome{}, nil
	}
	err, r.errs = r.errs[0], r.errs[1:]
	return control.Outcome{}, err
}

// expect waits for the next reload.
func (r *reloads) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-r.seen:
		if got != "watch: "+want {
			t.Errorf("reloaded %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("no reload of %q", want)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lookout is a watch of a real file that the test looks through itself, without
// the passing of time.
type lookout struct {
	*fileWatch
	t   *testing.T
	log bytes.Buffer
}

func newLookout(t *testing.T, path string) *lookout {
	t.Helper()
	w, err := newFileWatch(path)
	mustDo(t, err)
	return &lookout{fileWatch: w, t: t}
}

// sees looks once for each word: same, settling, or changed, which is then taken up.
func (l *lookout) sees(want ...sight) {
	l.t.Helper()
	for i, want := range want {
		got := l.look(slog.New(slog.NewTextHandler(&l.log, nil)))
		if got != want {
			l.t.Errorf("look %d: got %d, want %d", i+1, got, want)
		}
		if got == changed {
			l.seen = l.last
		}
	}
}

func TestWatchInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	put(t, path, "one")
	l := newLookout(t, path)
	l.sees(same, same)
	put(t, path, "two")
	l.sees(settling, changed, same)
	put(t, path, "two") // touched: the same content
	l.sees(same)
	mustDo(t, os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)))
	l.sees(same)
}

// A file that is being written is left alone until it is at rest.
func TestWatchHalfWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	put(t, path, "one")
	l := newLookout(t, path)
	put(t, path, "")
	l.sees(same, same) // truncated, about to be written
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	mustDo(t, err)
	defer f.Close()
	for _, part := range []string{"version: ", "1\n", "name: x"} {
		_, err := f.WriteString(part)
		mustDo(t, err)
		l.sees(settling)
	}
	l.sees(changed, same)
	put(t, path, "bro")
	l.sees(settling)
	put(t, path, "version: 1\nname: x")
	l.sees(same, same) // as it was before: nothing to do
}

// Editors write another file and rename it, some by way of a backup.
func TestWatchRenameInPlace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "p.yaml")
	put(t, path, "one")
	l := newLookout(t, path)
	put(t, path+".swp", "two")
	mustDo(t, os.Rename(path+".swp", path))
	l.sees(settling, changed)
	mustDo(t, os.Rename(path, path+"~"))
	l.sees(same, same)
	if got := l.log.String(); strings.Count(got, "cannot be read") != 1 {
		t.Errorf("log: %s", got)
	}
	put(t, path, "three")
	l.sees(settling, changed, same)
}

// mount makes a directory as Kubernetes mounts a ConfigMap: p.yaml is a link
// to ..data/p.yaml, and ..data one to a directory with a date in its name.
func mount(t *testing.T, text string) (path string, update func(text string)) {
	t.Helper()
	dir, n := t.TempDir(), 0
	update = func(text string) {
		t.Helper()
		n++
		now := fmt.Sprintf("..2026_11_21_%d", n)
		mustDo(t, os.Mkdir(filepath.Join(dir, now), 0o755))
		put(t, filepath.Join(dir, now, "p.yaml"), text)
		mustDo(t, os.Symlink(now, filepath.Join(dir, "..data_tmp")))
		mustDo(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		if n > 1 {
			mustDo(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..2026_11_21_%d", n-1))))
		}
	}
	update(text)
	path = filepath.Join(dir, "p.yaml")
	mustDo(t, os.Symlink(filepath.Join("..data", "p.yaml"), path))
	return path, update
}

func TestWatchKubernetesVolume(t *testing.T) {
	path, update := mount(t, "one")
	l := newLookout(t, path)
	l.sees(same)
	update("two")
	l.sees(settling, changed, same)
	update("two") // another directory, the same content
	l.sees(same)
}

func TestWatchNeedsARegularFile(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		if _, err := newFileWatch(path); err == nil || err.Error() != "cannot watch "+path+": "+want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	dir := t.TempDir()
	f(dir, "not a regular file")
	f(filepath.Join(dir, "none"), "no such file or directory")
	pipe := filepath.Join(dir, "pipe")
	mustDo(t, syscall.Mkfifo(pipe, 0o644))
	f(pipe, "not a regular file")
}

// follow starts a watch of path. Told changes are those that the system tells of;
// otherwise it looks by itself.
func follow(t *testing.T, path string, told bool, errs ...error) (*reloads, *bytes.Buffer) {
	t.Helper()
	w, err := newFileWatch(path)
	mustDo(t, err)
	w.every, w.settle = 5*time.Millisecond, time.Millisecond
	if told {
		w.every = time.Hour
	}
	r := &reloads{path: path, seen: make(chan string, 100), errs: errs}
	var log bytes.Buffer
	var stop func()
	if told {
		stop = w.start(slog.New(slog.NewTextHandler(&log, nil)), r)
	} else {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.run(ctx, nil, slog.New(slog.NewTextHandler(&log, nil)), r)
		}()
		stop = func() { cancel(); <-ended }
	}
	t.Cleanup(func() {
		stop()
		select {
		case got := <-r.seen:
			t.Errorf("one reload too many: %q", got)
		default:
		}
	})
	return r, &log
}

// Both ways of hearing of a change, on real files.
func TestWatchFollows(t *testing.T) {
	for _, told := range []bool{true, false} {
		t.Run(fmt.Sprintf("told=%v", told), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "p.yaml")
			put(t, path, "one")
			r, _ := follow(t, path, told)
			for _, text := range []string{"two", "three", "four"} {
				put(t, path+".new", text)
				mustDo(t, os.Rename(path+".new", path))
				r.expect(t, text)
			}
			mustDo(t, os.Remove(path))
			put(t, path+".new", "five")
			mustDo(t, os.Rename(path+".new", path))
			r.expect(t, "five")
		})
		t.Run(fmt.Sprintf("volume told=%v", told), func(t *testing.T) {
			path, update := mount(t, "one")
			r, _ := follow(t, path, told)
			for _, text := range []string{"two", "three"} {
				update(text)
				r.expect(t, text)
			}
		})
	}
}

// A file that was refused is not tried again; one that came while the pipeline
// could not be changed is.
func TestWatchTriesAgainWhenBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	put(t, path, "one")
	busy := &engine.RefusedError{Reason: "generation 2 is on trial", Busy: true}
	r, _ := follow(t, path, false, busy, fmt.Errorf("wrapped: %w", busy), &engine.RefusedError{Reason: "not valid"})
	put(t, path+".new", "two")
	mustDo(t, os.Rename(path+".new", path))
	for range 3 {
		r.expect(t, "two")
	}
}

// A change between the loading of the file and the start of the watch counts.
func TestWatchBeginsBeforeTheFileIsLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	put(t, path, "one")
	w, err := newFileWatch(path)
	mustDo(t, err)
	put(t, path, "two")
	r := &reloads{path: path, seen: make(chan string, 1)}
	w.every, w.settle = time.Hour, time.Millisecond
	defer w.start(slog.New(slog.DiscardHandler), r)()
	r.expect(t, "two")
}
