package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSource("directory", func() pipe.Source {
		return &Directory{Include: []string{"*"}, Exclude: []string{"*.tmp", "*.part"}, Codec: codec.Lines(), Compression: codec.CompressAuto,
			StableFor: pipe.Duration(2 * time.Second), Poll: pipe.Duration(time.Second), Follow: true, MaxUnfinished: 64, MaxWaiting: 10_000}
	})
}

// Directory is an inbox: it reads each file that appears in a folder whole, and puts
// it away once all its events are settled.
//
// It loses nothing: a file stays in the folder until then, so that after a crash, a
// stop or a drain it is read again from its start. What was delivered of such an
// unfinished file is then delivered twice; files that were put away are not. A file
// of which an event failed or was refused (by a sink without a way out, or an edge
// with on_drop: nack) goes to failed_dir, as does one that cannot be read to its end;
// what leaves through a failed port or is dropped by on_error: drop counts as settled.
//
// A file is taken when its size and time have not changed for stable_for. Files that
// are moved into the folder under their name, once whole, need no such wait. One that
// changes while it is read stays, and is read again from its start once it rests.
//
// Under pressure no further file is opened and files wait in the folder. Only one
// source may read a folder: others are refused while it does. Symbolic links and
// names that begin with a dot are left alone.
//
// Example:
//
//	type: directory
//	path: inbox
//	include: ["*.csv", "*.csv.gz"]
//	codec: csv
//	done_dir: inbox/done
//	failed_dir: inbox/failed
type Directory struct {
	// Path is the folder. It must exist.
	Path string `yaml:"path" required:"true"`

	// Include lists the files to take, as patterns of names below path: *.csv takes
	// those in the folder itself, **/*.csv also those in folders below. All by default.
	Include []string `yaml:"include"`

	// Exclude lists files not to take, as patterns like those of include; *.tmp and
	// *.part by default.
	Exclude []string `yaml:"exclude"`

	// Codec is the format of the files. The default is lines.
	Codec codec.Codec `yaml:"codec"`

	// Compression is how files are compressed: auto (the default) looks at how they
	// begin; none, gzip, zstd.
	Compression codec.Compression `yaml:"compression" enum:"auto,none,gzip,zstd"`

	// DoneDir is the folder that finished files are moved to, under the name they had
	// below path, with .1, .2 and so on behind it when that is taken. It is made if
	// missing, and must be on the same file system as path.
	DoneDir string `yaml:"done_dir"`

	// Delete deletes finished files instead.
	Delete bool `yaml:"delete"`

	// FailedDir is the folder for files that could not be read, or of which an event
	// failed; like done_dir otherwise.
	FailedDir string `yaml:"failed_dir" required:"true"`

	// StableFor is how long a file must not have changed before it is read; 2s by
	// default. 0s takes it at once, for files that are moved in.
	StableFor pipe.Duration `yaml:"stable_for"`

	// Poll is how often the folder is looked through, 1s by default.
	Poll pipe.Duration `yaml:"poll" above:"0s"`

	// Follow waits for further files; true by default. false ends when those that are
	// there have been read.
	Follow bool `yaml:"follow"`

	// MaxUnfinished is how many files may have been read whose events are not all
	// settled, 1 to 10,000; 64 by default. One file is open at a time.
	MaxUnfinished int `yaml:"max_unfinished" min:"1" max:"10000"`

	// MaxWaiting is how many files of the folder are known at a time, 1 to 1,000,000;
	// 10,000 by default. The others, later in the alphabet, are seen when those are done.
	MaxWaiting int `yaml:"max_waiting" min:"1" max:"1000000"`

	log      *slog.Logger
	idle     *pipe.Clock
	maxEvent int
	unlock   func()
	closed   bool
	scanned  time.Time // when the folder was looked through last
	waiting  map[string]*sighting
	ready    []*sighting // what may be read, in order of names
	now      *openInbox  // what is being read
	lag      atomic.Int64
	wake     chan struct{} // one slot: a file is finished

	moving sync.Mutex // held by who puts files away

	mu         sync.Mutex // guards what follows, and the counts of files
	unfinished map[string]*inboxFile
	finished   []*inboxFile
}

// Validate checks the fields.
func (s *Directory) Validate() error {
	errs := validateCodec(&s.Codec)
	bad := func(field, format string, args ...any) {
		errs = append(errs, pipe.Fieldf(field, format, args...))
	}
	if len(s.Include) == 0 {
		bad("include", "no file can match: name at least one pattern, such as *")
	}
	for name, list := range map[string][]string{"include": s.Include, "exclude": s.Exclude} {
		for i, p := range list {
			if !doublestar.ValidatePattern(p) || filepath.IsAbs(p) {
				bad(fmt.Sprintf("%s[%d]", name, i), "%q is no pattern of names below path: write such as *.csv or **/*.csv", p)
			}
		}
	}
	switch {
	case s.Delete && s.DoneDir != "":
		bad("delete", "done_dir keeps finished files: leave one of them out")
	case !s.Delete && s.DoneDir == "":
		bad("done_dir", "finished files must go somewhere, or they are read again: name a folder, or set delete: true")
	}
	for name, dir := range map[string]string{"done_dir": s.DoneDir, "failed_dir": s.FailedDir} {
		if dir != "" && s.Path != "" && filepath.Clean(dir) == filepath.Clean(s.Path) {
			bad(name, "is path itself: its files would be read again")
		}
	}
	return errors.Join(errs...)
}

