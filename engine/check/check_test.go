package check

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

type source struct{ traits pipe.Traits }

func (source) Read(context.Context, *pipe.Batch) error { return nil }
func (s source) Traits() pipe.Traits                   { return s.traits }

type settler struct{ source }

func (settler) Settled(any, pipe.Outcome) {}

type silent struct{}

func (silent) Read(context.Context, *pipe.Batch) error { return nil }

type pass struct{}

func (pass) Process(context.Context, []*pipe.Event, *pipe.Out) error { return nil }

type split struct{ pass }

func (split) Ports() []pipe.Port { return []pipe.Port{{Name: "a"}, {Name: "b", Optional: true}} }

type batch struct {
	pass
	Events   int           `yaml:"events"`
	Interval pipe.Duration `yaml:"interval"`
}

func (*batch) Deadline() time.Time                          { return time.Time{} }
func (*batch) Flush(context.Context, *pipe.Out, bool) error { return nil }
func (b *batch) Capacity() int                              { return b.Events }

type sink struct{}

func (sink) Write(context.Context, []*pipe.Event) error { return nil }

func init() {
	replays := pipe.Traits{Replays: true}
	pipe.RegisterSource("file", func() pipe.Source { return &source{replays} })
	pipe.RegisterSource("queue", func() pipe.Source { return &source{pipe.Traits{Replays: true, Rewinds: true}} })
	pipe.RegisterSource("http", func() pipe.Source { return &settler{source{replays}} })
	pipe.RegisterSource("tcp", func() pipe.Source { return &source{pipe.Traits{Why: "tcp cannot be read again"}} })
	pipe.RegisterSource("pipe", func() pipe.Source { return &source{pipe.Traits{Why: "a closed pipe is gone"}} })
	pipe.RegisterSource("udp", func() pipe.Source { return &source{pipe.Traits{Unpaused: true}} })
	pipe.RegisterSource("silent", func() pipe.Source { return &silent{} })
	pipe.RegisterStage("pass", func() pipe.Stage { return &pass{} })
	pipe.RegisterStage("split", func() pipe.Stage { return &split{} })
	pipe.RegisterStage("batch", func() pipe.Stage { return &batch{} })
	pipe.RegisterSink("out", func() pipe.Sink { return &sink{} })
}

// analyze builds a pipeline from its edges: a node's type is its name up to the
// first digit, its section follows from where it stands. options are further
// YAML per node, and "" for the top level.
func analyze(t *testing.T, edges string, options map[string]string) *Report {
	t.Helper()
	sections := map[pipe.Kind]string{}
	seen := map[string]bool{}
	for _, name := range strings.FieldsFunc(edges, func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.", r) }) {
		name, _, _ = strings.Cut(name, ".")
		typ := strings.TrimRight(name, "0123456789")
		for _, kind := range []pipe.Kind{pipe.KindSource, pipe.KindStage, pipe.KindSink} {
			if _, ok := pipe.Lookup(kind, typ); ok && !seen[name] {
				seen[name] = true
				sections[kind] += fmt.Sprintf("  %s: {type: %s%s}\n", name, typ, options[name])
			}
		}
	}
	doc := options[""] + "\nsources:\n" + sections[pipe.KindSource] + "stages:\n" + sections[pipe.KindStage] + "sinks:\n" + sections[pipe.KindSink] + "edges:\n" + edges
	p, ds := config.Parse([]byte(doc), config.Options{File: "p.yaml"})
	if p == nil {
		t.Fatalf("%s\n%v", doc, ds.Err())
	}
	return Analyze(p)
}

