package edge

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// item is an event in the model.
type item struct {
	pos, size int64
	at        time.Time
	rate      string
}

// model is the edge as a page of sequential code: one goroutine, one event at a
// time, a slice. It knows only what is promised.
type model struct {
	s       Settings
	rng     *rand.Rand
	queue   []item
	bytes   int64
	closed  bool
	tripped bool
	ends    []end
	counts  counts
	now     time.Time
	late    bool // the event at hand has waited for the timeout
	fresh   bool // the event at hand has not waited
}

func (m *model) drop(it item, r Reason, evicted bool) {
	list := &m.counts.refused
	if evicted {
		list = &m.counts.evicted
	} else {
		m.counts.offered.add(1, it.size)
	}
	list[r].add(1, it.size)
	o := pipe.Dropped
	if m.s.OnDrop == Nack {
		o = pipe.Refused
	}
	m.ends = append(m.ends, end{it.pos, o})
}

func (m *model) remove(i int) item {
	it := m.queue[i]
	m.queue = slices.Delete(m.queue, i, i+1)
	m.bytes -= it.size
	return it
}

func (m *model) push(it item) {
	m.queue = append(m.queue, it)
	m.bytes += it.size
	m.counts.offered.add(1, it.size)
	m.counts.admitted.add(1, it.size)
	m.counts.peak = max(m.counts.peak, len(m.queue))
	if m.s.Bytes > 0 && it.size > m.s.Bytes && len(m.queue) == 1 {
		m.counts.oversize++
	}
}

func (m *model) old(it item) bool { return m.s.Age > 0 && m.now.Sub(it.at) >= m.s.Age }

func (m *model) fits(size int64) bool {
	return len(m.queue) < m.s.Events && (m.s.Bytes == 0 || m.bytes+size <= m.s.Bytes || len(m.queue) == 0)
}

// offer is false when the event must wait, or fails.
func (m *model) offer(it item) bool {
	kept := it
	if m.s.Policy == Sample {
		rate := m.rate()
		if rate < 1 {
			if h, ok := m.key(it); ok {
				if float64(h) >= rate*math.Pow(2, 64) {
					m.drop(it, Sampled, false)
					return true
				}
			} else if m.rng.Float64() >= rate {
				m.drop(it, Sampled, false)
				return true
			}
			kept.rate = strconv.FormatFloat(rate, 'g', -1, 64)
			kept.size += int64(len("sample_rate") + len(kept.rate))
		}
	}
	for !m.fits(kept.size) {
		switch {
		case len(m.queue) > 0 && m.old(m.queue[0]):
			for len(m.queue) > 0 && m.old(m.queue[0]) {
				m.drop(m.remove(0), Expired, true)
			}
			continue
		case m.old(it):
			m.drop(it, Expired, false)
			return true
		}
		return m.overflow(it)
	}
	m.tripped = false
	m.push(kept)
	return true
}

func (m *model) overflow(it item) bool {
	policy, r := m.s.Policy, map[Policy]Reason{DropOldest: Oldest, DropRandom: Random, DropNewest: Newest, Sample: Newest}[m.s.Policy]
	tooLarge := m.s.Bytes > 0 && it.size > m.s.Bytes
	if policy == Block {
		if !m.late && !(m.fresh && m.tripped) {
			return false
		}
		m.tripped = true
		policy, r = m.s.Then, TimedOut
	} else if tooLarge && policy != DropOldest {
		policy, r = DropNewest, Oversize
	}
	events, bytes := max(len(m.queue), m.s.Events), max(m.bytes, m.s.Bytes)
	for policy != DropNewest && policy != Sample {
		if len(m.queue) == 0 || len(m.queue) < events && (m.s.Bytes == 0 || m.bytes+it.size <= bytes) {
			m.push(it)
			return true
		}
		i := 0
		switch policy {
		case Fail:
			return false
		case DropRandom:
			if i = m.rng.IntN(len(m.queue) + 1); i == len(m.queue) {
				m.drop(it, r, false)
				return true
			}
		}
		m.drop(m.remove(i), r, true)
	}
	m.drop(it, r, false)
	return true
}

