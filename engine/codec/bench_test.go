package codec

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

const benchEvents = 100_000

func logLines() []byte {
	var out bytes.Buffer
	for i := range benchEvents {
		fmt.Fprintf(&out, "10.0.%d.%d - - [17/May/2015:10:05:%02d +0000] \"GET /presentations/%d HTTP/1.1\" 200 %d\n", i%256, i%251, i%60, i, i*7%99999)
	}
	return out.Bytes()
}

func logObjects() []byte {
	var out bytes.Buffer
	for i := range benchEvents {
		fmt.Fprintf(&out, `{"time":"2026-05-17T10:05:%02dZ","level":"info","status":%d,"path":"/presentations/%d","bytes":%d,"client":{"ip":"10.0.%d.%d"},"agent":"Mozilla/5.0 (X11; Linux x86_64)"}`+"\n",
			i%60, 200+i%300, i, i*7%99999, i%256, i%251)
	}
	return out.Bytes()
}

func benchReader(b *testing.B, c Codec, data []byte) {
	var batch pipe.Batch
	ledger := pipe.NewLedger(pipe.Window{}, nil)
	src := bytes.NewReader(data)
	n := 0
	for b.Loop() {
		src.Reset(data)
		r := c.NewReader(io.MultiReader(src), plenty)
		for {
			batch.Reset(ledger, "src", 0)
			if err := r.Read(&batch); err != nil {
				break
			}
			events, _, g := batch.Take(time.Now())
			n += len(events)
			ledger.Count(g)
			pipe.Settle(events, pipe.Delivered)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
}

func BenchmarkReader(b *testing.B) {
	lines, objects := logLines(), logObjects()
	csv := CSV()
	csv.Header, csv.Columns = false, []string{"line"}
	b.Run("lines", func(b *testing.B) { benchReader(b, Lines(), lines) })
	b.Run("ndjson", func(b *testing.B) { benchReader(b, NDJSON(), objects) })
	b.Run("json", func(b *testing.B) { benchReader(b, JSON(), objects) })
	b.Run("csv", func(b *testing.B) { benchReader(b, csv, bytes.ReplaceAll(lines, []byte{'"'}, nil)) })
}

// BenchmarkScanner is the standard library's way, for comparison: it neither
// makes events nor keeps the lines.
func BenchmarkScanner(b *testing.B) {
	data := logLines()
	src := bytes.NewReader(data)
	n := 0
	for b.Loop() {
		src.Reset(data)
		s := bufio.NewScanner(io.MultiReader(src))
		for s.Scan() {
			n++
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
}

func BenchmarkEncoder(b *testing.B) {
	all := events(b, `{"time":"2026-05-17T10:05:00Z","level":"info","status":200,"path":"/presentations"}`)
	for _, c := range []Codec{Lines(), NDJSON(), CSV()} {
		b.Run(string(c.Type), func(b *testing.B) {
			e := c.NewEncoder()
			var buf []byte
			for b.Loop() {
				buf, _ = e.Append(buf[:0], all[0])
			}
		})
	}
}
