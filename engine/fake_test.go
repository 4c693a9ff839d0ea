package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterSource("numbers", func() pipe.Source { return &numbers{Count: 10, Batch: 7, Replay: true} })
	pipe.RegisterStage("script", func() pipe.Stage { return &script{} })
	pipe.RegisterStage("cases", func() pipe.Stage { return &cases{} })
	pipe.RegisterStage("pairs", func() pipe.Stage { return &pairs{} })
	pipe.RegisterSink("memory", func() pipe.Sink { return &memory{free: make(chan struct{})} })
}

// numbers reads the lines 0, 1, 2, … and then ends, or waits when it is endless.
type numbers struct {
	Count   int           `yaml:"count"`
	Batch   int           `yaml:"batch"`
	Endless bool          `yaml:"endless"`
	Replay  bool          `yaml:"replay"`
	Bad     int           `yaml:"bad"` // every how many lines one is undecodable
	Pause   pipe.Duration `yaml:"pause"`
	Break   int           `yaml:"break"` // fail Read at this line

	next      int
	mu        sync.Mutex // guards committed
	committed []pipe.Mark
	drained   bool
}

func (s *numbers) Traits() pipe.Traits {
	return pipe.Traits{Replays: s.Replay, Why: "numbers are gone"}
}

func (s *numbers) Read(ctx context.Context, b *pipe.Batch) error {
	if s.Pause > 0 {
		select {
		case <-time.After(s.Pause.D()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.From("numbers", int64(s.next+1))
	for range s.Batch {
		if s.next == s.Count {
			if s.Endless && b.Len() == 0 {
				<-ctx.Done()
				return ctx.Err()
			}
			if s.Endless {
				return nil
			}
			return io.EOF
		}
		s.next++
		if s.Break > 0 && s.next == s.Break {
			return errors.New("wire cut")
		}
		body := record.FromText(fmt.Append(nil, s.next-1))
		if s.Bad > 0 && s.next%s.Bad == 0 {
			b.Fail(body, int64(s.next), errors.New("not a number"))
			continue
		}
		b.Add(body, int64(s.next))
	}
	return nil
}

func (s *numbers) Commit(_ context.Context, marks []pipe.Mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed = append(s.committed, marks...)
	return nil
}

func (s *numbers) mark() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.committed) == 0 {
		return 0
	}
	return s.committed[len(s.committed)-1].Position
}

func (s *numbers) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drained = true
}

// script does to each event what a word says: "pass", or "fail:3" (every
// third), "drop:3", "forget:3", "panic:3", "split:3", "error:3" (the rest of the
// batch fails), "hang".
type script struct {
	Do   string        `yaml:"do"`
	Wait pipe.Duration `yaml:"wait"`
}

func (s *script) Process(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
	verb, arg, _ := strings.Cut(s.Do, ":")
	every := 0
	fmt.Sscan(arg, &every)
	for _, e := range in {
		if s.Wait > 0 {
			time.Sleep(s.Wait.D())
		}
		if every == 0 || number(e)%every != 0 {
			out.Emit(e)
			continue
		}
		if err := s.act(ctx, verb, e, out); err != nil {
			return err
		}
	}
	return nil
}

func (s *script) act(ctx context.Context, verb string, e *pipe.Event, out *pipe.Out) error {
	switch verb {
	case "fail":
		out.Fail(e, errors.New("scripted failure"))
	case "drop":
		out.Filter(e)
	case "forget":
	case "panic":
		panic("scripted panic")
	case "split":
		out.Split(e, []record.Body{e.Body, record.FromText([]byte("part")), record.FromText([]byte("part"))})
	case "error":
		return errors.New("scripted error")
	case "hang":
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func number(e *pipe.Event) int {
	n := -1
	fmt.Sscan(string(e.Body.AppendText(nil)), &n)
	return n
}

// cases routes even numbers to even, odd ones to odd, and copies those divisible
// by ten to both.
type cases struct{}

func (*cases) Ports() []pipe.Port {
	return []pipe.Port{{Name: "even"}, {Name: "odd"}, {Name: "else", Optional: true}}
}

func (*cases) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		n := number(e)
		switch {
		case n < 0:
			out.EmitTo(2, e)
		case n%10 == 0:
			c := out.Copy(e)
			out.EmitTo(0, e)
			out.EmitTo(1, c)
		default:
			out.EmitTo(n%2, e)
		}
	}
	return nil
}

// pairs folds two events into one, waiting a second for the second.
type pairs struct {
	held []*pipe.Event
	due  time.Time
}

func (p *pairs) Capacity() int       { return 2 }
func (p *pairs) Deadline() time.Time { return p.due }

func (p *pairs) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		out.Hold(e)
		if p.held = append(p.held, e); len(p.held) == 1 {
			p.due = time.Now().Add(time.Second)
		} else {
			p.emit(out)
		}
	}
	return nil
}

func (p *pairs) Flush(_ context.Context, out *pipe.Out, final bool) error {
	if len(p.held) > 0 && (final || !time.Now().Before(p.due)) {
		p.emit(out)
	}
	return nil
}

func (p *pairs) emit(out *pipe.Out) {
	out.Merge(p.held, record.FromText(fmt.Appendf(nil, "%d events", len(p.held))))
	p.held, p.due = nil, time.Time{}
}

