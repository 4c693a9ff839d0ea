package engine

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRandomGraphs runs random pipelines (shapes, policies, bounds, workers,
// failing, splitting, forgetting and panicking stages, failing and hanging
// sinks) that end by themselves, are drained or are stopped at a random moment,
// in fake time, and lets the oracle look at every one. 300 graphs, 20,000 with
// PIPECTL_TORTURE=1, or as many as PIPECTL_GRAPHS says.
func TestRandomGraphs(t *testing.T) {
	n := 300
	if torture {
		n = 20_000
	}
	if s := os.Getenv("PIPECTL_GRAPHS"); s != "" {
		fmt.Sscan(s, &n)
	}
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 3))
		yaml := randomGraph(r)
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runRandom(t, r, yaml) })
		})
		if !ok {
			t.Fatalf("seed %d failed with:\n%s", seed, yaml)
		}
	}
}

func runRandom(t *testing.T, r *rand.Rand, yaml string) {
	e := build(t, yaml)
	after := time.Duration(r.IntN(3000)) * time.Millisecond
	end := "by itself"
	switch r.IntN(4) {
	case 0:
		end = "drained"
		time.AfterFunc(after, e.Drain)
	case 1:
		end = "stopped"
		time.AfterFunc(after, e.Stop)
	}
	time.AfterFunc(15*time.Second, e.Stop)
	scrape, stopped := time.NewTicker(37*time.Millisecond), make(chan struct{})
	go func() { // somebody looks all the time
		for {
			select {
			case <-scrape.C:
				if b := e.Status().Balance; b.InFlight < 0 || b.Error != 0 {
					t.Errorf("while running: %+v", b)
				}
			case <-stopped:
				return
			}
		}
	}()
	start := time.Now()
	rec, _ := run(t, e)
	scrape.Stop()
	close(stopped)
	if took := time.Since(start); end == "stopped" && took > after+time.Second {
		t.Errorf("stopped after %v, ended after %v", after, took)
	}
	kept := 0
	for _, s := range e.graph.sinks {
		kept += len(s.component().(*memory).lines)
	}
	if got := rec.Balance.Delivered + rec.Balance.DeadLettered; int64(kept) != got {
		t.Errorf("%s: sinks hold %d events, the balance says %d delivered", end, kept, got)
	}
}

func randomGraph(r *rand.Rand) string {
	var y, edges strings.Builder
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	y.WriteString("shutdown: {timeout: 2s}\nsources:\n")
	var open []string // outputs that still need an edge
	var fails []string
	for i := range 1 + r.IntN(3) {
		fmt.Fprintf(&y, "  s%d: {type: numbers, count: %d, batch: %d, bad: %d, pause: %dms, endless: %v, on_error: drop}\n",
			i, r.IntN(300), 1+r.IntN(20), r.IntN(2)*7, r.IntN(4), r.IntN(3) == 0)
		open = append(open, fmt.Sprintf("s%d", i))
		fails = append(fails, fmt.Sprintf("s%d.failed", i))
	}
	edge := func(from, to string) {
		fmt.Fprintf(&edges, "  - {from: %s, to: %s, buffer: {events: %d, bytes: %d%s}, policy: %s, on_shrink: keep, priority: %d}\n", from, to,
			1+r.IntN(40), 200+r.IntN(20000), pick("", "", ", age: 50ms"),
			pick("block", "block", "drop-oldest", "drop-newest", "drop-random", "{type: sample, base_rate: 0.9, min_rate: 0.1, threshold: 0.3}",
				"{type: block, timeout: 20ms, then: drop-oldest}", "{type: block, timeout: 5ms, then: drop-newest}"), r.IntN(3))
	}
	y.WriteString("stages:\n")
	for i := range r.IntN(6) {
		name := fmt.Sprintf("t%d", i)
		switch r.IntN(5) {
		case 0:
			fmt.Fprintf(&y, "  %s: {type: pairs}\n", name)
		case 1:
			fmt.Fprintf(&y, "  %s: {type: cases, on_error: drop}\n", name)
		default:
			fmt.Fprintf(&y, "  %s: {type: script, do: '%s:%d', wait: %dms, workers: %d, ordered: %v, on_error: drop}\n", name,
				pick("pass", "fail", "drop", "forget", "split", "error"), 2+r.IntN(9), r.IntN(3), 1+r.IntN(3), r.IntN(2) == 0)
			fails = append(fails, name+".failed")
		}
		k := r.IntN(len(open)) // one input for sure, others by chance
		edge(open[k], name)
		next := append([]string{}, open[:k]...)
		for _, o := range open[k+1:] {
			if r.IntN(4) == 0 {
				edge(o, name)
			}
			next = append(next, o)
		}
		if r.IntN(3) == 0 { // fan-out: the output stays open
			next = append(next, open[k])
		}
		open = next
		if strings.Contains(y.String(), name+": {type: cases") {
			open = append(open, name+".even", name+".odd")
		} else {
			open = append(open, name)
		}
	}
	y.WriteString("sinks:\n")
	for i, o := range open {
		fmt.Fprintf(&y, "  k%d: {type: memory, fail: %d, class: %s, partial: %d, wait: %dms, hang: %d, on_error: drop}\n", i,
			r.IntN(3), pick("retryable", "permanent", "throttled"), r.IntN(2)*11, r.IntN(5), r.IntN(4)/3*r.IntN(20))
		edge(o, fmt.Sprintf("k%d", i))
		fails = append(fails, fmt.Sprintf("k%d.failed", i))
	}
	fmt.Fprintf(&y, "  dead: {type: memory}\n")
	edge(fails[r.IntN(len(fails))], "dead")
	return y.String() + "edges:\n" + edges.String()
}
