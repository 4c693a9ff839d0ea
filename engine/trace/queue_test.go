package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// far is a collector that does as it is told.
type far struct {
	mu     sync.Mutex // guards what follows
	sizes  []int
	spans  []sdktrace.ReadOnlySpan
	answer func(ctx context.Context) error
	shut   bool
}

func (f *far) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	f.mu.Lock()
	f.sizes = append(f.sizes, len(spans))
	f.spans = append(f.spans, spans...)
	answer := f.answer
	f.mu.Unlock()
	if answer != nil {
		return answer(ctx)
	}
	return nil
}

func (f *far) Shutdown(context.Context) error {
	f.shut = true
	return nil
}

func (f *far) set(answer func(context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *far) took() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := fmt.Sprint(f.sizes)
	f.sizes = nil
	return s
}

func plain(text string) string { return text }

// tracing returns a tracer whose spans go to f, and its log.
func tracing(f *far, ratio float64) (*Tracer, *bytes.Buffer) {
	var log bytes.Buffer
	return newTracer(f, newClient(), ratio, Options{Pipeline: "p", Version: "v1", Redact: plain,
		Log: slog.New(slog.NewTextHandler(&log, nil))}), &log
}

// fed returns events, each with its traceparent if that is not empty.
func fed(t testing.TB, parents ...string) []*pipe.Event {
	t.Helper()
	f, err := pipetest.NewFeed(make([]string, len(parents))...)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range f.Events {
		if parents[i] != "" {
			e.SetMeta(pipe.TraceParent, parents[i])
		}
	}
	return f.Events
}

// spans makes n spans.
func (t *Tracer) spans(tb testing.TB, n int) {
	e := fed(tb, parent)
	for range n {
		t.Step("node", pipe.KindStage, e)(nil, nil)
	}
}

func TestQueueSendsEachSecondOrWhenABatchIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{}
		tr, _ := tracing(f, 0)
		tr.spans(t, 3)
		synctest.Wait()
		if got := f.took(); got != "[]" {
			t.Errorf("at once: got requests of %s", got)
		}
		time.Sleep(sendEvery)
		synctest.Wait()
		if got := f.took(); got != "[3]" {
			t.Errorf("after a second: got requests of %s", got)
		}
		tr.spans(t, sendMost)
		synctest.Wait()
		if got := f.took(); got != "[512]" {
			t.Errorf("a full batch: got requests of %s", got)
		}
		tr.spans(t, 2)
		tr.provider.ForceFlush(t.Context())
		synctest.Wait()
		if got := f.took(); got != "[2]" {
			t.Errorf("asked for: got requests of %s", got)
		}
		tr.spans(t, 1)
		if err := tr.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := f.took(); got != "[1]" || !f.shut {
			t.Errorf("at the end: got requests of %s, exporter shut %v", got, f.shut)
		}
		tr.spans(t, 1) // too late
		if got, want := tr.Stats(), (Stats{Sent: 518}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

// TestQueueIsBounded: a collector that hangs costs spans, never memory or time.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{}
		f.set(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		tr, log := tracing(f, 0)
		began := time.Now()
		tr.spans(t, 1)
		time.Sleep(sendEvery)
		synctest.Wait() // it hangs with this one
		tr.spans(t, queueMost+100)
		if took := time.Since(began); took != sendEvery {
			t.Errorf("the steps waited: %v", took-sendEvery)
		}
		if got, want := tr.Stats(), (Stats{Dropped: 100, Queued: queueMost}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		began = time.Now()
		tr.Close(t.Context())
		if took := time.Since(began); took != closeLimit {
			t.Errorf("closing took %v, want %v", took, closeLimit)
		}
		if got, want := tr.Stats(), (Stats{Failed: 1, Dropped: queueMost + 100}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got := log.String(); !strings.Contains(got, "not all spans were sent") || !strings.Contains(got, "dropped=8292") {
			t.Errorf("got log %s", got)
		}
	})
}

func TestQueueClosesNoLaterThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{}
		f.set(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		tr, _ := tracing(f, 0)
		tr.spans(t, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/4)
		defer cancel()
		began := time.Now()
		tr.Close(ctx)
		if took := time.Since(began); took != time.Second/4 {
			t.Errorf("closing took %v", took)
		}
	})
}

// TestQueueTellsOnceThatTheCollectorFails, and once that it works again.
func TestQueueTellsOnceThatTheCollectorFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{}
		f.set(func(context.Context) error { return errors.New("refused " + strings.Repeat("é", 1000)) })
		tr, log := tracing(f, 0)
		for range 5 {
			tr.spans(t, 1)
			time.Sleep(sendEvery)
			synctest.Wait()
		}
		f.set(nil)
		for range 5 {
			tr.spans(t, 1)
			time.Sleep(sendEvery)
			synctest.Wait()
		}
		tr.Close(t.Context())
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 3 || !strings.Contains(lines[0], "does not take spans") || !strings.Contains(lines[1], "takes spans again") ||
			!strings.Contains(lines[2], "sent=5 failed=5 dropped=0") {
			t.Errorf("got log %s", log)
		}
		if len(lines[0]) > errorMost+200 {
			t.Errorf("the line has %d bytes", len(lines[0]))
		}
	})
}

// TestQueueCountsEverySpan: many goroutines, a collector that comes and goes, and
// a close in the middle.
func TestQueueCountsEverySpan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{}
		calls := 0
		f.set(func(context.Context) error {
			if calls++; calls%3 == 0 {
				return errors.New("busy")
			}
			time.Sleep(time.Millisecond)
			return nil
		})
		tr, _ := tracing(f, 0)
		const workers, each = 8, 3000
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				for range each / 10 {
					tr.spans(t, 10)
					time.Sleep(time.Millisecond / 10)
				}
			})
		}
		time.Sleep(20 * time.Millisecond)
		tr.Close(t.Context())
		all.Wait()
		s := tr.Stats()
		if s.Sent+s.Failed != int64(len(f.spans)) || s.Sent == 0 || s.Failed == 0 || s.Queued != 0 {
			t.Errorf("got %+v, %d spans came", s, len(f.spans))
		}
	})
}
