package sources

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// benchFile is 500,000 lines of about 100 bytes.
func benchFile(b *testing.B) (path string, lines int) {
	b.Helper()
	path = filepath.Join(memDir(b), "bench.log")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	const n = 500_000
	for i := range n {
		fmt.Fprintf(w, "10.0.%d.%d - - [17/May/2015:10:05:%02d +0000] \"GET /presentations/%d HTTP/1.1\" 200 %d \"-\"\n", i%256, i%251, i%60, i, i*7%99999)
	}
	w.Flush()
	return path, n
}

// BenchmarkFile reads lines and settles them at once: the least that a pipeline does.
func BenchmarkFile(b *testing.B) {
	path, lines := benchFile(b)
	var batch pipe.Batch
	ledger := pipe.NewLedger(pipe.Window{}, nil)
	n := 0
	for b.Loop() {
		f := newFile(path)
		if err := f.Open(context.Background(), pipetest.Env()); err != nil {
			b.Fatal(err)
		}
		for {
			batch.Reset(ledger, "src", 1)
			if err := f.Read(context.Background(), &batch); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
			events, _, g := batch.Take(time.Now())
			n += len(events)
			ledger.Count(g)
			pipe.Settle(events, pipe.Delivered)
		}
		f.Close(context.Background())
	}
	if n%lines != 0 {
		b.Fatalf("read %d lines", n)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
}

// BenchmarkFileScanner is the usual loop over a file for comparison, without and
// with keeping the lines beyond the next one, which events need.
func BenchmarkFileScanner(b *testing.B) {
	path, _ := benchFile(b)
	for _, keep := range []bool{false, true} {
		b.Run(fmt.Sprintf("keep_%v", keep), func(b *testing.B) {
			n := 0
			var kept [256][]byte
			for b.Loop() {
				f, err := os.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				s := bufio.NewScanner(f)
				for s.Scan() {
					n++
					if keep {
						kept[n%256] = append([]byte(nil), s.Bytes()...)
					}
				}
				f.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
		})
	}
}
