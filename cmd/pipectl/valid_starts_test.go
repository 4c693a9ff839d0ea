package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/check"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/manual"
	"github.com/pipectl/pipectl/engine/pipe"
	"gopkg.in/yaml.v3"
)

func init() {
	pipe.RegisterSource("test_started", func() pipe.Source { return &started{yes: make(chan struct{})} })
}

// started is a source that says when it is read for the first time: everything is
// open then.
type started struct {
	yes  chan struct{}
	told bool
}

// Read waits for the end.
func (s *started) Read(ctx context.Context, _ *pipe.Batch) error {
	if !s.told {
		s.told = true
		close(s.yes)
	}
	<-ctx.Done()
	return ctx.Err()
}

// notStarted are the components that cannot be opened here, and why.
var notStarted = map[string]string{
	"source stdin": "reads the standard input of the tests",
	"sink stdout":  "writes into the output of the tests",
}

// TestValidStarts makes random pipelines of the examples of all components, with
// random graphs and settings. What validate accepts must be built and opened.
func TestValidStarts(t *testing.T) {
	parts := startable(t)
	runs := 200
	if long() {
		runs = 5000
	}
	accepted, used := 0, map[string]int{}
	for seed := range uint64(runs) {
		g := &graphMaker{turn: int(seed), rnd: rand.New(rand.NewPCG(seed, 16)), parts: parts, dir: t.TempDir(), used: map[string]string{}}
		text := g.pipeline(t)
		p, found := config.Parse([]byte(text), config.Options{File: "random.yaml", Env: someEnvironment})
		if p != nil {
			found = append(found, check.Analyze(p).Findings...)
		}
		if found.HasErrors() {
			continue
		}
		accepted++
		for typ := range g.used {
			used[typ]++
		}
		if err := starts(p); err != nil {
			t.Errorf("seed %d: validate accepts it, and it does not start: %v\n%s", seed, err, text)
		}
	}
	t.Logf("%d of %d accepted", accepted, runs)
	if accepted < runs/2 {
		t.Errorf("only %d of %d pipelines are valid", accepted, runs)
	}
	for _, part := range parts {
		if used[part.id] == 0 {
			t.Errorf("no valid pipeline has a %s", part.id)
		}
	}
}

// starts opens a pipeline, and ends it when it runs.
func starts(p *config.Pipeline) error {
	e, err := engine.New(p, engine.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		_, err := e.Run(context.Background())
		ended <- err
	}()
	last := p.Sources[len(p.Sources)-1].Component.(*started)
	select {
	case <-last.yes:
		e.Stop()
		<-ended
		return nil
	case err := <-ended:
		return cmpError(err, "it ended before it was open")
	case <-time.After(20 * time.Second):
		e.Stop()
		return cmpError(<-ended, "it was not open in 20s")
	}
}

func cmpError(err error, otherwise string) error {
	if err == nil {
		return errors.New(otherwise)
	}
	return err
}

// part is a component with the options of its example.
type part struct {
	id      string // kind and type
	kind    string
	options map[string]any
	ports   []string
}

// startable returns the components of the schema that can be opened here.
func startable(t *testing.T) (parts []part) {
	t.Helper()
	for _, kind := range manual.Kinds() {
		for _, e := range manual.Components(kind) {
			p := part{id: e.Kind + " " + e.Type, kind: e.Kind, ports: ports(e)}
			if notStarted[p.id] != "" {
				continue
			}
			if err := yaml.Unmarshal([]byte(e.Example), &p.options); err != nil {
				t.Errorf("%s: the example is %q: %v", p.id, e.Example, err)
				continue
			}
			parts = append(parts, p)
		}
	}
	return parts
}

// graphMaker makes one random pipeline.
type graphMaker struct {
	rnd   *rand.Rand
	turn  int // chooses the first component of each kind, so that all have theirs
	parts []part
	dir   string            // for its files
	used  map[string]string // the components, with their kinds
	froms []string          // outputs
	edges []any
}

func (g *graphMaker) one(kind string) part {
	of := slices.DeleteFunc(slices.Clone(g.parts), func(p part) bool { return p.kind != kind })
	at := g.rnd.IntN(len(of))
	if !slices.Contains(slices.Collect(maps.Values(g.used)), kind) {
		at = g.turn % len(of)
	}
	g.used[of[at].id] = kind
	return of[at]
}

func (g *graphMaker) chance(percent int) bool { return g.rnd.IntN(100) < percent }

