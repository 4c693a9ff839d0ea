package engine

import (
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/guard"
)

// latencyBounds are the upper bounds of the buckets of latencies, in seconds:
// the same everywhere, so that latencies can be compared.
var latencyBounds = guard.Bounds

// Histogram is how often something took how long.
type Histogram struct {
	// Bounds are the upper bounds of the buckets, in seconds, rising.
	Bounds []float64 `json:"bounds"`
	// Counts are the observations by bucket, not cumulative; the last one is
	// above all bounds.
	Counts []int64 `json:"counts"`
	Count  int64   `json:"count"`
	Sum    float64 `json:"sum"` // seconds
}

// Quantile returns an estimate of the q-quantile in seconds, 0 when there are no
// observations: linear within its bucket, the last bound above all bounds.
func (h Histogram) Quantile(q float64) float64 {
	rank, below := q*float64(h.Count), int64(0)
	for i, n := range h.Counts {
		if n == 0 || float64(below+n) < rank {
			below += n
			continue
		}
		if i == len(h.Bounds) {
			break
		}
		low := 0.0
		if i > 0 {
			low = h.Bounds[i-1]
		}
		return low + (h.Bounds[i]-low)*(rank-float64(below))/float64(n)
	}
	if h.Count == 0 {
		return 0
	}
	return h.Bounds[len(h.Bounds)-1]
}

// Since returns the observations made after earlier, a snapshot of the same
// histogram.
func (h Histogram) Since(earlier Histogram) Histogram {
	d := Histogram{Bounds: h.Bounds, Counts: make([]int64, len(h.Counts)), Count: h.Count - earlier.Count, Sum: h.Sum - earlier.Sum}
	for i, n := range h.Counts {
		d.Counts[i] = n
		if i < len(earlier.Counts) {
			d.Counts[i] -= earlier.Counts[i]
		}
	}
	return d
}

// latencies collects a Histogram without locks.
type latencies struct {
	counts [len(latencyBounds) + 1]atomic.Int64
	sum    atomic.Int64 // ns
}

// observe enters n observations of d each.
func (l *latencies) observe(d time.Duration, n int64) {
	s, i := d.Seconds(), 0
	for i < len(latencyBounds) && s > latencyBounds[i] {
		i++
	}
	l.counts[i].Add(n)
	l.sum.Add(int64(d) * n)
}

func (l *latencies) get() Histogram {
	counts := make([]int64, len(l.counts))
	for i := range l.counts {
		counts[i] = l.counts[i].Load()
	}
	return histogram(counts, time.Duration(l.sum.Load()).Seconds())
}

func histogram(counts []int64, sum float64) Histogram {
	h := Histogram{Bounds: latencyBounds[:], Counts: counts, Sum: sum}
	for _, n := range counts {
		h.Count += n
	}
	return h
}
