package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pipectl/pipectl/engine/pipe"
)

// MarshalText makes the rule of the test components one that can be written.
func (r rule) MarshalText() ([]byte, error) { return []byte(r.text), nil }

const rendered = `version: 1
name: all
description: "two\nlines"
limits:
  memory: 1GiB
  max_event_bytes: 8MiB
  stall_after: 1m0s
shutdown:
  timeout: 25s
admin:
  listen: 127.0.0.1:1
  token: '***'
tracing:
  ratio: 0.5
  headers:
    authorization: '***'
sources:
  in:
    type: ticker
    rate: 0.5/s
    count: 5
    small: 255
    event:
      z: 1 + 1
      a: $${HOME}
    extra:
      deep: [1, 2.5, "yes", true, null]
    named:
      a: 1m0s
      b: 0s
    on_error: drop
    max_in_flight:
      events: 9
stages:
  split:
    type: route
    cases:
      big: x
    mode: all
    on_error: stop
    workers: 4
    ordered: false
    max_stuck: 4
    dead_letters:
      max_ratio: 1
      window: 1m0s
      min_events: 100
sinks:
  web:
    type: http
    user: '***@db'
    password: '***'
    url: http://h/
    method: POST
    endpoints: [{url: 'http://a', weight: 3}, {url: 'http://b'}]
    ratio: 0.25
    limit: '***'
    on_error: stop
    max_stuck: 4
    batch:
      events: 1024
      bytes: 4MiB
      interval: 0s
    retry:
      initial: 250ms
      max: 30s
      jitter: 0
      budget:
        ratio: 0.1
        burst: 100
    concurrency:
      max: 1
      min: 1
    dead_letters:
      max_ratio: 0.1
      window: 1m0s
      min_events: 100
  out:
    type: file
    path: "007"
    mode: append
    codec:
      type: csv
      delimiter: ;
    sync:
      every: 100
    on_error: stop
    max_stuck: 4
    batch:
      events: 5
      bytes: 4MiB
      interval: 1s
    retry:
      initial: 250ms
      max: 30s
      jitter: 1
      budget:
        ratio: 0.1
        burst: 100
    concurrency:
      max: 1
      min: 1
    dead_letters:
      max_ratio: 0.1
      window: 1m0s
      min_events: 100
  none:
    type: file
    path: x
    mode: append
    codec: null
    sync:
      every: 100
    on_error: stop
    max_stuck: 4
    batch:
      events: 1024
      bytes: 4MiB
      interval: 0s
    retry:
      initial: 250ms
      max: 30s
      jitter: 1
      budget:
        ratio: 0.1
        burst: 100
    concurrency:
      max: 1
      min: 1
    dead_letters:
      max_ratio: 0.1
      window: 1m0s
      min_events: 100
edges:
  - {from: in, to: split, name: first, buffer: {events: 7, bytes: 16MiB}, policy: block, on_drop: ack, on_shrink: keep}
  - {from: split.big, to: web, buffer: {events: 1024, bytes: 16MiB}, policy: {type: sample, base_rate: 1, min_rate: 0.01, threshold: 0}, on_drop: ack, on_shrink: keep}
  - {from: split.big, to: out, buffer: {events: 1024, bytes: 16MiB, age: 1s}, policy: {type: block, timeout: 5s, then: fail}, on_drop: ack, priority: 2, on_shrink: evict}
  - {from: split.failed, to: none, buffer: {events: 1024, bytes: 16MiB}, policy: drop-oldest, on_drop: nack, on_shrink: keep}
`

const toRender = `# comments go
edges:
  - {from: in, to: split, name: first, buffer: 7}
  - {from: split.big, to: web, policy: {type: sample, threshold: 0}}
  - {from: split.big, to: out, buffer: {age: 1s}, policy: {type: block, timeout: 5s, then: fail}, priority: 2, on_shrink: evict}
  - {from: split.failed, to: none, policy: drop-oldest, on_drop: nack}
name: all
description: |-
  two
  lines
limits: {memory: 1024MiB}
admin: {listen: "127.0.0.1:1", token: "s"}
tracing: {ratio: 0.5, headers: {authorization: Bearer abc}}
sources:
  in: {type: ticker, rate: 30/m, count: 5, small: 255, event: {z: "1 + 1", a: "$${HOME}"}, extra: {deep: [1, 2.5, "yes", true, null]},
       named: {b: 0s, a: 60s}, on_error: drop, max_in_flight: {events: 9}}
stages:
  split: {type: route, cases: {big: x}, mode: all, workers: 4, ordered: false}
sinks:
  web: {type: http, user: "${DB_PASSWORD}@db", password: pw, url: "http://h/", endpoints: [{url: "http://a", weight: 3}, {url: "http://b"}],
        ratio: 0.25, limit: 12345B, retry: {jitter: 0}}
  out: {type: file, path: "007", codec: {type: csv, delimiter: ";"}, batch: {events: 5}}
  none: {type: file, path: x, codec: null}
`

