package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
)

// generate writes n web access events as ndjson, the same for the same n, and
// returns their size in bytes. An event has about 260 bytes and 12 fields.
func generate(path string, n int) (int64, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	r := rand.New(rand.NewPCG(1, 2))
	size := int64(0)
	for i := range n {
		line := appendEvent(w.AvailableBuffer(), r, i)
		size += int64(len(line))
		if _, err := w.Write(line); err != nil {
			return 0, err
		}
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	return size, f.Close()
}

var (
	levels   = []string{"info", "info", "info", "debug", "warn", "error"}
	methods  = []string{"GET", "GET", "GET", "POST", "PUT", "DELETE"}
	services = []string{"web", "checkout", "search", "billing"}
	statuses = []int{200, 200, 200, 200, 204, 301, 304, 404, 500, 503}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func appendEvent(dst []byte, r *rand.Rand, i int) []byte {
	return fmt.Appendf(dst, `{"time":"2026-11-21T%02d:%02d:%02d.%03dZ","level":%q,"service":%q,"host":"node-%02d","method":%q,"path":"/api/v1/items/%d?page=%d","status":%d,"bytes":%d,"duration_ms":%.2f,"http":{"version":"1.1","tls":true},"agent":"Mozilla/5.0 (X11; Linux x86_64) Chrome/%d.0","id":"%016x"}`+"\n",
		i/3_600_000%24, i/60_000%60, i/1000%60, i%1000, pick(r, levels), pick(r, services), r.IntN(40), pick(r, methods),
		r.IntN(1_000_000), r.IntN(50), pick(r, statuses), r.IntN(2_000_000), r.Float64()*900, 90+r.IntN(40), r.Uint64())
}
