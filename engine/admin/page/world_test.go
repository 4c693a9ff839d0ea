package page_test

import (
	"math"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// world is a pipeline as a set of tanks: events flow like water, a tenth of a
// second at a time. It knows just enough to move the page's figures the way a
// real pipeline moves them.
type world struct {
	name       string
	generation uint64
	seconds    float64
	order      []string // of nodes, along the flow
	edgeOrder  []string
	nodes      map[string]*tank
	edges      map[string]*tube
	into       map[string][]*tube // by the node at the end
	outOf      map[string][]*tube
}

// tank is a node. It takes at most pace events a second.
type tank struct {
	name, typ    string
	kind         pipe.Kind
	pace         float64
	part         map[string]float64 // of the events that go into an output; 1 if not said
	external     bool
	took, total  float64
	late         float64 // seconds from the source to here
	busy, waited float64 // seconds, in all
	seen         engine.Histogram
}

// tube is an edge.
type tube struct {
	from, port, to   string
	settings         config.EdgeSettings
	queued           float64
	offered, taken   float64 // in all
	dropped          float64
	blocked          float64
	left, lost       float64 // in the last second
	pressed          float64 // share of the last second
	peak             float64
	pressedThisPulse bool
}

func (t *tube) room() float64 { return float64(t.settings.Buffer.Events) }

func newWorld(name string) *world {
	return &world{name: name, generation: 1, nodes: map[string]*tank{}, edges: map[string]*tube{},
		into: map[string][]*tube{}, outOf: map[string][]*tube{}}
}

func (w *world) node(kind pipe.Kind, name, typ string, pace float64) *tank {
	n := &tank{name: name, typ: typ, kind: kind, pace: pace, part: map[string]float64{}}
	n.seen.Bounds = []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 2.5, 5, 10, 30, 60}
	n.seen.Counts = make([]int64, len(n.seen.Bounds)+1)
	w.order, w.nodes[name] = append(w.order, name), n
	return n
}

func (w *world) edge(from, to, policy string, events int) *tube {
	id := from + "->" + to
	node, port, _ := strings.Cut(from, ".")
	s := config.EdgeSettings{OnDrop: "ack", OnShrink: "keep", Buffer: config.Buffer{Events: events, Bytes: 16 << 20}, Policy: config.Policy{Type: policy}}
	w.edgeOrder = append(w.edgeOrder, id)
	e := &tube{from: node, port: port, to: to, settings: s}
	w.edges[id], w.into[to], w.outOf[node] = e, append(w.into[to], e), append(w.outOf[node], e)
	return e
}

// accessLogs is the pipeline of most tests and of the pictures: its sink search
// is slow, and its edge blocks.
func accessLogs() *world {
	w := newWorld("access-logs")
	w.node(pipe.KindSource, "access", "http_server", 6000)
	w.node(pipe.KindStage, "parse", "parse", 14000).part["parse.failed->bad"] = .004
	w.node(pipe.KindStage, "keep", "filter", 22000)
	w.node(pipe.KindStage, "shape", "map", 17000)
	w.node(pipe.KindSink, "bad", "file", 30000)
	search := w.node(pipe.KindSink, "search", "http", 1900)
	search.external = true
	w.node(pipe.KindSink, "archive", "file", 26000)
	w.edge("access", "parse", config.Block, 1024)
	w.edge("parse", "keep", config.Block, 1024)
	w.edge("parse.failed", "bad", config.DropOldest, 256)
	w.edge("keep", "shape", config.Block, 2048)
	w.edge("keep", "archive", config.Block, 1024)
	w.edge("shape", "search", config.Block, 8192)
	return w
}

const pulses = 10 // a second

func (w *world) second() {
	for _, e := range w.edges {
		e.left, e.lost, e.pressed = 0, 0, 0
	}
	for _, n := range w.nodes {
		n.took = 0
	}
	for pulse := range pulses {
		for i := len(w.order) - 1; i >= 0; i-- {
			w.pulse(w.nodes[w.order[i]], pulse)
		}
		for _, e := range w.edges {
			if e.pressedThisPulse {
				e.pressed += 1. / pulses
				e.blocked += 1. / pulses
				e.pressedThisPulse = false
			}
		}
	}
	w.seconds++
	w.late()
}

// pulse lets a node work for a tenth of a second.
func (w *world) pulse(n *tank, pulse int) {
	can := n.pace / pulses * w.swing(n.name, pulse)
	want := can
	if n.kind != pipe.KindSource {
		have := 0.0
		for _, e := range w.into[n.name] {
			have += e.queued
		}
		want = min(want, have)
	}
	take := want
	for _, e := range w.outOf[n.name] {
		if free := (e.room() - e.queued) / share(n, e); e.settings.Policy.Type == config.Block && free < take {
			take = max(0, free)
			e.pressedThisPulse = true
		}
	}
	left := take
	for _, e := range w.into[n.name] {
		got := min(left, e.queued)
		e.queued, e.taken, e.left, left = e.queued-got, e.taken+got, e.left+got, left-got
	}
	for _, e := range w.outOf[n.name] {
		e.put(take * share(n, e))
	}
	n.took, n.total = n.took+take, n.total+take
	n.busy += take / can / pulses
	if take < want {
		n.waited += (1 - take/can) / pulses
	}
}

