package explain_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/explain"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"

	_ "github.com/pipectl/pipectl/sinks"
	_ "github.com/pipectl/pipectl/sources"
	_ "github.com/pipectl/pipectl/stages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func init() {
	pipe.RegisterSource("work", func() pipe.Source { return &work{Batch: 1} })
	pipe.RegisterSink("work", func() pipe.Sink { return &slow{} })
}

// work is a source that works for a time on each event.
type work struct {
	For   pipe.Duration `yaml:"for"`
	Batch int           `yaml:"batch"`
	made  int
}

func (s *work) Traits() pipe.Traits { return pipe.Traits{Replays: false, Why: "made up"} }

func (s *work) Read(ctx context.Context, b *pipe.Batch) error {
	if err := pause(ctx, s.For.D()*time.Duration(s.Batch)); err != nil {
		return err
	}
	for range s.Batch {
		s.made++
		b.Add(record.FromText([]byte{'0' + byte(s.made%2)}), int64(s.made))
	}
	return nil
}

// slow is a sink that takes a time for each event and one for each write.
type slow struct {
	For    pipe.Duration `yaml:"for"`
	Each   pipe.Duration `yaml:"each"`
	Broken bool          `yaml:"broken"`
}

func (s *slow) Write(ctx context.Context, in []*pipe.Event) error {
	if s.Broken {
		return pipe.Classed(pipe.Retryable, errors.New("connection refused"))
	}
	return pause(ctx, s.Each.D()+s.For.D()*time.Duration(len(in)))
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func start(t testing.TB, yaml string) *engine.Engine {
	t.Helper()
	cfg, diags := config.Parse([]byte("version: 1\nname: orders\n"+yaml), config.Options{File: "test.yaml"})
	if err := diags.Err(); err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(cfg, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// watch runs a pipeline for some seconds of fake time and explains the later half.
func watch(t *testing.T, yaml string, seconds time.Duration) (r explain.Report) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := start(t, yaml)
		ctx, cancel := context.WithCancel(t.Context())
		rec := explain.NewRecorder(e.Status, explain.Options{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = e.Run(ctx)
		}()
		over := make(chan struct{})
		go func() {
			defer close(over)
			rec.Run(ctx)
		}()
		time.Sleep(seconds*time.Second + time.Millisecond)
		r = rec.Why(seconds * time.Second / 2)
		cancel()
		<-done
		<-over
	})
	return r
}

// topologies: each %s is the time that a node takes for an event, in the order
// of nodes.
var topologies = []struct {
	name  string
	nodes []string
	yaml  string
}{
	{"chain", []string{"in", "a", "b", "out"}, `
sources: {in: {type: work, for: %s}}
stages:
  a: {type: delay, for: %s}
  b: {type: delay, for: %s}
sinks: {out: {type: work, for: %s}}
defaults: {edge: {buffer: 16}}
edges: [in -> a -> b -> out]`},
	{"fan-out", []string{"in", "a", "x", "y", "z"}, `
sources: {in: {type: work, for: %s}}
stages: {a: {type: delay, for: %s}}
sinks:
  x: {type: work, for: %s}
  y: {type: work, for: %s}
  z: {type: work, for: %s}
defaults: {edge: {buffer: 16}}
edges: [in -> a, a -> x, a -> y, a -> z]`},
	{"fan-in", []string{"one", "two", "m", "out"}, `
sources:
  one: {type: work, for: %s}
  two: {type: work, for: %s}
stages: {m: {type: delay, for: %s}}
sinks: {out: {type: work, for: %s}}
defaults: {edge: {buffer: 16}}
edges: [one -> m, two -> m, m -> out]`},
	{"diamond", []string{"in", "a", "l", "r", "m", "out"}, `
sources: {in: {type: work, for: %s}}
stages:
  a: {type: delay, for: %s}
  l: {type: delay, for: %s}
  r: {type: delay, for: %s}
  m: {type: delay, for: %s}
sinks: {out: {type: work, for: %s}}
defaults: {edge: {buffer: 16}}
edges: [in -> a, a -> l, a -> r, l -> m, r -> m, m -> out]`},
	{"route", []string{"in", "a", "x", "y", "out"}, `
sources: {in: {type: work, for: %s}}
stages:
  a: {type: delay, for: %s}
  r: {type: route, cases: {left: 'message == "0"'}}
  x: {type: delay, for: %s}
sinks:
  y: {type: work, for: %s}
  out: {type: work, for: %s}
defaults: {edge: {buffer: 16}}
edges: [in -> a -> r, {from: r.left, to: x}, {from: r.else, to: y}, x -> out]`},
}

func fill(text string, takes []string) string {
	args := make([]any, len(takes))
	for i, v := range takes {
		args[i] = v
	}
	return fmt.Sprintf(text, args...)
}

// TestPositions places the slow node at each position of five topologies, and the
// second slowest at each other one, in real engines. The slow one must be named
// every time; with it out of the way, what was said to be next must be.
func TestPositions(t *testing.T) {
	for _, topology := range topologies {
		for slow, name := range topology.nodes {
			for second, secondName := range topology.nodes {
				if slow == second || explain.Raced && second != (slow+1)%len(topology.nodes) {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s, then %s", topology.name, name, secondName), func(t *testing.T) {
					t.Parallel()
					var takes []string
					for i := range topology.nodes {
						takes = append(takes, fmt.Sprintf("%dus", 4000+400*i))
					}
					takes[second], takes[slow] = "20ms", "80ms"
					want, next := name, secondName
					if topology.name == "fan-in" && slow < 2 {
						// A source that is slow by itself holds back nobody: what the other one
						// meets is the second slowest.
						want, next = secondName, ""
					} else if topology.name == "fan-in" && second < 2 {
						next = "" // with one slow source the other one meets something else
					}
					confirm(t, topology.yaml, topology.nodes, takes, want, next)
				})
			}
		}
	}
}

func confirm(t *testing.T, yaml string, nodes, takes []string, want, next string) {
	t.Helper()
	r := watch(t, fill(yaml, takes), 20)
	said := strings.Join(r.Sentences, "\n")
	if r.Limiting != want {
		t.Fatalf("got %q (%s), want %q\n%s", r.Limiting, r.Cause, want, said)
	}
	if r.Next == nil || next != "" && r.Next.Node != next {
		t.Fatalf("next: got %+v, want %q\n%s", r.Next, next, said)
	}
	takes[slices.Index(nodes, want)] = "50us"
	again := watch(t, fill(yaml, takes), 20)
	now := strings.Join(again.Sentences, "\n")
	if again.Limiting != r.Next.Node {
		t.Errorf("with %s out of the way: got %q, want %q\n%s\nbefore:\n%s", want, again.Limiting, r.Next.Node, now, said)
	}
	rate := 0.0
	for _, n := range again.Nodes {
		if n.Kind == "source" && (n.Name == want || slices.Contains(r.Bottlenecks[0].Sources, n.Name)) {
			rate += n.Rate
		}
	}
	if foretold := r.Next.SourceRate; !r.Next.AtLeast && (rate < foretold*.9 || rate > foretold*1.1) {
		t.Errorf("with %s out of the way: %.1f/s were foretold, got %.1f/s\n%s\nbefore:\n%s", want, foretold, rate, now, said)
	}
}
