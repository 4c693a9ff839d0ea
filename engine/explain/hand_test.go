package explain

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
)

// pair is a pipeline in -> out by hand, after some seconds with so many events.
func pair(seconds float64, events int64, in, out engine.NodeTime) engine.Status {
	return engine.Status{Pipeline: "pair", Outcome: engine.Running, Generation: 1, Seconds: seconds,
		Sources: map[string]engine.SourceStatus{"in": {NodeStatus: engine.NodeStatus{Workers: 1, Time: in}, Read: events}},
		Sinks:   map[string]engine.SinkStatus{"out": {NodeStatus: engine.NodeStatus{Workers: 1, Time: out}, In: events, Delivered: events}},
		Edges: map[string]engine.EdgeStatus{"in->out": {From: "in", To: "out", Policy: "block", Capacity: 100, Offered: events, Admitted: events,
			Delivered: events, PressedSeconds: in.Blocked, Dropped: map[string]int64{}}}}
}

func shareOf(t *testing.T, r Report, name string) NodeShare {
	t.Helper()
	for _, n := range r.Nodes {
		if n.Name == name {
			return n
		}
	}
	t.Fatalf("no node %s", name)
	return NodeShare{}
}

// TestStallIsTold: a stall is the first thing that is said.
func TestStallIsTold(t *testing.T) {
	a := pair(100, 500, engine.NodeTime{Blocked: 100}, engine.NodeTime{External: 100})
	b := pair(110, 500, engine.NodeTime{Blocked: 110}, engine.NodeTime{External: 110})
	b.Stall = &engine.Stall{Since: time.Now().Add(-65 * time.Second), Chain: []string{"source in waits for sink out"}}
	if got := Why(a, b).Sentences; len(got) == 0 || got[0] != "The pipeline is stalled for 1m5s: source in waits for sink out." {
		t.Errorf("got %q", got)
	}
}

// TestEdgeTakenAway: an hour of waiting at an edge that a reload takes away does
// not turn into an hour of work.
func TestEdgeTakenAway(t *testing.T) {
	a := pair(4000, 1000, engine.NodeTime{Busy: 400, Blocked: 3600}, engine.NodeTime{External: 4000})
	b := pair(4010, 1100, engine.NodeTime{Busy: 4008, Idle: 2}, engine.NodeTime{External: 4010})
	if got := shareOf(t, Why(a, b), "in"); got.Busy != .8 || got.Idle != .2 {
		t.Errorf("got %+v, want 0.8 busy and 0.2 idle", got)
	}
}

// TestNodeReplaced: a node that took the place of another of its name begins anew.
func TestNodeReplaced(t *testing.T) {
	a := pair(100, 5000, engine.NodeTime{Busy: 100}, engine.NodeTime{Busy: 20, Idle: 80})
	b := pair(110, 5500, engine.NodeTime{Busy: 110}, engine.NodeTime{Busy: 1, External: 4})
	if got := shareOf(t, Why(a, b), "out"); got.Busy != .2 || got.External != .8 || got.Rate != 50 {
		t.Errorf("got %+v, want 0.2 busy, 0.8 external, 50/s", got)
	}
	fresh := b.Sinks["out"]
	fresh.In, fresh.Delivered = 30, 30
	b.Sinks["out"] = fresh
	if got := shareOf(t, Why(a, b), "out"); got.Rate != 3 {
		t.Errorf("got %+v, want 3/s", got)
	}
}

// TestSourceCapacity: a source that waits for input could read no more than comes.
func TestSourceCapacity(t *testing.T) {
	a := pair(0, 0, engine.NodeTime{}, engine.NodeTime{})
	b := pair(10, 1000, engine.NodeTime{Busy: 1, Idle: 4, Blocked: 5}, engine.NodeTime{External: 10})
	r := Why(a, b)
	if in, out := shareOf(t, r, "in"), shareOf(t, r, "out"); in.Capacity != 200 || out.Capacity != 100 {
		t.Errorf("source %v, sink %v; want 200 and 100", in.Capacity, out.Capacity)
	}
}

