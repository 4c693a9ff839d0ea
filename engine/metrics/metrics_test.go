package metrics

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/pipe"
)

// stuck has calls that were left behind.
func stuck(n engine.NodeStatus) engine.NodeStatus {
	n.LeftBehind, n.LeftTotal = 2, 5
	return n
}

// shop is a status in which every figure differs.
func shop() engine.Status {
	node := func(n float64) engine.NodeStatus {
		return engine.NodeStatus{Workers: 2, InFlight: int64(n), Time: engine.NodeTime{Busy: n + .1, Idle: n + .2, Blocked: n + .3, Throttled: n + .4, External: n + .5},
			Errors: map[pipe.Class]int64{pipe.Poison: int64(n) + 1}}
	}
	times := engine.Histogram{Bounds: []float64{.1, 1}, Counts: []int64{3, 2, 1}, Count: 6, Sum: 7.5}
	stats := edge.Stats{PeakEvents: 77, Waits: edge.Waits{Buckets: [7]int64{1, 2, 0, 0, 0, 0, 4}, Count: 7, Sum: 300 * time.Second}}
	return engine.Status{Pipeline: "shop", Generation: 3, Stall: &engine.Stall{Chain: []string{"source till waits"}},
		Sources: map[string]engine.SourceStatus{
			"till": {NodeStatus: node(10), Read: 100, Acked: 90, Nacked: 1, Returned: 2, Lost: 4, Failed: 5, InFlightLimit: 50, Paused: true,
				LagEvents: 1234, LagBytes: -1, Rejected: map[string]int64{"503": 6}},
			"tape": {LagEvents: -1, LagBytes: 4321},
		},
		Stages: map[string]engine.StageStatus{"keep": {NodeStatus: dead(node(20), 3), In: 88, Out: 44, Filtered: 40, Failed: 3, Merged: 1, Processing: times}},
		Sinks: map[string]engine.SinkStatus{"out": {NodeStatus: stuck(node(30)), In: 44, Delivered: 33, Failed: 2, Retries: 9, Concurrency: 4, RetryBudget: .75, Breaker: &engine.BreakerStatus{Level: 2, Opened: 3},
			Requests: map[string]int64{"ok": 8, "throttled": 7}, RequestSeconds: times, EndToEnd: times}},
		Edges: map[string]engine.EdgeStatus{
			"till->keep": {From: "till", To: "keep", Offered: 95, Admitted: 94, Delivered: 93, Queued: 1, Capacity: 1000, Policy: "drop-oldest",
				Dropped: map[string]int64{"oldest": 1}, BlockedSeconds: 12.5, QueuedBytes: 512, CapacityBytes: 1 << 20, Utilization: .001,
				OldestSeconds: 1.5, BlockedProducers: 2, Generation: 2, Stats: stats},
			"keep.failed->out": {From: "keep", Port: "failed", To: "out", Policy: "sample", SampleRate: .25, Tripped: true},
		},
		Balance: engine.Balance{Error: -2},
	}
}

// scrape returns the answer of a handler.
func scrape(t testing.TB, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("code %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func full() Options {
	return Options{
		Last: func() (bool, time.Time) { return false, time.Unix(1, 0) },
		Why:  func() (string, string) { return "out", "external" },
	}
}

// TestSeries compares every series of a status with what it must be.
func TestSeries(t *testing.T) {
	text := scrape(t, Handler(shop, full()))
	var got []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			got = append(got, strings.TrimSpace(line))
		}
	}
	golden, err := os.ReadFile("testdata/shop.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(golden)), "\n")
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("not in testdata/shop.txt: %s", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("missing: %s", line)
		}
	}
}

// contract are the metrics that outside tools rely on, with their labels beside
// pipeline.
const contract = `
edge: edge_queue_events edge_queue_bytes edge_capacity_events edge_capacity_bytes edge_utilization_ratio edge_peak_events edge_oldest_event_age_seconds
edge: edge_offered_events_total edge_admitted_events_total edge_delivered_events_total edge_put_wait_seconds edge_blocked_producers
edge: edge_blocked_seconds_total edge_sample_rate edge_tripped edge_generation
edge,reason: edge_dropped_events_total
edge,policy: edge_policy_info
node,direction: node_events_total
node,state: node_time_seconds_total
node,class: node_errors_total
node: node_in_flight_events stage_processing_seconds
node: source_in_flight_events source_in_flight_limit source_paused source_lag_events source_lag_bytes
node,result: source_acks_total
node,code: source_rejected_total
node,result: sink_requests_total
node: sink_request_seconds sink_retries_total sink_concurrency_limit sink_retry_budget_ratio sink_breaker_state sink_breaker_opened_total end_to_end_seconds dead_letter_events_total dead_letter_outage
node: node_left_behind_calls node_left_behind_calls_total
node,cause: bottleneck_info
: config_generation last_reload_success stalled conservation_error_events
`

