package control

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

// gauge collects the figures of a guard: rates and shares over the time since
// the change, levels of this moment.
type gauge struct {
	seconds float64
	figures map[string]any
}

// measure returns the figures by their names in a guard: of the pipeline, and of
// those edges and nodes that are wanted. What the change added counts from 0.
func measure(base, now engine.Status, since time.Duration, wanted func(kind, name string) bool) map[string]any {
	g := &gauge{seconds: max(since.Seconds(), 1e-3), figures: map[string]any{}}
	g.pipeline(base, now)
	for id, e := range now.Edges {
		if wanted("edges", id) {
			g.edge(id, base.Edges[id], e)
		}
	}
	for name, s := range now.Sources {
		if wanted("sources", name) {
			g.source(name, base.Sources[name], s)
		}
	}
	for name, s := range now.Stages {
		if wanted("stages", name) {
			g.stage(name, base.Stages[name], s)
		}
	}
	for name, s := range now.Sinks {
		if wanted("sinks", name) {
			g.sink(name, base.Sinks[name], s)
		}
	}
	return g.figures
}

// everything wants all edges and nodes.
func everything(string, string) bool { return true }

// readBy wants the edges and nodes that a guard names.
func readBy(g *expr.Guard) func(kind, name string) bool {
	names := g.Names()
	return func(kind, name string) bool {
		prefix := expr.FigureName(kind, name) + "."
		return slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, prefix) })
	}
}

// samples returns the figures that a pipeline will have, with values of the
// right type.
func samples(p *config.Pipeline) map[string]any {
	s := engine.Status{Edges: map[string]engine.EdgeStatus{}, Sources: map[string]engine.SourceStatus{},
		Stages: map[string]engine.StageStatus{}, Sinks: map[string]engine.SinkStatus{}}
	for _, e := range p.Edges {
		s.Edges[e.ID] = engine.EdgeStatus{}
	}
	for _, n := range p.Nodes() {
		switch n.Kind {
		case pipe.KindSource:
			s.Sources[n.Name] = engine.SourceStatus{}
		case pipe.KindStage:
			s.Stages[n.Name] = engine.StageStatus{}
		case pipe.KindSink:
			s.Sinks[n.Name] = engine.SinkStatus{}
		}
	}
	return measure(s, s, time.Second, everything)
}

func (g *gauge) pipeline(base, now engine.Status) {
	b, n := base.Balance, now.Balance
	g.set(g.seconds, "seconds")
	g.set(float64(n.InFlight), "in_flight")
	for name, of := range map[string][2]int64{
		"read_rate": {b.Read, n.Read}, "delivered_rate": {b.Delivered, n.Delivered}, "filtered_rate": {b.Filtered, n.Filtered},
		"dropped_rate": {b.Dropped, n.Dropped}, "failed_rate": {b.Failed, n.Failed}, "dead_lettered_rate": {b.DeadLettered, n.DeadLettered},
	} {
		g.rate(of[0], of[1], name)
	}
	var all engine.Histogram
	for name, s := range now.Sinks {
		all = add(all, since(base.Sinks[name].EndToEnd, s.EndToEnd))
	}
	g.quantiles(all)
}

func (g *gauge) edge(id string, base, now engine.EdgeStatus) {
	g.rate(base.Delivered, now.Delivered, "edges", id, "rate")
	g.rate(base.Offered, now.Offered, "edges", id, "offered_rate")
	g.rate(total(base.Dropped), total(now.Dropped), "edges", id, "dropped_rate")
	g.share(base.PressedSeconds, now.PressedSeconds, 1, "edges", id, "blocked_share")
	g.set(now.Utilization, "edges", id, "utilization")
	g.set(float64(now.Queued), "edges", id, "queued")
	g.set(float64(now.QueuedBytes), "edges", id, "queued_bytes")
	g.set(now.OldestSeconds, "edges", id, "oldest_seconds")
	g.figures[expr.FigureName("edges", id, "tripped")] = now.Tripped
}

func (g *gauge) source(name string, base, now engine.SourceStatus) {
	g.rate(base.Read, now.Read, "sources", name, "rate")
	g.rate(base.Nacked, now.Nacked, "sources", name, "nacked_rate")
	g.rate(base.Failed, now.Failed, "sources", name, "failed_rate")
	g.rate(total(base.Rejected), total(now.Rejected), "sources", name, "rejected_rate")
	g.node("sources", name, base.NodeStatus, now.NodeStatus)
}

