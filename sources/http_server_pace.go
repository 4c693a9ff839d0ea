package sources

import "time"

// The drainPace is measured over paceWindow, and not before a gate has been full for
// paceSettle: a few requests that leave together are no drainPace.
const (
	paceWindow = 10 * time.Second
	paceSettle = 200 * time.Millisecond
)

// drainPace measures how many requests leave per second while the gate is full: then
// they leave as fast as the pipeline lets them. Times with places to spare say
// nothing about that and do not count. The gate's lock guards it.
type drainPace struct {
	full   bool
	since  time.Time     // start of the present full time, or of the last one
	spent  time.Duration // full times that are over
	count  int64         // requests that left while full
	latest time.Time     // when the last one left
	marks  []drainMark   // at least a second apart, oldest first
	known  float64       // the last measured drainPace, per second
}

// drainMark is the state of the counters at a time.
type drainMark struct {
	at    time.Time
	spent time.Duration
	count int64
}

// fill says that the gate is full from now on.
func (p *drainPace) fill(now time.Time) {
	p.full, p.since, p.latest = true, now, now
	p.mark(now)
}

// ease says that the gate is not full any more.
func (p *drainPace) ease(now time.Time) {
	p.spent = p.fullTime(now)
	p.full = false
}

// left counts a request that left.
func (p *drainPace) left(now time.Time) {
	if !p.full {
		return
	}
	p.count++
	p.latest = now
	p.mark(now)
}

func (p *drainPace) fullTime(now time.Time) time.Duration {
	if !p.full {
		return p.spent
	}
	return p.spent + now.Sub(p.since)
}

// mark forgets what is older than the window and notes the present, at most
// once a second.
func (p *drainPace) mark(now time.Time) {
	old := 0
	for old < len(p.marks) && now.Sub(p.marks[old].at) > paceWindow {
		old++
	}
	if old > 0 {
		p.known = p.measure(now)
		p.marks = append(p.marks[:0], p.marks[old:]...)
	}
	if n := len(p.marks); n == 0 || now.Sub(p.marks[n-1].at) >= time.Second {
		p.marks = append(p.marks, drainMark{now, p.fullTime(now), p.count})
	}
}

// measure returns the drainPace since the oldest mark, or what was known before when
// that is too short or nothing has left since.
func (p *drainPace) measure(now time.Time) float64 {
	if len(p.marks) == 0 {
		return p.known
	}
	n := p.count - p.marks[0].count
	d := p.fullTime(now) - p.marks[0].spent
	if n == 0 || d < paceSettle {
		return p.known
	}
	return float64(n) / d.Seconds()
}

// rate returns how many requests leave per second, or 0 when that is unknown
// because nothing left for a whole window.
func (p *drainPace) rate(now time.Time) float64 {
	if p.stuck(now) > paceWindow {
		p.known = 0
		return 0
	}
	p.mark(now)
	return p.measure(now)
}

// stuck returns for how long the gate has been full without anybody leaving.
func (p *drainPace) stuck(now time.Time) time.Duration {
	if !p.full {
		return 0
	}
	return now.Sub(p.latest)
}