func TestGuarantees(t *testing.T) {
	f := func(edges string, options map[string]string, want ...string) {
		t.Helper()
		var got []string
		for _, g := range analyze(t, edges, options).Guarantees {
			got = append(got, g.String())
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s\ngot:\n%s\nwant:\n%s", edges, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	f("- file -> pass -> out\n", nil, "file -> out: at-least-once")
	f("- tcp -> out\n", nil, "tcp -> out: best-effort because source tcp cannot be read again")
	f("- tcp1 -> out\n", nil, "tcp1 -> out: best-effort because source tcp1 cannot be read again")
	f("- pipe -> out\n", nil, "pipe -> out: best-effort because source pipe: a closed pipe is gone")
	f("- silent -> out\n", nil, "silent -> out: best-effort because source silent cannot be read again")
	f("- {from: file, to: pass, policy: drop-oldest}\n- pass -> out\n", nil, "file -> out: at-most-once because edge file->pass is drop-oldest")
	f("- {from: tcp, to: out, policy: drop-oldest}\n", nil, "tcp -> out: at-most-once because edge tcp->out is drop-oldest and source tcp cannot be read again")
	f("- {from: file, to: out, policy: {type: block, timeout: 5s}}\n", nil, "file -> out: at-most-once because edge file->out is drop-newest after waiting 5s")
	f("- {from: file, to: out, policy: {type: block, timeout: 5s, then: fail}}\n", nil, "file -> out: at-least-once")
	f("- {from: file, to: out, buffer: {age: 1m}}\n", nil, "file -> out: at-most-once because edge file->out drops events older than 1m0s")
	f("- {from: http, to: out, policy: sample, on_drop: nack}\n", nil, "http -> out: at-least-once")
	f("- {from: queue, to: out, policy: sample, on_drop: nack}\n", nil, "queue -> out: at-least-once")
	f("- {from: http, to: out, policy: sample}\n", nil, "http -> out: at-most-once because edge http->out is sample")
	f("- file -> pass -> out\n", map[string]string{"pass": ", on_error: drop", "out": ", on_error: drop"},
		"file -> out: at-most-once because stage pass drops what fails (on_error: drop) and sink out drops what fails (on_error: drop)")
	f("- file -> pass -> out1\n- pass.failed -> out2\n", map[string]string{"pass": ", on_error: drop"},
		"file -> out1: at-least-once", "file -> out2: at-least-once (dead letters)")
	f("- file -> pass -> out1\n- {from: pass.failed, to: out2, policy: drop-newest}\n", nil,
		"file -> out1: at-least-once", "file -> out2: at-most-once because edge pass.failed->out2 is drop-newest (dead letters)")
	f("- file -> pass -> out1\n- {from: pass, to: out2, policy: drop-newest}\n", nil,
		"file -> out1: at-least-once", "file -> out2: at-most-once because edge pass->out2 is drop-newest")
	f("- file -> pass -> out\n- tcp -> pass\n", nil, "file -> out: at-least-once", "tcp -> out: best-effort because source tcp cannot be read again")
	f("- file1 -> out1\n- file2 -> out2\n", nil, "file1 -> out1: at-least-once", "file2 -> out2: at-least-once")
	f("- file -> pass1 -> out\n- {from: file, to: pass2, policy: drop-random, name: lossy}\n- pass2 -> out\n", nil,
		"file -> out: at-most-once because edge lossy is drop-random")
	f("- file -> pass1 -> pass2 -> pass3 -> out\n", map[string]string{"": "defaults: {edge: {policy: drop-oldest}}", "pass1": ", on_error: drop"},
		"file -> out: at-most-once because edge file->pass1 is drop-oldest, edge pass1->pass2 is drop-oldest, edge pass2->pass3 is drop-oldest and 2 more reasons")
	f("- file -> pass1 -> pass2 -> out\n", map[string]string{"pass1": ", workers: 4, ordered: false", "pass2": ", workers: 4"},
		"file -> out: at-least-once; order is lost in stage pass1")
	f("- file -> split\n- split.a -> out1\n- split.b -> out2\n- split.failed -> out3\n", nil,
		"file -> out1: at-least-once", "file -> out2: at-least-once", "file -> out3: at-least-once (dead letters)")
}

func TestRequire(t *testing.T) {
	r := analyze(t, "- {from: file, to: pass, policy: drop-oldest}\n- pass -> out\n- tcp -> out\n", nil)
	if r.Weakest() != AtMostOnce {
		t.Errorf("weakest: got %s", r.Weakest())
	}
	f := func(l Level, want ...string) {
		t.Helper()
		var got []string
		for _, d := range r.Require(l) {
			got = append(got, d.Error())
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: got:\n%s\nwant:\n%s", l, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	tcp := "p.yaml:4:3: error: tcp -> out is best-effort because source tcp cannot be read again; at-least-once is required"
	f(AtLeastOnce, tcp, "p.yaml:10:34: error: file -> out is at-most-once because edge file->pass is drop-oldest; at-least-once is required")
	f(BestEffort, "p.yaml:10:34: error: file -> out is at-most-once because edge file->pass is drop-oldest; best-effort is required")
	f(AtMostOnce)
}

func TestCouplings(t *testing.T) {
	f := func(edges string, want ...string) {
		t.Helper()
		var got []string
		for _, c := range analyze(t, edges, nil).Couplings {
			got = append(got, c.String())
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s\ngot:\n%s\nwant:\n%s", edges, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	f("- file -> out\n", "when out stalls, source file stops")
	f("- {from: file, to: out, policy: drop-oldest}\n")
	f("- {from: file, to: out, policy: {type: block, timeout: 1s}}\n")
	f("- {from: file, to: out, policy: {type: block, timeout: 1s, then: fail}}\n", "when out stalls, source file stops")
	f("- file -> pass -> out1\n- pass -> out2\n", "when out1 stalls, source file stops and sink out2 starves", "when out2 stalls, source file stops and sink out1 starves")
	f("- file -> pass -> out1\n- {from: pass, to: out2, policy: drop-oldest}\n", "when out1 stalls, source file stops and sink out2 starves")
	f("- {from: file, to: pass, policy: drop-oldest}\n- pass -> out1\n- pass -> out2\n", "when out1 stalls, sink out2 starves", "when out2 stalls, sink out1 starves")
	f("- file1 -> pass -> out1\n- file2 -> pass\n- file2 -> out2\n- file2 -> out3\n",
		"when out1 stalls, sources file1 and file2 stop and sinks out2 and out3 starve",
		"when out2 stalls, source file2 stops and sinks out1 and out3 starve",
		"when out3 stalls, source file2 stops and sinks out1 and out2 starve")
	f("- file -> pass -> out1\n- pass.failed -> out2\n", "when out1 stalls, source file stops", "when out2 stalls, source file stops and sink out1 starves")
}

func TestFindings(t *testing.T) {
	f := func(edges string, options map[string]string, want ...string) {
		t.Helper()
		var got []string
		for _, d := range analyze(t, edges, options).Findings {
			_, rest, _ := strings.Cut(d.Error(), ": ")
			got = append(got, fmt.Sprintf("%d:%d %s %s", d.Line, d.Col, d.Code, rest))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s\ngot:\n%s\nwant:\n%s", edges, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	// what the source cannot take back
	f("- {from: file, to: out, policy: sample, on_drop: nack}\n", nil,
		"8:50 nack-impossible error: edge file->out: on_drop: nack, but source file cannot take a single event back")
	f("- http -> pass\n- file -> pass\n- {from: pass, to: out, policy: drop-oldest, on_drop: nack}\n", nil,
		"12:55 nack-impossible error: edge pass->out: on_drop: nack, but source file cannot take a single event back")
	f("- {from: http, to: out, policy: sample, on_drop: nack}\n- {from: queue, to: out, policy: sample, on_drop: nack}\n", nil)
	f("- {from: file, to: out, on_drop: nack}\n", nil) // it never drops
	// stages that hold back more than a source may have in flight
	f("- file -> batch -> out\n", map[string]string{"batch": ", events: 2000", "file": ", max_in_flight: {events: 1000}"},
		"5:32 window-deadlock error: stage batch waits for 2000 events, but source file has at most 1000 in flight: both wait for ever")
	f("- file -> pass -> batch -> out\n- tcp -> pass\n", map[string]string{"batch": ", events: 2000, interval: 1s", "file": ", max_in_flight: {events: 1000}"},
		"7:32 batch-never-full warning: stage batch waits for 2000 events, but source file has at most 1000 in flight: it is never full and always waits for its interval")
	f("- file -> batch -> out\n", map[string]string{"batch": ", events: 1000", "file": ", max_in_flight: {events: 1000}"})
	f("- file -> batch -> out\n", map[string]string{"batch": ", events: 1000"})
	f("- file1 -> batch -> out1\n- file2 -> out2\n", map[string]string{"batch": ", events: 2000", "file2": ", max_in_flight: {events: 1000}"})
	// batches of sinks
	f("- file -> out\n", map[string]string{"out": ", batch: {events: 5000, interval: 1s}", "file": ", max_in_flight: {events: 1000}"},
		"6:36 batch-never-full warning: sink out: a batch of 5000 events is never full: source file has at most 1000 in flight; each write waits for the interval of 1s")
	f("- file -> out\n", map[string]string{"out": ", batch: {events: 5000, interval: 0s}", "file": ", max_in_flight: {events: 1000}"})
	f("- file1 -> out\n- file2 -> out\n", map[string]string{"out": ", batch: {events: 2000, interval: 1s}", "file1": ", max_in_flight: {events: 1000}", "file2": ", max_in_flight: {events: 1000}"})
	// policies that never apply
	f("- {from: file, to: out, buffer: 8192, policy: drop-oldest}\n", map[string]string{"file": ", max_in_flight: {events: 1000}"},
		"8:47 policy-never-applies warning: edge file->out is drop-oldest, but its buffer of 8192 events never fills: source file has at most 1000 in flight")
	f("- {from: file, to: out, buffer: 999, policy: drop-oldest}\n", map[string]string{"file": ", max_in_flight: {events: 1000}"})
	f("- {from: file, to: pass, buffer: 8192, policy: drop-oldest}\n- tcp -> pass\n- pass -> out\n", map[string]string{"tcp": ", max_in_flight: {events: 1}", "file": ", max_in_flight: {events: 9000}"})
	// dead letters that block
	f("- file -> pass -> out1\n- pass.failed -> out2\n", nil,
		"11:3 dead-letter-blocks warning: edge pass.failed->out2: when dead letters cannot be written, it blocks and pass stops")
	f("- file -> pass -> out1\n- {from: pass.failed, to: out2, policy: block}\n", nil)
	f("- file -> pass -> out1\n- {from: pass.failed, to: out2, policy: drop-oldest}\n", nil)
	// sources that cannot wait
	f("- udp -> out\n", nil, "8:3 unpausable-source warning: edge udp->out blocks, but source udp cannot be slowed down: what it does not take is lost outside, uncounted")
	f("- {from: udp, to: out, policy: drop-oldest}\n", nil)
	// shutdown
	f("- file -> out\n", map[string]string{"out": ", timeout: 40s, retry: {max_elapsed: 1m}"},
		"6:29 timeout-outlasts-shutdown warning: sink out: one attempt may take 40s, longer than shutdown.timeout 25s",
		"6:55 retry-outlasts-shutdown warning: sink out retries for up to 1m0s, longer than shutdown.timeout 25s: a shutdown during an outage returns events")
	f("- file -> out\n", map[string]string{"out": ", timeout: 40s, retry: {max_elapsed: 1m}", "": "shutdown: {timeout: 1m}"})
}

func TestMemory(t *testing.T) {
	edges := "- file -> pass\n- {from: pass, to: out1, buffer: {bytes: 1MiB}, policy: drop-oldest}\n- {from: pass, to: out2, buffer: {bytes: 40MiB}}\n"
	r := analyze(t, edges, map[string]string{"file": ", max_in_flight: {bytes: 10MiB}", "": "limits: {memory: 64MiB, max_event_bytes: 2MiB}"})
	if want := int64(16+2+40+10) << 20; r.MemoryBytes != want {
		t.Errorf("got %d, want %d: an edge counts for one event at least", r.MemoryBytes, want)
	}
	if len(r.Findings) != 1 {
		t.Fatal(r.Findings)
	}
	want := "p.yaml:1:18: error: edges and windows can hold 68MiB, more than limits.memory of 64MiB; the largest: edge pass->out2 40MiB, edge file->pass 16MiB, source file: in flight 10MiB"
	if got := r.Findings[0].Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if r := analyze(t, edges, nil); r.MemoryLimit != 0 || len(r.Findings) > 0 {
		t.Errorf("no limit, but %v", r.Findings)
	}
	huge := analyze(t, "- {from: file, to: pass, buffer: {bytes: 4194303TiB}}\n- {from: pass, to: out, buffer: {bytes: 4194303TiB}}\n- {from: file, to: out, buffer: {bytes: 4194303TiB}}\n", map[string]string{"": "limits: {memory: 1GiB}"})
	if !huge.Findings.HasErrors() || huge.MemoryBytes < 1<<62 {
		t.Errorf("a sum that overflows: got %d, %v", huge.MemoryBytes, huge.Findings)
	}
}

func TestText(t *testing.T) {
	r := analyze(t, "- file -> pass -> out1\n- {from: pass.failed, to: out2, policy: drop-newest}\n", map[string]string{"": "limits: {memory: 1GiB}"})
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	want := `guarantees
  file -> out1: at-least-once
  file -> out2: at-most-once because edge pass.failed->out2 is drop-newest (dead letters)
coupling
  when out1 stalls, source file stops
memory
  48MiB of 1GiB in the worst case; the largest: edge file->pass 16MiB, edge pass->out1 16MiB, edge pass.failed->out2 16MiB
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestJSON(t *testing.T) {
	r := analyze(t, "- {from: tcp, to: out, policy: drop-oldest, buffer: {bytes: 9MiB}}\n", nil)
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"pipeline":"p","guarantees":[{"source":"tcp","sink":"out","level":"at-most-once","reasons":["edge tcp-\u003eout is drop-oldest","source tcp cannot be read again"]}],` +
		`"couplings":[],"memory_bytes":9437184,"memory_limit_bytes":0,"memory":[{"what":"edge tcp-\u003eout","bytes":9437184}],"findings":[]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestManyPaths has a ladder of diamonds: 2^200 paths.
func TestManyPaths(t *testing.T) {
	var edges strings.Builder
	edges.WriteString("- file -> pass0\n")
	const n = 200
	for i := range n {
		fmt.Fprintf(&edges, "- pass%d -> pass%d -> pass%d\n- pass%d -> pass%d -> pass%d\n", 3*i, 3*i+1, 3*i+3, 3*i, 3*i+2, 3*i+3)
	}
	fmt.Fprintf(&edges, "- {from: pass%d, to: out, policy: drop-oldest}\n", 3*n)
	r := analyze(t, edges.String(), nil)
	if len(r.Guarantees) != 1 || r.Guarantees[0].Level != AtMostOnce || len(r.Couplings) != 0 {
		t.Errorf("got %v %v", r.Guarantees, r.Couplings)
	}
}

// TestManyPairs has every source lead to every sink over many lossy edges.
func TestManyPairs(t *testing.T) {
	var edges strings.Builder
	const n = 150
	for i := range n {
		fmt.Fprintf(&edges, "- {from: file%d, to: pass, policy: drop-oldest}\n- {from: pass, to: out%d, policy: drop-oldest}\n", i, i)
	}
	r := analyze(t, edges.String(), nil)
	if len(r.Guarantees) != n*n {
		t.Errorf("got %d pairs", len(r.Guarantees))
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil || !strings.Contains(b.String(), "  and 22450 more\n") {
		t.Errorf("the text form is not cut: %d bytes, %v", b.Len(), err)
	}
}
