package metrics

import (
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/prometheus/client_golang/prometheus"
)

// Options are the sources of what a Status does not tell. Each may be nil: then
// what it would tell has no series.
type Options struct {
	// Last returns whether the last reload was put in force, and when it was
	// tried; a zero time means that there has been none, which counts as success.
	Last func() (success bool, at time.Time)
	// Why returns the node that limits the pipeline now and the cause, empty when
	// none does.
	Why func() (node, cause string)
	// ResetPeaks begins a new period for the peaks of all edges. It is called
	// after every scrape has read them.
	ResetPeaks func()
}

// The metrics of the pipeline as a whole.
var (
	bottleneck   = describe("bottleneck_info", "gauge", "The node that limits the pipeline now, and the cause; always 1.", "node", "cause")
	generation   = describe("config_generation", "gauge", "Number of the configuration in force; it rises by 1 with every change.")
	lastReload   = describe("last_reload_success", "gauge", "1 when the last reload was put in force or there was none, 0 when it was refused.")
	stalled      = describe("stalled", "gauge", "1 while events are in flight and, though nobody has told them to wait, nothing has moved for limits.stall_after, else 0.")
	conservation = describe("conservation_error_events", "gauge", "Events that the books cannot account for; anything but 0 is a bug of pipectl.")
)

// collector implements prometheus.Collector.
type collector struct {
	status func() engine.Status
	Options
}

// NewCollector returns a collector that calls status exactly once for every
// scrape. It keeps nothing between scrapes and may be used from several
// goroutines at once if the functions of o may.
func NewCollector(status func() engine.Status, o Options) prometheus.Collector {
	return &collector{status, o}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, a := range catalogue() {
		ch <- a.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.status()
	if c.ResetPeaks != nil {
		c.ResetPeaks()
	}
	failing := failedPorts(&s)
	for id, e := range inOrder(s.Edges) {
		send(ch, edgeRows, &e, labels{s.Pipeline, id})
	}
	for name, n := range inOrder(s.Sources) {
		of := labels{s.Pipeline, name}
		sendNode(ch, &n.NodeStatus, failing[name], of)
		send(ch, sourceRows, &n, of)
	}
	for name, n := range inOrder(s.Stages) {
		of := labels{s.Pipeline, name}
		sendNode(ch, &n.NodeStatus, failing[name], of)
		sendWork(ch, &n.NodeStatus, failing[name], of)
		send(ch, stageRows, &n, of)
	}
	for name, n := range inOrder(s.Sinks) {
		of := labels{s.Pipeline, name}
		sendNode(ch, &n.NodeStatus, failing[name], of)
		sendWork(ch, &n.NodeStatus, failing[name], of)
		send(ch, sinkRows, &n, of)
	}
	c.sendPipeline(ch, &s)
}

// inOrder goes through a map by its sorted keys. The library sorts every metric by
// its labels; finding them sorted saves it most of that work.
func inOrder[S any](m map[string]S) iter.Seq2[string, S] {
	return func(yield func(string, S) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

func (c *collector) sendPipeline(ch chan<- prometheus.Metric, s *engine.Status) {
	gauge := func(a *about, v float64, values ...string) {
		ch <- prometheus.MustNewConstMetric(a.desc, prometheus.GaugeValue, v, append([]string{s.Pipeline}, values...)...)
	}
	gauge(generation, float64(s.Generation))
	gauge(stalled, truth(s.Stall.Stalled()))
	gauge(conservation, float64(max(s.Balance.Error, -s.Balance.Error)))
	if c.Last != nil {
		success, at := c.Last()
		gauge(lastReload, truth(success || at.IsZero()))
	}
	if c.Why != nil {
		if node, cause := c.Why(); node != "" {
			gauge(bottleneck, 1, node, cause)
		}
	}
}

// sendNode sends what every node has. connected says whether its failed port leads
// somewhere.
func sendNode(ch chan<- prometheus.Metric, n *engine.NodeStatus, connected bool, of labels) {
	send(ch, nodeRows, n, of)
	if connected || n.DeadLetters > 0 {
		ch <- prometheus.MustNewConstMetric(deadLetters.desc, prometheus.CounterValue, float64(n.DeadLetters), of[0], of[1])
	}
}

// sendWork sends what stages and sinks have besides; whether there is an outage
// only when their failed port is connected.
func sendWork(ch chan<- prometheus.Metric, n *engine.NodeStatus, connected bool, of labels) {
	ch <- prometheus.MustNewConstMetric(leftBehind.desc, prometheus.GaugeValue, float64(n.LeftBehind), of[0], of[1])
	ch <- prometheus.MustNewConstMetric(leftTotal.desc, prometheus.CounterValue, float64(n.LeftTotal), of[0], of[1])
	if connected {
		ch <- prometheus.MustNewConstMetric(outage.desc, prometheus.GaugeValue, truth(n.Outage), of[0], of[1])
	}
}

func send[S any](ch chan<- prometheus.Metric, rows []row[S], s *S, of labels) {
	for i := range rows {
		rows[i].send(ch, s, of)
	}
}

// failedPorts returns the nodes whose failed port has an edge.
func failedPorts(s *engine.Status) map[string]bool {
	nodes := map[string]bool{}
	for _, e := range s.Edges {
		if e.Port == "failed" {
			nodes[e.From] = true
		}
	}
	return nodes
}

// catalogue returns all metrics, each once.
func catalogue() []*about {
	all := []*about{nodeEvents, deadLetters, outage, leftBehind, leftTotal, bottleneck, generation, lastReload, stalled, conservation}
	all = append(all, abouts(edgeRows)...)
	all = append(all, abouts(nodeRows)...)
	all = append(all, abouts(sourceRows[1:])...) // nodeEvents is there already
	all = append(all, abouts(stageRows[1:])...)
	return append(all, abouts(sinkRows[1:])...)
}

func abouts[S any](rows []row[S]) (all []*about) {
	for _, r := range rows {
		all = append(all, r.about)
	}
	return all
}
