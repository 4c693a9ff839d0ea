package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/explain"
)

// fixtureEdge is an edge of the pipeline that the views are tested with, with what
// it does in a second.
type fixtureEdge struct {
	from, port, to, policy string
	capacity, rate, drops  int64
	fill, pressed, oldest  float64
}

var fixtureEdges = []fixtureEdge{
	{from: "access", to: "parse", policy: "block", capacity: 1024, rate: 8200, fill: .97, pressed: .93, oldest: .125},
	{from: "parse", port: "failed", to: "bad", policy: "block", capacity: 256, rate: 3, fill: .01, oldest: .04},
	{from: "parse", to: "keep", policy: "block", capacity: 1024, rate: 8190, fill: .55},
	{from: "keep", to: "shape", policy: "drop-oldest", capacity: 8192, rate: 820, drops: 960, fill: 1, oldest: 9.8},
	{from: "shape", to: "by_tenant", policy: "sample", capacity: 512, rate: 300, drops: 120, fill: .85, oldest: 1.4},
	{from: "by_tenant", port: "gold", to: "es", policy: "block", capacity: 4096, rate: 210, fill: .4, pressed: .12, oldest: 7},
	{from: "by_tenant", port: "else", to: "archive", policy: "block", capacity: 4096, rate: 90, fill: .02},
	{from: "metrics", to: "es", policy: "block", capacity: 1024, rate: 1500, fill: .12},
	{from: "metrics", to: "archive", policy: "drop-newest", capacity: 1024, rate: 1500},
}

func (e fixtureEdge) id() string {
	if e.port != "" {
		return e.from + "." + e.port + "->" + e.to
	}
	return e.from + "->" + e.to
}

// fixture is a pipeline k seconds into its run: parse limits it, one edge drops,
// one samples. It has more edges into archive until there are as many as wanted.
func fixture(k int64, edges int) liveStatus {
	var s liveStatus
	s.Pipeline, s.Outcome, s.Generation, s.Seconds = "access-logs", engine.Running, 3, 7200+float64(k)
	s.At = time.Unix(1_700_000_000+k, 0).UTC()
	s.Edges, s.Sources, s.Stages, s.Sinks = map[string]engine.EdgeStatus{}, map[string]engine.SourceStatus{}, map[string]engine.StageStatus{}, map[string]engine.SinkStatus{}
	o := &s.Order
	o.Sources, o.Stages, o.Sinks = []string{"access", "metrics"}, []string{"parse", "keep", "shape", "by_tenant"}, []string{"bad", "es", "archive"}
	list := slices.Clone(fixtureEdges)
	for i := len(list); i < edges; i++ {
		list = append(list, fixtureEdge{from: "shape", port: fmt.Sprintf("port_%d", i), to: "archive", policy: "block", capacity: 1024, rate: int64(i)})
	}
	b := &s.Balance
	for _, e := range list {
		st := fixtureStatus(e, k)
		s.Edges[e.id()], o.Edges = st, append(o.Edges, e.id())
		b.Dropped += droppedBy(st)
	}
	s.Sources["access"] = engine.SourceStatus{NodeStatus: engine.NodeStatus{Type: "file", InFlight: 2111}, Read: 8200 * k, Acked: 8100 * k, LagEvents: -1, LagBytes: 812 << 20}
	s.Sources["metrics"] = engine.SourceStatus{NodeStatus: engine.NodeStatus{Type: "http_server", InFlight: 12}, Read: 1500 * k, Acked: 1500 * k, LagEvents: -1, LagBytes: -1,
		InFlightLimit: 4096, Rejected: map[string]int64{"503": 7}}
	for _, name := range o.Stages {
		s.Stages[name] = engine.StageStatus{NodeStatus: engine.NodeStatus{Type: "map"}, In: 8000 * k, Out: 800 * k, Filtered: 7200 * k}
	}
	for _, name := range o.Sinks {
		s.Sinks[name] = engine.SinkStatus{NodeStatus: engine.NodeStatus{Type: "http"}, In: 500 * k, Delivered: 500 * k,
			EndToEnd: engine.Histogram{Bounds: []float64{.1, 1, 10}, Counts: []int64{100 * k, 400 * k, 0, 0}, Count: 500 * k}}
	}
	es := s.Sinks["es"]
	es.Failing, es.Retries = true, 12
	s.Sinks["es"] = es
	b.Read, b.Delivered, b.Filtered, b.DeadLettered, b.InFlight = 9700*k, 1500*k, 7200*k, 3*k, 9216
	s.Why = fixtureWhy()
	s.complete()
	return s
}

