package stages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterStage("wasm", func() pipe.Stage {
		return &Wasm{Memory: 64 << 20, Time: pipe.Duration(time.Second)}
	})
}

// Wasm gives the events to a WebAssembly module and takes its answers. The module
// runs inside pipectl, without access to files, network or environment. It loses
// nothing by itself: an event for which it takes too long, needs too much memory,
// traps or answers nonsense fails, and the module begins anew with the next. With
// workers each has an instance of its own, so a module must keep no state that
// counts.
//
// The module exports its memory as memory, and two functions. alloc(size i32) i32
// returns where pipectl may write size bytes, until it calls alloc again for more.
// process(ptr i32, len i32) i64 gets an event there as JSON (a line of text as {"message": "…"}) and returns ptr<<32 | len of
// its answer: an object is the event from now on, null ends it (filtered), a list of
// objects is what becomes of it, and a text fails it with this text as the reason.
// The answer must stay there until the next call. Modules for WASI preview 1 work
// too; those that export _initialize, such as what Go builds with
// GOOS=wasip1 -buildmode=c-shared, have it called first. What they write to
// standard output and error goes to the log.
//
// Example:
//
//	type: wasm
//	file: enrich.wasm
//	memory: 32MiB
//	time: 50ms
//	workers: 2
type Wasm struct {
	// File is the module, a .wasm file. It is read at the start, and again when a
	// reload changes the stage.
	File string `yaml:"file" required:"true"`

	// Memory is how much memory an instance may have, 64MiB by default, at least
	// 64KiB and at most 4GiB, in steps of 64KiB. There is an instance for each worker.
	Memory pipe.Size `yaml:"memory" min:"64KiB" max:"4GiB"`

	// Time is how long one event may take, 1s by default.
	Time pipe.Duration `yaml:"time" above:"0s"`

	log     *slog.Logger
	runtime wazero.Runtime
	module  wazero.CompiledModule

	mu     sync.Mutex
	idle   []*guest
	closed bool
}

// wasmPage is the unit of a module's memory.
const wasmPage = 64 << 10

// Validate checks the limits.
func (w *Wasm) Validate() error {
	var errs []error
	if w.File == "" {
		errs = append(errs, fieldError("file", "such as enrich.wasm", "must name a module"))
	}
	if w.Memory < wasmPage || w.Memory > 4<<30 {
		errs = append(errs, fieldError("memory", "such as 64MiB", "must be from 64KiB to 4GiB"))
	}
	if w.Time <= 0 {
		errs = append(errs, fieldError("time", "such as 100ms", "must be above 0"))
	}
	return errors.Join(errs...)
}

// Open compiles the module and makes the first instance.
func (w *Wasm) Open(ctx context.Context, env pipe.Env) error {
	code, err := os.ReadFile(w.File)
	if err != nil {
		return err
	}
	if w.log = env.Log; w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	w.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithCloseOnContextDone(true).WithMemoryLimitPages(uint32(w.Memory/wasmPage)))
	if err := w.compile(ctx, code); err != nil {
		w.runtime.Close(ctx)
		return fmt.Errorf("%s: %w", w.File, err)
	}
	return nil
}

func (w *Wasm) compile(ctx context.Context, code []byte) (err error) {
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, w.runtime); err != nil {
		return err
	}
	if w.module, err = w.runtime.CompileModule(ctx, code); err != nil {
		return err
	}
	g, err := w.start(ctx)
	if err != nil {
		return err
	}
	w.idle = append(w.idle, g)
	return nil
}

// guest is an instance of the module.
type guest struct {
	api.Module
	alloc, process api.Function
	at, room       uint32 // where questions are written
}

func (w *Wasm) start(ctx context.Context) (*guest, error) {
	out := &wasmLog{w.log}
	m, err := w.runtime.InstantiateModule(ctx, w.module, wazero.NewModuleConfig().WithName("").
		WithStartFunctions("_initialize").WithStdout(out).WithStderr(out).WithSysNanotime().WithSysWalltime())
	if err != nil {
		return nil, err
	}
	g := &guest{Module: m, alloc: m.ExportedFunction("alloc"), process: m.ExportedFunction("process")}
	if err := g.check(); err != nil {
		m.Close(ctx)
		return nil, err
	}
	return g, nil
}