func TestContract(t *testing.T) {
	want := map[string]string{}
	for line := range strings.Lines(strings.TrimSpace(contract)) {
		labels, names, _ := strings.Cut(line, ":")
		for _, name := range strings.Fields(names) {
			want[prefix+name] = labels
		}
	}
	for _, a := range catalogue() {
		labels, ok := want[a.name]
		if got := strings.Join(a.labels[1:], ","); !ok || got != labels || a.labels[0] != "pipeline" {
			t.Errorf("%s has the labels pipeline,%s, want pipeline,%s", a.name, got, labels)
		}
		delete(want, a.name)
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}

// TestAbsent checks that what a pipeline does not have has no series.
func TestAbsent(t *testing.T) {
	f := func(name string, o Options, series string, want bool) {
		t.Helper()
		text := scrape(t, Handler(shop, o))
		if got := strings.Contains(text, "\n"+prefix+series); got != want {
			t.Errorf("%s: series %s: %v, want %v", name, series, got, want)
		}
	}
	f("limit set", full(), `source_in_flight_limit{node="till"`, true)
	f("no limit", full(), `source_in_flight_limit{node="tape"`, false)
	f("lag unknown", full(), `source_lag_events{node="tape"`, false)
	f("lag bytes unknown", full(), `source_lag_bytes{node="till"`, false)
	f("failed port", full(), `dead_letter_events_total{node="keep"`, true)
	f("no failed port", full(), `dead_letter_events_total{node="out"`, false)
	f("failed port of a stage", full(), `dead_letter_outage{node="keep",pipeline="shop"} 1`, true)
	f("nothing to hold back", full(), `dead_letter_outage{node="out"`, false)
	f("no sample policy", full(), `edge_sample_rate{edge="till->keep"`, false)
	f("no byte bound", full(), `edge_capacity_bytes{edge="keep.failed->out"`, false)
	f("nothing timed yet", full(), `end_to_end_seconds_count{node="out"`, true)
	f("no reload function", Options{}, "last_reload_success", false)
	f("no reload yet", Options{Last: func() (bool, time.Time) { return false, time.Time{} }}, `last_reload_success{pipeline="shop"} 1`, true)
	f("reload refused", full(), `last_reload_success{pipeline="shop"} 0`, true)
	f("no bottleneck", Options{Why: func() (string, string) { return "", "" }}, "bottleneck_info", false)
}

// TestOneStatusPerScrape checks that a scrape reads once, and resets the peaks
// after it has.
func TestOneStatusPerScrape(t *testing.T) {
	var calls []string
	o := full()
	o.ResetPeaks = func() { calls = append(calls, "reset") }
	h := Handler(func() engine.Status { calls = append(calls, "status"); return shop() }, o)
	scrape(t, h)
	scrape(t, h)
	if want := []string{"status", "reset", "status", "reset"}; !slices.Equal(calls, want) {
		t.Errorf("got %v, want %v", calls, want)
	}
}

// TestPromtool has Prometheus' own checker judge the names and the format.
func TestPromtool(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("SKIPPED: promtool is not installed, the metrics were not checked; run: make promtool")
	}
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader(scrape(t, Handler(shop, full())))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil || out.Len() > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, &out)
	}
}

var docsRow = regexp.MustCompile("(?m)^\\| `(pipectl_[a-z_]+)` \\| ([a-z]+) \\| ([^|]*) \\|")

// TestDocs holds docs/metrics.md against the metrics: each has a row with its
// type and labels, and no row is about a metric that does not exist.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, m := range docsRow.FindAllStringSubmatch(string(page), -1) {
		rows[m[1]] = m[2] + " " + m[3]
	}
	for _, a := range catalogue() {
		var ticked []string
		for _, l := range a.labels[1:] {
			ticked = append(ticked, "`"+l+"`")
		}
		want := fmt.Sprintf("%s %s", a.typ, strings.Join(ticked, " "))
		if got := strings.TrimSpace(rows[a.name]); got != strings.TrimSpace(want) {
			t.Errorf("%s: the row has %q, want %q", a.name, got, want)
		}
		delete(rows, a.name)
	}
	for name := range rows {
		t.Errorf("the page has a row for %s, which does not exist", name)
	}
}

// dead is n with dead letters.
func dead(n engine.NodeStatus, letters int64) engine.NodeStatus {
	n.DeadLetters, n.Outage = letters, true
	return n
}
