package edge

import (
	"math"
	"sync"

	"github.com/pipectl/pipectl/engine/pipe"
)

// sampleKey is the hash of an event's key, if it has one.
type sampleKey struct {
	hash uint64
	ok   bool
}

// relock makes sure that c has the keys which the settings ask for. It is called
// with the lock held and returns with it held, but gives it up in between when
// there are keys to make.
func (q *Edge) relock(c *call) {
	for q.rules.Policy == Sample && q.rules.Key != nil && c.keyed != q.applied && !q.closed {
		key, applied := q.rules.Key, q.applied
		q.mu.Unlock()
		c.makeKeys(key)
		c.keyed = applied
		q.mu.Lock()
	}
}

var keyLists = sync.Pool{New: func() any { return new([]sampleKey) }}

func (c *call) makeKeys(key func(*pipe.Event) (uint64, bool)) {
	if c.keys == nil {
		c.keys = keyLists.Get().(*[]sampleKey)
	}
	*c.keys = (*c.keys)[:0]
	for _, e := range c.events {
		hash, ok := key(e)
		*c.keys = append(*c.keys, sampleKey{hash, ok})
	}
}

// end is called without the lock when a call is over.
func (c *call) end() {
	c.drops.settle()
	if c.keys != nil {
		keyLists.Put(c.keys)
	}
}

// sample decides about all events of c: none ever waits.
func (q *Edge) sample(c *call) {
	for len(c.events) > 0 {
		rate := q.rate()
		if rate < 1 && !q.chosen(c, rate) {
			q.refuse(c, Sampled)
			continue
		}
		q.admitSample(c, rate)
	}
}

// chosen reports whether the next event of c is kept at the given rate.
func (q *Edge) chosen(c *call, rate float64) bool {
	if q.rules.Key != nil {
		if k := (*c.keys)[len(*c.keys)-len(c.events)]; k.ok {
			return k.hash < uint64(math.Ldexp(rate, 64))
		}
	}
	return q.rng.Float64() < rate
}

// admitSample queues the next event with its rate, if there is room.
func (q *Edge) admitSample(c *call, rate float64) {
	e := c.events[0]
	size, text := int64(e.Size()), ""
	if rate < 1 {
		text = q.rateText.of(e, rate)
		size += int64(len(pipe.SampleRate) + len(text))
	}
	for !q.fits(size) {
		if !q.expire(c) {
			q.refuse(c, q.newest(e))
			return
		}
		if len(c.events) == 0 || c.events[0] != e {
			return // it was itself too old
		}
	}
	if text != "" {
		e.SetMeta(pipe.SampleRate, text)
	}
	q.squeezeIn(c, size)
}

func (q *Edge) fits(size int64) bool {
	return q.ring.n < q.rules.Events && (q.bytes+size <= q.rules.limit || q.ring.n == 0)
}

// load is how full the edge is, from 0 to 1: by events or by bytes, whichever
// is more.
func (q *Edge) load() float64 { return min(q.utilization(), 1) }

func (q *Edge) utilization() float64 {
	u := float64(q.ring.n) / float64(q.rules.Events)
	if q.rules.Bytes > 0 {
		u = max(u, float64(q.bytes)/float64(q.rules.Bytes))
	}
	return u
}

// rate is the probability with which Sample keeps an event now. Between Base and
// Min it has three significant digits, so that it can be written down exactly.
func (q *Edge) rate() float64 {
	r := &q.rules
	if r.Min == r.Base {
		return r.Base
	}
	over := q.load() - r.Threshold
	if over <= 0 {
		return r.Base
	}
	return max(r.Min, threeDigits(r.Base*(1-over/(1-r.Threshold))))
}

// threeDigits rounds a rate of at most 1 to three significant digits.
func threeDigits(rate float64) float64 {
	if rate <= 0 {
		return 0
	}
	scale := 1e3
	for rate*scale < 100 {
		scale *= 10
	}
	return math.Round(rate*scale) / scale
}

// rateText remembers how the last rate is written.
type rateText struct {
	rate float64
	text string
}

// of returns the metadata of an event kept at rate.
func (t *rateText) of(e *pipe.Event, rate float64) string {
	if text, ok := pipe.SampledBefore(e, rate); ok {
		return text
	}
	if t.rate != rate {
		t.rate, t.text = rate, pipe.FormatSampleRate(rate)
	}
	return t.text
}
