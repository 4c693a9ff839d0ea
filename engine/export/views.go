package export

// view is a panel as it is described here: what it asks and what it is for.
type view struct {
	title, help string
	kind        string // of panel
	unit        string // Grafana's name of it
	width       int    // columns
	queries     []query
	red         float64 // from which values are bad; 0: none is
	says        object  // words for values
	empty       string  // shown when there is nothing to show
}

type query struct{ expr, legend string }

type section struct {
	title string
	views []view
}

var sections = []section{
	{"Overview", append(figures, overview...)},
	{"Edges", edges},
	{"Nodes", nodes},
	{"Sources", sources},
	{"Sinks", sinks},
}

const (
	read      = `sum(rate(pipectl_node_events_total{ALL,direction="in"}[$__rate_interval]) and on (instance, node) pipectl_source_paused{ALL})`
	confirmed = `sum(rate(pipectl_node_events_total{ALL,direction="out"}[$__rate_interval]) and on (instance, node) pipectl_sink_retries_total{ALL})`
	dropped   = `sum(rate(pipectl_edge_dropped_events_total{ALL}[$__rate_interval]))`
)

// figures are the eight numbers at the top.
var figures = []view{
	stat("Read", "Events that the sources read, per second.", "eps", 0, read),
	stat("Confirmed", "Events that the sinks confirmed, per second, dead letters included.", "eps", 0, confirmed),
	stat("Dropped", "Events that edges dropped, per second. See the policies of the edges.", "eps", 0, dropped),
	stat("In flight", "Events that were read and are not settled.", "short", 0, `sum(pipectl_source_in_flight_events{ALL})`),
	stat("Latency, p95", "Time from the read of an event to its confirmation; 95 of 100 events take less.", "s", 10,
		`histogram_quantile(0.95, sum by (le) (rate(pipectl_end_to_end_seconds_bucket{ALL}[$__rate_interval]))) > 0`),
	stat("Generation", "Number of the configuration in force.", "none", 0, `max(pipectl_config_generation{ALL})`),
	worded("Last reload", "Whether the last change of the configuration was put in force.",
		object{"0": object{"text": "refused", "color": "red"}, "1": object{"text": "in force", "color": "green"}}, `min(pipectl_last_reload_success{ALL})`),
	stat("Books off by", "Events that are not accounted for. Anything but 0 is a bug of pipectl.", "short", 1, `max(pipectl_conservation_error_events{ALL})`),
}

var overview = []view{
	{title: "What became of the events", help: "Events per second by where they ended.", kind: "timeseries", unit: "eps", width: 12, queries: []query{
		{read, "read"},
		{confirmed, "confirmed"},
		{`sum(rate(pipectl_node_events_total{ALL,direction="filtered"}[$__rate_interval]))`, "filtered"},
		{dropped, "dropped"},
		{`sum(rate(pipectl_node_events_total{ALL,direction="failed"}[$__rate_interval]))`, "failed"},
	}},
	{title: "What limits", help: "The node that limits the pipeline, and the cause, while it does. In sentences: pipectl why.", kind: "state-timeline", unit: "none", width: 12,
		says: object{"1": object{"text": "limits", "color": "orange"}}, empty: "nothing limits, or it is not known yet",
		queries: []query{{`max by (node, cause) (pipectl_bottleneck_info{ALL})`, "{{node}} ({{cause}})"}}},
}

