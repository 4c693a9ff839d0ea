package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/admin"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/explain"
)

// slowYAML is a pipeline whose sink side is slow: the edge before it is full at
// once, and the source waits.
const slowYAML = `
version: 1
name: slow
sources: {in: {type: generate, rate: 2000/s, event: {n: seq}}}
stages: {crawl: {type: delay, for: 20ms}}
sinks: {out: {type: discard}}
edges:
  - {from: in, to: crawl, buffer: 64}
  - crawl -> out
`

// running is a pipeline that runs in this process, with its admin endpoint.
type running struct {
	t      *testing.T
	addr   string
	file   string
	engine *engine.Engine
	end    func() // ends it; may be called twice
}

// runLive runs a pipeline until the test ends.
func runLive(t *testing.T, yaml string, o admin.Options) *running {
	t.Helper()
	r := &running{t: t, file: filepath.Join(t.TempDir(), "slow.yaml")}
	r.save(yaml)
	load := func() (*config.Pipeline, config.Diagnostics) { return config.Load(r.file, config.Options{}) }
	p, found := load()
	if p == nil {
		t.Fatal(found.Err())
	}
	e, err := engine.New(p, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	parse := func(yaml []byte) (*config.Pipeline, config.Diagnostics) { return config.Parse(yaml, config.Options{}) }
	c := control.New(e, control.Options{Load: load, Parse: parse})
	recorder := explain.NewRecorder(e.Status, explain.Options{Every: 100 * time.Millisecond})
	o.Engine, o.Control, o.Recorder = e, c, recorder
	s, err := admin.Listen("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{}, 3)
	go func() { e.Run(ctx); ended <- struct{}{} }()
	go func() { recorder.Run(ctx); ended <- struct{}{} }()
	go func() { s.Serve(ctx); ended <- struct{}{} }()
	over := false
	r.addr, r.engine = s.Addr(), e
	r.end = func() {
		if over {
			return
		}
		over = true
		e.Stop()
		cancel()
		for range 3 {
			<-ended
		}
		c.Close()
	}
	t.Cleanup(r.end)
	r.await("the source waits", func(s engine.Status) bool { return s.Balance.Read > 0 })
	return r
}

func (r *running) save(yaml string) {
	r.t.Helper()
	if err := os.WriteFile(r.file, []byte(yaml), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// await waits until the pipeline is as wanted.
func (r *running) await(what string, is func(engine.Status) bool) {
	r.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !is(r.engine.Status()) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain until %s: %+v", what, r.engine.Status())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// pipectl runs one command line against the pipeline and returns what it wrote.
func (r *running) pipectl(code int, args ...string) (stdout, stderr string) {
	r.t.Helper()
	return pipectl(r.t, code, append(args, "--addr", r.addr)...)
}

// pipectl runs one command line in this process.
func pipectl(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if got := execute(args, streams{strings.NewReader(""), &out, &errs}); got != code {
		t.Fatalf("pipectl %s: exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", strings.Join(args, " "), got, code, &out, &errs)
	}
	return out.String(), errs.String()
}

// has demands that text has all parts.
func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}

// hasNot demands that text has none of the parts.
func hasNot(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if strings.Contains(text, p) {
			t.Errorf("%q is in:\n%s", p, text)
		}
	}
}
