package stages

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func openBatch(t testing.TB, change func(*Batch)) *Batch {
	t.Helper()
	b := newBatch(change)
	if err := b.Open(t.Context(), openEnv); err != nil {
		t.Fatal(err)
	}
	return b
}

func newBatch(change func(*Batch)) *Batch {
	c, _ := pipe.Lookup(pipe.KindStage, "batch")
	b := c.New().(*Batch)
	change(b)
	return b
}

func TestBatchByEvents(t *testing.T) {
	r := run(t, newBatch(func(b *Batch) { b.Events = 2 }), `{"n": 1}`, "line", `{"n":3}`)
	same(t, "batches", r.Emitted[""], []string{
		`{"events":[{"n": 1},{"message":"line"}],"count":2}`,
		`{"events":[{"n":3}],"count":1}`,
	})
	if r.Counts.Merged != 1 || r.Counts.Held != 3 || r.Counts.Released != 3 {
		t.Errorf("counts %+v", r.Counts)
	}
}

func TestBatchByBytes(t *testing.T) {
	f := func(bytes int, want ...string) {
		t.Helper()
		b := newBatch(func(b *Batch) { b.Bytes, b.Into = pipe.Size(bytes), "x" })
		same(t, fmt.Sprint(bytes), run(t, b, `{"n":1}`, `{"n":2}`, `{"n":33333333333}`, `{"n":4}`).Emitted[""], want)
	}
	f(100, `{"x":[{"n":1},{"n":2},{"n":33333333333},{"n":4}],"count":4}`)
	f(15, `{"x":[{"n":1},{"n":2}],"count":2}`, `{"x":[{"n":33333333333}],"count":1}`, `{"x":[{"n":4}],"count":1}`)
	f(16, `{"x":[{"n":1},{"n":2}],"count":2}`, `{"x":[{"n":33333333333}],"count":1}`, `{"x":[{"n":4}],"count":1}`)
	f(1, `{"x":[{"n":1}],"count":1}`, `{"x":[{"n":2}],"count":1}`, `{"x":[{"n":33333333333}],"count":1}`, `{"x":[{"n":4}],"count":1}`)
}

// A batch that is full goes at once, not when the next event or its time comes.
func TestBatchGoesWhenFull(t *testing.T) {
	f := func(change func(*Batch)) {
		t.Helper()
		b, out, in := openBatch(t, change), pipe.NewOut(1), events(t, 2)
		if err := b.Process(t.Context(), in, out); err != nil {
			t.Fatal(err)
		}
		if in[0].Body.Size() != 0 {
			t.Error("a held event keeps its read buffer")
		}
		if len(out.Port(0)) != 1 || !b.Deadline().IsZero() {
			t.Errorf("%d batches came out, deadline %v", len(out.Port(0)), b.Deadline())
		}
	}
	f(func(b *Batch) { b.Events = 2 })
	f(func(b *Batch) { b.Bytes = pipe.Size(len(`{"message":"a line"},{"message":"a line"}`)) })
}

func TestBatchByInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBatch(t, func(*Batch) {})
		if !b.Deadline().IsZero() {
			t.Fatal("an empty batch has a deadline")
		}
		out := pipe.NewOut(1)
		first := time.Now()
		in := events(t, 3)
		for _, e := range in {
			if err := b.Process(t.Context(), []*pipe.Event{e}, out); err != nil {
				t.Fatal(err)
			}
			time.Sleep(300 * time.Millisecond)
		}
		if want := first.Add(time.Second); !b.Deadline().Equal(want) {
			t.Errorf("deadline %v, want 1 s after the first event, %v", b.Deadline(), want)
		}
		flush := func(want int) {
			t.Helper()
			if err := b.Flush(t.Context(), out, false); err != nil || len(out.Port(0)) != want {
				t.Fatalf("after %v %d batches came out, want %d, error %v", time.Since(first), len(out.Port(0)), want, err)
			}
		}
		flush(0)
		time.Sleep(100 * time.Millisecond)
		flush(1)
		flush(1)
		if !b.Deadline().IsZero() {
			t.Error("the deadline is still there after the flush")
		}
	})
}

// Whatever the limits, every event is in exactly one batch, in order, and no
// batch is beyond a limit that it could have kept.
func TestBatchLosesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		b := newBatch(func(b *Batch) { b.Events, b.Bytes = 1+r.IntN(6), pipe.Size(1+r.IntN(120)) })
		in := make([]string, r.IntN(40))
		for i := range in {
			in[i] = fmt.Sprintf(`{"i":%d,"pad":%q}`, i, strings.Repeat("p", r.IntN(60)))
		}
		next := 0
		for _, text := range run(t, b, in...).Emitted[""] {
			var got struct {
				Events []json.RawMessage
				Count  int
			}
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatal(err)
			}
			size := len(got.Events) - 1
			for _, e := range got.Events {
				if next >= len(in) || string(e) != in[next] {
					t.Fatalf("event %d is %s", next, e)
				}
				next++
				size += len(e)
			}
			if got.Count != len(got.Events) || got.Count > b.Events || got.Count > 1 && size > int(b.Bytes) {
				t.Fatalf("a batch of %d events and %d bytes with limits %d and %d", got.Count, size, b.Events, b.Bytes)
			}
		}
		if next != len(in) {
			t.Fatalf("%d of %d events came out", next, len(in))
		}
	}
}

// An event made of several must stay below the limit for one as well.
func TestBatchKeepsTheEventLimit(t *testing.T) {
	b, out := newBatch(func(*Batch) {}), pipe.NewOut(1)
	env := openEnv
	env.MaxEventBytes = 100
	if err := b.Open(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	f, err := pipetest.NewFeed("one", strings.Repeat("x", 90), "two", "three", "four", "five")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Process(t.Context(), f.Events, out), b.Flush(t.Context(), out, true)); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		`{"events":[{"message":"one"},{"message":"two"},{"message":"three"}],"count":3}`,
		`{"events":[{"message":"four"},{"message":"five"}],"count":2}`,
	} {
		if got := string(out.Port(0)[i].Body.AppendJSON(nil)); got != want || len(got) > 100 {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if failed := out.Failed(); len(failed) != 1 || failed[0].Event != f.Events[1] ||
		!strings.Contains(failed[0].Err.Error(), "104 bytes as JSON, in a batch limits.max_event_bytes leaves room for 71") {
		t.Errorf("failed: %v", failed)
	}
}

func TestBatchValidate(t *testing.T) {
	refuses(t, newBatch(func(b *Batch) { b.Events = 0 }), "events", "1 to 1000000")
	refuses(t, newBatch(func(b *Batch) { b.Bytes = 0 }), "bytes", "at least 1B")
	refuses(t, newBatch(func(b *Batch) { b.Interval = 0 }), "interval", "above 0")
	refuses(t, newBatch(func(b *Batch) { b.Into = "count" }), "into", "other than count")
	refuses(t, newBatch(func(b *Batch) { b.Into = "" }), "into", "other than count")
}

func TestBatchConforms(t *testing.T) {
	pipetest.Stage(t, func() pipe.Stage { return newBatch(func(b *Batch) { b.Events = 7 }) }, `{"n":1}`, "a line", `{}`)
	pipetest.Stage(t, func() pipe.Stage { return newBatch(func(b *Batch) { b.Bytes = 30 }) }, `{"n":1}`, "a line", `{}`)
}