func (g *gauge) stage(name string, base, now engine.StageStatus) {
	g.rate(base.In, now.In, "stages", name, "rate")
	g.rate(base.Out, now.Out, "stages", name, "out_rate")
	g.rate(base.Filtered, now.Filtered, "stages", name, "filtered_rate")
	g.rate(base.Failed, now.Failed, "stages", name, "failed_rate")
	g.node("stages", name, base.NodeStatus, now.NodeStatus)
}

func (g *gauge) sink(name string, base, now engine.SinkStatus) {
	g.rate(base.In, now.In, "sinks", name, "rate")
	g.rate(base.Delivered, now.Delivered, "sinks", name, "delivered_rate")
	g.rate(base.Failed, now.Failed, "sinks", name, "failed_rate")
	g.rate(base.Retries, now.Retries, "sinks", name, "retry_rate")
	g.quantiles(since(base.EndToEnd, now.EndToEnd), "sinks", name)
	g.figures[expr.FigureName("sinks", name, "failing")] = now.Failing
	g.node("sinks", name, base.NodeStatus, now.NodeStatus)
}

// node sets what all nodes have; the shares are of the time of all workers.
func (g *gauge) node(kind, name string, base, now engine.NodeStatus) {
	g.set(float64(now.InFlight), kind, name, "in_flight")
	workers := float64(max(1, now.Workers))
	g.share(base.Time.Busy, now.Time.Busy, workers, kind, name, "busy")
	g.share(base.Time.Idle, now.Time.Idle, workers, kind, name, "idle")
	g.share(base.Time.Blocked, now.Time.Blocked, workers, kind, name, "blocked")
	g.share(base.Time.Throttled, now.Time.Throttled, workers, kind, name, "throttled")
	g.share(base.Time.External, now.Time.External, workers, kind, name, "external")
}

func (g *gauge) set(v float64, keys ...string) { g.figures[expr.FigureName(keys...)] = v }

// rate sets how often something happened per second.
func (g *gauge) rate(base, now int64, keys ...string) {
	if now < base { // what replaced it counts from 0
		base = 0
	}
	g.set(float64(now-base)/g.seconds, keys...)
}

// share sets the part of the time that was spent on something, 0 to 1.
func (g *gauge) share(base, now, workers float64, keys ...string) {
	if now < base {
		base = 0
	}
	g.set(min(1, (now-base)/g.seconds/workers), keys...)
}

// quantiles sets the end-to-end times in seconds.
func (g *gauge) quantiles(h engine.Histogram, group ...string) {
	for name, q := range map[string]float64{"p50": .5, "p95": .95, "p99": .99} {
		v := 0.0
		if h.Count > 0 {
			v = h.Quantile(q)
		}
		g.set(v, append(group[:len(group):len(group)], name)...)
	}
}

// since returns what a histogram observed after base.
func since(base, now engine.Histogram) engine.Histogram {
	if now.Count < base.Count {
		return now
	}
	return now.Since(base)
}

// add returns the observations of both; all histograms of one kind have the
// same bounds.
func add(a, b engine.Histogram) engine.Histogram {
	if a.Bounds == nil {
		return b
	}
	sum := engine.Histogram{Bounds: a.Bounds, Counts: make([]int64, len(a.Counts)), Count: a.Count + b.Count, Sum: a.Sum + b.Sum}
	for i := range sum.Counts {
		sum.Counts[i] = a.Counts[i]
		if i < len(b.Counts) {
			sum.Counts[i] += b.Counts[i]
		}
	}
	return sum
}

func total(by map[string]int64) (sum int64) {
	for n := range maps.Values(by) {
		sum += n
	}
	return sum
}

// spell says what a guard's figures are: `p95 is 2.5, in_flight is 7`.
func spell(g *expr.Guard, figures map[string]any) string {
	parts := []string{g.Source()}
	for _, name := range g.Names() {
		value := figures[name]
		if f, ok := value.(float64); ok {
			value = fmt.Sprintf("%.4g", f)
		}
		if value == nil {
			value = "gone"
		}
		parts = append(parts, fmt.Sprintf("%s is %v", name, value))
	}
	return strings.Join(parts, "; ")
}

// guardMistake makes a refusal of what is wrong with a guard, with its place.
func guardMistake(source string, err error) error {
	d := config.Diagnostic{File: "guard", Line: 1, Col: 1, Severity: config.Error, Code: "bad-guard", Message: err.Error(), Source: source}
	var at *pipe.OffsetError
	if errors.As(err, &at) {
		d.Col, d.Hint = 1+utf8.RuneCountInString(source[:min(at.Offset, len(source))]), at.Hint
	}
	return &engine.RefusedError{Reason: "the guard is not valid: " + err.Error(), Diagnostics: config.Diagnostics{d}}
}
