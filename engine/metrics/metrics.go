// Package metrics shows the status of a pipeline to Prometheus. It is the only
// package that sees the Prometheus library.
//
// Nothing is counted here: every scrape reads one engine.Status and turns it into
// series, so the figures are those of every other view and a scrape costs the
// pipeline one short lock per edge. Every metric has the label pipeline; those of
// an edge have edge, those of a node have node. What a pipeline does not have (a
// lag nobody can tell, a limit nobody set) has no series rather than a zero.
//
// The number of series follows from the configuration, never from the data.
package metrics

import (
	"github.com/pipectl/pipectl/engine"
	"github.com/prometheus/client_golang/prometheus"
)

// prefix begins the name of every metric of this package.
const prefix = "pipectl_"

// labels are the values of the labels that a figure's subject decides: pipeline,
// and edge or node.
type labels [2]string

// row is one metric about a subject of type S: an edge, a node, a pipeline.
type row[S any] struct {
	*about
	send func(ch chan<- prometheus.Metric, s *S, of labels)
}

// about is what is known of a metric without a value.
type about struct {
	name   string
	typ    string // gauge, counter or histogram
	help   string
	labels []string
	desc   *prometheus.Desc
}

func describe(name, typ, help string, labels ...string) *about {
	a := &about{name: prefix + name, typ: typ, help: help, labels: append([]string{"pipeline"}, labels...)}
	a.desc = prometheus.NewDesc(a.name, help, a.labels, nil)
	return a
}

var valueTypes = map[string]prometheus.ValueType{"gauge": prometheus.GaugeValue, "counter": prometheus.CounterValue}

// number is a metric with one value for each subject.
func number[S any](a *about, value func(*S) float64) row[S] {
	typ := valueTypes[a.typ]
	return row[S]{a, func(ch chan<- prometheus.Metric, s *S, of labels) {
		ch <- prometheus.MustNewConstMetric(a.desc, typ, value(s), of[0], of[1])
	}}
}

// maybe is a metric that only some subjects have.
func maybe[S any](a *about, value func(*S) (v float64, has bool)) row[S] {
	typ := valueTypes[a.typ]
	return row[S]{a, func(ch chan<- prometheus.Metric, s *S, of labels) {
		if v, has := value(s); has {
			ch <- prometheus.MustNewConstMetric(a.desc, typ, v, of[0], of[1])
		}
	}}
}

// split is a metric with several values for each subject, told apart by a third
// label.
func split[S any](a *about, each func(s *S, put func(label string, v float64))) row[S] {
	typ := valueTypes[a.typ]
	return row[S]{a, func(ch chan<- prometheus.Metric, s *S, of labels) {
		each(s, func(label string, v float64) {
			ch <- prometheus.MustNewConstMetric(a.desc, typ, v, of[0], of[1], label)
		})
	}}
}

// histogram is a metric with buckets. One without bounds has no series.
func histogram[S any](a *about, value func(*S) engine.Histogram) row[S] {
	return row[S]{a, func(ch chan<- prometheus.Metric, s *S, of labels) {
		h := value(s)
		if len(h.Bounds) == 0 {
			return
		}
		buckets, below := make(map[float64]uint64, len(h.Bounds)), uint64(0)
		for i, bound := range h.Bounds {
			below += uint64(h.Counts[i])
			buckets[bound] = below
		}
		count := below + uint64(h.Counts[len(h.Bounds)])
		ch <- prometheus.MustNewConstHistogram(a.desc, count, h.Sum, buckets, of[0], of[1])
	}}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
