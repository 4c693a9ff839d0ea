package edge

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// torture makes the randomised tests a hundred times longer.
var torture = os.Getenv("PIPECTL_TORTURE") != ""

// rounds is how often a randomised test runs: n times, more when tortured.
func rounds(n int) int {
	if torture {
		n *= 100
	}
	return n
}

// alone is rounds for a test of a single goroutine, which has no races to find.
func alone(n int) int {
	if raced {
		n /= 40
	}
	return rounds(n)
}

// end is how an event ended: its position, and its outcome.
type end struct {
	pos     int64
	outcome pipe.Outcome
}

// ends is an Acks that lists how events ended, in order. An event that ends
// twice panics in pipe.
type ends struct {
	mu   sync.Mutex // guards list
	list []end
}

func (x *ends) MessageDone(_ *pipe.Group, token any, o pipe.Outcome) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list = append(x.list, end{token.(int64), o})
}

func (x *ends) GroupDone(*pipe.Group) {}

// count returns how many events ended with an outcome.
func (x *ends) count(o pipe.Outcome) (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.list {
		if e.outcome == o {
			n++
		}
	}
	return n
}

// zeros is the payload of all test events.
var zeros [1 << 16]byte

// read makes one event per size, of that many accounted bytes, as a source would
// have read them at a time. Positions count from first; each event is a message.
func read(acks pipe.Acks, at time.Time, source string, first int64, sizes ...int) []*pipe.Event {
	return fill(new(pipe.Batch), acks, at, source, first, sizes...)
}

func fill(b *pipe.Batch, acks pipe.Acks, at time.Time, source string, first int64, sizes ...int) []*pipe.Event {
	b.Reset(acks, source, 0)
	for i, size := range sizes {
		pos := first + int64(i)
		b.Begin(pos)
		b.Add(body(size), pos)
		b.End()
	}
	events, _, _ := b.Take(at)
	return events
}

func body(size int) record.Body {
	if size < pipe.EventOverhead {
		panic(fmt.Sprintf("no event has less than %d bytes", pipe.EventOverhead))
	}
	return record.FromText(zeros[:size-pipe.EventOverhead])
}

// sized makes n events of a size, read now, at positions 1 to n.
func sized(x *ends, n, size int) []*pipe.Event {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = size
	}
	return read(x, time.Now(), "test", 1, sizes...)
}

func some(x *ends, n int) []*pipe.Event { return sized(x, n, 200) }

func positions(events []*pipe.Event) []int64 {
	p := make([]int64, len(events))
	for i, e := range events {
		p[i] = e.Position()
	}
	return p
}

// balanced returns the figures of q, whose account must balance.
func balanced(t testing.TB, q *Edge) Stats {
	t.Helper()
	s := q.Snapshot()
	if err := s.Balance(); err != nil {
		t.Fatal(err)
	}
	return s
}