// Traits implements pipe.Traiter.
func (s *Directory) Traits() pipe.Traits {
	return pipe.Traits{Replays: true, Finite: !s.Follow, Why: "a file of the folder stays until its events are settled"}
}

// Open locks the folder and makes those for finished files.
func (s *Directory) Open(_ context.Context, env pipe.Env) (err error) {
	s.log, s.idle, s.maxEvent = env.Log, idle(env), env.MaxEventBytes
	s.waiting, s.unfinished, s.wake = map[string]*sighting{}, map[string]*inboxFile{}, make(chan struct{}, 1)
	info, err := os.Stat(s.Path)
	if err == nil && !info.IsDir() {
		err = errors.New("is not a folder")
	}
	if err != nil {
		return fmt.Errorf("path %s: %w", s.Path, bare(err))
	}
	for _, dir := range []string{s.DoneDir, s.FailedDir} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return fmt.Errorf("folder %s: %w", dir, bare(err))
		}
	}
	if s.unlock, err = lockFolder(s.Path); err != nil {
		return fmt.Errorf("path %s: %w", s.Path, err)
	}
	return nil
}

// bare is an error of package os without the path.
func bare(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// Read reads some of the file at hand, or waits for one.
func (s *Directory) Read(ctx context.Context, b *pipe.Batch) error {
	for {
		if s.closed {
			return os.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		s.putAway()
		if s.now == nil {
			wait, err := s.next()
			if err != nil {
				return err
			}
			if s.now == nil {
				s.sleep(ctx, wait)
				continue
			}
		}
		if s.readSome(b); b.Messages() > 0 {
			return nil
		}
	}
}

// readSome appends events of the file at hand, and ends it when there are none left.
func (s *Directory) readSome(b *pipe.Batch) {
	f := s.now.inboxFile
	b.Each(f)
	err := s.now.r.Read(b)
	s.mu.Lock()
	f.open += b.Messages()
	s.mu.Unlock()
	if err == nil {
		return
	}
	if err != io.EOF {
		s.log.Warn("file cannot be read to its end; it goes to failed_dir", "file", f.path, "error", err)
		f.broken = true
	}
	s.now.close()
	s.now = nil
	s.mu.Lock()
	f.whole = true
	s.checkFinished(f)
	s.mu.Unlock()
}

// leaveOff closes the file at hand. If there is nothing more in it, as when the last
// Read got its last events, it is whole.
func (s *Directory) leaveOff() {
	var rest pipe.Batch
	rest.Reset(nil, "", 0)
	if err := s.now.r.Read(&rest); err == io.EOF && rest.Len() == 0 {
		s.mu.Lock()
		s.now.whole = true
		s.checkFinished(s.now.inboxFile)
		s.mu.Unlock()
	}
	s.now.close()
	s.now = nil
}

// Settled counts a message of a file. It implements pipe.Settler.
func (s *Directory) Settled(token any, result pipe.Outcome) {
	f := token.(*inboxFile)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.open--
	switch {
	case result == pipe.Returned:
		f.returned = true
	case !result.Acked():
		f.failed++
	}
	s.checkFinished(f)
}

// checkFinished passes a file on to be put away. It is called with mu held.
func (s *Directory) checkFinished(f *inboxFile) {
	if !f.whole || f.open > 0 {
		return
	}
	s.finished = append(s.finished, f)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Commit puts finished files away: their names are the position of this source.
func (s *Directory) Commit(context.Context, []pipe.Mark) error {
	s.putAway()
	return nil
}

// sleep waits for a finished file, or d.
func (s *Directory) sleep(ctx context.Context, d time.Duration) {
	defer s.idle.Leave(s.idle.Enter())
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.wake:
	case <-ctx.Done():
	}
}

// Lag returns how many bytes wait in the folder.
func (s *Directory) Lag() (events, bytes int64) { return -1, s.lag.Load() }

// Close puts away what is finished, and leaves the rest where it is.
func (s *Directory) Close(context.Context) error {
	s.closed = true
	if s.now != nil {
		s.leaveOff()
	}
	if s.unlock == nil { // it was never opened
		return nil
	}
	s.putAway()
	s.unlock()
	return nil
}
