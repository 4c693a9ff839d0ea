package codec

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// TestLargeAmongSmall reads events of all sizes, in reads of all sizes, and keeps them
// all: what is read later must not change them, though the buffers of large events are
// used again at once.
func TestLargeAmongSmall(t *testing.T) {
	f := func(c Codec, seed uint64) {
		t.Helper()
		r := rand.New(rand.NewPCG(seed, 4))
		var stream bytes.Buffer
		var want []string
		for i := range 60 {
			size := r.IntN(100)
			if r.IntN(3) == 0 {
				size = r.IntN(400_000)
			}
			text := fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, bytes.Repeat([]byte{byte('a' + i%26)}, size))
			want = append(want, text)
			stream.WriteString(text + "\n")
		}
		reader := c.NewReader(&pieces{r: r, from: &stream}, 1<<20)
		var kept []*pipe.Event
		for {
			var b pipe.Batch
			b.Reset(nil, "in", 1)
			err := reader.Read(&b)
			events, failed, _ := b.Take(time.Now())
			if kept = append(kept, events...); len(failed) > 0 {
				t.Fatalf("%s, seed %d: %v", c.Type, seed, failed[0].Err)
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s, seed %d: %v", c.Type, seed, err)
			}
		}
		if len(kept) != len(want) {
			t.Fatalf("%s, seed %d: %d events, want %d", c.Type, seed, len(kept), len(want))
		}
		for i, e := range kept {
			if got := string(e.Body.AppendText(nil)); got != want[i] && !t.Failed() {
				t.Errorf("%s, seed %d: event %d of %d bytes is another one of %d bytes", c.Type, seed, i, len(want[i]), len(got))
			}
		}
	}
	for seed := range uint64(3) {
		f(Codec{Type: TypeLines}, seed)
		f(NDJSON(), seed)
		f(JSON(), seed)
	}
}

// pieces is a reader that gives little or much at a time.
type pieces struct {
	r    *rand.Rand
	from io.Reader
}

func (s *pieces) Read(p []byte) (int, error) {
	return s.from.Read(p[:1+s.r.IntN(len(p))])
}