// memory keeps what it is given, after behaving as told: Fail so many writes,
// Hang for ever at write N (Deaf: even past its context, until free is closed),
// Panic at write N.
type memory struct {
	Fail    int           `yaml:"fail"`
	Class   string        `yaml:"class"`
	Hang    int           `yaml:"hang"`
	Deaf    bool          `yaml:"deaf"`
	Panic   int           `yaml:"panic"`
	Partial int           `yaml:"partial"` // refuse every so many events for good
	Wait    pipe.Duration `yaml:"wait"`

	free chan struct{}

	mu     sync.Mutex // guards what follows
	writes int
	lines  []string
	sizes  []int
	closed bool
}

func (m *memory) Write(ctx context.Context, in []*pipe.Event) error {
	m.mu.Lock()
	m.writes++
	w := m.writes
	m.mu.Unlock()
	if m.Wait > 0 {
		time.Sleep(m.Wait.D())
	}
	switch {
	case m.Hang == w && m.Deaf:
		<-m.free
		return nil
	case m.Hang == w:
		<-ctx.Done()
		return ctx.Err()
	case m.Panic == w:
		panic("scripted panic")
	case w <= m.Fail:
		return pipe.Classed(pipe.Class(m.Class), errors.New("scripted refusal"))
	}
	return m.keep(in)
}

func (m *memory) keep(in []*pipe.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sizes = append(m.sizes, len(in))
	var part pipe.PartialError
	for i, e := range in {
		if m.Partial > 0 && number(e)%m.Partial == 0 {
			part.Items = append(part.Items, pipe.ItemError{Index: i, Err: pipe.Classed(pipe.Poison, errors.New("scripted refusal"))})
			continue
		}
		m.lines = append(m.lines, string(e.Body.AppendText(nil)))
	}
	if len(part.Items) > 0 {
		return &part
	}
	return nil
}

func (m *memory) Close(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func (m *memory) wasClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

func (m *memory) got() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.lines...)
}

// build makes an engine from YAML or ends the test.
func build(t testing.TB, yaml string) *Engine {
	t.Helper()
	cfg, diags := config.Parse([]byte("version: 1\nname: test\n"+yaml), config.Options{File: "test.yaml"})
	if err := diags.Err(); err != nil {
		t.Fatal(err)
	}
	e, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func sinkOf(t testing.TB, e *Engine, name string) *memory {
	t.Helper()
	for _, s := range e.graph.sinks {
		if s.cfg.Name == name {
			return s.component().(*memory)
		}
	}
	t.Fatalf("no sink %q", name)
	return nil
}

// run runs a pipeline to its end and lets the oracle look at it. An hour, of
// fake time mostly, is a hang.
func run(t testing.TB, e *Engine) (Receipt, error) {
	t.Helper()
	defer time.AfterFunc(time.Hour, func() {
		t.Error("the pipeline hangs")
		e.Stop()
	}).Stop()
	r, err := e.Run(t.Context())
	oracle(t, e, r)
	return r, err
}

// oracle checks what must hold after every run, whatever happened in it.
func oracle(t testing.TB, e *Engine, r Receipt) {
	t.Helper()
	b := r.Balance
	if sum := b.Delivered + b.DeadLettered + b.Filtered + b.Merged + b.Dropped + b.Failed + b.Returned + b.InFlight; b.Read+b.Created != sum || b.Error != 0 {
		t.Errorf("the books do not balance: %+v", b)
	}
	if b.InFlight != 0 {
		t.Errorf("%d events in flight after the end", b.InFlight)
	}
	for name, s := range r.Sources {
		if s.Read != s.Acked+s.Nacked+s.Returned+s.Lost {
			t.Errorf("source %s: %+v does not add up", name, s)
		}
	}
	for name, s := range r.Edges {
		if err := s.Stats.Balance(); err != nil {
			t.Error(err)
		}
		if s.Peak > max(s.Capacity, 1) && r.Generation == 1 {
			t.Errorf("edge %s held %d events, its bound is %d", name, s.Peak, s.Capacity)
		}
	}
	for _, s := range e.graph.sources {
		if n, ok := s.src.(*numbers); ok && s.failed == nil && n.Bad == 0 && n.mark() > r.Sources[s.cfg.Name].Acked {
			t.Errorf("committed %d of %d acked", n.mark(), r.Sources[s.cfg.Name].Acked)
		}
	}
}

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

func init() {
	pipe.RegisterSink("broken", func() pipe.Sink { return &broken{} })
	pipe.RegisterSink("collect", func() pipe.Sink { return &collect{} })
}

// broken does not open: at once, or slowly.
type broken struct {
	Slow bool `yaml:"slow"`
}

func (b *broken) Open(ctx context.Context, _ pipe.Env) error {
	if b.Slow {
		<-ctx.Done()
		return ctx.Err()
	}
	return errors.New("no such disk")
}

func (*broken) Write(context.Context, []*pipe.Event) error { return errors.New("no such disk") }

// collect is a sink that adds to one list with all others of its type.
type collect struct {
	Wait pipe.Duration `yaml:"wait"`
}

var collected collection

type collection struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (c *collection) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = nil
}

func (c *collection) got() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.lines...)
}

func (c *collect) Write(_ context.Context, in []*pipe.Event) error {
	time.Sleep(c.Wait.D())
	collected.mu.Lock()
	defer collected.mu.Unlock()
	for _, e := range in {
		collected.lines = append(collected.lines, string(e.Body.AppendText(nil)))
	}
	return nil
}
