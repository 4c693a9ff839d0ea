package sinks

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/gzip"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

// repair makes an existing file fit to be appended to. What a crash left
// unfinished at its end is taken out of it: nothing confirmed is in there, and
// what is written next would become a part of it. A part of a compressed stream is
// cut off, since nobody could read it. A part of a line is moved to a file beside
// it, named like it with .torn: it may be somebody else's last line.
func (s *File) repair(path string, size int64) error {
	if known, ok := s.clean[path]; ok && known == size {
		return nil
	}
	delete(s.clean, path)
	if s.Compress == codec.CompressNone && s.Codec.Type == codec.TypeRaw {
		return nil
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if s.Compress == codec.CompressNone {
		return s.repairLines(file, size)
	}
	whole, err := wholeStreams(file, s.Compress)
	if err != nil {
		return pipe.Classed(pipe.Fatal, fmt.Errorf("write %s: the file cannot be appended to: %w; move it away or use mode truncate", path, err))
	}
	if whole == size {
		return nil
	}
	s.log.Warn("unfinished end cut off", "path", path, "bytes", size-whole)
	return file.Truncate(whole)
}

// repairLines takes an unfinished last line out of file. A whole JSON value that
// lacks only its line break gets one.
func (s *File) repairLines(file *os.File, size int64) error {
	end, err := s.wholeLines(file, size)
	if err != nil || end == size {
		return err
	}
	part := io.NewSectionReader(file, end, size-end)
	if s.isValue(part) {
		_, err := file.Write([]byte{'\n'})
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	torn := file.Name() + ".torn"
	s.log.Warn("unfinished last line moved", "path", file.Name(), "to", torn, "bytes", part.Size())
	if err := appendTo(torn, part, info.Mode().Perm()); err != nil {
		return fmt.Errorf("unfinished last line not moved to %s: %w", torn, cause(err))
	}
	return file.Truncate(end)
}

// mostValue bounds the memory of isValue; no event is as large.
const mostValue = 64 << 20

// isValue reports whether part is a whole JSON value where one is a line. A
// number is not known to be whole: 12 may be what is left of 123.
func (s *File) isValue(part *io.SectionReader) bool {
	if s.Codec.Type != codec.TypeJSON && s.Codec.Type != codec.TypeNDJSON || part.Size() > mostValue {
		return false
	}
	text := make([]byte, part.Size())
	_, err := part.ReadAt(text, 0)
	return err == nil && json.Valid(text) && !('0' <= text[len(text)-1] && text[len(text)-1] <= '9')
}

// appendTo appends a line to the file at path and forces it to the disk.
func appendTo(path string, line io.Reader, perm fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, perm)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(struct{ io.Writer }{f}, 64<<10) // in one write, if it is not a giant
	_, err = io.Copy(out, line)
	out.WriteByte('\n')
	return errors.Join(err, out.Flush(), f.Sync(), f.Close())
}

// wholeLines returns where the last whole line of file ends.
func (s *File) wholeLines(file io.ReaderAt, size int64) (int64, error) {
	if s.Codec.Type == codec.TypeCSV {
		return wholeRecords(io.NewSectionReader(file, 0, size), s.Codec.Delimiter)
	}
	piece := make([]byte, 64<<10)
	for end := size; end > 0; {
		n := min(end, int64(len(piece)))
		if _, err := file.ReadAt(piece[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(piece[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

// wholeRecords returns where the last whole record of csv ends: a line break in
// quotes ends none.
func wholeRecords(file io.Reader, delimiter string) (end int64, err error) {
	separator := byte(',')
	if delimiter != "" {
		separator = delimiter[0]
	}
	src := bufio.NewReaderSize(file, 256<<10)
	quoted, start := false, true // within quotes; at the start of a field
	for at := int64(1); ; at++ {
		c, err := src.ReadByte()
		if err == io.EOF {
			return end, nil
		}
		if err != nil {
			return 0, err
		}
		switch {
		case quoted:
			quoted, start = c != '"', c == '"' // a quote behind it is half of an escaped one
		case c == '"' && start:
			quoted = true
		case c == '\n':
			end, start = at, true
		default:
			start = c == separator
		}
	}
}

// wholeStreams returns where the last whole stream of a compressed file ends. An
// error means that something else is wrong than an unfinished end.
func wholeStreams(file io.Reader, kind codec.Compression) (end int64, err error) {
	src := &countingReader{Reader: bufio.NewReaderSize(file, 256<<10)}
	one := zstdFrame
	if kind == codec.CompressGzip {
		one = new(gzipMembers).next
	}
	for {
		if _, err := src.Peek(1); err == io.EOF {
			return end, nil
		}
		switch err := one(src); {
		case err == nil:
			end = src.n
		case errors.Is(err, io.ErrUnexpectedEOF), err == io.EOF:
			return end, nil
		default:
			return end, fmt.Errorf("at byte %d: %w", end, err)
		}
	}
}

// countingReader counts what was taken from it. It is an io.ByteReader, so that
// decoders take no more than they need.
type countingReader struct {
	*bufio.Reader
	n int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n += int64(n)
	return n, err
}

func (r *countingReader) ReadByte() (byte, error) {
	b, err := r.Reader.ReadByte()
	if err == nil {
		r.n++
	}
	return b, err
}

func (r *countingReader) skip(n int) error {
	d, err := r.Discard(n)
	r.n += int64(d)
	return err
}

// gzipMembers reads a gzip file member by member.
type gzipMembers struct{ z *gzip.Reader }

func (g *gzipMembers) next(src *countingReader) (err error) {
	if g.z == nil {
		g.z, err = gzip.NewReader(src)
	} else {
		err = g.z.Reset(src)
	}
	if errors.Is(err, gzip.ErrHeader) {
		return errors.New("this is not gzip")
	}
	if err != nil {
		return err
	}
	g.z.Multistream(false)
	_, err = io.Copy(io.Discard, g.z)
	return err
}

// zstdFrame reads past one zstd frame without decompressing it (RFC 8878, 3.1).
func zstdFrame(src *countingReader) error {
	var head [5]byte
	if _, err := io.ReadFull(src, head[:4]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(head[:4]) != 0xfd2fb528 {
		return errors.New("this is not zstd")
	}
	if _, err := io.ReadFull(src, head[4:]); err != nil {
		return err
	}
	descriptor := head[4]
	rest := [4]int{0, 1, 2, 4}[descriptor&3] + [4]int{0, 2, 4, 8}[descriptor>>6]
	switch single := descriptor&0x20 != 0; {
	case !single:
		rest++ // window
	case descriptor>>6 == 0:
		rest++ // content size
	}
	if err := src.skip(rest); err != nil {
		return err
	}
	for last := false; !last; {
		var block [4]byte
		if _, err := io.ReadFull(src, block[:3]); err != nil {
			return err
		}
		h := binary.LittleEndian.Uint32(block[:])
		n := int(h >> 3)
		if h>>1&3 == 1 { // one byte, repeated
			n = 1
		}
		last = h&1 == 1
		if err := src.skip(n); err != nil {
			return err
		}
	}
	if descriptor&4 != 0 {
		return src.skip(4)
	}
	return nil
}
