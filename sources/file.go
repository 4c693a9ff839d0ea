package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSource("file", func() pipe.Source {
		return &File{
			Codec:        codec.Lines(),
			Compression:  codec.CompressAuto,
			Start:        "beginning",
			PollInterval: pipe.Duration(time.Second),
			RotateWait:   pipe.Duration(5 * time.Second),
		}
	})
}

// File reads files: the ones that are there, one after the other in the order of
// their names, or with follow all of them at once, waiting for more.
//
// It can repeat events: after a crash everything behind the last checkpoint is
// read again, and without a checkpoint everything. It can lose what never
// reached it: lines that were in a file when it was truncated or deleted
// unread, and lines written to a rotated file after rotate_wait.
//
// Example:
//
//	type: file
//	paths: [/var/log/nginx/*.log]
//	follow: true
//	checkpoint: nginx.checkpoint
type File struct {
	// Paths are files, or patterns with * (within a name), ** (over directories,
	// but not through links), ?, [a-z] and {a,b}. A path without such characters
	// must exist unless follow is set. A file is read once, however many links lead
	// to it. Directories themselves, devices and pipes are not read.
	Paths []string `yaml:"paths" required:"true"`

	// Exclude are patterns for files to leave out. A pattern without a slash is
	// compared with the name of the file alone: "*.gz".
	Exclude []string `yaml:"exclude"`

	// Codec is the format of the files. The default is lines.
	Codec codec.Codec `yaml:"codec"`

	// Follow keeps waiting for new lines and new files instead of ending. A file
	// that is renamed or deleted is read to its end; one that is truncated is read
	// from its start again. An unfinished last line waits for its line break; when
	// the pipeline stops it is left for the next start.
	Follow bool `yaml:"follow"`

	// Checkpoint is a file that keeps how far each file was read and settled, so
	// that a restart goes on there. Its directory must exist, and no other source may
	// use it. One that is damaged is refused: the message says what to do. Without a
	// checkpoint every start reads from the beginning (see start).
	Checkpoint string `yaml:"checkpoint"`

	// Start is where reading begins in files that are there at the first start:
	// beginning, the default, or with follow also end, which skips what is in them
	// (except in compressed files). It does not matter where a checkpoint knows better.
	Start string `yaml:"start" enum:"beginning,end"`

	// Compression is how the files are compressed: auto looks at the first bytes of
	// each, the default; none, gzip or zstd demand one. A compressed file is not
	// followed, it is read when it is there.
	Compression codec.Compression `yaml:"compression"`

	// PollInterval is how often, with follow, files are looked for and looked at
	// when the system has not announced a change. Default 1s, at least 10ms.
	PollInterval pipe.Duration `yaml:"poll_interval"`

	// RotateWait is how long, with follow, a renamed or deleted file is kept open
	// after its last line, for a writer that has not noticed. Default 5s.
	RotateWait pipe.Duration `yaml:"rotate_wait"`

	book     *book
	log      *slog.Logger
	maxEvent int
	follower *follower // with follow
	list     []match   // without: what is still to be read
	current  *stream   // and being read
	disk     atomic.Pointer[diskReader]
	done     atomic.Int64 // bytes of the files behind us
	total    atomic.Int64
	ahead    atomic.Int64 // bytes of files not opened yet
	opened   atomic.Bool
	look     lagLook
	idle     *pipe.Clock
	closed   bool
	polling  bool // tests: do not ask the system for announcements
}

// Validate checks the fields.
func (f *File) Validate() error {
	var errs []error
	if len(f.Paths) == 0 {
		errs = append(errs, pipe.Fieldf("paths", "at least one path is needed"))
	}
	check := func(field string, patterns []string) {
		for i, p := range patterns {
			if p == "" || !doublestar.ValidatePathPattern(p) {
				errs = append(errs, pipe.Fieldf(fmt.Sprintf("%s[%d]", field, i), "%q is not a path or pattern", p))
			}
		}
	}
	check("paths", f.Paths)
	check("exclude", f.Exclude)
	errs = append(errs, validateCodec(&f.Codec)...)
	if f.Follow && f.Codec.Type == codec.TypeRaw {
		errs = append(errs, pipe.Fieldf("codec", "raw makes one event of a whole file, and a file that is followed has no end"))
	}
	if f.Start != "beginning" && f.Start != "end" {
		errs = append(errs, pipe.Fieldf("start", "%q is neither beginning nor end", f.Start))
	} else if f.Start == "end" && !f.Follow {
		errs = append(errs, pipe.Fieldf("start", "end needs follow: true; else there is nothing to read"))
	}
	if f.PollInterval.D() < 10*time.Millisecond {
		errs = append(errs, pipe.Fieldf("poll_interval", "must be at least 10ms, got %s", f.PollInterval))
	}
	return errors.Join(errs...)
}

// Traits implements pipe.Traiter.
func (f *File) Traits() pipe.Traits {
	t := pipe.Traits{Replays: true, Finite: !f.Follow, Total: f.total.Load()}
	if f.Start == "end" && f.Checkpoint == "" {
		t.Replays, t.Why = false, "without a checkpoint, start: end skips what came while it was down"
	}
	return t
}

