package sinks

import (
	"bytes"
	"container/list"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

// lookEvery is how often an open file is compared with what its path names.
const lookEvery = time.Second

// target is what an outFile writes to: an *os.File.
type target interface {
	io.Writer
	io.Closer
	Truncate(int64) error
	Sync() error
	Chmod(fs.FileMode) error
}

// outFile is an open file and its part of the present batch.
type outFile struct {
	path    string
	dst     target
	info    fs.FileInfo // of dst, as it was opened
	enc     *codec.Encoder
	size    int64 // bytes in the file
	regular bool  // no device: it can be truncated, synced and renamed
	made    bool  // made by this process
	private bool  // narrowed to 0600
	dirty   bool  // written to since the last sync
	torn    bool  // ends in a part of a batch that could not be taken back
	since   time.Time
	looked  time.Time
	place   *list.Element

	batch   uint64
	before  int64  // size before the batch
	buf     []byte // encoded, not yet written
	members []int  // events of the batch
	done    bool   // the batch is finished here
	err     error  // why it failed here
}

// begin starts a batch.
func (f *outFile) begin(s *File) {
	f.batch, f.before, f.done, f.err = s.batch, f.size, false, nil
	f.members = f.members[:0]
	f.enc.Begin(f.size == 0)
}

// add encodes e. The error is about e only.
func (f *outFile) add(s *File, e *pipe.Event) (err error) {
	if f.err != nil {
		return nil // finish tells
	}
	if f.buf, err = f.enc.Append(f.buf, e); err != nil {
		return err
	}
	if e.Dead() && !f.private {
		f.narrow(s)
	}
	if len(f.buf) >= flushSize {
		f.flush(s)
	}
	return nil
}

// narrow makes a file that holds dead letters readable by its owner only.
func (f *outFile) narrow(s *File) {
	f.private = true
	if s.Permissions != "" || !f.made {
		return
	}
	if err := f.dst.Chmod(0o600); err != nil {
		f.fail(err)
	}
}

// flush writes what is encoded; each call is one compressed stream.
func (f *outFile) flush(s *File) {
	if f.err != nil || len(f.buf) == 0 {
		return
	}
	data, err := s.zip.pack(f.buf)
	if err == nil {
		var n int
		n, err = f.dst.Write(data)
		f.size += int64(n)
		f.dirty = true
	}
	f.buf = reuse(f.buf)
	if err != nil {
		f.fail(err)
	}
}

// fail notes why the batch cannot be written, and takes back what is there of it.
func (f *outFile) fail(err error) {
	if f.err != nil {
		return
	}
	f.err = writeError(f.path, err)
	f.buf = f.buf[:0]
	if f.size == f.before {
		return
	}
	if err := f.takeBack(); err != nil {
		f.torn = true // it is repaired when it is opened again
		f.err = pipe.Classed(pipe.Retryable, fmt.Errorf("%w; %d bytes of the batch could not be taken back: %v", f.err, f.size-f.before, err))
	}
}

// takeBack cuts off the present batch, if nobody else has written to the file.
func (f *outFile) takeBack() error {
	if !f.regular {
		return errors.New("it is no regular file")
	}
	if info, err := os.Stat(f.path); err == nil && os.SameFile(info, f.info) && info.Size() != f.size {
		return errors.New("another program writes to the file")
	}
	if err := f.dst.Truncate(f.before); err != nil {
		return cause(err)
	}
	f.size = f.before
	return nil
}

// finish ends the batch and says whether all of it is where it belongs.
func (f *outFile) finish(s *File) error {
	if f.batch != s.batch || f.done {
		return f.err
	}
	f.done = true
	f.flush(s)
	if f.err == nil && s.Fsync.batch {
		if err := f.sync(); err != nil {
			f.fail(fmt.Errorf("fsync: %w", err))
		}
	}
	return f.err
}

// sync forces the file to the disk if there is something new in it.
func (f *outFile) sync() error {
	if !f.dirty || !f.regular {
		return nil
	}
	err := f.dst.Sync()
	if err == nil {
		f.dirty = false
	}
	return cause(err)
}

func (f *outFile) close(force bool) error {
	var err error
	if force {
		err = f.sync()
	}
	if err = errors.Join(err, cause(f.dst.Close())); err != nil {
		return writeError(f.path, err)
	}
	return nil
}

// writeError says which file could not be written, why, and what to do.
func writeError(path string, err error) error {
	class, remedy := pipe.Retryable, ""
	switch {
	case errors.Is(err, syscall.ENOSPC):
		remedy = ": free space or write to another disk"
	case errors.Is(err, syscall.EDQUOT):
		remedy = ": free space or ask for a larger quota"
	case errors.Is(err, fs.ErrNotExist):
		remedy = ": make the folder or set create_dirs: true"
	case errors.Is(err, syscall.EFBIG):
		remedy = ": rotate the file"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		remedy = ": make it writable for the user that runs pipectl"
	case errors.Is(err, syscall.EMFILE):
		remedy = ": raise the limit of the process (ulimit -n) or lower max_open_files"
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.EINVAL):
		class = pipe.Permanent
	}
	return pipe.Classed(class, fmt.Errorf("write %s: %w%s", path, cause(err), remedy))
}

