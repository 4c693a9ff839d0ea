package metrics

import (
	"slices"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/pipe"
)

// classes are all classes of errors, in a fixed order.
var classes = []pipe.Class{pipe.Retryable, pipe.Throttled, pipe.Permanent, pipe.Poison, pipe.Fatal}

// nodeRows are the metrics that every node has.
var nodeRows = []row[engine.NodeStatus]{
	split(nodeMetric("node_time_seconds_total", "counter", "Time of the node's workers by what they did, summed over them, what is going on included.", "state"),
		func(s *engine.NodeStatus, put func(string, float64)) {
			put("busy", s.Time.Busy)
			put("idle", s.Time.Idle)
			put("blocked", s.Time.Blocked)
			put("throttled", s.Time.Throttled)
			put("external", s.Time.External)
		}),
	split(nodeMetric("node_errors_total", "counter", "Events that failed at the node, by class of error.", "class"),
		func(s *engine.NodeStatus, put func(string, float64)) {
			for _, c := range classes {
				put(string(c), float64(s.Errors[c]))
			}
		}),
	number(nodeMetric("node_in_flight_events", "gauge", "Events in the hands of the node; of a source, those it handed over that are not settled."),
		func(s *engine.NodeStatus) float64 { return float64(s.InFlight) }),
}

// These are about nodes of more than one kind.
var (
	nodeEvents = nodeMetric("node_events_total", "counter",
		"Events by what became of them at the node: in (taken, or read by a source), out (handed on, or confirmed by a sink), filtered, merged, failed.", "direction")
	deadLetters = nodeMetric("dead_letter_events_total", "counter", "Events that left the node through its failed port.")
	leftBehind  = nodeMetric("node_left_behind_calls", "gauge", "Calls of the node that ignored their timeout, were left behind and have not come back.")
	leftTotal   = nodeMetric("node_left_behind_calls_total", "counter", "Calls of the node that ignored their timeout and were left behind.")
	outage      = nodeMetric("dead_letter_outage", "gauge", "1 while so much fails at the node that it is held back instead of becoming dead letters, else 0.")
)

var sourceRows = []row[engine.SourceStatus]{
	split(nodeEvents, func(s *engine.SourceStatus, put func(string, float64)) {
		put("in", float64(s.Read))
		put("failed", float64(s.Failed))
	}),
	number(nodeMetric("source_in_flight_events", "gauge", "Events the source handed over that are not settled."),
		func(s *engine.SourceStatus) float64 { return float64(s.InFlight) }),
	maybe(nodeMetric("source_in_flight_limit", "gauge", "Most unsettled events of the source, from max_in_flight."),
		func(s *engine.SourceStatus) (float64, bool) { return float64(s.InFlightLimit), s.InFlightLimit > 0 }),
	number(nodeMetric("source_paused", "gauge", "1 while the source does not read because the pipeline is full, else 0."),
		func(s *engine.SourceStatus) float64 { return truth(s.Paused) }),
	maybe(nodeMetric("source_lag_events", "gauge", "Events that wait to be read by the source."),
		func(s *engine.SourceStatus) (float64, bool) { return float64(s.LagEvents), s.LagEvents >= 0 }),
	maybe(nodeMetric("source_lag_bytes", "gauge", "Bytes that wait to be read by the source."),
		func(s *engine.SourceStatus) (float64, bool) { return float64(s.LagBytes), s.LagBytes >= 0 }),
	split(nodeMetric("source_acks_total", "counter", "Events of the source that are settled, by result.", "result"),
		func(s *engine.SourceStatus, put func(string, float64)) {
			put("acked", float64(s.Acked))
			put("nacked", float64(s.Nacked))
			put("returned", float64(s.Returned))
			put("lost", float64(s.Lost))
		}),
	split(nodeMetric("source_rejected_total", "counter", "Requests the source refused, by the code of its answer.", "code"),
		func(s *engine.SourceStatus, put func(string, float64)) {
			for code, n := range s.Rejected {
				put(code, float64(n))
			}
		}),
}

var stageRows = []row[engine.StageStatus]{
	split(nodeEvents, func(s *engine.StageStatus, put func(string, float64)) {
		put("in", float64(s.In))
		put("out", float64(s.Out))
		put("filtered", float64(s.Filtered))
		put("merged", float64(s.Merged))
		put("failed", float64(s.Failed))
	}),
	histogram(nodeMetric("stage_processing_seconds", "histogram", "How long one call of the stage with one batch took."),
		func(s *engine.StageStatus) engine.Histogram { return s.Processing }),
}

var sinkRows = []row[engine.SinkStatus]{
	split(nodeEvents, func(s *engine.SinkStatus, put func(string, float64)) {
		put("in", float64(s.In))
		put("out", float64(s.Delivered))
		put("failed", float64(s.Failed))
	}),
	split(nodeMetric("sink_requests_total", "counter", "Writes of the sink that are over, each attempt counted, by result: ok or the class of the error.", "result"), requests),
	histogram(nodeMetric("sink_request_seconds", "histogram", "How long one attempt of the sink to write took."),
		func(s *engine.SinkStatus) engine.Histogram { return s.RequestSeconds }),
	number(nodeMetric("sink_retries_total", "counter", "Writes of the sink that were repeated."),
		func(s *engine.SinkStatus) float64 { return float64(s.Retries) }),
	maybe(nodeMetric("sink_concurrency_limit", "gauge", "Most writes of the sink at a time."),
		func(s *engine.SinkStatus) (float64, bool) { return float64(s.Concurrency), s.Concurrency > 0 }),
	number(nodeMetric("sink_retry_budget_ratio", "gauge", "Part of the burst of retries that the sink has left, 0 to 1."),
		func(s *engine.SinkStatus) float64 { return s.RetryBudget }),
	maybe(nodeMetric("sink_breaker_state", "gauge", "Circuit breaker of the sink: 0 closed, 1 half-open, 2 open."), func(s *engine.SinkStatus) (float64, bool) {
		if s.Breaker == nil {
			return 0, false
		}
		return float64(s.Breaker.Level), true
	}),
	maybe(nodeMetric("sink_breaker_opened_total", "counter", "How often the circuit breaker of the sink has opened."), func(s *engine.SinkStatus) (float64, bool) {
		if s.Breaker == nil {
			return 0, false
		}
		return float64(s.Breaker.Opened), true
	}),
	histogram(nodeMetric("end_to_end_seconds", "histogram", "Time from the read of an event by its source to its confirmation by the sink."),
		func(s *engine.SinkStatus) engine.Histogram { return s.EndToEnd }),
}

func nodeMetric(name, typ, help string, labels ...string) *about {
	return describe(name, typ, help, append([]string{"node"}, labels...)...)
}

// requests shows every result from the start, and those of a kind not known here.
func requests(s *engine.SinkStatus, put func(string, float64)) {
	put("ok", float64(s.Requests["ok"]))
	for _, c := range classes {
		put(string(c), float64(s.Requests[string(c)]))
	}
	for result, n := range s.Requests {
		if result != "ok" && !slices.Contains(classes, pipe.Class(result)) {
			put(result, float64(n))
		}
	}
}
