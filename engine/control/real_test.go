package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
)

// plant is a running pipeline and its controller.
type plant struct {
	*Controller
	t      *testing.T
	engine *engine.Engine
	log    *lockedBuffer
	file   string // what Load reads
}

// real runs a test with a real engine, drains it and demands that its books
// are right and that nothing was lost: what the sources read was delivered,
// filtered or dropped.
func real(t *testing.T, yaml string, f func(p *plant)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e, err := engine.New(parse(t, yaml), engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p := &plant{t: t, engine: e, log: &lockedBuffer{}, file: yaml}
		load := func(text []byte) (*config.Pipeline, config.Diagnostics) { return config.Parse(text, config.Options{}) }
		done := make(chan engine.Receipt)
		go func() {
			r, err := e.Run(t.Context())
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		synctest.Wait()
		p.Controller = New(e, Options{Parse: load, Load: func() (*config.Pipeline, config.Diagnostics) { return load([]byte(p.file)) },
			Log: slog.New(slog.NewTextHandler(p.log, nil))})
		f(p)
		e.Drain()
		r := <-done
		p.Close()
		if b := r.Balance; r.Outcome != engine.Drained || b.Error != 0 || b.Failed+b.Returned+b.InFlight != 0 {
			t.Errorf("outcome %s, balance %+v; log:\n%s", r.Outcome, b, p.log)
		}
	})
}

const overloaded = `
version: 1
name: web
sources: {in: {type: generate, rate: 1000/s, event: {n: seq}}}
stages: {slow: {type: delay, for: 10ms}}
sinks: {out: {type: discard}}
edges: [in -> slow -> out]
`

func (p *plant) generation(want uint64) {
	p.t.Helper()
	if got := p.engine.Status().Generation; got != want {
		p.t.Errorf("generation %d, want %d; log:\n%s", got, want, p.log)
	}
}

// The edge begins to drop, and the guard puts it back.
func TestRealGuard(t *testing.T) {
	real(t, overloaded, func(p *plant) {
		time.Sleep(5 * time.Second)
		out, err := p.PatchEdge(p.t.Context(), "in->slow", []byte(`{policy: drop-newest, buffer: 10}`),
			Change{Who: "ada", Guard: `edges["in->slow"].dropped_rate == 0`})
		if err != nil || out.Generation != 2 || out.Edges[0].BlockedProducers != 1 || out.Edges[0].CarriedOver < 1000 {
			p.t.Errorf("got %+v, %v", out, err)
		}
		time.Sleep(999 * time.Millisecond)
		p.generation(2)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		p.generation(3)
		q := p.engine.Status().Edges["in->slow"]
		if q.Policy != "block" || q.Capacity != 1024 || q.Dropped["newest"] == 0 {
			p.t.Errorf("got %+v", q)
		}
		time.Sleep(10 * time.Second)
		if now := p.engine.Status().Edges["in->slow"]; now.Dropped["newest"] != q.Dropped["newest"] {
			p.t.Errorf("it goes on dropping: %v, then %v", q.Dropped, now.Dropped)
		}
	})
}

// Figures of a real pipeline: the slow stage is busy, the edge before it blocks.
func TestRealFigures(t *testing.T) {
	real(t, overloaded, func(p *plant) {
		time.Sleep(5 * time.Second)
		out, err := p.PatchEdge(p.t.Context(), "slow->out", []byte(`{buffer: 100}`), Change{GuardFor: 10 * time.Second,
			Guard: `edges["in->slow"].blocked_share > 0.9 and edges["in->slow"].utilization > 0.9 and 90 < edges["in->slow"].rate < 110
			and 90 < sinks.out.delivered_rate < 110 and 90 < read_rate < 110 and p95 > 5 and sinks.out.p50 <= p99 and stages.slow.out_rate > 90
			and sources.in.blocked > 0.9 and dropped_rate == 0 and in_flight > 1000`})
		if err != nil || out.Generation != 2 {
			p.t.Errorf("got %+v, %v", out, err)
		}
		time.Sleep(time.Minute)
		p.generation(2)
		if !strings.Contains(p.log.String(), "guard held") {
			p.t.Errorf("log:\n%s", p.log)
		}
	})
}