func TestRender(t *testing.T) {
	p, ds := Parse([]byte(toRender), Options{Env: testEnv})
	if p == nil {
		t.Fatal(ds.Err())
	}
	got, err := p.Render()
	if err != nil || string(got) != rendered {
		t.Errorf("error %v, got:\n%s", err, got)
	}
	if strings.Contains(string(got), "hunter2") {
		t.Error("a secret was written")
	}
}

func TestRenderIsReadBack(t *testing.T) {
	files, _ := filepath.Glob("testdata/good/*.yaml")
	if len(files) < 5 {
		t.Fatalf("only %d files", len(files))
	}
	for _, file := range files {
		p, _, _ := loadCase(t, file)
		data, err := p.Render()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if strings.Contains(string(data), "***") {
			continue // TestRender looks at secrets
		}
		again, ds := Parse(data, Options{})
		if ds.HasErrors() {
			t.Errorf("%s: %v in:\n%s", file, ds.Err(), data)
			continue
		}
		alike(t, file, p, again)
		var x Inspector
		for i, n := range p.Nodes() {
			if v := x.Node(n, again.Nodes()[i]); len(v.Parts) > 0 {
				t.Errorf("%s: node %s is not the same: %v", file, n.Name, v)
			}
		}
		twice, err := again.Render()
		if err != nil || string(twice) != string(data) {
			t.Errorf("%s: error %v; rendered twice:\n%s\nonce:\n%s", file, err, twice, data)
		}
	}
}

// alike checks that two pipelines have the same values.
func alike(t *testing.T, what string, a, b *Pipeline) {
	t.Helper()
	var x Inspector
	if va, vb := x.Pipeline(a), x.Pipeline(b); !va.Equal(vb) {
		t.Errorf("%s: got %v, want %v", what, vb, va)
	}
	equal(t, what+": edges", edgeIDs(b), edgeIDs(a))
	for i, n := range a.Nodes() {
		if va, vb := x.Node(n, nil), x.Node(b.Nodes()[i], nil); !va.Equal(vb) {
			t.Errorf("%s: node %s: got %v, want %v", what, n.Name, vb, va)
		}
	}
	for i, e := range a.Edges {
		if va, vb := x.Edge(e, nil), x.Edge(b.Edges[i], nil); !va.Equal(vb) || !e.Equal(b.Edges[i].EdgeSettings) {
			t.Errorf("%s: edge %s: got %v, want %v", what, e.ID, vb, va)
		}
	}
}

// FuzzRender checks that every text survives being written and read.
func FuzzRender(f *testing.F) {
	for _, s := range []string{"", " ", "a", "yes", "007", "1e3", "null", "~", "<<", "${X}", "$${", "$$$", "a\nb", "\n a\n", "\tx ", "- a", "a: b", "#c", "é\u2028\u0085", "\x00\x7f", "'\"", "***", "2020-01-01", "!!int 3", "&a", "\\n", "=", "a,b"} {
		f.Add(s, "k", 0.5, int64(3))
		f.Add("v", s, -1e300, int64(-1))
	}
	f.Fuzz(func(t *testing.T, text, key string, x float64, n int64) {
		if !utf8.ValidString(text) || !utf8.ValidString(key) || strings.Contains(text, "?") {
			return
		}
		p := byHand()
		p.Description = text
		p.Sources[0].Component = &ticker{
			Count: max(0, n), Rate: pipe.Rate(max(0, x)), Extra: map[string]any{key: []any{text, x, n}},
			Event: pipe.OrderedMap[rule]{{Key: key, Value: rule{text}}, {Key: key + "2"}},
		}
		p.Stages = append(p.Stages, NewNode(pipe.KindStage, "m", "map", &mapper{Rename: map[string]string{key: text}, Delete: []string{text, key}}))
		p.Stages[0].Type, p.Stages[0].Component.(*route).Mode = "route", "all"
		p.Edges = append(p.Edges, &Edge{From: "in", To: "m"}, &Edge{From: "m", To: "out"})
		if p.Complete().HasErrors() {
			return
		}
		data, err := p.Render()
		if err != nil {
			t.Fatal(err)
		}
		again, ds := Parse(data, Options{Env: func(string) (string, bool) { return "", false }})
		if ds.HasErrors() {
			t.Fatalf("%v in:\n%s", ds.Err(), data)
		}
		alike(t, string(data), p, again)
	})
}

func TestRenderBrokenText(t *testing.T) {
	p, ds := Parse([]byte("name: a\ndescription: ${X}\nsources: {a: {type: ticker}}\nsinks: {b: {type: discard}}\nedges: [a -> b]\n"),
		Options{Env: func(string) (string, bool) { return "a\xffb", true }})
	if p == nil {
		t.Fatal(ds.Err())
	}
	data, err := p.Render()
	if err != nil || !strings.Contains(string(data), "a\ufffdb") {
		t.Errorf("error %v, got %s", err, data)
	}
}

func BenchmarkRender(b *testing.B) {
	data, err := os.ReadFile("testdata/good/design.yaml")
	if err != nil {
		b.Fatal(err)
	}
	p, ds := Parse(data, Options{})
	if p == nil {
		b.Fatal(ds.Err())
	}
	for b.Loop() {
		if _, err := p.Render(); err != nil {
			b.Fatal(err)
		}
	}
}
