package guard

import (
	"math"
	"time"
)

// How the limit follows the far side.
const (
	cutTo  = 0.9 // what is left of the limit after a cut
	lowest = 0.8 // of the limit, to see what fewer writes at a time do
	highs  = 2   // epochs at the limit for each below it
	full   = 0.4 // crowding from which the far side counts as full
	follow = 0.3 // how fast the crowding follows what is measured
)

// climb finds how many writes at a time the far side bears. It raises the limit
// by one as long as that makes no write slower, and cuts it by a tenth when it
// does, or when a write fails (additive increase, multiplicative decrease).
//
// Whether more at a time makes them slower cannot be told from a usual time: a
// queue that builds up slowly at the far side becomes usual. So it goes a fifth
// below the limit every third epoch, and compares. Crowding is how much of what is
// written more at a time is lost again because each write takes longer: 0 when
// they do not get in each other's way, 1 when they only wait for each other.
//
// An epoch is about as many writes as go at a time: the first that begin in it,
// all of them, so that the slow ones count like the others and none of them began
// under another limit. The gate's lock guards it.
type climb struct {
	top      int // the limit, without the looks below it
	phase    int // epochs since the last look below
	high     average
	crowding float64
	reached  bool // the limit was reached since the last look below

	epoch uint64
	size  int // writes that belong to the epoch
	begun int // of them
	over  int // of them
	took  average
}

// average is the average of some times.
type average struct {
	n   int
	sum time.Duration
}

func (a *average) add(d time.Duration) { a.n, a.sum = a.n+1, a.sum+d }

func (a average) seconds() float64 { return a.sum.Seconds() / float64(a.n) }

func (c *climb) begin() { c.epoch, c.size, c.begun, c.over, c.took = c.epoch+1, 0, 0, 0, average{} }

// enlist returns the epoch that a write which begins now belongs to, 0 for none.
func (c *climb) enlist(limit int) uint64 {
	if c.size == 0 {
		c.epoch, c.size = max(c.epoch, 1), limit
	}
	if c.begun == c.size {
		return 0
	}
	c.begun++
	return c.epoch
}

// next returns the limit after a write of this epoch.
func (c *climb) next(took time.Duration, v verdict) (limit int) {
	switch v {
	case bad:
		c.again(cut(c.top))
		return c.top
	case good:
		c.took.add(took)
		if c.phase < highs {
			c.high.add(took)
		}
	}
	if c.over++; c.over < c.size {
		return c.now()
	}
	below := c.took
	c.begin()
	if c.phase < highs {
		c.phase++
		return c.now()
	}
	c.decide(below)
	return c.top
}

// now returns the limit of the present epoch.
func (c *climb) now() int {
	if c.phase == highs {
		return c.below()
	}
	return c.top
}

func (c *climb) below() int { return max(1, min(c.top-1, int(float64(c.top)*lowest))) }

// decide compares the epoch below the limit with those at it.
func (c *climb) decide(below average) {
	top := c.top
	if c.reached && top > 1 && below.n > 0 && c.high.n > 0 && below.sum > 0 {
		slower := math.Log(c.high.seconds()/below.seconds()) / math.Log(float64(top)/float64(c.below()))
		c.crowding += follow * (slower - c.crowding)
	}
	switch {
	case c.crowding > full:
		c.crowding /= 2 // at the new limit it is less
		top = cut(top)
	case c.reached:
		top++
	}
	c.again(top)
}

// again begins to measure at a limit.
func (c *climb) again(top int) {
	c.begin()
	c.top, c.phase, c.high, c.reached = max(1, top), 0, average{}, false
}

func cut(limit int) int { return min(limit-1, int(float64(limit)*cutTo)) }
