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

// TestBuffersAreReusedOnlyOnceSettled reads a stream with many batches open at a
// time, settles them in random order, and looks at every event again just before
// it is settled: no later read may have touched its bytes, neither in the middle
// nor in the last line, which has no line break.
func TestBuffersAreReusedOnlyOnceSettled(t *testing.T) {
	var in bytes.Buffer
	const lines = 60_000
	for i := range lines {
		fmt.Fprintf(&in, "{\"line\":%d,\"text\":\"%060d\"}\n", i, i)
	}
	in.Truncate(in.Len() - 1)
	for _, c := range []Codec{{Type: TypeLines}, {Type: TypeNDJSON}} {
		r := rand.New(rand.NewPCG(1, 1))
		reader := c.NewReader(bytes.NewReader(in.Bytes()), 1<<20)
		ledger := pipe.NewLedger(pipe.Window{}, nil)
		var open [][]*pipe.Event
		seen := 0
		settle := func(i int) {
			for _, e := range open[i] {
				if got, want := string(e.Body.AppendText(nil)), lineBefore(in.Bytes(), int(e.Position())); got != want {
					t.Fatalf("event at %d is now %q, was %q", e.Position(), got, want)
				}
			}
			seen += len(open[i])
			pipe.Settle(open[i], pipe.Delivered)
			open = append(open[:i], open[i+1:]...)
		}
		for end := false; !end; {
			var b pipe.Batch
			b.Reset(ledger, "in", 1)
			err := reader.Read(&b)
			end = err == io.EOF
			events, _, g := b.Take(time.Now())
			if len(events) > 0 {
				ledger.Count(g)
				open = append(open, append([]*pipe.Event(nil), events...))
			}
			for len(open) > r.IntN(40) {
				settle(r.IntN(len(open)))
			}
		}
		for len(open) > 0 {
			settle(0)
		}
		if seen != lines {
			t.Errorf("%s: saw %d events, want %d", c.Type, seen, lines)
		}
	}
}

// lineBefore returns the line of text that ends at offset end.
func lineBefore(text []byte, end int) string {
	line := bytes.TrimSuffix(text[:min(end, len(text))], []byte{'\n'})
	return string(line[bytes.LastIndexByte(line, '\n')+1:])
}
