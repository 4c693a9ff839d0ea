package stages

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

const guestFile = "testdata/wasm/guest.wasm"

func newWasm() *Wasm {
	return &Wasm{File: guestFile, Memory: 1 << 20, Time: pipe.Duration(50 * time.Millisecond)}
}

func openWasm(t testing.TB, w *Wasm) *Wasm {
	t.Helper()
	if err := errors.Join(w.Validate(), w.Open(t.Context(), pipe.Env{})); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(context.Background()) })
	return w
}

// TestWasm asks the guest about events with which it does all that a module can
// do wrong: each fails alone, and the ones around it are answered.
func TestWasm(t *testing.T) {
	w := openWasm(t, newWasm())
	feed, err := pipetest.NewFeed(`{"a":1}`, `{"drop":1}`, `{"loop":1}`, `{"b":2}`, `{"trap":1}`, `{"grow":1}`, `{"x":1}`, `{"out":1}`, "a line")
	if err != nil {
		t.Fatal(err)
	}
	out := pipe.NewOut(1)
	began := time.Now()
	if err := w.Process(t.Context(), feed.Events, out); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	var emitted, failed []string
	for _, e := range out.Port(0) {
		emitted = append(emitted, string(e.Body.AppendJSON(nil)))
	}
	for _, f := range out.Failed() {
		failed = append(failed, f.Err.Error())
	}
	same(t, "emitted", emitted, []string{`{"a":1}`, `{"b":2}`, `{"message":"a line"}`})
	same(t, "failed", failed, []string{
		"the module took longer than 50ms", "process: wasm error: unreachable", "process: wasm error: unreachable",
		`the answer is no object, list of objects, null or text: "nonsense"`, "process returned a place outside the memory of the module",
	})
	if len(out.Filtered()) != 1 || !out.Complete(9) {
		t.Errorf("%d filtered, complete: %v", len(out.Filtered()), out.Complete(9))
	}
}

func TestWasmWorkers(t *testing.T) {
	w := openWasm(t, newWasm())
	var wg sync.WaitGroup
	for range 4 {
		feed, err := pipetest.NewFeed(slices.Repeat([]string{`{"a":1}`}, 500)...)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			out := pipe.NewOut(1)
			if err := w.Process(t.Context(), feed.Events, out); err != nil || len(out.Port(0)) != 500 {
				t.Errorf("%d answered, %v", len(out.Port(0)), err)
			}
		})
	}
	wg.Wait()
	if n := len(w.idle); n > 4 {
		t.Errorf("%d instances for 4 workers", n)
	}
}

func TestWasmIsCancelled(t *testing.T) {
	w := newWasm()
	w.Time = pipe.Duration(time.Hour)
	openWasm(t, w)
	feed, err := pipetest.NewFeed(`{"loop":1}`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := w.Process(ctx, feed.Events, pipe.NewOut(1)); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestWasmOpenAndValidate(t *testing.T) {
	refuses(t, &Wasm{Memory: 1 << 20, Time: 1}, "file", "must name a module")
	refuses(t, &Wasm{File: "x", Memory: 1 << 10, Time: 1}, "memory", "from 64KiB to 4GiB")
	refuses(t, &Wasm{File: "x", Memory: 1 << 20}, "time", "above 0")
	f := func(name string, code []byte, want string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), name)
		if code != nil {
			if err := os.WriteFile(file, code, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		w := newWasm()
		w.File = file
		if err := w.Open(t.Context(), pipe.Env{}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f("missing.wasm", nil, "no such file")
	f("text.wasm", []byte("hello"), "invalid magic number")
	f("empty.wasm", []byte("\x00asm\x01\x00\x00\x00"), "does not export the function alloc")
	small := newWasm()
	small.Memory = wasmPage // the guest wants two pages at once
	if err := small.Open(t.Context(), pipe.Env{}); err == nil {
		t.Error("a module that needs more memory than allowed was opened")
	}
}

func TestWasmConforms(t *testing.T) {
	pipetest.Stage(t, func() pipe.Stage {
		w := newWasm()
		w.Time = pipe.Duration(time.Hour)
		return w
	}, `{"n":1}`, "a line")
}

func BenchmarkWasm(b *testing.B) {
	w := newWasm()
	w.Time = pipe.Duration(time.Minute)
	openWasm(b, w)
	feed, err := pipetest.NewFeed(slices.Repeat([]string{`{"at":"2026-01-01T00:00:00Z","status":200,"path":"/index.html","bytes":5120}`}, 256)...)
	if err != nil {
		b.Fatal(err)
	}
	out := pipe.NewOut(1)
	for b.Loop() {
		out.Reset()
		if err := w.Process(b.Context(), feed.Events, out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*256), "ns/event")
}