// pipeline writes a pipeline as YAML. Its last source is the one that tells when
// everything is open.
func (g *graphMaker) pipeline(t *testing.T) string {
	t.Helper()
	var sources, stages, sinks yaml.Node
	for _, n := range []*yaml.Node{&sources, &stages, &sinks} {
		n.Kind = yaml.MappingNode
	}
	for i := range 1 + g.rnd.IntN(3) {
		p, name := g.one("source"), fmt.Sprint("s", i)
		add(t, &sources, name, g.node(p))
		g.froms = append(g.froms, name)
	}
	var open []string // outputs that lead nowhere yet
	open = append(open, g.froms...)
	for i := range g.rnd.IntN(4) {
		p, name := g.one("stage"), fmt.Sprint("t", i)
		add(t, &stages, name, g.node(p))
		open = g.connect(name, open)
		for _, port := range p.ports {
			g.froms, open = append(g.froms, name+port), append(open, name+port)
		}
	}
	for i := range 1 + g.rnd.IntN(3) {
		name := fmt.Sprint("z", i)
		add(t, &sinks, name, g.node(g.one("sink")))
		open = g.connect(name, open)
	}
	for _, from := range open {
		g.edge(from, "z0")
	}
	if g.chance(30) {
		g.edge("s0.failed", "z0")
	}
	add(t, &sources, "told", map[string]any{"type": "test_started"})
	g.edge("told", "z0")
	file := map[string]any{"version": 1, "name": "random", "sources": &sources, "sinks": &sinks, "edges": g.edges}
	if len(stages.Content) > 0 {
		file["stages"] = &stages
	}
	if g.chance(30) {
		file["limits"] = map[string]any{"max_event_bytes": "1MiB"}
	}
	text, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// add appends to a mapping, whose order is that of the file.
func add(t *testing.T, to *yaml.Node, name string, value any) {
	t.Helper()
	var v yaml.Node
	if err := v.Encode(value); err != nil {
		t.Fatal(err)
	}
	to.Content = append(to.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, &v)
}

// connect leads one or two outputs to a node, and returns those that still lead
// nowhere.
func (g *graphMaker) connect(to string, open []string) []string {
	for range 1 + g.rnd.IntN(2) {
		from := g.froms[g.rnd.IntN(len(g.froms))]
		if len(open) > 0 {
			from = open[g.rnd.IntN(len(open))]
		}
		g.edge(from, to)
		open = slices.DeleteFunc(open, func(o string) bool { return o == from })
	}
	return open
}

// edge adds an edge with random settings, unless it is there.
func (g *graphMaker) edge(from, to string) {
	for _, e := range g.edges {
		if m := e.(map[string]any); m["from"] == from && m["to"] == to {
			return
		}
	}
	e := map[string]any{"from": from, "to": to}
	switch g.rnd.IntN(4) {
	case 0:
		e["buffer"] = 1 + g.rnd.IntN(4000)
	case 1:
		e["buffer"] = map[string]any{"events": 1 + g.rnd.IntN(100), "bytes": "1MiB", "age": "5s"}
	}
	if policies := g.policies(); g.chance(70) {
		e["policy"] = policies[g.rnd.IntN(len(policies))]
	}
	if g.chance(4) {
		e["on_drop"] = "nack"
	}
	if g.chance(20) {
		e["priority"] = g.rnd.IntN(10)
	}
	if g.chance(20) {
		e["on_shrink"] = "evict"
	}
	g.edges = append(g.edges, e)
}

func (g *graphMaker) policies() []any {
	then := []string{"drop-newest", "drop-oldest", "fail"}[g.rnd.IntN(3)]
	return []any{"block", "drop-oldest", "drop-newest", "drop-random", "sample",
		map[string]any{"type": "block", "timeout": "1s", "then": then},
		map[string]any{"type": "sample", "base_rate": 0.5, "min_rate": 0.1, "threshold": 0.4, "key": "id"}}
}

// node returns the keys of a node: its example, made to fit here, and random
// settings that every node of its kind has.
func (g *graphMaker) node(p part) map[string]any {
	n := maps.Clone(p.options)
	g.fit(p.id, n)
	maybe := func(key string, value any) {
		if _, has := n[key]; !has && g.chance(15) {
			n[key] = value
		}
	}
	n["on_error"] = "drop" // what becomes of events is not the matter
	switch p.kind {
	case "source":
		maybe("max_in_flight", map[string]any{"events": 1 + g.rnd.IntN(2000)})
	case "stage":
		maybe("workers", 1+g.rnd.IntN(3))
		maybe("ordered", false)
		maybe("timeout", "2s")
	case "sink":
		maybe("timeout", "3s")
		maybe("batch", map[string]any{"events": 1 + g.rnd.IntN(500), "interval": "100ms"})
		maybe("retry", map[string]any{"max_attempts": 3, "initial": "10ms", "max": "1s"})
		maybe("deadline", "10s")
		maybe("rate_limit", map[string]any{"rate": "100/s"})
		maybe("breaker", map[string]any{"when_open": []string{"hold", "failed", "stop"}[g.rnd.IntN(3)]})
		maybe("concurrency", map[string]any{"max": 1 + g.rnd.IntN(2)})
	}
	return n
}

// fit changes what of an example does not exist here: addresses, files, programs.
func (g *graphMaker) fit(id string, n map[string]any) {
	if _, listens := n["listen"]; listens {
		n["listen"] = "127.0.0.1:0"
	}
	file := filepath.Join(g.dir, fmt.Sprint("file", g.rnd.IntN(12))) // two may meet
	switch id {
	case "source file":
		n["paths"], n["checkpoint"] = []string{filepath.Join(g.dir, "*.log")}, file+".checkpoint"
	case "source directory":
		n["path"], n["done_dir"], n["failed_dir"] = g.dir, filepath.Join(g.dir, "done"), filepath.Join(g.dir, "failed")
	case "source unix":
		n["path"] = file + ".sock"
	case "sink parquet":
		n["path"] = filepath.Join(g.dir, "lake")
	case "source http_client":
		n["checkpoint"] = file + ".checkpoint"
	case "sink file":
		n["path"] = file + ".out"
	case "source exec", "stage exec", "sink exec":
		n["command"] = []string{"cat"}
	case "stage wasm":
		n["file"], _ = filepath.Abs(filepath.Join(exampleDir, "data", "heartbeats.wasm"))
	case "stage enrich":
		n["path"], _ = filepath.Abs(filepath.Join(exampleDir, "data", "customers.csv"))
		n["column"], n["key"] = "id", "id"
	}
}

// TestNotStarted demands that what cannot be opened here exists.
func TestNotStarted(t *testing.T) {
	for id := range notStarted {
		kind, typ, _ := strings.Cut(id, " ")
		if _, ok := manual.Component(pipe.Kind(kind), typ); !ok {
			t.Errorf("there is no %s", id)
		}
	}
	if _, err := os.Stat(filepath.Join(exampleDir, "data", "heartbeats.wasm")); err != nil {
		t.Error(err)
	}
}
