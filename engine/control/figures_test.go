package control

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/expr"
)

func histogram(counts ...int64) engine.Histogram {
	h := engine.Histogram{Bounds: []float64{1, 2}, Counts: counts}
	for _, n := range counts {
		h.Count += n
	}
	return h
}

func TestFigures(t *testing.T) {
	before := engine.Status{
		Balance: engine.Balance{Read: 100, Dropped: 10},
		Edges:   map[string]engine.EdgeStatus{"a->b": {Delivered: 5, Offered: 8, Dropped: map[string]int64{"oldest": 3}, PressedSeconds: 1}},
		Stages:  map[string]engine.StageStatus{"b": {NodeStatus: engine.NodeStatus{Workers: 2, Time: engine.NodeTime{Busy: 3}}, In: 5, Failed: 50}},
		Sinks:   map[string]engine.SinkStatus{"out": {Delivered: 7, EndToEnd: histogram(100, 0, 0)}},
	}
	now := engine.Status{
		Balance: engine.Balance{Read: 120, Dropped: 10, InFlight: 4},
		Edges: map[string]engine.EdgeStatus{
			"a->b": {Delivered: 25, Offered: 8, Dropped: map[string]int64{"oldest": 5, "newest": 2}, PressedSeconds: 6, Utilization: .5, Queued: 9, Tripped: true},
			"b->c": {Delivered: 30, QueuedBytes: 77, OldestSeconds: 1.5},
		},
		Sources: map[string]engine.SourceStatus{"in": {Read: 40, Rejected: map[string]int64{"503": 10}}},
		Stages: map[string]engine.StageStatus{"b": {NodeStatus: engine.NodeStatus{Workers: 2, InFlight: 3,
			Time: engine.NodeTime{Busy: 13, Blocked: 5, Idle: 1e9}}, In: 25, Failed: 10}}, // replaced: fewer failures than before
		Sinks: map[string]engine.SinkStatus{"out": {Delivered: 27, Failing: true, EndToEnd: histogram(100, 10, 0)}},
	}
	got := measure(before, now, 10*time.Second, everything)
	f := func(want any, keys ...string) {
		t.Helper()
		if v := got[expr.FigureName(keys...)]; fmt.Sprint(v) != fmt.Sprint(want) {
			t.Errorf("%v: got %v, want %v", keys, v, want)
		}
	}
	f(10.0, "seconds")
	f(2.0, "read_rate")
	f(0.0, "dropped_rate")
	f(4.0, "in_flight")
	f(1.5, "p50")
	f(1.95, "p95")
	f(2.0, "edges", "a->b", "rate")
	f(0.0, "edges", "a->b", "offered_rate")
	f(.4, "edges", "a->b", "dropped_rate")
	f(.5, "edges", "a->b", "blocked_share")
	f(.5, "edges", "a->b", "utilization")
	f(9.0, "edges", "a->b", "queued")
	f(true, "edges", "a->b", "tripped")
	f(3.0, "edges", "b->c", "rate")
	f(77.0, "edges", "b->c", "queued_bytes")
	f(1.5, "edges", "b->c", "oldest_seconds")
	f(4.0, "sources", "in", "rate")
	f(1.0, "sources", "in", "rejected_rate")
	f(2.0, "stages", "b", "rate")
	f(1.0, "stages", "b", "failed_rate")
	f(.5, "stages", "b", "busy")
	f(.25, "stages", "b", "blocked")
	f(1.0, "stages", "b", "idle")
	f(3.0, "stages", "b", "in_flight")
	f(2.0, "sinks", "out", "delivered_rate")
	f(1.5, "sinks", "out", "p50")
	f(true, "sinks", "out", "failing")
	for _, name := range []string{"p99", "seconds"} {
		if v, ok := measure(before, before, 0, everything)[name].(float64); !ok || v != v {
			t.Errorf("%s over no time: %v", name, v)
		}
	}
}

// A guard may name what the changed pipeline will report, and the types agree.
func TestSamplesHaveTheNamesOfFigures(t *testing.T) {
	p := parse(t, base)
	known, measured := samples(p), measure(engine.Status{}, idle(p), time.Second, everything)
	if len(known) != len(measured) || len(known) < 40 {
		t.Errorf("%d names, %d figures", len(known), len(measured))
	}
	for name, v := range measured {
		if fmt.Sprintf("%T", v) != fmt.Sprintf("%T", known[name]) {
			t.Errorf("%s: %T, but its sample is %T", name, v, known[name])
		}
	}
}

func TestOnlyWhatAGuardReadsIsMeasured(t *testing.T) {
	p := parse(t, base)
	g, err := expr.CompileGuard(`edges["keep->out"].rate >= 0 && p95 < 1 and not sinks.out.failing`, samples(p))
	if err != nil {
		t.Fatal(err)
	}
	got := measure(idle(p), idle(p), time.Second, readBy(g))
	if ok, err := g.Eval(got); !ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	if _, there := got[expr.FigureName("edges", "in->keep", "rate")]; there {
		t.Error("an edge was measured that nobody reads")
	}
}
