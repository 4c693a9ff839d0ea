package explain

import (
	"github.com/pipectl/pipectl/engine"
)

// edgeDelta is what happened at an edge during some time. Small floats, since a
// Recorder keeps 600 of them for each edge.
type edgeDelta struct {
	offered, delivered float32 // events
	dropped            float32 // events, for any reason
	lost               float32 // part of dropped: because its consumer took too little
	sampled            float32 // part of dropped: left out by sampling
	pressed            float32 // seconds in which a producer waited
	grown              float32 // events by which the queue grew, or shrank
	queued, fill       float32 // at the end; fill by events or bytes
}

// nodeDelta is what a node did during some time, times in seconds summed over
// its workers.
type nodeDelta struct {
	in, out                                  float32 // events
	busy, idle, blocked, throttled, external float32
	window                                   float32 // part of blocked: a source waited for credit
	retries                                  float32
	requests                                 float32 // attempts of a sink; they take the time external
	held                                     float32 // events in its hands at the end
}

func (d *nodeDelta) total() float32 { return d.busy + d.idle + d.blocked + d.throttled + d.external }

// deltas are what happened in a pipeline during some time.
type deltas struct {
	seconds float64
	edges   map[string]edgeDelta
	nodes   map[string]nodeDelta
}

// between returns what happened from a to b. What a does not know began after it.
func between(a, b *engine.Status) deltas {
	d := deltas{seconds: b.Seconds - a.Seconds,
		edges: make(map[string]edgeDelta, len(b.Edges)), nodes: make(map[string]nodeDelta, len(b.Sources)+len(b.Stages)+len(b.Sinks))}
	for id, now := range b.Edges {
		then := a.Edges[id]
		d.edges[id] = edgeBetween(&then, &now)
	}
	for name, now := range b.Sources {
		then := a.Sources[name]
		if now.Read < then.Read {
			then = engine.SourceStatus{}
		}
		n := timeBetween(then.NodeStatus, now.NodeStatus)
		n.in, n.out = float32(now.Read-then.Read), float32(now.Read-then.Read)
		n.window = rise(then.WindowSeconds, now.WindowSeconds)
		d.nodes[name] = n
	}
	for name, now := range b.Stages {
		then := a.Stages[name]
		if now.In < then.In {
			then = engine.StageStatus{}
		}
		n := timeBetween(then.NodeStatus, now.NodeStatus)
		n.in, n.out = float32(now.In-then.In), rise(float64(then.Out), float64(now.Out))
		if then.Calls != nil && now.Calls != nil {
			n.retries = rise(float64(then.Calls.Retries), float64(now.Calls.Retries))
		}
		d.nodes[name] = n
	}
	for name, now := range b.Sinks {
		then := a.Sinks[name]
		d.nodes[name] = sinkBetween(then, now)
	}
	return d
}

func sinkBetween(then, now engine.SinkStatus) nodeDelta {
	if now.In < then.In {
		then = engine.SinkStatus{}
	}
	n := timeBetween(then.NodeStatus, now.NodeStatus)
	n.in, n.out = float32(now.In-then.In), rise(float64(then.Delivered), float64(now.Delivered))
	n.retries = rise(float64(then.Retries), float64(now.Retries))
	n.requests = rise(float64(then.RequestSeconds.Count), float64(now.RequestSeconds.Count))
	return n
}

func edgeBetween(then, now *engine.EdgeStatus) edgeDelta {
	if now.Offered < then.Offered {
		then = &engine.EdgeStatus{}
	}
	d := edgeDelta{
		offered: float32(now.Offered - then.Offered), delivered: rise(float64(then.Delivered), float64(now.Delivered)),
		pressed: rise(then.PressedSeconds, now.PressedSeconds), grown: float32(now.Queued - then.Queued),
		queued: float32(now.Queued), fill: float32(now.Utilization),
	}
	for reason, n := range now.Dropped {
		k := rise(float64(then.Dropped[reason]), float64(n))
		d.dropped += k
		switch reason {
		case "sampled":
			d.sampled += k
		case "oversize", "resized": // have nothing to do with the consumer
		default:
			d.lost += k
		}
	}
	return d
}

// restarted is by how many seconds the sum of a node's times may seem to fall:
// its parts are not read at one instant.
const restarted = .01

// timeBetween takes for work what was not waited for. The time blocked may seem
// to fall when a reload takes an edge away.
func timeBetween(then, now engine.NodeStatus) nodeDelta {
	if now.Time.Total() < then.Time.Total()-restarted {
		then = engine.NodeStatus{} // a node of the same name took its place
	}
	a, b := then.Time, now.Time
	d := nodeDelta{idle: rise(a.Idle, b.Idle), blocked: rise(a.Blocked, b.Blocked),
		throttled: rise(a.Throttled, b.Throttled), external: rise(a.External, b.External), held: float32(now.InFlight)}
	d.busy = max(0, rise(a.Total(), b.Total())-d.total())
	return d
}

// rise is by how much a figure rose; one that fell began anew.
func rise(then, now float64) float32 {
	if now < then {
		return 0
	}
	return float32(now - then)
}

// add continues d by what happened next.
func (d *edgeDelta) add(next edgeDelta) {
	d.offered += next.offered
	d.delivered += next.delivered
	d.dropped += next.dropped
	d.lost += next.lost
	d.sampled += next.sampled
	d.pressed += next.pressed
	d.grown += next.grown
	d.queued, d.fill = next.queued, next.fill
}

// add continues d by what happened next.
func (d *nodeDelta) add(next nodeDelta) {
	d.in += next.in
	d.out += next.out
	d.busy += next.busy
	d.idle += next.idle
	d.blocked += next.blocked
	d.throttled += next.throttled
	d.external += next.external
	d.window += next.window
	d.retries += next.retries
	d.requests += next.requests
	d.held = next.held
}
