package engine

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterSource("probe", func() pipe.Source { return &probeSource{} })
	pipe.RegisterStage("probe", func() pipe.Stage { return &probeStage{} })
	pipe.RegisterStage("probe_holder", func() pipe.Stage { return &probeHolder{} })
	pipe.RegisterSink("probe", func() pipe.Sink { return &probeSink{} })
}

// life is what all probes share: a test says what Open and Close do, and reads
// what was called, and whether Close ran beside a call of work.
type life struct {
	open, closing func(context.Context) error

	mu      sync.Mutex // guards what follows
	diary   *[]string  // shared by the probes of one pipeline
	name    string
	working int
	opens   int
	closes  int
	overlap bool // Close or Open was called during work
}

func (l *life) note(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.diary != nil {
		*l.diary = append(*l.diary, what+" "+l.name)
	}
}

func (l *life) Open(ctx context.Context, env pipe.Env) error {
	l.name = env.Node
	l.note("open")
	l.mu.Lock()
	l.opens++
	l.mu.Unlock()
	return call(l.open, ctx)
}

func (l *life) Close(ctx context.Context) error {
	l.note("close")
	l.mu.Lock()
	l.closes++
	l.overlap = l.overlap || l.working > 0
	l.mu.Unlock()
	return call(l.closing, ctx)
}

func (l *life) self() *life { return l }

// at marks the caller as working until the returned function is called.
func (l *life) at() func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.working++
	l.overlap = l.overlap || l.closes > 0
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.working--
	}
}

func call(f func(context.Context) error, ctx context.Context) error {
	if f == nil {
		return nil
	}
	return f(ctx)
}

// probeSource does what the test's functions say. Without them it ends at once.
type probeSource struct {
	life
	read   func(context.Context, *pipe.Batch) error
	commit func(context.Context, []pipe.Mark) error
	answer func(token any, o pipe.Outcome)
}

func (p *probeSource) Traits() pipe.Traits { return pipe.Traits{Replays: true} }

func (p *probeSource) Read(ctx context.Context, b *pipe.Batch) error {
	defer p.at()()
	if p.read == nil {
		return io.EOF
	}
	return p.read(ctx, b)
}

func (p *probeSource) Commit(ctx context.Context, marks []pipe.Mark) error {
	if p.commit == nil {
		return nil
	}
	return p.commit(ctx, marks)
}

func (p *probeSource) Settled(token any, o pipe.Outcome) {
	if p.answer != nil {
		p.answer(token, o)
	}
}

// lines returns a Read that gives size lines at a time, n in all, and then ends
// or, endless, waits.
func lines(n, size int, endless bool) func(context.Context, *pipe.Batch) error {
	next := 0
	return func(ctx context.Context, b *pipe.Batch) error {
		b.From("lines", int64(next+1))
		for range min(size, n-next) {
			b.Add(record.FromText([]byte("line")), int64(next+1))
			next++
		}
		switch {
		case b.Len() > 0:
			return nil
		case endless:
			<-ctx.Done()
			return ctx.Err()
		}
		return io.EOF
	}
}

// probeStage passes events on, or does what process says.
type probeStage struct {
	life
	process func(context.Context, []*pipe.Event, *pipe.Out) error
}

func (p *probeStage) Process(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
	defer p.at()()
	if p.process != nil {
		return p.process(ctx, in, out)
	}
	for _, e := range in {
		out.Emit(e)
	}
	return nil
}

// probeHolder keeps all events until flush, which releases them by default.
type probeHolder struct {
	life
	flush func(context.Context, *pipe.Out, bool) error
	held  []*pipe.Event
}

func (p *probeHolder) Capacity() int       { return 1 << 20 }
func (p *probeHolder) Deadline() time.Time { return time.Time{} }

func (p *probeHolder) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		out.Hold(e)
		p.held = append(p.held, e)
	}
	return nil
}

func (p *probeHolder) Flush(ctx context.Context, out *pipe.Out, final bool) error {
	defer p.at()()
	if p.flush != nil {
		return p.flush(ctx, out, final)
	}
	if final {
		for _, e := range p.held {
			out.Emit(out.Release(e))
		}
		p.held = nil
	}
	return nil
}

// probeSink counts what it is given, or does what write says first.
type probeSink struct {
	life
	write func(context.Context, []*pipe.Event) error
	got   int
}

func (p *probeSink) Write(ctx context.Context, in []*pipe.Event) error {
	defer p.at()()
	if p.write != nil {
		if err := p.write(ctx, in); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got += len(in)
	return nil
}

// part returns the component of a node, as a T.
func part[T any](t testing.TB, e *Engine, name string) T {
	t.Helper()
	for _, n := range slices.Concat(e.cfg.Sources, e.cfg.Stages, e.cfg.Sinks) {
		if c, ok := n.Component.(T); ok && n.Name == name {
			return c
		}
	}
	t.Fatalf("no node %q of that type", name)
	panic("unreachable")
}

// probes are the parts of the pipeline most of these tests use.
type probes struct {
	*Engine
	in    *probeSource
	stage *probeStage
	out   *probeSink
	diary []string // what was opened and closed, in order
}

// probe builds in -> stage -> out, with settings before it.
func probe(t testing.TB, settings string) *probes {
	t.Helper()
	p := &probes{Engine: build(t, settings+`
sources: {in: {type: probe}}
stages: {stage: {type: probe}}
sinks: {out: {type: probe}}
edges: [in -> stage -> out]
`)}
	p.in, p.stage, p.out = part[*probeSource](t, p.Engine, "in"), part[*probeStage](t, p.Engine, "stage"), part[*probeSink](t, p.Engine, "out")
	for _, l := range p.lives() {
		l.diary = &p.diary
	}
	return p
}

func (p *probes) lives() []*life { return []*life{&p.in.life, &p.stage.life, &p.out.life} }

// tidy checks what must hold for components after every run: what was opened
// was closed once, and not beside a call of work.
func (p *probes) tidy(t testing.TB) {
	t.Helper()
	for _, l := range p.lives() {
		l.mu.Lock()
		if l.closes > 1 || l.closes > l.opens || l.overlap {
			t.Errorf("%s: opened %d times, closed %d times, during work %v", l.name, l.opens, l.closes, l.overlap)
		}
		l.mu.Unlock()
	}
}

var errProbe = errors.New("probed")