// TestDropsThatAreNoLimit: what was dropped because an edge was shrunk, or an
// event too large, says nothing about the consumer.
func TestDropsThatAreNoLimit(t *testing.T) {
	f := func(limiting string, dropped map[string]int64) {
		t.Helper()
		a := pair(0, 0, engine.NodeTime{}, engine.NodeTime{})
		b := pair(10, 1000, engine.NodeTime{Busy: 10}, engine.NodeTime{External: 9, Idle: 1})
		e := b.Edges["in->out"]
		e.Policy, e.Dropped = "drop-oldest", dropped
		b.Edges["in->out"] = e
		if r := Why(a, b); r.Limiting != limiting {
			t.Errorf("%v: got %s, want %s\n%s", dropped, r.Limiting, limiting, strings.Join(r.Sentences, "\n"))
		}
	}
	f("in", map[string]int64{"resized": 500})
	f("in", map[string]int64{"oversize": 500})
	f("in", map[string]int64{"oldest": 5}) // half a per cent
	f("out", map[string]int64{"oldest": 500})
	f("out", map[string]int64{"expired": 500})
	f("out", map[string]int64{"timeout": 300, "newest": 200})
}

// TestManyWorkers: of 64 workers that hand on in order only one waits at a time,
// which is little of their time and all of the edge's.
func TestManyWorkers(t *testing.T) {
	a := pair(0, 0, engine.NodeTime{}, engine.NodeTime{})
	b := pair(10, 1000, engine.NodeTime{Busy: 1, Blocked: 9}, engine.NodeTime{External: 10})
	b.Stages = map[string]engine.StageStatus{"a": {NodeStatus: engine.NodeStatus{Workers: 64, Time: engine.NodeTime{Busy: 630, Blocked: 10}}, In: 1000, Out: 1000}}
	b.Edges = map[string]engine.EdgeStatus{
		"in->a":  {From: "in", To: "a", Policy: "block", Capacity: 100, Offered: 1000, Delivered: 1000, PressedSeconds: 9},
		"a->out": {From: "a", To: "out", Policy: "block", Capacity: 100, Offered: 1000, Delivered: 1000, PressedSeconds: 10}}
	r := Why(a, b)
	if said := strings.Join(r.Sentences, "\n"); r.Limiting != "out" || !strings.Contains(said, "source in waits 90 % and stage a 100 %") {
		t.Errorf("got %s\n%s", r.Limiting, said)
	}
}

// TestBursts: drops before a node that has time are bursts, not a limit.
func TestBursts(t *testing.T) {
	a := pair(0, 0, engine.NodeTime{}, engine.NodeTime{})
	b := pair(10, 1000, engine.NodeTime{Busy: 1, Idle: 9}, engine.NodeTime{External: 3, Idle: 7})
	e := b.Edges["in->out"]
	e.Policy, e.Dropped = "drop-newest", map[string]int64{"newest": 100}
	b.Edges["in->out"] = e
	r := Why(a, b)
	said := strings.Join(r.Sentences, "\n")
	if r.Limiting != "in" || r.Cause != CauseSource || !strings.Contains(said, "dropped 100 events in bursts (10 % of what came): sink out is active only 30 % of the time") {
		t.Errorf("got %s, %s\n%s", r.Limiting, r.Cause, said)
	}
}

// TestNoFigures: a status without times, or with nothing at all, gives no verdict
// and no panic.
func TestNoFigures(t *testing.T) {
	a := pair(0, 0, engine.NodeTime{}, engine.NodeTime{})
	for _, b := range []engine.Status{pair(10, 1000, engine.NodeTime{}, engine.NodeTime{}), {Seconds: 5}, {}} {
		if r := Why(a, b); r.Limiting != "" || len(r.Sentences) == 0 || r.Next != nil {
			t.Errorf("got %+v", r)
		}
	}
	b := pair(10, 1000, engine.NodeTime{Busy: 10}, engine.NodeTime{Idle: 10})
	maps.DeleteFunc(b.Sinks, func(string, engine.SinkStatus) bool { return true }) // an edge to nowhere
	if r := Why(a, b); r.Limiting != "in" {
		t.Errorf("got %+v", r)
	}
}
