package explain

import "github.com/pipectl/pipectl/engine"

// status shows the figures of this moment.
func (s *sim) status() engine.Status {
	st := engine.Status{Pipeline: "sim", Outcome: engine.Running, Generation: 1, Seconds: s.now, Sources: map[string]engine.SourceStatus{},
		Stages: map[string]engine.StageStatus{}, Edges: map[string]engine.EdgeStatus{}, Sinks: map[string]engine.SinkStatus{}}
	for _, name := range s.order {
		n := s.nodes[name]
		held := int64(0)
		for _, w := range n.workers {
			w.enter(s, w.state)
			if n.kind != "source" && w.state != "idle" {
				held++
			}
		}
		node := engine.NodeStatus{Type: "sim", Workers: len(n.workers), Time: n.time, InFlight: held}
		switch n.kind {
		case "source":
			node.InFlight = int64(n.open)
			st.Balance.InFlight += int64(n.open)
			st.Sources[name] = engine.SourceStatus{NodeStatus: node, Read: n.count, InFlightLimit: int64(n.window), WindowSeconds: n.forCredit}
			st.SourceNames = append(st.SourceNames, name)
		case "stage":
			st.Stages[name] = engine.StageStatus{NodeStatus: node, In: n.count, Out: n.passed}
			st.StageNames = append(st.StageNames, name)
		case "sink":
			st.Sinks[name] = engine.SinkStatus{NodeStatus: node, In: n.count, Delivered: n.count - held}
			st.SinkNames = append(st.SinkNames, name)
		}
	}
	for _, id := range s.links {
		e := s.edges[id]
		pressed := e.pressed
		if len(e.waiting) > 0 {
			pressed += s.now - e.since
		}
		dropped := map[string]int64{}
		for r, n := range e.dropped {
			dropped[r] = n
		}
		st.Edges[id] = engine.EdgeStatus{From: e.from.name, To: e.to.name, Policy: e.policy, Offered: e.offered, Delivered: e.delivered,
			Queued: int64(len(e.queue)), Capacity: int64(e.capacity), Utilization: float64(len(e.queue)) / float64(e.capacity),
			PressedSeconds: pressed, BlockedProducers: len(e.waiting), Dropped: dropped}
		st.EdgeNames = append(st.EdgeNames, id)
	}
	return st
}
