package sinks

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

// repair makes an existing file fit to be appended to: what a crash left
// unfinished at its end is ended with a line break, or cut off where it is a part
// of a compressed stream, which nobody could read beyond. Nothing confirmed is
// in such a part.
func (s *File) repair(path string, size int64) error {
	if known, ok := s.clean[path]; ok && known == size {
		return nil
	}
	delete(s.clean, path)
	if s.Compress == codec.CompressNone {
		if s.Codec.Type == codec.TypeRaw {
			return nil
		}
		return s.endLine(path, size)
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	whole, err := wholeStreams(file, s.Compress)
	if err != nil {
		return pipe.Classed(pipe.Fatal, fmt.Errorf("write %s: the file cannot be appended to: %w; move it away or use mode truncate", path, err))
	}
	if whole == size {
		return nil
	}
	s.log.Warn("unfinished end cut off", "path", path, "bytes", size-whole)
	return os.Truncate(path, whole)
}

// endLine ends an unfinished last line.
func (s *File) endLine(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	var last [1]byte
	if _, err := file.ReadAt(last[:], size-1); err != nil || last[0] == '\n' {
		return err
	}
	s.log.Warn("unfinished last line ended", "path", path)
	_, err = file.Write([]byte{'\n'})
	return err
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