// check reports what the module does not export.
func (g *guest) check() error {
	f := func(name string, fn api.Function, params []api.ValueType, result api.ValueType) error {
		if fn == nil {
			return fmt.Errorf("the module does not export the function %s", name)
		}
		d := fn.Definition()
		if !bytes.Equal(d.ParamTypes(), params) || !bytes.Equal(d.ResultTypes(), []api.ValueType{result}) {
			return fmt.Errorf("the function %s of the module has other parameters or results than alloc(i32) i32 and process(i32, i32) i64", name)
		}
		return nil
	}
	if g.Memory() == nil {
		return errors.New("the module does not export its memory")
	}
	i32 := api.ValueTypeI32
	return errors.Join(
		f("alloc", g.alloc, []api.ValueType{i32}, i32),
		f("process", g.process, []api.ValueType{i32, i32}, api.ValueTypeI64))
}

// Process asks an instance about each event.
func (w *Wasm) Process(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
	g, err := w.take(ctx)
	if err != nil {
		return err
	}
	scratch := out.Scratch()
	var asked atomic.Pointer[guest] // the one to end when the call is cancelled
	stop := context.AfterFunc(ctx, func() {
		if g := asked.Load(); g != nil {
			g.CloseWithExitCode(context.WithoutCancel(ctx), exitLate)
		}
	})
	defer func() { stop(); out.KeepScratch(scratch) }()
	for _, e := range in {
		if g == nil {
			if g, err = w.start(ctx); err != nil {
				return err
			}
		}
		if asked.Store(g); ctx.Err() != nil {
			g.Close(ctx)
			return ctx.Err()
		}
		scratch = e.Body.AppendJSON(scratch[:0])
		err := w.one(ctx, g, e, scratch, out)
		if err == nil {
			continue
		}
		g.Close(ctx)
		g = nil
		if ctx.Err() != nil {
			return ctx.Err()
		}
		out.Fail(e, poison(err))
	}
	if g == nil {
		return nil
	}
	if !stop() { // it is being ended
		g.Close(ctx)
		return nil
	}
	w.giveBack(ctx, g)
	return nil
}

// one asks about one event. With an error the instance cannot be used any more and
// nothing is decided.
func (w *Wasm) one(ctx context.Context, g *guest, e *pipe.Event, question []byte, out *pipe.Out) error {
	late := time.AfterFunc(w.Time.D(), func() { g.CloseWithExitCode(context.WithoutCancel(ctx), exitLate) })
	answer, err := g.ask(question)
	if !late.Stop() && ctx.Err() == nil {
		return fmt.Errorf("the module took longer than %v", w.Time)
	}
	if err != nil {
		return err
	}
	return decide(e, out, bytes.TrimSpace(answer))
}

// exitLate is the exit code of a module that was ended from outside.
const exitLate = 124

// ask returns the answer, which is in the memory of the instance. It does not
// take a context, which would cost a goroutine a call: closing the instance ends it.
func (g *guest) ask(question []byte) ([]byte, error) {
	ctx := context.Background()
	if size := uint32(len(question)); g.room < size {
		at, err := g.alloc.Call(ctx, uint64(2*size))
		if err != nil {
			return nil, fmt.Errorf("alloc: %w", firstLine(err))
		}
		g.at, g.room = uint32(at[0]), 2*size
	}
	if !g.Memory().Write(g.at, question) {
		return nil, fmt.Errorf("alloc returned a place outside the memory of the module for %d bytes", g.room)
	}
	where, err := g.process.Call(ctx, uint64(g.at), uint64(len(question)))
	if err != nil {
		return nil, fmt.Errorf("process: %w", firstLine(err))
	}
	answer, ok := g.Memory().Read(uint32(where[0]>>32), uint32(where[0]))
	if !ok {
		return nil, errors.New("process returned a place outside the memory of the module")
	}
	return answer, nil
}

// firstLine leaves out the stack of the module.
func firstLine(err error) error {
	line, _, _ := bytes.Cut([]byte(err.Error()), []byte("\n"))
	return errors.New(string(line))
}

func (w *Wasm) take(ctx context.Context) (*guest, error) {
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		g := w.idle[n-1]
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		return g, nil
	}
	w.mu.Unlock()
	return w.start(ctx)
}

func (w *Wasm) giveBack(ctx context.Context, g *guest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		g.Close(ctx)
		return
	}
	w.idle = append(w.idle, g)
}

// Close releases the module and its instances.
func (w *Wasm) Close(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.runtime == nil {
		return nil
	}
	return w.runtime.Close(ctx)
}

// wasmLog takes what a module writes.
type wasmLog struct{ log *slog.Logger }

func (l *wasmLog) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		l.log.Info("the module says", "line", string(bytes.TrimSpace(line[:min(len(line), 4096)])))
	}
	return len(p), nil
}
