package codec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression is a compression in YAML: none, gzip or zstd, and for reading
// also auto, which looks at the first bytes.
type Compression string

// The compressions.
const (
	CompressAuto Compression = "auto"
	CompressNone Compression = "none"
	CompressGzip Compression = "gzip"
	CompressZstd Compression = "zstd"
)

// UnmarshalText sets the compression.
func (c *Compression) UnmarshalText(text []byte) error {
	switch v := Compression(text); v {
	case CompressAuto, CompressNone, CompressGzip, CompressZstd:
		*c = v
		return nil
	}
	return fmt.Errorf("unknown compression %q: it is one of none, gzip, zstd", text)
}

// SniffLen is how many leading bytes Sniff needs.
const SniffLen = 4

var (
	gzipMagic = []byte{0x1f, 0x8b, 0x08}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// Sniff returns how data that begins with head is compressed.
func Sniff(head []byte) Compression {
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		return CompressGzip
	case bytes.HasPrefix(head, zstdMagic), len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}):
		return CompressZstd // a skippable frame may come first
	}
	return CompressNone
}

// Decompress returns what r holds, decompressed as c says. A stream of several
// gzip members or zstd frames is read through. maxMemory bounds the memory of
// the decoder, in bytes: a stream that needs more fails. gzip needs about 64 KiB
// always. Nothing is an empty stream in every compression. Close releases the
// decoder, not r. It starts no goroutine.
func Decompress(r io.Reader, c Compression, maxMemory int64) (io.ReadCloser, error) {
	if c == CompressNone {
		return io.NopCloser(r), nil
	}
	src := &source{Reader: r}
	buffered := bufio.NewReaderSize(src, chunkSize)
	head, err := buffered.Peek(SniffLen)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if c == CompressAuto {
		c = Sniff(head)
	}
	switch {
	case c == CompressNone, len(head) == 0:
		return io.NopCloser(buffered), nil
	case len(head) < SniffLen && (bytes.HasPrefix(gzipMagic, head) || bytes.HasPrefix(zstdMagic, head)):
		return nil, decompressError{c, io.ErrUnexpectedEOF}
	case Sniff(head) != c:
		return nil, fmt.Errorf("the data is not %s", c)
	case c == CompressGzip:
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, src.explain(c, err)
		}
		return &decompressor{z, src, c, func() { z.Close() }}, nil
	}
	z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(uint64(max(maxMemory, zstd.MinWindowSize))))
	if err != nil {
		return nil, src.explain(c, err)
	}
	return &decompressor{z, src, c, z.Close}, nil
}

// source remembers why reading compressed data failed, so that it is not taken
// for damage.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func (s *source) explain(c Compression, err error) error {
	if s.err != nil {
		return s.err
	}
	return decompressError{c, err}
}

// decompressor gives the errors of a decoder their context.
type decompressor struct {
	io.Reader
	src   *source
	kind  Compression
	close func()
}

func (d *decompressor) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = d.src.explain(d.kind, err)
	}
	return n, err
}

func (d *decompressor) Close() error {
	d.close()
	return nil
}

type decompressError struct {
	kind Compression
	err  error
}

func (e decompressError) Error() string {
	switch {
	case errors.Is(e.err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("the %s data is cut off", e.kind)
	case errors.Is(e.err, zstd.ErrWindowSizeExceeded), errors.Is(e.err, zstd.ErrDecoderSizeExceeded):
		return "the zstd data needs more memory to decompress than is allowed"
	}
	return fmt.Sprintf("the %s data is damaged: %v", e.kind, e.err)
}

func (e decompressError) Unwrap() error { return e.err }

// Compressor is a compressing writer. What was written is complete for a
// reader after Close, and readable up to here after Flush. A Reset one writes
// another stream: appended to the same file it is another gzip member or zstd
// frame, which readers take as a continuation.
type Compressor interface {
	io.WriteCloser
	Flush() error
	Reset(w io.Writer)
}

// NewCompressor returns a writer that compresses to w as c says. Close does not
// close w. It starts no goroutine.
func NewCompressor(w io.Writer, c Compression) (Compressor, error) {
	switch c {
	case CompressNone:
		return &plain{w}, nil
	case CompressGzip:
		return gzip.NewWriter(w), nil
	case CompressZstd:
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	}
	return nil, fmt.Errorf("cannot write compression %q: it is one of none, gzip, zstd", c)
}

type plain struct{ io.Writer }

func (*plain) Flush() error        { return nil }
func (*plain) Close() error        { return nil }
func (p *plain) Reset(w io.Writer) { p.Writer = w }

// Extension returns the file name extension of a compression, with its dot.
func (c Compression) Extension() string {
	switch c {
	case CompressGzip:
		return ".gz"
	case CompressZstd:
		return ".zst"
	}
	return ""
}