// swing makes the figures breathe.
func (w *world) swing(name string, pulse int) float64 {
	at := w.seconds + float64(pulse)/pulses
	return 1 + .06*math.Sin(at/7+float64(len(name))) + .04*math.Sin(at/2.3)
}

func share(n *tank, e *tube) float64 {
	id := e.from + "->" + e.to
	if e.port != "" {
		id = e.from + "." + e.port + "->" + e.to
	}
	if p, ok := n.part[id]; ok {
		return p
	}
	return 1
}

func (e *tube) put(n float64) {
	e.offered += n
	e.queued += n
	if over := e.queued - e.room(); over > 0 {
		e.queued, e.dropped, e.lost = e.room(), e.dropped+over, e.lost+over
	}
	e.peak = max(e.peak, e.queued)
}

// late works out how long events take to each node, and counts them at sinks.
func (w *world) late() {
	for _, name := range w.order {
		n := w.nodes[name]
		n.late = .002
		for _, e := range w.into[name] {
			n.late = max(n.late, w.nodes[e.from].late+e.queued/max(1, e.left))
		}
		if n.kind == pipe.KindSink {
			at, _ := slices.BinarySearch(n.seen.Bounds, n.late)
			n.seen.Counts[at] += int64(n.took)
			n.seen.Count += int64(n.took)
		}
	}
}

func (w *world) status() engine.Status {
	s := engine.Status{Pipeline: w.name, Outcome: engine.Running, Generation: w.generation, Seconds: w.seconds,
		Sources: map[string]engine.SourceStatus{}, Stages: map[string]engine.StageStatus{}, Sinks: map[string]engine.SinkStatus{}, Edges: map[string]engine.EdgeStatus{}}
	for _, name := range w.order {
		n := w.nodes[name]
		st, total := n.status(w.seconds), int64(n.total)
		switch n.kind {
		case pipe.KindSource:
			s.SourceNames = append(s.SourceNames, name)
			s.Sources[name] = engine.SourceStatus{NodeStatus: st, Read: total, Acked: total, LagEvents: -1, LagBytes: -1}
			s.Balance.Read += total
		case pipe.KindStage:
			s.StageNames = append(s.StageNames, name)
			s.Stages[name] = engine.StageStatus{NodeStatus: st, In: total, Out: total}
		case pipe.KindSink:
			s.SinkNames = append(s.SinkNames, name)
			seen := n.seen
			seen.Counts = slices.Clone(seen.Counts)
			s.Sinks[name] = engine.SinkStatus{NodeStatus: st, In: total, Delivered: total, EndToEnd: seen}
			s.Balance.Delivered += total
		}
	}
	for _, id := range w.edgeOrder {
		e := w.edges[id].status(w.generation)
		s.EdgeNames, s.Edges[id] = append(s.EdgeNames, id), e
		s.Balance.InFlight += e.Queued
		for _, n := range e.Dropped {
			s.Balance.Dropped += n
		}
	}
	return s
}

func (n *tank) status(seconds float64) engine.NodeStatus {
	t := engine.NodeTime{Busy: n.busy, Blocked: n.waited, Idle: max(0, seconds-n.busy-n.waited)}
	if n.external {
		t.Busy, t.External = n.busy*.04, n.busy*.96
	}
	return engine.NodeStatus{Type: n.typ, Workers: 1, InFlight: int64(n.took / 100), Time: t}
}

func (e *tube) status(generation uint64) engine.EdgeStatus {
	dropped := map[string]int64{}
	if reason, drops := strings.CutPrefix(e.settings.Policy.Type, "drop-"); drops {
		dropped[reason] = int64(e.dropped)
	} else if e.dropped > 0 {
		dropped["oldest"] = int64(e.dropped)
	}
	waiting := 0
	if e.pressed > 0 {
		waiting = 1
	}
	return engine.EdgeStatus{From: e.from, Port: e.port, To: e.to, Offered: int64(e.offered), Admitted: int64(e.offered - e.dropped),
		Delivered: int64(e.taken), Queued: int64(e.queued), Capacity: int64(e.room()), Peak: int64(e.peak), Dropped: dropped,
		Policy: e.settings.Policy.Type, PressedSeconds: e.blocked, BlockedSeconds: e.blocked, BlockedProducers: waiting,
		QueuedBytes: int64(e.queued * 264), CapacityBytes: int64(e.settings.Buffer.Bytes), Utilization: e.queued / e.room(),
		OldestSeconds: e.queued / max(1, e.left), Generation: generation}
}
