package dlq

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

// maxRecord is the largest record of a dead letter, in bytes: an event of the
// largest size, with every byte escaped, has at most six times as many.
const maxRecord = 512 << 20

// maxWindow is the most memory that decompressing may take, in bytes.
const maxWindow = 256 << 20

var errUnfinished = errors.New("not a dead letter yet: the last line has no end; it is being written, or was cut off by a crash")

// Found is what is on one line of a file of dead letters.
type Found struct {
	Letter
	// Bad says why the line is no dead letter; nil when it is one.
	Bad error
	// Record is the line as an event, for conditions.
	Record *pipe.Event
	// Number counts the dead letters of the file from 1; 0 for what is none.
	Number int64
	// Place is the file and the line, for people: "bad.ndjson:17".
	Place string
	// From and To are the place in the file, in bytes of what is decompressed.
	From, To int64
}

// Reader reads a file of dead letters, plain or compressed with gzip or zstd. It
// reads what was there when it was opened: more may be written meanwhile.
type Reader struct {
	path   string
	file   *os.File // nil when it is somebody else's
	plain  io.ReadCloser
	dec    *codec.Reader
	format codec.Codec
	batch  pipe.Batch
	ready  []Found
	last   int64 // offset after the last line
	number int64
	print  string
}

// Open opens a file of dead letters.
func Open(path string) (*Reader, error) {
	f, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	r, err := newReader(path, f, size)
	if err != nil {
		f.Close()
		return nil, err
	}
	r.file = f
	return r, nil
}

// openFile opens a file and returns how large it is, in bytes on the disk.
func openFile(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = fmt.Errorf("%s is a folder: name the files in it, such as '%s/*.ndjson'", path, strings.TrimSuffix(path, "/"))
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// newReader returns a reader of the first size bytes of f. Several may read one
// file at a time.
func newReader(path string, f io.ReaderAt, size int64) (*Reader, error) {
	r := &Reader{path: path, format: codec.NDJSON()}
	var err error
	if r.plain, err = codec.Decompress(io.NewSectionReader(f, 0, size), codec.CompressAuto, maxWindow); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.dec = r.format.NewReader(r.plain, maxRecord)
	r.dec.Partition, r.dec.Growing = path, true
	return r, nil
}

// Close closes the file.
func (r *Reader) Close() error {
	err := r.plain.Close()
	if r.file != nil {
		err = errors.Join(err, r.file.Close())
	}
	return err
}

// Print identifies the file by its first line, whatever it is called and however
// it is compressed. It is empty before the first Next.
func (r *Reader) Print() string { return r.print }

// Next returns what is on the next line; blank ones are left out. It returns
// io.EOF at the end, and other errors when the rest cannot be read.
func (r *Reader) Next() (Found, error) {
	for len(r.ready) == 0 {
		if err := r.fill(); err != nil {
			return Found{}, err
		}
	}
	f := r.ready[0]
	r.ready = r.ready[1:]
	return f, nil
}

// fill decodes some lines.
func (r *Reader) fill() error {
	r.batch.Reset(nil, "", 0)
	err := r.dec.Read(&r.batch)
	if err == io.EOF && r.dec.Growing {
		r.dec.Growing = false // a last line without its end
		err = r.dec.Read(&r.batch)
	}
	if err != nil {
		if err != io.EOF {
			err = fmt.Errorf("%s: %w", r.path, err)
		}
		return err
	}
	events, failed, _ := r.batch.Take(time.Time{})
	r.ready = r.ready[:0]
	for _, e := range events {
		f := Found{Record: e}
		f.Letter, f.Bad = Parse(&e.Body)
		r.ready = append(r.ready, f)
	}
	for _, x := range failed {
		bad := fmt.Errorf("not a dead letter: %w", x.Err)
		if !r.dec.Growing {
			bad = errUnfinished
		}
		r.ready = append(r.ready, Found{Record: x.Event, Bad: bad})
	}
	slices.SortStableFunc(r.ready, func(a, b Found) int { return int(a.Record.Position() - b.Record.Position()) })
	for i := range r.ready {
		f := &r.ready[i]
		f.From, f.To, f.Place = r.last, f.Record.Position(), f.Record.Origin()
		r.last = f.To
		if f.Bad == nil {
			r.number++
			f.Number = r.number
		}
		if r.print == "" {
			sum := sha256.Sum256(f.Record.Body.AppendText(nil))
			r.print = hex.EncodeToString(sum[:16])
		}
	}
	return nil
}