// Open reads the checkpoint and finds the files.
func (f *File) Open(ctx context.Context, env pipe.Env) error {
	f.log, f.maxEvent, f.book, f.idle = env.Log, env.MaxEventBytes, newBook(f.Checkpoint), idle(env)
	known, err := f.book.load()
	if err != nil && f.Start == "end" {
		return fmt.Errorf("%w; start: end would then skip what is in them now, so set start: beginning for that run", err)
	} else if err != nil {
		return err
	}
	now, err := f.find(true)
	if err != nil {
		return err
	}
	f.tell(now)
	if len(now.missing) > 0 && !f.Follow {
		return missingError(now.missing)
	}
	now.files = append(f.orphans(now.files), now.files...)
	if f.Follow {
		f.follower = newFollower(f)
		err = f.follower.start(ctx, now, !known && f.Start == "end")
	} else {
		err = f.prepare(now.files)
	}
	if err == nil {
		err = f.book.save() // an unwritable checkpoint shows now, not in a minute
	}
	if err != nil {
		f.closeAll()
		return err
	}
	f.opened.Store(true)
	return nil
}

func missingError(paths []string) error {
	if len(paths) == 1 {
		return fmt.Errorf("%s does not exist", paths[0])
	}
	return fmt.Errorf("%s do not exist", strings.Join(paths, ", "))
}

// tell logs what is odd about what was found.
func (f *File) tell(now found) {
	for _, p := range now.empty {
		f.log.Warn("no file matches", "pattern", p)
	}
	for _, p := range now.odd {
		f.log.Warn("not a file, so it is not read", "path", p)
	}
	if f.Follow {
		for _, p := range now.missing {
			f.log.Warn("the file does not exist yet", "file", p)
		}
	}
}

// orphans returns files that the checkpoint knows, but that were renamed out of
// reach of the paths while we were away. What cannot be found is forgotten.
func (f *File) orphans(files []match) (lost []match) {
	there := map[uint64]bool{}
	for _, m := range files {
		there[idOf(m.info).inode] = true
	}
	dirs := map[string]map[uint64]match{}
	gone := 0
	for _, k := range f.book.all() {
		if there[k.id.inode] {
			continue
		}
		dir := filepath.Dir(k.path)
		if dirs[dir] == nil {
			dirs[dir] = inodes(dir)
		}
		m, ok := dirs[dir][k.id.inode]
		if ok && !f.excluded(m.path) && m.info.Size() >= k.print.bytes && m.info.Size() > k.offset && beginsAs(m.path, k.print) {
			f.log.Info("the file was renamed while it was not read; its rest comes first", "file", k.path, "now", m.path)
			lost = append(lost, m)
			continue
		}
		f.book.drop(k)
		gone++
	}
	if gone > 0 {
		f.log.Info("files of the checkpoint are gone and forgotten", "files", gone)
	}
	return lost
}

func inodes(dir string) map[uint64]match {
	all := map[uint64]match{}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			all[idOf(info).inode] = match{path: filepath.Join(dir, e.Name()), info: info}
		}
	}
	return all
}

func beginsAs(path string, print fingerprint) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	return print.matches(file)
}

// prepare makes sure that each file can be opened, before any is read.
func (f *File) prepare(files []match) error {
	for _, m := range files {
		file, err := os.Open(m.path)
		if err != nil {
			return err
		}
		file.Close()
		f.total.Add(m.info.Size())
	}
	f.ahead.Store(f.total.Load())
	f.list = files
	return nil
}

// Read implements pipe.Source.
func (f *File) Read(ctx context.Context, b *pipe.Batch) error {
	if f.closed {
		return os.ErrClosed
	}
	if f.Follow {
		return f.follower.read(ctx, b)
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.current == nil {
			if len(f.list) == 0 {
				return io.EOF
			}
			if err := f.next(ctx); err != nil {
				return err
			}
			continue
		}
		if err := f.current.read(b); err != io.EOF {
			return err
		}
		f.disk.Store(nil)
		f.done.Add(f.list[0].info.Size())
		f.current.close(false)
		f.current, f.list = nil, f.list[1:]
	}
}

// next opens the first file of the list.
func (f *File) next(ctx context.Context) error {
	m := f.list[0]
	s, err := f.open(ctx, m.path, false)
	if os.IsNotExist(err) && !m.literal {
		f.log.Warn("the file is gone before it was read", "file", m.path)
		f.list = f.list[1:]
	} else if err != nil {
		return err
	}
	f.ahead.Add(-m.info.Size())
	if f.current = s; s != nil {
		f.disk.Store(s.disk)
	}
	return nil
}

// Commit implements pipe.Committer: it writes the checkpoint.
func (f *File) Commit(_ context.Context, marks []pipe.Mark) error {
	f.book.settle(marks)
	return f.book.save()
}

// Progress implements pipe.Progresser, in bytes on disk.
func (f *File) Progress() (done, total int64) {
	if f.Follow || !f.opened.Load() {
		return 0, 0
	}
	total, done = f.total.Load(), f.done.Load()
	if d := f.disk.Load(); d != nil {
		done += d.at.Load()
	}
	return min(done, total), total
}

// Close closes the files, and tries once more what a Commit could not save.
func (f *File) Close(ctx context.Context) error {
	f.look.close(ctx)
	f.closeAll()
	if f.book == nil {
		return nil
	}
	return f.book.saveRest()
}

func (f *File) closeAll() {
	f.closed = true
	if f.current != nil {
		f.current.close(false)
	}
	if f.follower != nil {
		f.follower.close()
	}
}