var edges = []view{
	{title: "How full", help: "Share of the edge's bound in use, by events or bytes, whichever is more.", kind: "timeseries", unit: "percentunit", width: 8, red: 0.8,
		queries: []query{{`max by (edge) (pipectl_edge_utilization_ratio{EDGE})`, "{{edge}}"}}},
	{title: "Queued", help: "Events queued in the edge. Peaks between two scrapes do not show here, but in the most since the last scrape.", kind: "timeseries", unit: "short", width: 8,
		queries: []query{{`sum by (edge) (pipectl_edge_queue_events{EDGE})`, "{{edge}}"}, {`max by (edge) (pipectl_edge_peak_events{EDGE})`, "{{edge}}, most"}}},
	{title: "Through the edge", help: "Events per second that the consumer takes.", kind: "timeseries", unit: "eps", width: 8,
		queries: []query{{`sum by (edge) (rate(pipectl_edge_delivered_events_total{EDGE}[$__rate_interval]))`, "{{edge}}"}}},
	{title: "Dropped", help: "Events per second that the edge drops, by reason.", kind: "timeseries", unit: "eps", width: 8, empty: "nothing dropped",
		queries: []query{{`sum by (edge, reason) (rate(pipectl_edge_dropped_events_total{EDGE}[$__rate_interval])) > 0`, "{{edge}}: {{reason}}"}}},
	{title: "Time that producers wait", help: "Seconds per second, summed over the producers: 100% is one producer that always waits. Waits in progress count.", kind: "timeseries", unit: "percentunit", width: 8,
		queries: []query{{`sum by (edge) (rate(pipectl_edge_blocked_seconds_total{EDGE}[$__rate_interval]))`, "{{edge}}"}}},
	{title: "Wait for room, p95", help: "How long one wait of a producer took; 95 of 100 are shorter. Waits in progress do not count.", kind: "timeseries", unit: "s", width: 8,
		queries: []query{{`histogram_quantile(0.95, sum by (edge, le) (rate(pipectl_edge_put_wait_seconds_bucket{EDGE}[$__rate_interval])))`, "{{edge}}"}}},
	{title: "Age of the oldest event", help: "Time since the event at the head of the edge was read by its source.", kind: "timeseries", unit: "s", width: 8,
		queries: []query{{`max by (edge) (pipectl_edge_oldest_event_age_seconds{EDGE})`, "{{edge}}"}}},
	{title: "Share kept by sampling", help: "Share of offered events that the policy sample keeps.", kind: "timeseries", unit: "percentunit", width: 8, empty: "no edge samples",
		queries: []query{{`min by (edge) (pipectl_edge_sample_rate{EDGE})`, "{{edge}}"}}},
	{title: "Settings", help: "Policy and bound of each edge, events dropped since the start, and the configuration that set them.", kind: "table", unit: "short", width: 8,
		queries: []query{
			{`max by (edge, policy) (pipectl_edge_policy_info{EDGE} * ignoring (policy) group_left pipectl_edge_capacity_events{EDGE})`, ""},
			{`sum by (edge) (pipectl_edge_dropped_events_total{EDGE})`, ""},
			{`max by (edge) (pipectl_edge_generation{EDGE})`, ""},
		}},
}

var nodes = []view{
	timeOf("Active", "Share of the workers' time spent at work, waiting for the far side, or held back by a rate limit or a retry's pause. The node that limits is near 100%.", "busy|external|throttled"),
	timeOf("Waiting for room", "Share of the workers' time spent waiting because an edge behind the node is full.", "blocked"),
	timeOf("Nothing to do", "Share of the workers' time spent waiting for events.", "idle"),
	{title: "Taken", help: "Events per second that the node takes; of a source, those it reads.", kind: "timeseries", unit: "eps", width: 8,
		queries: []query{{`sum by (node) (rate(pipectl_node_events_total{NODE,direction="in"}[$__rate_interval]))`, "{{node}}"}}},
	{title: "Failed", help: "Events per second that fail at the node, by class of error.", kind: "timeseries", unit: "eps", width: 8, empty: "nothing failed",
		queries: []query{{`sum by (node, class) (rate(pipectl_node_errors_total{NODE}[$__rate_interval])) > 0`, "{{node}}: {{class}}"}}},
	{title: "One call of a stage, p95", help: "How long a stage worked on one batch; 95 of 100 take less.", kind: "timeseries", unit: "s", width: 8,
		queries: []query{{`histogram_quantile(0.95, sum by (node, le) (rate(pipectl_stage_processing_seconds_bucket{NODE}[$__rate_interval])))`, "{{node}}"}}},
	{title: "In hand", help: "Events in the hands of the node's workers, or kept by a batch that fills; of a source, those it handed over that are not settled.", kind: "timeseries", unit: "short", width: 8,
		queries: []query{{`sum by (node) (pipectl_node_in_flight_events{NODE})`, "{{node}}"}}},
	{title: "Dead letters", help: "Events per second that leave a node through its failed port.", kind: "timeseries", unit: "eps", width: 8, empty: "no failed port has an edge",
		queries: []query{{`sum by (node) (rate(pipectl_dead_letter_events_total{NODE}[$__rate_interval]))`, "{{node}}"}}},
	{title: "Outage", help: "Whether so much fails at the node that it is held back instead of becoming dead letters.", kind: "state-timeline", unit: "none", width: 8, empty: "no failed port has an edge",
		says:    object{"0": object{"text": "none", "color": "green"}, "1": object{"text": "held back", "color": "red"}},
		queries: []query{{`max by (node) (pipectl_dead_letter_outage{NODE})`, "{{node}}"}}},
}