// A sink is replaced and put back: its edge keeps what it holds, and the sink
// that is put back is opened anew.
func TestRealRevertOfASink(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.ndjson"), filepath.Join(dir, "b.ndjson")
	yaml := func(path string) string {
		return strings.Replace(overloaded, "type: discard", "type: file, mode: append, path: "+path, 1)
	}
	real(t, yaml(a), func(p *plant) {
		time.Sleep(5 * time.Second)
		out, err := p.Apply(p.t.Context(), []byte(yaml(b)), Change{Who: "ada", ConfirmWithin: 10 * time.Second})
		if err != nil || out.Class != "swap" {
			p.t.Errorf("got %+v, %v", out, err)
		}
		time.Sleep(10*time.Second + time.Millisecond)
		p.generation(3)
		if changes := p.engine.Config().Node("out"); changes.At("path") == (config.Pos{}) {
			p.t.Error("the configuration that was put back has lost its places")
		}
		out, err = p.Reload(p.t.Context(), "SIGHUP")
		if err != nil || out.Result != Unchanged {
			p.t.Errorf("the file is what is in force, but: %+v, %v", out, err)
		}
		p.file = yaml(b)
		if out, err = p.Reload(p.t.Context(), "SIGHUP"); err != nil || out.Generation != 4 {
			p.t.Errorf("got %+v, %v", out, err)
		}
		time.Sleep(time.Second)
		if out, err = p.Revert(p.t.Context(), "bob"); err != nil || out.Generation != 5 {
			p.t.Errorf("got %+v, %v", out, err)
		}
	})
	lines := append(numbers(t, a), numbers(t, b)...)
	seen := make([]int, len(lines))
	for _, n := range lines {
		if n >= len(seen) {
			t.Fatalf("%d is there, but only %d lines", n, len(lines))
		}
		seen[n]++
	}
	for n, times := range seen {
		if times != 1 {
			t.Errorf("%d is there %d times", n, times)
		}
	}
	if len(numbers(t, a)) < 1000 || len(numbers(t, b)) < 1000 {
		t.Errorf("%d and %d lines", len(numbers(t, a)), len(numbers(t, b)))
	}
}

func numbers(t *testing.T, path string) (list []int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		var e struct{ N int }
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		list = append(list, e.N)
	}
	return list
}

// Every kind of change at once, a third of them invalid: the books stay right,
// generations only rise, and what the last one says is in force.
func TestRealStorm(t *testing.T) {
	real(t, overloaded, func(p *plant) {
		const callers, each = 6, 60
		done := make(chan int)
		for caller := range callers {
			go func() {
				r, applied := rand.New(rand.NewPCG(7, uint64(caller))), 0
				for range each {
					time.Sleep(time.Duration(r.IntN(40)) * time.Millisecond)
					applied += p.poke(r)
				}
				done <- applied
			}()
		}
		applied := 0
		for range callers {
			applied += <-done
		}
		if applied < callers*each/10 {
			p.t.Errorf("only %d changes were made; log:\n%s", applied, p.log)
		}
		time.Sleep(10 * time.Second) // the trial of the last change
		last := uint64(0)
		for _, e := range p.History() {
			if e.Generation <= last {
				p.t.Errorf("generation %d after %d", e.Generation, last)
			}
			last = e.Generation
		}
		p.generation(last)
		for _, e := range p.engine.Config().Edges {
			if q := p.engine.Status().Edges[e.ID]; q.Policy != e.Policy.Type || q.Capacity != int64(e.Buffer.Events) {
				p.t.Errorf("edge %s is %s with %d, the configuration says %s", e.ID, q.Policy, q.Capacity, e.EdgeSettings)
			}
		}
	})
}

// poke makes one random change and reports 1 when it was made.
func (p *plant) poke(r *rand.Rand) int {
	var out Outcome
	var err error
	change := Change{Who: "storm"}
	if r.IntN(4) == 0 {
		change.ConfirmWithin = time.Duration(1+r.IntN(100)) * time.Millisecond
	}
	switch settings := fmt.Sprintf(`{"buffer": %d, "policy": "drop-oldest"}`, 1+r.IntN(2000)); r.IntN(6) {
	case 0:
		out, err = p.Apply(p.t.Context(), []byte("version: 2"), change)
	case 1:
		out, err = p.PatchEdge(p.t.Context(), "in->slow", []byte(`{"buffer": 0}`), change)
	case 2:
		out, err = p.PatchEdge(p.t.Context(), "in->slow", []byte(settings), change)
	case 3:
		out, err = p.Apply(p.t.Context(), []byte(strings.Replace(overloaded, "10ms", fmt.Sprintf("%dms", 1+r.IntN(9)), 1)), change)
	case 4:
		out, err = p.Reload(p.t.Context(), "storm")
	case 5:
		out, err = p.Revert(p.t.Context(), "storm")
		if generation := p.engine.Status().Generation; r.IntN(2) == 0 {
			p.Confirm(p.t.Context(), generation, "storm")
		}
	}
	var refused *engine.RefusedError
	if err != nil && !errors.As(err, &refused) {
		p.t.Errorf("got %v, want a refusal", err)
	}
	if err == nil && out.Result == Applied {
		return 1
	}
	return 0
}
