package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/diff"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterStage("deal", func() pipe.Stage { return &deal{} })
}

// deal gives one event after the other to its ways in turn.
type deal struct {
	Ways []string `yaml:"ways"`
	turn int
}

func (d *deal) Ports() (ports []pipe.Port) {
	for _, w := range d.Ways {
		ports = append(ports, pipe.Port{Name: w})
	}
	return ports
}

func (d *deal) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		out.EmitTo(d.turn%len(d.Ways), e)
		d.turn++
	}
	return nil
}

// TestReloadFindsAWay: while stages, ports and failed ports come and go, no event
// meets an output without an edge: it would end there as filtered.
func TestReloadFindsAWay(t *testing.T) {
	f := func(what string, yamls ...string) {
		t.Helper()
		e := build(t, yamls[0])
		done := make(chan Receipt, 1)
		go func() {
			r, err := e.Run(context.Background())
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			done <- r
		}()
		for e.Status().Sources["in"].Read == 0 {
			time.Sleep(time.Millisecond)
		}
		rounds := 60
		if torture {
			rounds = 2000
		}
		for i := range rounds {
			reloaded(t, e, yamls[(i+1)%len(yamls)])
		}
		e.Drain()
		r := <-done
		if b := r.Balance; b.Filtered+b.Dropped+b.Returned+b.Error != 0 || b.Delivered+b.DeadLettered+b.Failed != b.Read {
			t.Errorf("%s: balance %+v", what, b)
		}
	}
	var stages, chain strings.Builder
	for i := range 100 {
		fmt.Fprintf(&stages, "  s%d: {type: script, do: pass}\n", i)
		fmt.Fprintf(&chain, "s%d -> ", i)
	}
	const numbers = "sources: {in: {type: numbers, count: 100000000, batch: 50, pause: 10us}}\n"
	f("stages come and go",
		numbers+"sinks: {out: {type: probe}}\nedges: [in -> out]\n",
		numbers+"stages:\n"+stages.String()+"sinks: {out: {type: probe}}\nedges: [in -> "+chain.String()+"out]\n")
	ways := func(from, to int) string {
		var names, sinks, edges strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&names, "w%d, ", i)
			fmt.Fprintf(&sinks, "  s%d: {type: probe}\n", i)
			fmt.Fprintf(&edges, "  - d.w%d -> s%d\n", i, i)
		}
		return numbers + "stages: {d: {type: deal, ways: [" + names.String() + "]}}\nsinks:\n" + sinks.String() + "edges:\n  - in -> d\n" + edges.String()
	}
	f("ports come and go", ways(0, 60), ways(20, 21), ways(20, 80), ways(80, 81))
	f("failed ports come and go",
		numbers+"sinks: {out: {type: memory, fail: 1000000000}, dead: {type: probe}}\nedges: [in -> out, out.failed -> dead]\n",
		numbers+"sinks: {out: {type: memory, fail: 1000000000, on_error: drop}}\nedges: [in -> out]\n")
}

// TestReloadsWithinAStep reloads three times during one call: settings, then the
// component, then the component again. What the call uses is closed when it has come
// back, what never worked is closed too, and nothing twice.
func TestReloadsWithinAStep(t *testing.T) {
	f := func(yaml, settings string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			with := func(s string) string { return strings.Replace(yaml, "DEAF", "{type: deaf, "+s+"}", 1) }
			e := build(t, with("hang: ['0']"))
			var lives []*life
			look := func() any {
				e.shape.RLock()
				defer e.shape.RUnlock()
				c := e.graph.byName["d"].component()
				lives = append(lives, c.(interface{ self() *life }).self())
				return c
			}
			var free chan struct{}
			switch c := look().(type) {
			case *deaf:
				free = c.free
			case *deafSink:
				free = c.free
			}
			end := started(t, e)
			for i, s := range []string{"hang: ['0'], " + settings, "hang: [x]", "hang: [y]"} {
				if r := reloaded(t, e, with(s)); (r.Class == diff.Live) != (i == 0) {
					t.Errorf("%s: class %s", s, r.Class)
				}
				look()
			}
			time.Sleep(2 * handover)
			close(free)
			rec := end()
			for i, l := range lives {
				if l.opens != 1 || l.closes != 1 || l.overlap {
					t.Errorf("%s: component %d: opened %d times, closed %d times, during work %v", settings, i, l.opens, l.closes, l.overlap)
				}
			}
			if b := rec.Balance; b.Delivered != 100 || b.Error != 0 {
				t.Errorf("%s: balance %+v", settings, b)
			}
		})
	}
	const in = "sources: {in: {type: numbers, count: 100, batch: 10}}\n"
	f(in+"stages: {d: DEAF}\nsinks: {out: {type: memory}}\nedges: [in -> d -> out]\n", "dead_letters: {max_ratio: 0.3}")
	f(in+"sinks: {d: DEAF}\nedges: [in -> d]\n", "retry: {initial: 1ms}")
}
