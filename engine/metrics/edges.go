package metrics

import (
	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/edge"
)

// edgeRows are the metrics of an edge.
var edgeRows = []row[engine.EdgeStatus]{
	number(edgeMetric("queue_events", "gauge", "Events queued in the edge."),
		func(s *engine.EdgeStatus) float64 { return float64(s.Queued) }),
	number(edgeMetric("queue_bytes", "gauge", "Accounted bytes of the events queued in the edge."),
		func(s *engine.EdgeStatus) float64 { return float64(s.QueuedBytes) }),
	number(edgeMetric("capacity_events", "gauge", "Most events the edge holds."),
		func(s *engine.EdgeStatus) float64 { return float64(s.Capacity) }),
	maybe(edgeMetric("capacity_bytes", "gauge", "Most accounted bytes the edge holds."),
		func(s *engine.EdgeStatus) (float64, bool) { return float64(s.CapacityBytes), s.CapacityBytes > 0 }),
	number(edgeMetric("utilization_ratio", "gauge", "How full the edge is, by events or bytes, whichever is more; above 1 after its bounds were lowered."),
		func(s *engine.EdgeStatus) float64 { return s.Utilization }),
	number(edgeMetric("peak_events", "gauge", "Most events queued in the edge at once since the last scrape."),
		func(s *engine.EdgeStatus) float64 { return float64(s.Stats.PeakEvents) }),
	number(edgeMetric("oldest_event_age_seconds", "gauge", "Time since the event at the head of the edge was read by its source, 0 when the edge is empty."),
		func(s *engine.EdgeStatus) float64 { return s.OldestSeconds }),

	number(edgeMetric("offered_events_total", "counter", "Events the edge has decided about: admitted or dropped at the entrance."),
		func(s *engine.EdgeStatus) float64 { return float64(s.Offered) }),
	number(edgeMetric("admitted_events_total", "counter", "Events that were queued in the edge."),
		func(s *engine.EdgeStatus) float64 { return float64(s.Admitted) }),
	number(edgeMetric("delivered_events_total", "counter", "Events that the edge's consumer took."),
		func(s *engine.EdgeStatus) float64 { return float64(s.Delivered) }),
	split(edgeMetric("dropped_events_total", "counter", "Events the edge dropped, at the entrance or from the queue, by reason.", "reason"), dropped),

	histogram(edgeMetric("put_wait_seconds", "histogram", "How long producers waited for room in the edge, one observation for each wait that is over."), putWait),
	number(edgeMetric("blocked_producers", "gauge", "Producers waiting for room in the edge now."),
		func(s *engine.EdgeStatus) float64 { return float64(s.BlockedProducers) }),
	number(edgeMetric("blocked_seconds_total", "counter", "Time that producers waited for room in the edge, summed over them, waits in progress included."),
		func(s *engine.EdgeStatus) float64 { return s.BlockedSeconds }),
	maybe(edgeMetric("sample_rate", "gauge", "Share of offered events that the edge's sample policy would keep now."),
		func(s *engine.EdgeStatus) (float64, bool) { return s.SampleRate, s.Policy == string(edge.Sample) }),
	number(edgeMetric("tripped", "gauge", "1 when the edge's block policy has timed out and nothing has fitted since, so that producers do not wait; else 0."),
		func(s *engine.EdgeStatus) float64 { return truth(s.Tripped) }),
	number(edgeMetric("generation", "gauge", "Generation of the configuration in which the edge's settings changed last."),
		func(s *engine.EdgeStatus) float64 { return float64(s.Generation) }),
	split(edgeMetric("policy_info", "gauge", "The edge's policy; always 1.", "policy"),
		func(s *engine.EdgeStatus, put func(string, float64)) { put(s.Policy, 1) }),
}

func edgeMetric(name, typ, help string, labels ...string) *about {
	return describe("edge_"+name, typ, help, append([]string{"edge"}, labels...)...)
}

// dropped shows every reason from the start, so that the first drop is a rise
// and not a new series.
func dropped(s *engine.EdgeStatus, put func(string, float64)) {
	for r := range edge.Reasons {
		put(r.String(), float64(s.Dropped[r.String()]))
	}
}

func putWait(s *engine.EdgeStatus) engine.Histogram {
	w := &s.Stats.Waits
	return engine.Histogram{Bounds: edge.WaitBounds[:], Counts: w.Buckets[:], Count: w.Count, Sum: w.Sum.Seconds()}
}
