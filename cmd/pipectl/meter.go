package main

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/pipectl/pipectl/engine"
)

// How far back rates and the time left look: long enough to be calm, short
// enough to show a change while one watches. In seconds.
const (
	rateWindow     = 2.0
	progressWindow = 15.0
	meterStep      = 0.25 // samples closer than this replace each other
)

// meter turns the counts of a pipeline into rates. It keeps the few samples
// that the windows need.
type meter struct {
	samples  []engine.Status // oldest first, rateWindow long
	progress []progressMark  // oldest first, progressWindow long
}

type progressMark struct{ at, done float64 }

// add takes the state of this moment and returns it beside the one of
// rateWindow ago.
func (m *meter) add(s engine.Status) window {
	if n := len(m.samples); n > 1 && m.samples[n-1].Seconds-m.samples[n-2].Seconds < meterStep {
		m.samples = m.samples[:n-1]
	}
	m.samples = append(m.samples, s)
	for len(m.samples) > 2 && s.Seconds-m.samples[1].Seconds >= rateWindow {
		m.samples = slices.Delete(m.samples, 0, 1)
	}
	w := window{before: m.samples[0], now: s}
	w.done, w.finite = progressOf(s)
	w.left = m.timeLeft(s.Seconds, w.done)
	return w
}

// timeLeft extrapolates the progress of the last seconds; 0 when it cannot.
func (m *meter) timeLeft(at, done float64) time.Duration {
	if n := len(m.progress); n == 0 || at-m.progress[n-1].at >= 4*meterStep {
		m.progress = append(m.progress, progressMark{at, done})
	}
	for len(m.progress) > 1 && at-m.progress[0].at > progressWindow {
		m.progress = slices.Delete(m.progress, 0, 1)
	}
	first := m.progress[0]
	if done <= first.done || done >= 1 || at-first.at < 1 {
		return 0
	}
	left := (1 - done) / (done - first.done) * (at - first.at)
	return seconds(min(left, 99*86400))
}

// progressOf returns how much of the input has been read, from 0 to 1, and
// whether the input has a known end: it has when every source knows its own.
func progressOf(s engine.Status) (done float64, finite bool) {
	for _, src := range s.Sources {
		if src.ProgressTotal <= 0 {
			return 0, false
		}
		part := float64(src.ProgressDone) / float64(src.ProgressTotal)
		done += min(1, max(0, part)) / float64(len(s.Sources))
	}
	return done, len(s.Sources) > 0
}

// window is a pipeline at two moments, and what follows from them.
type window struct {
	before, now engine.Status
	done        float64 // part of the input that has been read
	finite      bool    // done means something
	left        time.Duration
}

// perSecond is the rate of a count between the two moments.
func (w window) perSecond(before, now float64) float64 {
	dt := w.now.Seconds - w.before.Seconds
	if dt <= 0 || now <= before {
		return 0
	}
	return (now - before) / dt
}

// readRate is what all sources read, in events per second.
func (w window) readRate() float64 {
	return w.perSecond(float64(w.before.Balance.Read), float64(w.now.Balance.Read))
}

// edgeFigures is what views show of an edge.
type edgeFigures struct {
	id       string
	status   engine.EdgeStatus
	fill     float64 // 0 to 1, of events or bytes, whichever is fuller; above 1 after a shrink
	rate     float64 // events delivered per second
	dropRate float64 // events dropped per second
	blocked  float64 // part of the time that producers waited, 0 to 1
	dropped  int64
}

// edge returns the figures of one edge.
func (w window) edge(id string) edgeFigures {
	b, n := w.before.Edges[id], w.now.Edges[id]
	f := edgeFigures{id: id, status: n, fill: fillOf(n), dropped: droppedBy(n)}
	f.rate = w.perSecond(float64(b.Delivered), float64(n.Delivered))
	f.dropRate = w.perSecond(float64(droppedBy(b)), float64(f.dropped))
	f.blocked = min(1, w.perSecond(b.PressedSeconds, n.PressedSeconds))
	return f
}

// edges returns the figures of all edges in the order of the file.
func (w window) edges() []edgeFigures {
	figures := make([]edgeFigures, len(w.now.EdgeNames))
	for i, id := range w.now.EdgeNames {
		figures[i] = w.edge(id)
	}
	return figures
}

// interest ranks edges: dropping ones first, then full and blocked ones, in steps
// so coarse that the choice does not flicker.
func (f edgeFigures) interest() int {
	const steps = 10
	score := int(math.Min(f.fill, 1)*steps) + int(f.blocked*steps)
	if f.dropRate > 0 {
		score += 3 * steps
	}
	return score
}

// busiest returns the n most interesting edges, still in the order of the file,
// and the others.
func busiest(figures []edgeFigures, n int) (shown, hidden []edgeFigures) {
	if len(figures) <= n {
		return figures, nil
	}
	order := make([]int, len(figures))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(figures[b].interest(), figures[a].interest())
	})
	top := make(map[int]bool, n)
	for _, i := range order[:max(0, n)] {
		top[i] = true
	}
	for i, f := range figures {
		if top[i] {
			shown = append(shown, f)
		} else {
			hidden = append(hidden, f)
		}
	}
	return shown, hidden
}

// fillOf is the fill by events or by bytes, whichever is more.
func fillOf(e engine.EdgeStatus) float64 {
	if e.Capacity <= 0 {
		return 0
	}
	return max(float64(e.Queued)/float64(e.Capacity), e.Utilization)
}

func droppedBy(e engine.EdgeStatus) int64 {
	n := int64(0)
	for _, k := range e.Dropped {
		n += k
	}
	return n
}
