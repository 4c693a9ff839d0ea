package guard

import "time"

// buckets is how many parts a window has: what leaves it leaves a part at a time.
const buckets = 10

// window counts the attempts of the last time.
type window struct {
	width time.Duration // of a bucket
	parts [buckets]part
	last  int64   // the slot of the newest bucket
	usual float64 // successes a second in times without any failure, lately
}

// part is the attempts of one bucket. Slots are numbered by time.
type part struct {
	slot       int64
	ok, failed int
}

// add counts an attempt.
func (w *window) add(now time.Time, v verdict) {
	slot := w.slot(now)
	if slot != w.last {
		w.learn(w.parts[w.last%buckets])
		w.last = slot
	}
	p := &w.parts[slot%buckets]
	if p.slot != slot {
		*p = part{slot: slot}
	}
	if v == bad {
		p.failed++
	} else {
		p.ok++
	}
}

// learn follows the usual number of attempts with a bucket that is over.
func (w *window) learn(p part) {
	if p.failed > 0 || p.ok == 0 {
		return
	}
	pace := float64(p.ok) / w.width.Seconds()
	if w.usual == 0 {
		w.usual = pace
		return
	}
	const follow = 0.3
	w.usual += follow * (pace - w.usual)
}

// sum returns how many attempts are within the window, and how many failed.
func (w *window) sum(now time.Time) (all, failed int) {
	oldest := w.slot(now) - buckets + 1
	for _, p := range w.parts {
		if p.slot >= oldest {
			all, failed = all+p.ok+p.failed, failed+p.failed
		}
	}
	return all, failed
}

func (w *window) slot(now time.Time) int64 { return now.UnixNano() / int64(max(w.width, 1)) }
