package guard

import (
	"sync/atomic"
	"time"
)

// Batch bounds what one write gets.
type Batch struct {
	Events int           // at most
	Bytes  int64         // at most, accounted
	Target time.Duration // how long a write should take: fewer events are written at once if it takes longer; 0 = always up to Events
	Min    int           // the fewest events that Target leads to; 0 = 1
}

// sizer finds how many events a write takes in the time that it should.
type sizer struct {
	set Batch
	now atomic.Int64
}

func newSizer(set Batch) *sizer {
	set.Min = min(max(1, set.Min), set.Events)
	z := &sizer{set: set}
	z.now.Store(int64(set.Events))
	if set.Target > 0 {
		z.now.Store(int64(set.Min))
	}
	return z
}

// inherit goes on with the size that another has found.
func (z *sizer) inherit(old *sizer) {
	if z.set.Target > 0 && old.set.Target > 0 {
		z.store(float64(old.now.Load()))
	}
}

func (z *sizer) size() int { return int(z.now.Load()) }

func (z *sizer) store(size float64) {
	z.now.Store(int64(min(max(size, float64(z.set.Min)), float64(z.set.Events))))
}

// observe learns from a write of n events. It grows after full ones only: the
// others say nothing about larger ones. Of several writes that end together each
// counts, so that one size is not cut twice for one slow moment it is the size
// written that is cut, not the present one.
func (z *sizer) observe(n int, took time.Duration, v verdict) {
	target := z.set.Target
	if target <= 0 || v == neither {
		return
	}
	size := float64(z.now.Load())
	switch full := float64(n) >= size; {
	case took > target:
		z.store(min(size, float64(n)*max(.5, float64(target)/float64(took))))
	case v == bad || !full:
	case took < target/2:
		z.store(size * 2)
	case took < target*9/10:
		z.store(size + max(1, size/10))
	}
}