func fixtureStatus(e fixtureEdge, k int64) engine.EdgeStatus {
	queued := int64(e.fill * float64(e.capacity))
	s := engine.EdgeStatus{From: e.from, Port: e.port, To: e.to, Policy: e.policy, Offered: (e.rate + e.drops) * k, Admitted: e.rate * k,
		Delivered: e.rate * k, Queued: queued, Capacity: e.capacity, Peak: queued + 1, Dropped: map[string]int64{}, Utilization: e.fill,
		QueuedBytes: queued * 264, CapacityBytes: 16 << 20, OldestSeconds: e.oldest, PressedSeconds: e.pressed * float64(k), BlockedSeconds: e.pressed * float64(k)}
	if reason := map[string]string{"drop-oldest": "oldest", "sample": "sampled"}[e.policy]; reason != "" {
		s.Dropped[reason] = e.drops * k
	}
	if e.policy == "sample" {
		s.SampleRate = 0.25
	}
	if e.pressed > .5 {
		s.BlockedProducers = 1
	}
	return s
}

func fixtureWhy() *explain.Report {
	n := func(name, kind string, busy, external, throttled, blocked, rate, capacity float64) explain.NodeShare {
		return explain.NodeShare{Name: name, Kind: kind, Workers: 1, Busy: busy, External: external, Throttled: throttled, Blocked: blocked,
			Idle: 1 - busy - external - throttled - blocked, Rate: rate, Capacity: capacity}
	}
	return &explain.Report{Pipeline: "access-logs", WindowSeconds: 10, Limiting: "parse", Cause: explain.CauseBusy,
		Sentences: []string{"Stage parse limits access-logs: its worker is busy 98% of the time and takes 8,200 events/s.",
			"Source access waits 93% of the time because of it.", "Give parse more workers: sink es would be the next limit, at 12,000 events/s."},
		Nodes: []explain.NodeShare{n("access", "source", .06, 0, 0, .93, 8200, 120000), n("metrics", "source", .1, 0, 0, 0, 1500, 15000),
			n("parse", "stage", .98, 0, 0, .01, 8200, 8367), n("keep", "stage", .4, 0, 0, 0, 8190, 20000), n("shape", "stage", .3, 0, .6, 0, 820, 911),
			n("by_tenant", "stage", .05, 0, 0, .12, 300, 6000), n("bad", "sink", 0, .01, 0, 0, 3, 300), n("es", "sink", .1, .7, .1, 0, 1710, 1900),
			n("archive", "sink", .1, .05, 0, 0, 1590, 10600)},
		Blocks: []string{"access"}}
}

// fixtureHistory is the past of the fixture: everything was a little less, then a
// little more.
func fixtureHistory(samples int) explain.History {
	h := explain.History{Every: 1, Edges: map[string]explain.EdgeSeries{}, Nodes: map[string]explain.NodeSeries{}}
	wave := func(i int) float32 { return float32(70+(i*i)%31) / 100 }
	for i := range samples {
		h.Times = append(h.Times, 1_700_000_000_000+int64(i)*1000)
	}
	for _, e := range fixtureEdges {
		var s explain.EdgeSeries
		for i := range samples {
			s.Rate, s.Dropped = append(s.Rate, float32(e.rate)*wave(i)), append(s.Dropped, float32(e.drops)*wave(i))
			s.Fill, s.Blocked = append(s.Fill, float32(e.fill)*wave(i)), append(s.Blocked, float32(e.pressed)*wave(i))
		}
		h.Edges[e.id()] = s
	}
	for name, rate := range map[string]float32{"access": 8200, "metrics": 1500} {
		var s explain.NodeSeries
		for i := range samples {
			s.Rate = append(s.Rate, rate*wave(i))
		}
		h.Nodes[name] = s
	}
	return h
}
