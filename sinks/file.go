package sinks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSink("file", func() pipe.Sink {
		return &File{
			Codec:        codec.Lines(),
			Mode:         modeAppend,
			CreateDirs:   true,
			Missing:      "unknown",
			MaxOpenFiles: 64,
			Compress:     codec.CompressNone,
			OnFull:       onFullFail,
		}
	})
}

// The values of mode.
const (
	modeAppend    = "append"
	modeTruncate  = "truncate"
	modeExclusive = "exclusive"
)

// The values of on_full.
const (
	onFullFail = "fail"
	onFullWait = "wait"
)

// File writes events to files.
//
// Events are confirmed when the kernel has them: they survive a crash of
// pipectl, and with fsync: batch also one of the machine. A batch that cannot be
// written whole, because the disk is full, is taken back from the file before
// it is tried again, so that nothing is half there or twice. After a crash the
// batch that was being written can be there twice. An unfinished last line, which
// was never confirmed, is moved to a file beside it when the file is opened again
// in mode append: app.log.torn for app.log. A JSON value that lacks only its line
// break stays and gets one, unless it is a number.
//
// A file that was moved away or deleted is made anew within a second.
//
// Example:
//
//	type: file
//	path: logs/{service}.ndjson
//	codec: ndjson
//	rotate: {bytes: 100MiB, keep: 10}
type File struct {
	// Path is the file. {field} stands for the value of a field of the event,
	// {meta:key} for its metadata and {time:2006-01-02} for when it was read, in UTC
	// and in Go's layout: logs/{service}/{time:2006-01-02}.ndjson. Values cannot
	// leave their folder: separators in them become "_". {{ and }} are braces.
	Path string `yaml:"path" required:"true"`

	// Codec is the format. The default, lines, writes text as it is and objects as
	// one line of JSON each.
	Codec codec.Codec `yaml:"codec"`

	// Mode says what happens to a file that is there when the pipeline starts:
	// append (the default) goes on at its end, truncate empties it, exclusive
	// refuses to start. With a {field} in path it must be append.
	Mode string `yaml:"mode" enum:"append,truncate,exclusive"`

	// Permissions are those of files that are made here, in octal, such as "0640".
	// Empty means 0644 less the umask, and 0600 once a dead letter is in the file:
	// dead letters hold what nobody has looked at.
	Permissions string `yaml:"permissions"`

	// CreateDirs makes missing folders of path; true by default. Turn it off when a
	// missing folder means that a disk is not mounted.
	CreateDirs bool `yaml:"create_dirs"`

	// Missing stands in path for a field that an event does not have, or that is no
	// text, number or boolean; "unknown" by default.
	Missing string `yaml:"missing"`

	// MaxOpenFiles is how many files stay open when path has a {field}, 64 by
	// default; the one not used for longest is closed. Raise it when events for
	// more files come mixed, and the limit of the process (ulimit -n) with it.
	MaxOpenFiles int `yaml:"max_open_files" min:"1"`

	// Compress compresses what is written: none (the default), gzip or zstd. Every
	// batch is a stream of its own, so that all that is confirmed can be read at
	// any time with zcat or zstdcat; give the sink batches of 64 KiB or more. When an
	// existing file is opened it is read through once, to cut off what a crash has
	// left unfinished.
	Compress codec.Compression `yaml:"compress" enum:"none,gzip,zstd"`

	// Rotate puts a file aside when it is large or old enough. Without it a file
	// grows for ever.
	Rotate *FileRotate `yaml:"rotate"`

	// Fsync says when what was written is forced to the disk: never (the default)
	// leaves it to the kernel, which takes up to 30 seconds; batch does it before a
	// batch is confirmed, which costs milliseconds each; a duration such as 1s does
	// it that often, and what is younger can be lost with the power.
	Fsync FileSync `yaml:"fsync"`

	// OnFull says what a full disk does: fail (the default) ends the pipeline with
	// exit code 1, so that somebody notices; wait holds it back until there is
	// space again, which is what an unattended pipeline with a checkpoint wants.
	// Either way nothing that was confirmed is lost.
	OnFull string `yaml:"on_full" enum:"fail,wait"`

	log      *slog.Logger
	template *pathTemplate
	perm     uint64
	stopSync chan struct{}
	syncing  sync.WaitGroup

	mu      sync.Mutex // guards what follows: Write and the sync loop
	open    openFiles
	name    []byte     // scratch: the path of the present event
	batch   uint64     // number of the present batch
	touched []*outFile // files of the present batch
	zip     compressor
	clean   map[string]int64 // sizes of files that were closed here and need no repair
}

