package edge

import (
	"fmt"
	"time"
)

// Reason says why an event was dropped. There is no other way to lose an event
// on an edge.
type Reason uint8

// The reasons.
const (
	Newest   Reason = iota // it came when the edge was full
	Oldest                 // it was the oldest when another came
	Random                 // it was chosen at random when another came
	Sampled                // sampling left it out
	TimedOut               // it, or the event that came, had waited for Timeout
	Expired                // it was older than Age
	Oversize               // it is larger than Bytes and the edge was not empty
	Resized                // the edge was shrunk, with OnShrink Evict
	Reasons                // how many there are
)

func (r Reason) String() string {
	names := [Reasons]string{"newest", "oldest", "random", "sampled", "timeout", "expired", "oversize", "resized"}
	if r < Reasons {
		return names[r]
	}
	return "unknown"
}

// Count is a number of events and their accounted bytes together.
type Count struct {
	Events int64
	Bytes  int64
}

func (c *Count) add(events int, bytes int64) {
	c.Events += int64(events)
	c.Bytes += bytes
}

// WaitBounds are the upper bounds of the buckets of Waits, in seconds.
var WaitBounds = [...]float64{.001, .01, .1, 1, 10, 60}

// Waits is a histogram of how long producers waited: one wait per Send that had
// to, however it ended.
type Waits struct {
	Buckets [len(WaitBounds) + 1]int64 // not cumulative; the last is above all bounds
	Count   int64
	Sum     time.Duration
}

func (h *Waits) observe(d time.Duration) {
	i := 0
	for i < len(WaitBounds) && d.Seconds() > WaitBounds[i] {
		i++
	}
	h.Buckets[i]++
	h.Count++
	h.Sum += d
}

// counts are an edge's figures that only rise, and the peak.
type counts struct {
	offered, admitted, delivered, returned Count
	refused, evicted                       [Reasons]Count
	oversize                               int64
	waits                                  Waits
	peak, lifetimePeak                     int
}

// Stats are the figures of an edge at one moment.
type Stats struct {
	ID         string
	Policy     Policy
	Generation uint64
	Seed       uint64 // of the random choices
	Closed     bool
	Tripped    bool    // Block has timed out and nothing has fitted since
	SampleRate float64 // with which an event would be kept now; 1 unless the policy is Sample

	Queued         Count
	CapacityEvents int
	CapacityBytes  int64         // 0 when there is no bound
	Utilization    float64       // by events or by bytes, whichever is more; above 1 after a shrink
	PeakEvents     int           // since the last ResetPeak
	LifetimePeak   int           // since New
	OldestAge      time.Duration // since the event at the head was read

	Offered   Count          // decided about: admitted or refused
	Admitted  Count          // queued
	Delivered Count          // received
	Returned  Count          // taken out by Drain
	Refused   [Reasons]Count // dropped instead of being admitted
	Evicted   [Reasons]Count // dropped after having been admitted
	Oversized int64          // events larger than Bytes that were admitted, alone

	Waits     Waits         // waits of producers that are over
	Producers int           // waiting now
	Receivers int           // waiting now
	Blocked   time.Duration // waited by all producers, waits in progress included
	Pressed   time.Duration // how long at least one producer was waiting
	Idle      time.Duration // waited by all receivers, waits in progress included
}

// Snapshot returns the figures of this moment, all of the same moment.
func (q *Edge) Snapshot() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	q.ring.trim(now)
	c, r := &q.counts, &q.rules
	s := Stats{
		ID: q.id, Policy: r.Policy, Generation: q.generation, Seed: q.seed,
		Closed: q.closed, Tripped: q.tripped, SampleRate: 1,
		Queued:         Count{int64(q.ring.n), q.bytes},
		CapacityEvents: r.Events, CapacityBytes: r.Bytes, Utilization: q.utilization(),
		PeakEvents: c.peak, LifetimePeak: max(c.peak, c.lifetimePeak),
		Offered: c.offered, Admitted: c.admitted, Delivered: c.delivered, Returned: c.returned,
		Refused: c.refused, Evicted: c.evicted, Oversized: c.oversize,
		Waits: c.waits, Producers: q.producers.n, Receivers: q.receivers.n,
		Blocked: q.producers.total(now), Pressed: q.producers.occupied(now), Idle: q.receivers.total(now),
	}
	if r.Policy == Sample {
		s.SampleRate = q.rate()
	}
	if q.ring.n > 0 {
		if t := q.ring.at(0).Time(); !t.IsZero() {
			s.OldestAge = time.Since(t)
		}
	}
	return s
}

// ResetPeak begins a new period for Stats.PeakEvents, at the present fill.
func (q *Edge) ResetPeak() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.counts.lifetimePeak = max(q.counts.lifetimePeak, q.counts.peak)
	q.counts.peak = q.ring.n
}

// Dropped returns what was dropped for a reason, before or after admission.
func (s Stats) Dropped(r Reason) Count {
	return Count{s.Refused[r].Events + s.Evicted[r].Events, s.Refused[r].Bytes + s.Evicted[r].Bytes}
}

// DroppedTotal returns what was dropped for any reason.
func (s Stats) DroppedTotal() (c Count) {
	for r := range Reasons {
		d := s.Dropped(r)
		c.add(int(d.Events), d.Bytes)
	}
	return c
}

// Balance checks the account: everything offered was admitted or refused, and
// everything admitted was delivered, evicted or returned, or is still queued. It
// returns nil unless the edge has a bug.
func (s Stats) Balance() error {
	in, out := s.Admitted, s.Delivered
	for r := range Reasons {
		in.add(int(s.Refused[r].Events), s.Refused[r].Bytes)
		out.add(int(s.Evicted[r].Events), s.Evicted[r].Bytes)
	}
	out.add(int(s.Queued.Events), s.Queued.Bytes)
	out.add(int(s.Returned.Events), s.Returned.Bytes)
	switch {
	case s.Offered != in:
		return fmt.Errorf("BUG: edge %s: offered %+v, but admitted and refused are %+v", s.ID, s.Offered, in)
	case s.Admitted != out:
		return fmt.Errorf("BUG: edge %s: admitted %+v, but delivered, evicted, queued and returned are %+v", s.ID, s.Admitted, out)
	}
	return nil
}
