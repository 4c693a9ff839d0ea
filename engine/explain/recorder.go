package explain

import (
	"context"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine"
)

// Options say how much a Recorder remembers.
type Options struct {
	// Every is the time between two samples. Default 1s.
	Every time.Duration
	// Keep is how many samples are remembered. Default 600: ten minutes.
	Keep int
}

// Recorder remembers the recent past of a pipeline: a sample takes about 95
// bytes for an edge and the node behind it, so that ten minutes of 1,000 edges
// take about 55 MiB and those of ten edges half of one. All methods may be called
// from any goroutine.
type Recorder struct {
	status func() engine.Status
	every  time.Duration
	keep   int

	mu     sync.Mutex // guards what follows
	count  int        // samples taken so far; the newest is in slot (count-1) % keep
	ticks  []tick
	edges  map[string][]edgeDelta
	nodes  map[string][]nodeDelta
	delays map[string][]delay
	last   engine.Status
	lastAt time.Time
}

// tick is a sample's place in time.
type tick struct {
	at         int64   // unix ms
	seconds    float64 // since the sample before
	generation uint64
}

// delay are quantiles of a sink's latency in seconds.
type delay struct{ p50, p95, p99 float32 }

// NewRecorder makes a Recorder that asks status for the figures of the moment.
func NewRecorder(status func() engine.Status, o Options) *Recorder {
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.Keep <= 0 {
		o.Keep = 600
	}
	return &Recorder{status: status, every: o.Every, keep: o.Keep, ticks: make([]tick, o.Keep),
		edges: map[string][]edgeDelta{}, nodes: map[string][]nodeDelta{}, delays: map[string][]delay{}}
}

