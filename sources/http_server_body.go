package sources

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// refusal is an answer other than success.
type refusal struct {
	code   int
	text   string        // for the client: says nothing about how the pipeline is built
	retry  bool          // says when to come back, from how fast requests leave
	wait   time.Duration // after which to come back, where that is known
	ending bool          // because the source stops
}

// bodyWindow is the most memory a zstd body may ask for: what RFC 9659 allows.
const bodyWindow = 8 << 20

// encoding returns how a body is compressed, or that it cannot be read.
func encoding(r *http.Request) (codec.Compression, *refusal) {
	switch e := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); e {
	case "", "identity":
		return codec.CompressNone, nil
	case "gzip", "x-gzip":
		return codec.CompressGzip, nil
	case "zstd":
		return codec.CompressZstd, nil
	}
	return "", &refusal{code: http.StatusUnsupportedMediaType, text: "unsupported Content-Encoding: use gzip, zstd or none"}
}

// readable reports whether the media type may hold what the codec reads. No
// type, and what curl and simple clients send without thinking, are fine.
func (s *HTTPServer) readable(r *http.Request) bool {
	header := r.Header.Get("Content-Type")
	if header == "" || s.Codec.Type == codec.TypeRaw {
		return true
	}
	media, _, err := mime.ParseMediaType(header)
	if err != nil {
		return false
	}
	switch media {
	case "text/plain", "application/octet-stream", "application/x-www-form-urlencoded":
		return true
	}
	if s.Codec.Type == codec.TypeJSON || s.Codec.Type == codec.TypeNDJSON {
		return strings.Contains(media, "json")
	}
	return strings.HasPrefix(media, "text/") || s.Codec.Type == codec.TypeLines && strings.Contains(media, "json")
}

var errTooLarge = errors.New("body is too large")

// receive reads a body whole, within its limits of size and time.
func (s *HTTPServer) receive(w http.ResponseWriter, r *http.Request, c codec.Compression) ([]byte, *refusal) {
	control := http.NewResponseController(w)
	if no := s.bodies.begin(control, time.Now().Add(s.ReadTimeout.D())); no != nil {
		return nil, no
	}
	defer s.bodies.end(control)
	hint := int64(0)
	if c == codec.CompressNone {
		hint = r.ContentLength
	}
	data, err := func() ([]byte, error) {
		src, err := codec.Decompress(http.MaxBytesReader(w, r.Body, int64(s.MaxBody)), c, bodyWindow)
		if err != nil {
			return nil, err
		}
		defer src.Close()
		return readBounded(src, hint, int64(s.MaxBody))
	}()
	if err != nil {
		return nil, s.explain(err, c)
	}
	return data, nil
}

func (s *HTTPServer) explain(err error, c codec.Compression) *refusal {
	var large *http.MaxBytesError
	var network net.Error
	switch {
	case errors.As(err, &large), errors.Is(err, errTooLarge):
		return s.tooLarge()
	case errors.As(err, &network) && network.Timeout():
		if s.bodies.interrupted() {
			return closing()
		}
		return &refusal{code: http.StatusRequestTimeout, text: "the body did not arrive in time"}
	case c != codec.CompressNone && !errors.As(err, &network):
		return &refusal{code: http.StatusBadRequest, text: fmt.Sprintf("the body is not valid %s", c)}
	}
	return endedEarly()
}

func endedEarly() *refusal {
	return &refusal{code: http.StatusBadRequest, text: "the body ended early"}
}

func (s *HTTPServer) tooLarge() *refusal {
	return &refusal{code: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("the body is larger than %d bytes", s.MaxBody)}
}

func closing() *refusal {
	return &refusal{code: http.StatusServiceUnavailable, text: "pipeline is stopping", retry: true, ending: true}
}

// readBounded reads r to its end, or to one byte beyond most. hint is the length
// it is expected to have, 0 or less when unknown.
func readBounded(r io.Reader, hint, most int64) ([]byte, error) {
	size := min(hint, most) + 1 // one more, to meet the end without growing
	if hint <= 0 {
		size = min(most+1, 4096)
	}
	buf := make([]byte, 0, size)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > most:
			return nil, errTooLarge
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return nil, err
		case len(buf) == cap(buf):
			grown := make([]byte, len(buf), min(2*int64(cap(buf)), most+1))
			copy(grown, buf)
			buf = grown
		}
	}
}

// scratch batches decode bodies; their arenas are worth keeping.
var scratchBatches = sync.Pool{New: func() any { return new(pipe.Batch) }}

// decode turns a body into events, all or none.
func (s *HTTPServer) decode(data []byte) ([]record.Body, *refusal) {
	if len(data) == 0 || s.Codec.Type != codec.TypeLines && s.Codec.Type != codec.TypeRaw && len(bytes.TrimSpace(data)) == 0 {
		return nil, &refusal{code: http.StatusBadRequest, text: "the body is empty"}
	}
	b := scratchBatches.Get().(*pipe.Batch)
	defer scratchBatches.Put(b)
	b.Reset(nil, "", 0)
	err := s.Codec.Decode(b, data, math.MaxInt32)
	events, failed, _ := b.Take(time.Time{})
	if len(failed) > 0 {
		err = failed[0].Err
	}
	if err != nil {
		return nil, &refusal{code: http.StatusBadRequest, text: err.Error()}
	}
	bodies := make([]record.Body, len(events))
	for i, e := range events {
		if e.Body.Size() > s.maxEvent {
			return nil, &refusal{code: http.StatusRequestEntityTooLarge,
				text: fmt.Sprintf("event %d of the body is larger than %d bytes", i+1, s.maxEvent)}
		}
		bodies[i] = e.Body
	}
	return bodies, nil
}