// openFile opens or makes the file at path and enters it among the open ones.
func (s *File) openFile(path, mode string) (*outFile, error) {
	f, err := s.openAt(path, mode)
	if err != nil {
		var known *pipe.Error
		if errors.As(err, &known) {
			return nil, err
		}
		return nil, writeError(path, err)
	}
	s.open.add(f)
	return f, nil
}

func (s *File) openAt(path, mode string) (*outFile, error) {
	if s.CreateDirs {
		if err := makeDirs(filepath.Dir(path), s.forced()); err != nil {
			return nil, err
		}
	}
	if info, err := os.Stat(path); err == nil {
		if info.Mode()&fs.ModeNamedPipe != 0 {
			return nil, errors.New("it is a named pipe: use the stdout sink and redirect it")
		}
		if mode == modeAppend && info.Mode().IsRegular() && info.Size() > 0 {
			if err := s.repair(path, info.Size()); err != nil {
				return nil, err
			}
		}
	}
	file, made, err := openOrMake(path, mode, fs.FileMode(s.perm))
	if err != nil {
		return nil, err
	}
	if made && s.Permissions != "" { // exactly these, whatever the umask
		err = file.Chmod(fs.FileMode(s.perm))
	}
	info, statErr := file.Stat()
	if err = errors.Join(err, statErr); err != nil {
		file.Close()
		return nil, err
	}
	now := time.Now()
	f := &outFile{path: path, dst: file, info: info, enc: s.Codec.NewEncoder(), made: made,
		regular: info.Mode().IsRegular(), since: now, looked: now}
	if f.regular {
		f.size = info.Size()
	}
	if f.size > 0 {
		f.since = info.ModTime()
	}
	if made && s.forced() {
		if err := syncDir(path); err != nil {
			file.Close()
			return nil, err
		}
	}
	return f, nil
}

// openOrMake opens path for appending and says whether it made the file.
func openOrMake(path, mode string, perm fs.FileMode) (f *os.File, made bool, err error) {
	const flags = os.O_WRONLY | os.O_APPEND
	f, err = os.OpenFile(path, flags|os.O_CREATE|os.O_EXCL, perm)
	switch {
	case err == nil:
		return f, true, nil
	case !errors.Is(err, fs.ErrExist):
		return nil, false, err
	case mode == modeExclusive:
		return nil, false, pipe.Classed(pipe.Fatal,
			fmt.Errorf("write %s: the file exists, and mode is exclusive: move it away or use mode append", path))
	case mode == modeTruncate:
		f, err = os.OpenFile(path, flags|os.O_TRUNC, perm)
	default:
		f, err = os.OpenFile(path, flags, perm)
	}
	return f, false, err
}

// makeDirs makes dir and those above it that are missing, and with force makes
// their names survive a crash of the machine.
func makeDirs(dir string, force bool) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if up := filepath.Dir(dir); up != dir {
		if err := makeDirs(up, force); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if !force {
		return nil
	}
	return syncDir(dir)
}

// syncDir makes the name of a new file survive a crash of the machine.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// compressor turns encoded events into what is written.
type compressor struct {
	z   codec.Compressor // nil for none
	out bytes.Buffer
}

func (c *compressor) init(kind codec.Compression) (err error) {
	if kind != codec.CompressNone {
		c.z, err = codec.NewCompressor(&c.out, kind)
	}
	return err
}

// pack returns data as one compressed stream, valid until the next call.
func (c *compressor) pack(data []byte) ([]byte, error) {
	if c.z == nil {
		return data, nil
	}
	c.out.Reset()
	c.z.Reset(&c.out)
	if _, err := c.z.Write(data); err != nil {
		return nil, err
	}
	if err := c.z.Close(); err != nil {
		return nil, err
	}
	return c.out.Bytes(), nil
}

// openFiles are the open files by path, the most recently used first.
type openFiles struct {
	byPath map[string]*outFile
	order  list.List
}

func (o *openFiles) init() { o.byPath = map[string]*outFile{} }

func (o *openFiles) len() int { return len(o.byPath) }

// get returns the file at path, now the most recently used, or nil.
func (o *openFiles) get(path []byte) *outFile {
	if first := o.order.Front(); first != nil && first.Value.(*outFile).path == string(path) {
		return first.Value.(*outFile)
	}
	f := o.byPath[string(path)]
	if f != nil {
		o.order.MoveToFront(f.place)
	}
	return f
}

func (o *openFiles) add(f *outFile) {
	o.byPath[f.path] = f
	f.place = o.order.PushFront(f)
}

func (o *openFiles) remove(f *outFile) {
	delete(o.byPath, f.path)
	o.order.Remove(f.place)
}

func (o *openFiles) oldest() *outFile { return o.order.Back().Value.(*outFile) }

func (o *openFiles) all() iter.Seq[*outFile] {
	return func(yield func(*outFile) bool) {
		for e := o.order.Front(); e != nil; e = e.Next() {
			if !yield(e.Value.(*outFile)) {
				return
			}
		}
	}
}