// Run takes a sample at once and then one every Options.Every, until ctx ends.
func (r *Recorder) Run(ctx context.Context) {
	t := time.NewTicker(r.every)
	defer t.Stop()
	for {
		r.sample()
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// sample enters the figures of this moment. The first one is only what the
// second is compared with.
func (r *Recorder) sample() {
	now, at := r.status(), time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.lastAt.IsZero() {
		r.enter(&now, at)
	}
	r.last, r.lastAt = now, at
}

func (r *Recorder) enter(now *engine.Status, at time.Time) {
	d, slot := between(&r.last, now), r.count%r.keep
	r.ticks[slot] = tick{at.UnixMilli(), d.seconds, now.Generation}
	put(r.edges, d.edges, slot, r.keep)
	put(r.nodes, d.nodes, slot, r.keep)
	delays := make(map[string]delay, len(now.Sinks))
	for name, s := range now.Sinks {
		h := s.EndToEnd
		if before := r.last.Sinks[name].EndToEnd; before.Count <= h.Count {
			h = h.Since(before)
		}
		delays[name] = delay{float32(h.Quantile(.5)), float32(h.Quantile(.95)), float32(h.Quantile(.99))}
	}
	put(r.delays, delays, slot, r.keep)
	r.count++
}

// put enters values into the slot of their series, and forgets the series that
// have none any more: what a reload took away has no past.
func put[T any](series map[string][]T, values map[string]T, slot, keep int) {
	for name := range series {
		if _, ok := values[name]; !ok {
			delete(series, name)
		}
	}
	for name, v := range values {
		s := series[name]
		if s == nil {
			s = make([]T, keep)
			series[name] = s
		}
		s[slot] = v
	}
}

// Latest returns the newest sample and when it was taken; the zero time before
// the first one.
func (r *Recorder) Latest() (engine.Status, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last, r.lastAt
}

// settled is how long a changed configuration must have been in force before the
// figures from before the change are left out.
const settled = 2.0

// Why says what limited the pipeline during the last window of time, in whole
// samples: at least one, at most all that are remembered. When the configuration
// changed within it, it looks at the time since the change, if that is 2 s or
// more.
func (r *Recorder) Why(window time.Duration) Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := deltas{edges: make(map[string]edgeDelta, len(r.edges)), nodes: make(map[string]nodeDelta, len(r.nodes))}
	first, mixed := r.first(window.Seconds())
	for i := first; i < r.count; i++ {
		d.seconds += r.ticks[i%r.keep].seconds
	}
	for id, s := range r.edges {
		var sum edgeDelta
		for i := first; i < r.count; i++ {
			sum.add(s[i%r.keep])
		}
		d.edges[id] = sum
	}
	for name, s := range r.nodes {
		var sum nodeDelta
		for i := first; i < r.count; i++ {
			sum.add(s[i%r.keep])
		}
		d.nodes[name] = sum
	}
	report := judge(&r.last, d, mixed)
	report.At = r.lastAt
	return report
}

// first returns the oldest sample of a window, and whether a change of the
// configuration lies within it.
func (r *Recorder) first(seconds float64) (first int, mixed bool) {
	oldest := max(0, r.count-r.keep)
	covered := 0.0
	for first = r.count; first > oldest && covered+r.every.Seconds()/2 < max(seconds, r.every.Seconds()); {
		t := r.ticks[(first-1)%r.keep]
		if before := first - 2; before >= oldest && r.ticks[before%r.keep].generation != t.generation {
			// The change happened during this sample.
			if covered >= settled {
				return first, false
			}
			mixed = true
		}
		covered += t.seconds
		first--
	}
	return first, mixed
}

// History returns the samples taken after since, oldest first; all that are
// remembered for the zero time.
func (r *Recorder) History(since time.Time) History {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := max(0, r.count-r.keep)
	for first < r.count && !since.IsZero() && r.ticks[first%r.keep].at <= since.UnixMilli() {
		first++
	}
	h := History{Every: r.every.Seconds(), Times: make([]int64, 0, r.count-first), Edges: make(map[string]EdgeSeries, len(r.edges)),
		Nodes: make(map[string]NodeSeries, len(r.nodes)), Latency: make(map[string]LatencySeries, len(r.delays))}
	for i := first; i < r.count; i++ {
		h.Times = append(h.Times, r.ticks[i%r.keep].at)
	}
	for id, s := range r.edges {
		h.Edges[id] = r.edgeSeries(s, first)
	}
	for name, s := range r.nodes {
		h.Nodes[name] = r.nodeSeries(s, first)
	}
	for name, s := range r.delays {
		h.Latency[name] = LatencySeries{
			P50: column(r, s, first, func(d *delay, _ float32) float32 { return d.p50 }),
			P95: column(r, s, first, func(d *delay, _ float32) float32 { return d.p95 }),
			P99: column(r, s, first, func(d *delay, _ float32) float32 { return d.p99 }),
		}
	}
	return h
}

func (r *Recorder) edgeSeries(s []edgeDelta, first int) EdgeSeries {
	return EdgeSeries{
		Rate:    column(r, s, first, func(d *edgeDelta, t float32) float32 { return part(d.delivered, t) }),
		Dropped: column(r, s, first, func(d *edgeDelta, t float32) float32 { return part(d.dropped, t) }),
		Fill:    column(r, s, first, func(d *edgeDelta, _ float32) float32 { return d.fill }),
		Blocked: column(r, s, first, func(d *edgeDelta, t float32) float32 { return min(1, part(d.pressed, t)) }),
	}
}

func (r *Recorder) nodeSeries(s []nodeDelta, first int) NodeSeries {
	return NodeSeries{
		Rate:      column(r, s, first, func(d *nodeDelta, t float32) float32 { return part(d.in, t) }),
		OutRate:   column(r, s, first, func(d *nodeDelta, t float32) float32 { return part(d.out, t) }),
		Busy:      column(r, s, first, func(d *nodeDelta, _ float32) float32 { return part(d.busy, d.total()) }),
		Idle:      column(r, s, first, func(d *nodeDelta, _ float32) float32 { return part(d.idle, d.total()) }),
		Blocked:   column(r, s, first, func(d *nodeDelta, _ float32) float32 { return part(d.blocked, d.total()) }),
		Throttled: column(r, s, first, func(d *nodeDelta, _ float32) float32 { return part(d.throttled, d.total()) }),
		External:  column(r, s, first, func(d *nodeDelta, _ float32) float32 { return part(d.external, d.total()) }),
	}
}

// column takes one value out of each sample from first on.
func column[T any](r *Recorder, s []T, first int, of func(d *T, seconds float32) float32) []float32 {
	values := make([]float32, 0, r.count-first)
	for i := first; i < r.count; i++ {
		values = append(values, of(&s[i%r.keep], float32(r.ticks[i%r.keep].seconds)))
	}
	return values
}

// part is a of b, 0 of nothing.
func part(a, b float32) float32 {
	if b <= 0 {
		return 0
	}
	return a / b
}
