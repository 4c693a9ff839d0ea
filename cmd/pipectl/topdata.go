package main

import (
	"maps"
	"slices"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/explain"
)

// keepSamples is how many seconds of the past top keeps.
const keepSamples = 600

// topData is what top knows of a pipeline: its state, the one of a moment
// before, and a sample a second of every edge and source.
type topData struct {
	now     liveStatus
	before  engine.Status // of the sample before
	meter   meter
	win     window
	why     explain.Report
	edges   map[string]explain.EdgeSeries
	sources map[string][]float32 // read per second
}

// clone returns a copy that later samples do not touch.
func (d *topData) clone() *topData {
	c := *d
	c.edges, c.sources = map[string]explain.EdgeSeries{}, map[string][]float32{}
	for id, e := range d.edges {
		c.edges[id] = explain.EdgeSeries{Rate: slices.Clone(e.Rate), Dropped: slices.Clone(e.Dropped), Fill: slices.Clone(e.Fill), Blocked: slices.Clone(e.Blocked)}
	}
	for name, samples := range d.sources {
		c.sources[name] = slices.Clone(samples)
	}
	return &c
}

// add enters the state that has come.
func (d *topData) add(s liveStatus) {
	if s.Seconds < d.now.Seconds || d.now.Pipeline != "" && s.Pipeline != d.now.Pipeline { // it was started again
		*d = topData{}
	}
	if d.edges == nil {
		d.edges, d.sources = map[string]explain.EdgeSeries{}, map[string][]float32{}
	}
	d.before, d.now = d.now.Status, s
	d.win = d.meter.add(s.Status)
	if s.Why != nil {
		d.why = *s.Why
	}
	if d.before.Seconds == 0 || d.before.Seconds >= s.Seconds {
		return
	}
	step := window{before: d.before, now: s.Status}
	for id := range s.Edges {
		e, f := d.edges[id], step.edge(id)
		d.edges[id] = explain.EdgeSeries{Rate: next(e.Rate, f.rate), Dropped: next(e.Dropped, f.dropRate), Fill: next(e.Fill, f.fill), Blocked: next(e.Blocked, f.blocked)}
	}
	for name, src := range s.Sources {
		d.sources[name] = next(d.sources[name], step.perSecond(float64(d.before.Sources[name].Read), float64(src.Read)))
	}
	gone := func(id string, _ explain.EdgeSeries) bool { _, ok := s.Edges[id]; return !ok }
	maps.DeleteFunc(d.edges, gone)
}

// next appends a sample, and forgets the oldest when there are too many.
func next(samples []float32, v float64) []float32 {
	if len(samples) >= keepSamples {
		samples = slices.Delete(samples, 0, len(samples)-keepSamples+1)
	}
	return append(samples, float32(v))
}

// recall puts the past, as the pipeline itself remembers it, before what was seen.
func (d *topData) recall(h explain.History) {
	if d.edges == nil {
		d.edges, d.sources = map[string]explain.EdgeSeries{}, map[string][]float32{}
	}
	join := func(past, seen []float32) []float32 {
		all := slices.Concat(past, seen)
		return all[max(0, len(all)-keepSamples):]
	}
	for id, past := range h.Edges {
		e := d.edges[id]
		d.edges[id] = explain.EdgeSeries{Rate: join(past.Rate, e.Rate), Dropped: join(past.Dropped, e.Dropped), Fill: join(past.Fill, e.Fill), Blocked: join(past.Blocked, e.Blocked)}
	}
	for name, past := range h.Nodes {
		d.sources[name] = join(past.Rate, d.sources[name])
	}
}

// edge returns the figures of an edge: those of the last seconds or, at the very
// beginning, those that the pipeline remembers.
func (d *topData) edge(id string) edgeFigures {
	f, past := d.win.edge(id), d.edges[id]
	if n := len(past.Rate); n > 0 && d.win.before.Seconds == d.win.now.Seconds {
		f.rate, f.dropRate, f.blocked = float64(past.Rate[n-1]), float64(past.Dropped[n-1]), float64(past.Blocked[n-1])
	}
	return f
}

// readRate is what a source reads per second.
func (d *topData) readRate(name string) float64 {
	past := d.sources[name]
	if n := len(past); n > 0 && d.win.before.Seconds == d.win.now.Seconds {
		return float64(past[n-1])
	}
	return d.win.perSecond(float64(d.win.before.Sources[name].Read), float64(d.win.now.Sources[name].Read))
}

// node returns how a node spends its time.
func (d *topData) node(name string) (explain.NodeShare, bool) {
	for _, n := range d.why.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return explain.NodeShare{}, false
}

// endToEnd is the 95th percentile of the time from source to sink over the last
// seconds, of the slowest sink; false when nothing has arrived.
func (d *topData) endToEnd() (worst float64, ok bool) {
	for name, k := range d.win.now.Sinks {
		h := k.EndToEnd.Since(d.win.before.Sinks[name].EndToEnd)
		if h.Count > 0 {
			worst, ok = max(worst, h.Quantile(0.95)), true
		}
	}
	return worst, ok
}
