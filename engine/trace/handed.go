package trace

import (
	"sync"
	"time"

	oteltrace "go.opentelemetry.io/otel/trace"
)

// handedMost is how many steps are remembered. An event that waits while so many
// others are traced gets no edge_wait_seconds.
const handedMost = 8192

// handed remembers when the latest steps ended, so that the next step of their
// events knows how long those were on their way.
type handed struct {
	mu    sync.Mutex // guards what follows
	ended map[oteltrace.SpanID]time.Time
	order []oteltrace.SpanID // a ring once it is full
	next  int
}

// note remembers that a step has ended.
func (h *handed) note(id oteltrace.SpanID, ended time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended == nil {
		h.ended = map[oteltrace.SpanID]time.Time{}
	}
	h.ended[id] = ended
	if len(h.order) < handedMost {
		h.order = append(h.order, id)
		return
	}
	delete(h.ended, h.order[h.next])
	h.order[h.next] = id
	h.next = (h.next + 1) % handedMost
}

// when returns when a step ended, if that is known.
func (h *handed) when(id oteltrace.SpanID) (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, ok := h.ended[id]
	return t, ok
}