func (m *model) rate() float64 {
	load := float64(len(m.queue)) / float64(m.s.Events)
	if m.s.Bytes > 0 {
		load = max(load, float64(m.bytes)/float64(m.s.Bytes))
	}
	if load = min(load, 1); load < m.s.Threshold || m.s.Min == m.s.Base {
		return m.s.Base
	}
	linear := m.s.Base * (1 - (load-m.s.Threshold)/(1-m.s.Threshold))
	if load == m.s.Threshold {
		return m.s.Base
	}
	return max(m.s.Min, threeDigits(linear))
}

func (m *model) key(it item) (uint64, bool) {
	if m.s.Key == nil {
		return 0, false
	}
	return testHash(it.pos)
}

// testHash is the key of the event at a position; one in four has none.
func testHash(pos int64) (uint64, bool) {
	return pipe.HashKey(strconv.AppendInt(nil, pos/2, 10)), pos%4 != 3
}

func testKey(e *pipe.Event) (uint64, bool) { return testHash(e.Position()) }

// send offers items in order. With wait, an event that must wait does so until
// its time is up; otherwise the producer gives up there. It returns how many were
// taken and why no more.
func (m *model) send(items []item, wait bool) (n int, err error) {
	start, began := m.now, m.now
	waited := false
	m.late, m.fresh = false, true
	for err = nil; n < len(items) && err == nil; {
		if m.offer(items[n]) {
			n++
			m.late, m.fresh, began = false, true, m.now
			continue
		}
		if m.s.Then == Fail && (m.late || m.fresh && m.tripped) {
			err = ErrFailed
			break
		}
		waited = true
		if !wait {
			err = context.DeadlineExceeded
			break
		}
		m.fresh = false
		m.now = m.wakeUp(items[n], began)
		m.late = m.s.Timeout > 0 && m.now.Sub(began) >= m.s.Timeout
	}
	if waited {
		m.counts.waits.observe(m.now.Sub(start))
	}
	return n, err
}

// wakeUp is when a waiting event times out, or something expires.
func (m *model) wakeUp(it item, began time.Time) time.Time {
	at := began.Add(time.Hour)
	if m.s.Timeout > 0 {
		at = began.Add(m.s.Timeout)
	}
	for _, x := range append([]item{it}, m.queue[:min(1, len(m.queue))]...) {
		if expiry := x.at.Add(m.s.Age); m.s.Age > 0 && expiry.Before(at) {
			at = expiry
		}
	}
	return at
}

func (m *model) recv(n int) (out []item) {
	for len(m.queue) > 0 && len(out) < n {
		it := m.remove(0)
		if m.old(it) {
			m.drop(it, Expired, true)
			continue
		}
		m.counts.delivered.add(1, it.size)
		out = append(out, it)
	}
	return out
}

func (m *model) apply(s Settings) {
	if s.Seed != m.s.Seed {
		m.rng = rand.New(rand.NewPCG(s.Seed, 1))
	}
	m.s, m.tripped = s, false
	for s.OnShrink == Evict && len(m.queue) > 0 && (len(m.queue) > s.Events || s.Bytes > 0 && m.bytes > s.Bytes && len(m.queue) > 1) {
		m.drop(m.remove(0), Resized, true)
	}
}

// randomSettings are settings with small bounds, so that every rule is met.
func randomSettings(r *rand.Rand) Settings {
	s := Settings{
		Events: 1 + r.IntN(6), Seed: 1 + r.Uint64N(3), OnDrop: Ack,
		Policy: []Policy{Block, DropOldest, DropNewest, DropRandom, Sample}[r.IntN(5)],
	}
	if r.IntN(2) == 0 {
		s.Bytes = int64(150 + r.IntN(900))
	}
	if r.IntN(3) == 0 {
		s.Age = time.Duration(1+r.IntN(5)) * time.Second
	}
	if r.IntN(3) == 0 {
		s.OnDrop = Nack
	}
	if r.IntN(4) == 0 {
		s.OnShrink = Evict
	}
	if s.Policy == Block && r.IntN(3) > 0 {
		s.Timeout = time.Duration(1+r.IntN(4)) * time.Second
		s.Then = []Policy{DropNewest, DropOldest, Fail}[r.IntN(3)]
	}
	if s.Policy == Sample {
		s.Base = []float64{1, 1, 0.5, 0.7}[r.IntN(4)]
		s.Min = s.Base * []float64{1, 0.5, 0.01}[r.IntN(3)]
		s.Threshold = []float64{0, 0.5, 0.8}[r.IntN(3)]
		if r.IntN(2) == 0 {
			s.Key = testKey
		}
	}
	return s
}
