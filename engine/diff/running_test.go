package diff_test

import (
	"context"
	"runtime"
	"sync"
	"testing"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/diff"
)

// TestWhileItRuns compares and writes pipelines whose components are at work.
// Under -race it fails when anything is read that they write.
func TestWhileItRuns(t *testing.T) {
	const text = `
name: p
sources: {in: {type: generate, event: {n: seq, s: 'format("%d", seq)'}}}
stages:
  keep: {type: filter, where: n % 2 == 0}
  shape: {type: map, set: {m: n * 2}, delete: [s], workers: 2}
  group: {type: batch, events: 10}
  split: {type: route, cases: {big: 'true'}}
  slow: {type: throttle, rate: 1000000/s}
sinks: {out: {type: discard}, rest: {type: discard}}
edges:
  - in -> keep -> shape -> slow -> split
  - split.big -> group -> out
  - split.else -> rest
`
	p, fresh := parse(t, text), parse(t, text)
	e, err := engine.New(p, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if _, err := e.Run(context.Background()); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer e.Drain()
	for e.Status().Sinks["out"].Delivered == 0 && !t.Failed() {
		runtime.Gosched()
	}
	for range 50 {
		if got := diff.Plan(p, fresh); len(got) > 0 {
			t.Fatalf("running is a change: %s", brief(got))
		}
		if _, err := p.Render(); err != nil {
			t.Fatal(err)
		}
	}
}
