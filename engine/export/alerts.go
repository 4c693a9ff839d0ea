// Package export writes what other programs need to watch a pipeline: alert rules
// for Prometheus and a dashboard for Grafana, both made for one file.
package export

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// Thresholds say when the alerts fire. Start from DefaultThresholds.
type Thresholds struct {
	// QueueEvents is how many events may be queued in one edge.
	QueueEvents int
	// Utilization is how full an edge may be, above 0 and at most 1, for
	// UtilizationFor.
	Utilization    float64
	UtilizationFor time.Duration
	// LagEvents is how many events may wait to be read by a source before a
	// warning; LagCritical, for LagCriticalFor, before a critical alert.
	LagEvents      int
	LagCritical    int
	LagCriticalFor time.Duration
	// InFlight is how many unsettled events a source may have.
	InFlight int
	// Latency is what 95 of 100 events may take from end to end, below
	// LargestLatency.
	Latency time.Duration
	// For is how long a condition without a time of its own must hold.
	For time.Duration
	// Runbook is the address of docs/runbook.md where the people on call can open
	// it; the alert's heading is added as its anchor.
	Runbook string
}

// LargestLatency is the largest bound of the histogram of end-to-end times. No
// estimate is above it, so a threshold must be below.
const LargestLatency = 60 * time.Second

// DefaultThresholds returns the thresholds that fit most pipelines.
func DefaultThresholds() Thresholds {
	return Thresholds{
		QueueEvents: 10_000,
		Utilization: 0.8, UtilizationFor: 5 * time.Minute,
		LagEvents: 50_000, LagCritical: 100_000, LagCriticalFor: 15 * time.Minute,
		InFlight: 5_000,
		Latency:  10 * time.Second,
		For:      time.Minute,
		Runbook:  "docs/runbook.md",
	}
}

// Validate reports the first threshold that is out of range, by the name of its
// option on the command line.
func (t Thresholds) Validate() error {
	for _, n := range []struct {
		name string
		v    int
	}{{"queue-events", t.QueueEvents}, {"lag", t.LagEvents}, {"lag-critical", t.LagCritical}, {"in-flight", t.InFlight}} {
		if n.v < 1 {
			return pipe.Fieldf(n.name, "must be at least 1, got %d", n.v)
		}
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"utilization-for", t.UtilizationFor}, {"lag-critical-for", t.LagCriticalFor}, {"for", t.For}} {
		if d.v < 0 || d.v%time.Millisecond != 0 {
			return pipe.Fieldf(d.name, "must be whole milliseconds and not negative, got %v", d.v)
		}
	}
	switch {
	case !(t.Utilization > 0 && t.Utilization <= 1):
		return pipe.Fieldf("utilization", "must be above 0 and at most 1, got %v", t.Utilization)
	case t.LagCritical < t.LagEvents:
		return pipe.Fieldf("lag-critical", "must be at least --lag %d, got %d", t.LagEvents, t.LagCritical)
	case t.Latency <= 0 || t.Latency >= LargestLatency:
		return pipe.Fieldf("latency", "must be above 0s and below %v, the longest time that is measured, got %v", LargestLatency, t.Latency)
	case t.Runbook == "":
		return pipe.Fieldf("runbook-url", "must not be empty")
	}
	return nil
}

// alert is one rule.
type alert struct {
	name     string
	severity string // warning or critical
	expr     string // lines of PromQL
	hold     time.Duration
	summary  string
	describe string
}

// Alerts returns rules for Prometheus, as YAML, about the pipeline.
func Alerts(p *config.Pipeline, t Thresholds) ([]byte, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	var w strings.Builder
	fmt.Fprintf(&w, "# Alerts for the pipeline %s, made by: pipectl export alerts\n", p.Name)
	fmt.Fprintf(&w, "# The thresholds are options of that command.\n")
	fmt.Fprintf(&w, "groups:\n  - name: %s\n    rules:\n", quote("pipectl "+p.Name))
	for _, a := range alerts(p, t) {
		a.write(&w, p.Name, t.Runbook)
	}
	return []byte(w.String()), nil
}

func alerts(p *config.Pipeline, t Thresholds) []alert {
	of := `{pipeline=` + strconv.Quote(p.Name) + `}`
	lossless := `{pipeline=` + strconv.Quote(p.Name) + without(p) + `}`
	all := append(edgeAlerts(of, lossless, t), sourceAlerts(of, t)...)
	return append(all, pipelineAlerts(of, t)...)
}