// mostClean bounds the memory of clean; when it is full it is forgotten.
const mostClean = 4096

// FileSync is the value of fsync.
type FileSync struct {
	batch bool
	every time.Duration
}

// UnmarshalText reads never, batch or a duration.
func (f *FileSync) UnmarshalText(text []byte) error {
	switch string(text) {
	case "never":
		*f = FileSync{}
		return nil
	case "batch":
		*f = FileSync{batch: true}
		return nil
	}
	var d pipe.Duration
	if err := d.UnmarshalText(text); err != nil || d <= 0 {
		return fmt.Errorf("%q is not one of never, batch, or a duration such as 1s", text)
	}
	*f = FileSync{every: d.D()}
	return nil
}

// MarshalText renders the value as UnmarshalText reads it.
func (f FileSync) MarshalText() ([]byte, error) {
	switch {
	case f.batch:
		return []byte("batch"), nil
	case f.every > 0:
		return []byte(f.every.String()), nil
	}
	return []byte("never"), nil
}

// Validate checks the fields.
func (s *File) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, pipe.Fieldf(field, format, args...))
	}
	t, err := parsePathTemplate(s.Path)
	switch {
	case err != nil:
		bad("path", "%w", err)
	case !t.static() && s.Mode != modeAppend:
		bad("mode", "files named by events can only be appended to: %s would need to know every file of this run", s.Mode)
	}
	if s.Permissions != "" {
		if p, err := strconv.ParseUint(s.Permissions, 8, 32); err != nil || p > 0o777 {
			bad("permissions", "%q are not permissions: write them in octal and in quotes, such as \"0640\"", s.Permissions)
		} else if p&0o200 == 0 {
			bad("permissions", "%q would not let pipectl itself write the file again", s.Permissions)
		}
	}
	if tamed := tame([]byte(s.Missing), 0); s.Missing == "" || string(tamed) != s.Missing {
		bad("missing", "%q cannot be part of a file name: write a word such as unknown", s.Missing)
	}
	return errors.Join(errs...)
}

// Open opens the file, so that a wrong path shows at the start. Files named by
// events are opened when the first one comes.
func (s *File) Open(_ context.Context, env pipe.Env) error {
	s.log = env.Log
	var err error
	if s.template, err = parsePathTemplate(s.Path); err != nil {
		return err
	}
	if s.perm, err = strconv.ParseUint(cmp.Or(s.Permissions, "0644"), 8, 32); err != nil {
		return err
	}
	if err := s.zip.init(s.Compress); err != nil {
		return err
	}
	s.open.init()
	s.clean = map[string]int64{}
	if s.template.static() {
		s.name = s.template.appendPath(s.name[:0], nil, "")
		if !s.continues(env.Predecessor) { // else it is opened for the first batch, once the other one is closed
			if _, err := s.openFile(string(s.name), s.Mode); err != nil {
				return err
			}
		}
	}
	if s.Fsync.every > 0 {
		s.stopSync = make(chan struct{})
		s.syncing.Go(s.syncLoop)
	}
	return nil
}

// continues reports whether the sink goes on in the file of a running one: then
// it appends, whatever mode says.
func (s *File) continues(predecessor any) bool {
	old, ok := predecessor.(*File)
	if !ok {
		return false
	}
	theirs, err1 := filepath.Abs(old.Path)
	ours, err2 := filepath.Abs(s.Path)
	return err1 == nil && err2 == nil && theirs == ours
}

