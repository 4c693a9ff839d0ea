package trace

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	queueMost = 8192 // spans that wait
	sendMost  = 512  // spans in a request
	sendEvery = time.Second
	errorMost = 300 // bytes of an error in the log
)

// queue holds the spans that have ended until one goroutine has sent them. It is
// a span processor; the one of the library does not say what it dropped.
type queue struct {
	exporter sdktrace.SpanExporter
	log      *slog.Logger
	redact   func(string) string
	wake     chan struct{}      // one slot: there is enough to send, or the end
	giveUp   context.CancelFunc // ends sending
	done     chan struct{}      // closed when run has returned

	mu     sync.Mutex // guards what follows
	spans  []sdktrace.ReadOnlySpan
	closed bool
	stats  Stats
}

func newQueue(exporter sdktrace.SpanExporter, log *slog.Logger, redact func(string) string) *queue {
	ctx, cancel := context.WithCancel(context.Background())
	q := &queue{exporter: exporter, log: log, redact: redact, wake: make(chan struct{}, 1), giveUp: cancel, done: make(chan struct{})}
	go q.run(ctx)
	return q
}

// OnStart does nothing: spans count when they end.
func (q *queue) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd takes a span, or drops it.
func (q *queue) OnEnd(s sdktrace.ReadOnlySpan) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.spans) >= queueMost {
		q.stats.Dropped++
		return
	}
	q.spans = append(q.spans, s)
	if len(q.spans) >= sendMost {
		q.rouse()
	}
}

func (q *queue) rouse() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// ForceFlush asks for what is there to be sent now; it does not wait for it.
func (q *queue) ForceFlush(context.Context) error {
	q.rouse()
	return nil
}

// Shutdown sends what is there until ctx ends, and drops the rest.
func (q *queue) Shutdown(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.rouse()
	defer context.AfterFunc(ctx, q.giveUp)()
	<-q.done
	q.giveUp()
	return q.exporter.Shutdown(context.WithoutCancel(ctx))
}

// run sends until the queue is closed and empty.
func (q *queue) run(ctx context.Context) {
	defer close(q.done)
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-q.wake:
		case <-tick.C:
		}
		batch, over := q.take()
		for ; len(batch) > 0; batch, over = q.take() {
			if ctx.Err() != nil {
				q.count(Stats{Dropped: int64(len(batch))})
				continue
			}
			failing = q.send(ctx, batch, failing)
		}
		if over {
			return
		}
	}
}

// take removes a batch; over says that no more will come.
func (q *queue) take() (batch []sdktrace.ReadOnlySpan, over bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.spans), sendMost)
	batch = append(batch, q.spans[:n]...)
	rest := copy(q.spans, q.spans[n:])
	clear(q.spans[rest:])
	q.spans = q.spans[:rest]
	return batch, q.closed
}

// send exports a batch, and logs when that begins to fail or to work again.
func (q *queue) send(ctx context.Context, batch []sdktrace.ReadOnlySpan, failing bool) (failed bool) {
	n := int64(len(batch))
	err := q.exporter.ExportSpans(ctx, batch)
	if err == nil {
		q.count(Stats{Sent: n})
		if failing {
			s := q.now()
			q.log.Info("the collector takes spans again", "failed", s.Failed, "dropped", s.Dropped)
		}
		return false
	}
	q.count(Stats{Failed: n})
	if !failing {
		q.log.Warn("the collector does not take spans; they are dropped, the pipeline goes on", "error", q.short(err))
	}
	return true
}

// short is an error for the log: it may hold what a stranger answered.
func (q *queue) short(err error) string {
	text := q.redact(err.Error())
	if len(text) > errorMost {
		text = text[:errorMost] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}

func (q *queue) count(s Stats) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stats.Sent += s.Sent
	q.stats.Failed += s.Failed
	q.stats.Dropped += s.Dropped
}

func (q *queue) now() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.Queued = len(q.spans)
	return s
}