var sources = []view{
	{title: "Behind", help: "Events that wait to be read. Not every source can tell.", kind: "timeseries", unit: "short", width: 8, red: 50_000, empty: "no source can tell",
		queries: []query{{`sum by (node) (pipectl_source_lag_events{NODE})`, "{{node}}"}}},
	{title: "Behind, bytes", help: "Bytes that wait to be read. Not every source can tell.", kind: "timeseries", unit: "bytes", width: 8, empty: "no source can tell",
		queries: []query{{`sum by (node) (pipectl_source_lag_bytes{NODE})`, "{{node}}"}}},
	{title: "In flight", help: "Events that the source handed over and that are not settled, and the limit where max_in_flight sets one.", kind: "timeseries", unit: "short", width: 8,
		queries: []query{{`sum by (node) (pipectl_source_in_flight_events{NODE})`, "{{node}}"}, {`sum by (node) (pipectl_source_in_flight_limit{NODE})`, "{{node}}, limit"}}},
	{title: "Held back", help: "Share of the time in which the source did not read because the pipeline was full.", kind: "timeseries", unit: "percentunit", width: 8,
		queries: []query{{`avg by (node) (avg_over_time(pipectl_source_paused{NODE}[$__rate_interval]))`, "{{node}}"}}},
	{title: "Settled", help: "Events per second by what the source was told about them.", kind: "timeseries", unit: "eps", width: 8,
		queries: []query{{`sum by (node, result) (rate(pipectl_source_acks_total{NODE}[$__rate_interval])) > 0`, "{{node}}: {{result}}"}}},
	{title: "Refused requests", help: "Requests per second that the source refused, by the code of its answer; 503 means that the pipeline was full.", kind: "timeseries", unit: "reqps", width: 8, empty: "none refused",
		queries: []query{{`sum by (node, code) (rate(pipectl_source_rejected_total{NODE}[$__rate_interval]))`, "{{node}}: {{code}}"}}},
}

var sinks = []view{
	{title: "Writes", help: "Writes per second that are over, by result: ok, or the class of the error.", kind: "timeseries", unit: "wps", width: 8,
		queries: []query{{`sum by (node, result) (rate(pipectl_sink_requests_total{NODE}[$__rate_interval])) > 0`, "{{node}}: {{result}}"}}},
	{title: "One write, p95", help: "How long one attempt to write took; 95 of 100 take less.", kind: "timeseries", unit: "s", width: 8,
		queries: []query{{`histogram_quantile(0.95, sum by (node, le) (rate(pipectl_sink_request_seconds_bucket{NODE}[$__rate_interval])))`, "{{node}}"}}},
	{title: "End to end", help: "Time from the read of an event by its source to its confirmation by the sink.", kind: "timeseries", unit: "s", width: 8, red: 10, queries: []query{
		{`histogram_quantile(0.5, sum by (node, le) (rate(pipectl_end_to_end_seconds_bucket{NODE}[$__rate_interval])))`, "{{node}}, p50"},
		{`histogram_quantile(0.95, sum by (node, le) (rate(pipectl_end_to_end_seconds_bucket{NODE}[$__rate_interval])))`, "{{node}}, p95"},
		{`histogram_quantile(0.99, sum by (node, le) (rate(pipectl_end_to_end_seconds_bucket{NODE}[$__rate_interval])))`, "{{node}}, p99"},
	}},
	{title: "Repeated writes", help: "Writes per second that are repeated because the one before failed.", kind: "timeseries", unit: "wps", width: 8,
		queries: []query{{`sum by (node) (rate(pipectl_sink_retries_total{NODE}[$__rate_interval]))`, "{{node}}"}}},
	{title: "Breaker", help: "State of the circuit breaker of each sink that has one.", kind: "state-timeline", unit: "none", width: 8, empty: "no sink has a breaker",
		says:    object{"0": object{"text": "closed", "color": "green"}, "1": object{"text": "half-open", "color": "yellow"}, "2": object{"text": "open", "color": "red"}},
		queries: []query{{`max by (node) (pipectl_sink_breaker_state{NODE})`, "{{node}}"}}},
	{title: "Breaker opens", help: "How often in an hour the circuit breaker of each sink has opened.", kind: "timeseries", unit: "short", width: 8, empty: "no sink has a breaker",
		queries: []query{{`sum by (node) (increase(pipectl_sink_breaker_opened_total{NODE}[1h]))`, "{{node}}"}}},
	{title: "Retries left", help: "Part of the burst of retries that the sink has left. At 0 % its retries wait for their budget.", kind: "timeseries", unit: "percentunit", width: 8,
		queries: []query{{`min by (node) (pipectl_sink_retry_budget_ratio{NODE})`, "{{node}}"}}},
	{title: "Writes at a time", help: "Most writes of the sink at a time.", kind: "timeseries", unit: "short", width: 8,
		queries: []query{{`sum by (node) (pipectl_sink_concurrency_limit{NODE})`, "{{node}}"}}},
}

// stat is a number with its course behind it.
func stat(title, help, unit string, red float64, expr string) view {
	return view{title: title, help: help, kind: "stat", unit: unit, width: 3, red: red, empty: "–", queries: []query{{expr, ""}}}
}

// worded is a number that is shown as a word.
func worded(title, help string, says object, expr string) view {
	v := stat(title, help, "none", 0, expr)
	v.says = says
	return v
}

// timeOf is the share of the time that workers were in one of the states.
func timeOf(title, help, states string) view {
	expr := `sum by (node) (rate(pipectl_node_time_seconds_total{NODE,state=~"` + states + `"}[$__rate_interval])) / ` +
		`sum by (node) (rate(pipectl_node_time_seconds_total{NODE}[$__rate_interval]))`
	return view{title: title, help: help, kind: "timeseries", unit: "percentunit", width: 8, queries: []query{{expr, "{{node}}"}}}
}
