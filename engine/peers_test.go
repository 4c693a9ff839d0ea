package engine

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/diff"
	"github.com/pipectl/pipectl/engine/pipe"
)

// The tests in this file replay how other systems fail when they are changed
// while they run. See docs/reliability.md.

// TestPeersBufferSizeReloads: a new buffer size is in force at once, up and down,
// on an edge that is full.
func TestPeersBufferSizeReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		yaml := func(buffer string) string {
			return "sources: {in: {type: numbers, count: 1000, batch: 7}}\nsinks: {out: {type: memory, hang: 1}}\nedges: [{from: in, to: out, buffer: " + buffer + "}]\n"
		}
		e := build(t, yaml("10"))
		done := make(chan Receipt)
		go func() {
			r, _ := run(t, e)
			done <- r
		}()
		f := func(buffer string, want int64) {
			t.Helper()
			reloaded(t, e, yaml(buffer))
			synctest.Wait()
			s := e.Status().Edges["in->out"]
			if s.Capacity != want || s.Queued < min(want, 100) || s.Generation != e.Generation() {
				t.Errorf("buffer %s: capacity %d, %d queued, generation %d", buffer, s.Capacity, s.Queued, s.Generation)
			}
		}
		synctest.Wait()
		f("100", 100)
		f("20", 20) // what is queued stays
		if q := e.Status().Edges["in->out"].Queued; q != 100 {
			t.Errorf("%d queued after the shrink, want all 100", q)
		}
		f("500", 500)
		e.Stop()
		<-done
	})
}

// TestPeersReloadBesideADeadSink: a reload waits for no sink, and the branches
// beside the dead one go on during it.
func TestPeersReloadBesideADeadSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		yaml := func(do string) string {
			return "sources: {in: {type: numbers, count: 1000, batch: 7, pause: 10ms}}\nstages: {s: {type: script, do: '" + do + "'}}\n" +
				"sinks: {out: {type: memory}, dead: {type: memory, hang: 1}}\nedges: [in -> s -> out, {from: in, to: dead, buffer: 10, policy: drop-oldest}]\n"
		}
		e := build(t, yaml("pass"))
		done := make(chan Receipt)
		go func() {
			r, _ := run(t, e)
			done <- r
		}()
		time.Sleep(100 * time.Millisecond)
		for range 10 {
			for _, do := range []string{"drop:1000000", "pass"} {
				began, before := time.Now(), len(sinkOf(t, e, "out").got())
				reloaded(t, e, yaml(do))
				if took := time.Since(began); took > time.Second {
					t.Errorf("the reload took %v", took)
				}
				time.Sleep(20 * time.Millisecond)
				if after := len(sinkOf(t, e, "out").got()); after <= before {
					t.Error("the other branch does not flow")
				}
			}
		}
		e.Stop()
		<-done
	})
}

// TestPeersUntouchedNodesDoNotNotice: a change of one node or edge touches no
// other: components are neither closed nor opened again, and their workers stay.
func TestPeersUntouchedNodesDoNotNotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		yaml := func(buffer, wait string) string {
			return "sources: {in: {type: numbers, count: 1000, endless: true}}\nstages: {a: {type: watched}, b: {type: script, wait: " + wait + "}, c: {type: watched}}\n" +
				"sinks: {out: {type: memory}}\nedges: [{from: in, to: a, buffer: " + buffer + "}, a -> b -> c -> out]\n"
		}
		openings.reset()
		e := build(t, yaml("10", "0s"))
		end := started(t, e)
		a, out := e.graph.byName["a"], sinkOf(t, e, "out")
		if r := reloaded(t, e, yaml("20", "0s")); r.Class != diff.Live {
			t.Errorf("class %s", r.Class)
		}
		if r := reloaded(t, e, yaml("20", "1ms")); r.Class != diff.Swap {
			t.Errorf("class %s", r.Class)
		}
		synctest.Wait()
		if e.graph.byName["a"] != a || sinkOf(t, e, "out") != out || out.wasClosed() {
			t.Error("an untouched node was replaced")
		}
		e.Drain()
		end()
		if openings.opens != 2 || openings.closes != 2 {
			t.Errorf("%d opens and %d closes of two untouched stages", openings.opens, openings.closes)
		}
	})
}

func init() { pipe.RegisterStage("watched", func() pipe.Stage { return &watched{} }) }

// watched is a stage that tells openings when it is opened and closed.
type watched struct{}

var openings watching

type watching struct {
	mu            sync.Mutex // guards what follows
	opens, closes int
}

func (w *watching) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opens, w.closes = 0, 0
}

func (*watched) Open(context.Context, pipe.Env) error {
	openings.mu.Lock()
	defer openings.mu.Unlock()
	openings.opens++
	return nil
}

func (*watched) Close(context.Context) error {
	openings.mu.Lock()
	defer openings.mu.Unlock()
	openings.closes++
	return nil
}

func (*watched) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		out.Emit(e)
	}
	return nil
}
