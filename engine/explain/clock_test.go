package explain_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/explain"
)

// TestRealTime names a slow sink by the real clock: two seconds, once.
func TestRealTime(t *testing.T) {
	t.Parallel()
	e := start(t, `
sources: {in: {type: generate}}
stages: {a: {type: delay, for: 1ms}}
sinks: {fast: {type: work, for: 100us}, slow: {type: work, for: 20ms}}
defaults: {edge: {buffer: 16}}
edges: [in -> a, a -> fast, a -> slow]`)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = e.Run(ctx)
	}()
	time.Sleep(700 * time.Millisecond) // until the buffers are full
	from := e.Status()
	time.Sleep(1300 * time.Millisecond)
	r := explain.Why(from, e.Status())
	cancel()
	<-done
	if r.Limiting != "slow" || r.Cause != explain.CauseExternal || strings.Join(r.Blocks, " ") != "a in" {
		t.Errorf("got %s, %s, which blocks %v; want slow, external, which blocks a and in\n%s", r.Limiting, r.Cause, r.Blocks, strings.Join(r.Sentences, "\n"))
	}
	for _, n := range r.Nodes {
		if sum := n.Active() + n.Idle + n.Blocked; sum < .999 || sum > 1.001 {
			t.Errorf("the shares of %s add up to %.4f", n.Name, sum)
		}
	}
}
