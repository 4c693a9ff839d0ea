package sources

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

const (
	printBytes = 1024      // how much of its beginning identifies a file
	zstdWindow = 128 << 20 // what zstd itself allows without --long
	skipPiece  = 1 << 20   // between two looks at the context
)

// fingerprint identifies a file by how it begins. Files grow, so that it says
// how many bytes it is about.
type fingerprint struct {
	bytes int64
	sum   [16]byte
}

// printOf takes the fingerprint of a file of that size.
func printOf(f io.ReaderAt, size int64) (fingerprint, error) {
	p := fingerprint{bytes: min(size, printBytes)}
	head := make([]byte, p.bytes)
	if n, err := f.ReadAt(head, 0); n < len(head) {
		return p, err
	}
	sum := sha256.Sum256(head)
	copy(p.sum[:], sum[:])
	return p, nil
}

// matches reports whether f begins as the file the fingerprint was taken of.
func (p fingerprint) matches(f io.ReaderAt) bool {
	now, err := printOf(f, p.bytes)
	return err == nil && now == p
}

func (p fingerprint) String() string { return hex.EncodeToString(p.sum[:]) }

func (p *fingerprint) parse(text string, n int64) error {
	sum, err := hex.DecodeString(text)
	if err != nil || len(sum) != len(p.sum) || n < 0 || n > printBytes {
		return errors.New("not a fingerprint")
	}
	p.bytes = n
	copy(p.sum[:], sum)
	return nil
}

// stream is a known file that is open for reading.
type stream struct {
	*known
	book *book
	file *os.File
	disk *diskReader
	kind codec.Compression
	z    io.Closer // the decompressor, nil without one
	r    *codec.Reader
}

// diskReader reads the bytes on disk and counts them.
type diskReader struct {
	f    *os.File
	at   atomic.Int64
	over bool // the file is another one now: nothing more of it belongs to us
}

func (d *diskReader) Read(p []byte) (int, error) {
	if d.over {
		return 0, io.EOF
	}
	n, err := d.f.Read(p)
	d.at.Add(int64(n))
	return n, err
}

// open opens the file that is now at path, to go on where the book says. atEnd
// skips what is in it, if the book does not know it.
func (f *File) open(ctx context.Context, path string, atEnd bool) (*stream, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s, err := f.openFile(ctx, path, file, atEnd)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func (f *File) openFile(ctx context.Context, path string, file *os.File, atEnd bool) (*stream, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a file any more")
	}
	id, size := idOf(info), info.Size()
	print, err := printOf(file, size)
	if err != nil {
		return nil, err
	}
	kind, err := f.compression(path, file, size)
	if err != nil {
		return nil, err
	}
	s := &stream{book: f.book, file: file, kind: kind}
	s.known = f.book.recall(path, id, file, size)
	if s.known != nil && !s.isPacked() && size < s.at {
		f.log.Warn("the file is shorter than what was read of it; it is read from its start", "file", path, "size", size, "read", s.at)
		s.known = nil
	}
	if s.known == nil {
		if f.book.supersede(id) {
			f.log.Warn("the file has other content than before; it is read from its start", "file", path)
		}
		s.known = f.book.enter(path, id, print, size)
		atEnd = atEnd && !s.isPacked()
	} else {
		atEnd = false
	}
	f.book.update(func() {
		if atEnd {
			s.at = lastLineEnd(file, size)
			s.offset = s.at // also for the next start
		}
		s.path, s.id, s.print, s.size, s.length = path, id, print, size, size
		s.packed, s.ended = s.isPacked(), false
	})
	err = s.begin(ctx, f)
	if errors.Is(err, errShorter) {
		f.log.Warn("the file holds less than what was read of it; it is read from its start", "file", path, "read", s.at)
		f.book.end(s.known)
		s.known = f.book.enter(path, id, print, size)
		err = s.begin(ctx, f)
	}
	return s, err
}

// compression says how to read the file.
func (f *File) compression(path string, file io.ReaderAt, size int64) (codec.Compression, error) {
	if f.Compression != codec.CompressAuto {
		return f.Compression, nil
	}
	head := make([]byte, min(size, codec.SniffLen))
	if n, err := file.ReadAt(head, 0); n < len(head) {
		return "", err
	}
	kind := codec.Sniff(head)
	if kind != codec.CompressNone {
		return kind, nil
	}
	for _, named := range []codec.Compression{codec.CompressGzip, codec.CompressZstd} {
		if filepath.Ext(path) != named.Extension() {
			continue
		}
		if len(head) < codec.SniffLen { // just being written
			return named, nil
		}
		return "", fmt.Errorf("its name says %s, its content does not; write compression: none to read it as it is", named)
	}
	return kind, nil
}

var errShorter = errors.New("the file is shorter than before")

func (s *stream) isPacked() bool { return s.kind != codec.CompressNone }

// begin sets up reading from s.at on.
func (s *stream) begin(ctx context.Context, f *File) error {
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	s.disk = &diskReader{f: s.file}
	var src io.Reader = s.disk
	if s.isPacked() {
		z, err := codec.Decompress(s.disk, s.kind, zstdWindow)
		if err != nil {
			return err
		}
		src, s.z = z, z
		if err := skip(ctx, z, s.at); err != nil {
			z.Close()
			return err
		}
	} else if _, err := s.file.Seek(s.at, io.SeekStart); err != nil {
		return err
	} else {
		s.disk.at.Store(s.at)
	}
	s.r = f.Codec.NewReader(src, f.maxEvent)
	s.r.Partition, s.r.Growing = s.partition, f.Follow && !s.isPacked()
	return s.resume(f)
}

// resume tells the reader where it is, and shows it the beginning if it must see it.
func (s *stream) resume(f *File) error {
	if s.at == 0 || !f.Codec.NeedsBeginning() {
		return s.r.Resume(s.at, nil)
	}
	beginning, err := codec.Decompress(io.NewSectionReader(s.file, 0, s.size), s.kind, zstdWindow)
	if err != nil {
		return err
	}
	defer beginning.Close()
	return s.r.Resume(s.at, beginning)
}

// skip reads past what was delivered before.
func skip(ctx context.Context, r io.Reader, n int64) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, err := io.CopyN(io.Discard, r, min(n, skipPiece))
		n -= done
		if err == io.EOF {
			return errShorter
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// read appends what is there to b; see codec.Reader.Read. Errors name the file.
func (s *stream) read(b *pipe.Batch) error {
	err := s.r.Read(b)
	s.book.update(func() {
		s.at, s.taken = s.r.Offset(), s.disk.at.Load()
		s.last = max(s.last, s.r.Last())
		s.size, s.length = max(s.size, s.taken), max(s.length, s.taken)
	})
	if err != nil && err != io.EOF {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	return err
}

// close gives the file up for now; ended says that it will not come back.
func (s *stream) close(ended bool) {
	if s.file == nil {
		return
	}
	if s.z != nil {
		s.z.Close()
	}
	s.file.Close()
	s.file = nil
	if ended {
		s.book.end(s.known)
	}
}

// lastLineEnd returns where the last line of the file ends, so that reading
// does not begin inside of one. Lines beyond 64 KiB are cut.
func lastLineEnd(file io.ReaderAt, size int64) int64 {
	tail := make([]byte, min(size, 64<<10))
	n, _ := file.ReadAt(tail, size-int64(len(tail)))
	if i := bytes.LastIndexByte(tail[:n], '\n'); i >= 0 {
		return size - int64(len(tail)) + int64(i) + 1
	}
	return size
}