// Write writes in and returns when the kernel, or with fsync: batch the disk, has it.
func (s *File) Write(ctx context.Context, in []*pipe.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batch++
	s.touched = s.touched[:0]
	var bad []pipe.ItemError
	var err error
	if s.template.static() {
		bad, err = s.writeOne(in)
	} else {
		bad = s.writeMany(in)
	}
	switch {
	case err != nil:
		return s.full(err)
	case len(bad) > 0:
		for i := range bad {
			bad[i].Err = s.full(bad[i].Err)
		}
		slices.SortFunc(bad, func(a, b pipe.ItemError) int { return cmp.Compare(a.Index, b.Index) })
		return &pipe.PartialError{Items: bad}
	}
	return nil
}

// full makes an error fatal that comes of a full disk, if the pipeline is not to
// wait for space.
func (s *File) full(err error) error {
	if s.OnFull == onFullWait || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	return pipe.Classed(pipe.Fatal, fmt.Errorf("%w, or set on_full: wait to hold the pipeline back until there is space", err))
}

// writeOne writes a batch to the one file there is.
func (s *File) writeOne(in []*pipe.Event) (bad []pipe.ItemError, err error) {
	if len(in) == 0 {
		return nil, nil
	}
	f, err := s.fileAt(s.name)
	if err != nil {
		return nil, err
	}
	for i, e := range in {
		if err := f.add(s, e); err != nil {
			bad = append(bad, pipe.ItemError{Index: i, Err: err})
		}
	}
	return bad, f.finish(s)
}

// writeMany sorts a batch into its files. What fails in one file fails there only.
func (s *File) writeMany(in []*pipe.Event) (bad []pipe.ItemError) {
	for i, e := range in {
		s.name = s.template.appendPath(s.name[:0], e, s.Missing)
		f, err := s.fileAt(s.name)
		if err == nil {
			err = f.add(s, e)
		}
		if err != nil {
			bad = append(bad, pipe.ItemError{Index: i, Err: err})
			continue
		}
		f.members = append(f.members, i)
	}
	for _, f := range s.touched {
		err := f.finish(s)
		for _, i := range f.members {
			if err != nil {
				bad = append(bad, pipe.ItemError{Index: i, Err: err})
			}
		}
	}
	return bad
}

// fileAt returns the file at path, open and ready for the present batch.
func (s *File) fileAt(path []byte) (*outFile, error) {
	f := s.open.get(path)
	if f == nil {
		for s.open.len() >= s.MaxOpenFiles {
			s.shut(s.open.oldest())
		}
		var err error
		if f, err = s.openFile(string(path), modeAppend); err != nil {
			return nil, err
		}
	}
	if f.batch == s.batch {
		return f, nil
	}
	f, err := s.refresh(f)
	if err != nil {
		return nil, err
	}
	f.begin(s)
	s.touched = append(s.touched, f)
	return f, nil
}

// shut closes f, after what the present batch has for it is written. How that
// went shows when the batch is over.
func (s *File) shut(f *outFile) {
	f.finish(s)
	s.open.remove(f)
	if err := f.close(s.forced()); err != nil {
		f.err = err
		s.log.Warn("file not closed cleanly", "path", f.path, "error", err)
		return
	}
	if len(s.clean) >= mostClean {
		clear(s.clean)
	}
	if !f.torn {
		s.clean[f.path] = f.size
	}
}

// forced reports whether anything is ever forced to the disk.
func (s *File) forced() bool { return s.Fsync != FileSync{} }

// syncLoop forces files to the disk every so often, idle ones too.
func (s *File) syncLoop() {
	tick := time.NewTicker(s.Fsync.every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.stopSync:
			return
		}
		s.mu.Lock()
		for f := range s.open.all() {
			if err := f.sync(); err != nil {
				s.log.Error("fsync failed: what was written since the last one may not survive a loss of power", "path", f.path, "error", err)
			}
		}
		s.mu.Unlock()
	}
}

// Close closes the files, forced to the disk unless fsync is never.
func (s *File) Close(context.Context) error {
	if s.stopSync != nil {
		close(s.stopSync)
		s.syncing.Wait()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for s.open.len() > 0 {
		f := s.open.oldest()
		s.open.remove(f)
		errs = append(errs, f.close(s.forced()))
	}
	return errors.Join(errs...)
}
