package control

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
	_ "github.com/pipectl/pipectl/sinks"
	_ "github.com/pipectl/pipectl/sources"
	_ "github.com/pipectl/pipectl/stages"
)

const base = `
version: 1
name: web
sources: {in: {type: generate, rate: 10/s}}
stages: {keep: {type: filter, where: 'seq > 1'}}
sinks: {out: {type: stdout}}
edges: [in -> keep, keep -> out]
`

// fake is an engine without a pipeline: it keeps generations and nothing else.
type fake struct {
	mu         sync.Mutex // guards what follows
	cfg        *config.Pipeline
	generation uint64
	status     engine.Status
	refuse     error         // of every reload
	hold       chan struct{} // reloads wait for it
	reloads    int
	dry        int
}

func (f *fake) Config() *config.Pipeline {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cfg
}

func (f *fake) Status() engine.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	s.Generation = f.generation
	return s
}

func (f *fake) Reload(ctx context.Context, next *config.Pipeline, o engine.ReloadOptions) (engine.ReloadReceipt, error) {
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return engine.ReloadReceipt{}, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return engine.ReloadReceipt{}, f.refuse
	}
	changes := diff.Plan(f.cfg, next)
	r := engine.ReloadReceipt{Generation: f.generation, Before: f.generation, Class: diff.Heaviest(changes), At: time.Now(), Changes: changes, DryRun: o.DryRun}
	switch {
	case r.Class == diff.Restart:
		return r, &engine.RefusedError{Reason: "the change needs a restart", Changes: changes}
	case o.DryRun:
		f.dry++
		return r, nil
	case len(changes) == 0:
		return r, nil
	}
	for _, c := range changes {
		if c.Part == diff.PartEdge {
			e := engine.EdgeReceipt{Edge: c.Name, Action: c.Action}
			if old := f.cfg.Edge(c.Name); old != nil {
				e.BeforeText, e.CarriedOver, e.BlockedProducers = old.EdgeSettings.String(), 7, 1
			}
			if now := next.Edge(c.Name); now != nil {
				e.AfterText = now.EdgeSettings.String()
			}
			r.Edges = append(r.Edges, e)
		}
	}
	f.reloads++
	f.generation++
	r.Generation, r.PausedUS, f.cfg = f.generation, 12, next
	return r, nil
}

// set changes the fake under its lock.
func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// desk is a controller of a fake engine, and its log.
type desk struct {
	*Controller
	t    *testing.T
	fake *fake
	log  *lockedBuffer
	file string // what Load reads
}

type lockedBuffer struct {
	mu sync.Mutex // guards what follows
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func parse(t *testing.T, yaml string) *config.Pipeline {
	t.Helper()
	p, found := config.Parse([]byte(yaml), config.Options{})
	if p == nil {
		t.Fatal(found.Err())
	}
	return p
}

// newDesk makes a controller of a running pipeline. Close it.
func newDesk(t *testing.T, yaml string) *desk {
	t.Helper()
	p := parse(t, yaml)
	d := &desk{t: t, fake: &fake{cfg: p, generation: 1}, log: &lockedBuffer{}, file: yaml}
	d.fake.status = idle(p)
	noTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	d.Controller = New(d.fake, Options{
		Load: func() (*config.Pipeline, config.Diagnostics) {
			return config.Parse([]byte(d.file), config.Options{File: "web.yaml"})
		},
		Parse: func(yaml []byte) (*config.Pipeline, config.Diagnostics) {
			return config.Parse(yaml, config.Options{File: "request"})
		},
		Log: slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: noTime})),
	})
	return d
}

// idle is the status of a running pipeline in which nothing has happened yet.
func idle(p *config.Pipeline) engine.Status {
	s := engine.Status{Outcome: engine.Running, Edges: map[string]engine.EdgeStatus{}, Sources: map[string]engine.SourceStatus{},
		Stages: map[string]engine.StageStatus{}, Sinks: map[string]engine.SinkStatus{}}
	for _, e := range p.Edges {
		s.Edges[e.ID] = engine.EdgeStatus{}
	}
	for _, n := range p.Sources {
		s.Sources[n.Name] = engine.SourceStatus{}
	}
	for _, n := range p.Stages {
		s.Stages[n.Name] = engine.StageStatus{}
	}
	for _, n := range p.Sinks {
		s.Sinks[n.Name] = engine.SinkStatus{}
	}
	return s
}

// wants demands an outcome without error.
func (d *desk) wants(out Outcome, err error, result string, generation uint64) {
	d.t.Helper()
	if err != nil || out.Result != result || out.Generation != generation {
		d.t.Errorf("got %s, generation %d, error %v; want %s, generation %d", out.Result, out.Generation, err, result, generation)
	}
	if got := d.fake.Status().Generation; got != generation {
		d.t.Errorf("the engine has generation %d, want %d", got, generation)
	}
}

// policy demands the policy of an edge.
func (d *desk) policy(id, want string) {
	d.t.Helper()
	if got := d.fake.Config().Edge(id).Policy.Type; got != want {
		d.t.Errorf("edge %s is %s, want %s", id, got, want)
	}
}