func edgeAlerts(of, lossless string, t Thresholds) []alert {
	drops := "pipectl_edge_dropped_events_total" + lossless
	return []alert{{
		name: "PipectlQueueDeep", severity: "warning", hold: t.For,
		expr:     fmt.Sprintf("pipectl_edge_queue_events%s > %d", of, t.QueueEvents),
		summary:  "edge {{ $labels.edge }} holds {{ $value | humanize }} events",
		describe: fmt.Sprintf("More than %d events are queued at edge {{ $labels.edge }}: the node behind it takes fewer than come, or stands still.", t.QueueEvents),
	}, {
		name: "PipectlEdgeFull", severity: "warning", hold: t.UtilizationFor,
		expr:    fmt.Sprintf("pipectl_edge_utilization_ratio%s > %v", of, t.Utilization),
		summary: "edge {{ $labels.edge }} is {{ $value | humanizePercentage }} full",
		describe: fmt.Sprintf("Edge {{ $labels.edge }} has been more than %.4g%% full for %s: the node behind it limits the pipeline. "+
			"If the edge blocks, the nodes before it wait, back to the source; if it drops, it drops now.", t.Utilization*100, promDuration(t.UtilizationFor)),
	}, {
		name: "PipectlUnexpectedDrop", severity: "critical",
		expr:    "increase(" + drops + "[5m]) > 0\nor\n(" + drops + " > 0 unless " + drops + " offset 5m)",
		summary: "edge {{ $labels.edge }} lost {{ $value | printf \"%.0f\" }} events ({{ $labels.reason }})",
		describe: "Edge {{ $labels.edge }} dropped events (reason: {{ $labels.reason }}) though the file declares no loss there: " +
			"its policy was changed while the pipeline ran, or the file has changed since these rules were made.",
	}}
}

func sourceAlerts(of string, t Thresholds) []alert {
	lag := "pipectl_source_lag_events" + of
	return []alert{{
		name: "PipectlLagHigh", severity: "warning", hold: t.For,
		expr:     fmt.Sprintf("%s > %d", lag, t.LagEvents),
		summary:  "source {{ $labels.node }} is {{ $value | humanize }} events behind",
		describe: fmt.Sprintf("More than %d events wait to be read by source {{ $labels.node }}: more comes than the pipeline takes, or something holds the source back.", t.LagEvents),
	}, {
		name: "PipectlLagCritical", severity: "critical", hold: t.LagCriticalFor,
		expr:    fmt.Sprintf("%s > %d", lag, t.LagCritical),
		summary: "source {{ $labels.node }} is {{ $value | humanize }} events behind and does not catch up",
		describe: fmt.Sprintf("More than %d events have waited to be read by source {{ $labels.node }} for %s: the pipeline does not catch up by itself.",
			t.LagCritical, promDuration(t.LagCriticalFor)),
	}, {
		name: "PipectlInFlightHigh", severity: "warning", hold: t.For,
		expr:     fmt.Sprintf("pipectl_source_in_flight_events%s > %d", of, t.InFlight),
		summary:  "source {{ $labels.node }} has {{ $value | humanize }} events in flight",
		describe: fmt.Sprintf("More than %d events of source {{ $labels.node }} are not settled: they wait in edges, in a batch that fills, or at a sink. All of them would be read again after a crash.", t.InFlight),
	}}
}

func pipelineAlerts(of string, t Thresholds) []alert {
	return []alert{{
		name: "PipectlLatencyHigh", severity: "warning", hold: t.For,
		expr:     fmt.Sprintf("histogram_quantile(0.95, rate(pipectl_end_to_end_seconds_bucket%s[5m])) > %v", of, t.Latency.Seconds()),
		summary:  "events take {{ $value | humanizeDuration }} to sink {{ $labels.node }}",
		describe: fmt.Sprintf("Of 100 events, 5 or more take longer than %s from their source to sink {{ $labels.node }}: they wait in edges on the way, or the sink is slow.", promDuration(t.Latency)),
	}, {
		name: "PipectlBreakerOpen", severity: "critical", hold: t.For,
		expr:     "pipectl_sink_breaker_state" + of + " == 2",
		summary:  "the circuit breaker of sink {{ $labels.node }} is open",
		describe: "Sink {{ $labels.node }} has failed so often that it is not tried any more for now: its events wait in the edges before it.",
	}, {
		name: "PipectlStalled", severity: "critical",
		expr:     "pipectl_stalled" + of + " == 1",
		summary:  "the pipeline stands still",
		describe: "Events are in flight, but none has moved for a while: a node holds them and does not come back.",
	}, {
		name: "PipectlReloadFailed", severity: "warning", hold: t.For,
		expr:     "pipectl_last_reload_success" + of + " == 0",
		summary:  "the last reload was refused",
		describe: "The last change of the configuration was refused as a whole. The pipeline runs on with the configuration it had; a restart would read the file that was refused.",
	}, {
		name: "PipectlBalanceError", severity: "critical",
		expr:     "pipectl_conservation_error_events" + of + " != 0",
		summary:  "the books are off by {{ $value | humanize }} events",
		describe: "What was read is not what was delivered, filtered, dropped, failed or is in flight. This is a bug of pipectl: events may have been lost or doubled without being counted.",
	}}
}

// without returns the matcher that leaves out the edges which may lose events: an
// edge that is added later counts as lossless until the rules are made again.
func without(p *config.Pipeline) string {
	var lossy []string
	for _, e := range p.Edges {
		if e.Loses() != "" {
			lossy = append(lossy, regexp.QuoteMeta(e.ID))
		}
	}
	if len(lossy) == 0 {
		return ""
	}
	return ",edge!~" + strconv.Quote(strings.Join(lossy, "|"))
}
