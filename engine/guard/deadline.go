package guard

import (
	"fmt"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// deadlineOf returns when e is not worth writing any more.
func (w *write) deadlineOf(e *pipe.Event) time.Time {
	read := e.Time()
	if w.set.Deadline <= 0 || read.IsZero() {
		return never
	}
	return read.Add(w.set.Deadline)
}

// expire gives up the events that have reached their deadline.
func (w *write) expire(now time.Time) {
	if w.set.Deadline <= 0 || w.nextDeadline().After(now) {
		return
	}
	w.keep(func(i int) bool {
		if w.deadlineOf(w.in[i]).After(now) {
			return true
		}
		w.lose(i, w.tooLate())
		return false
	})
}

func (w *write) tooLate() error {
	if w.last != nil {
		return pipe.Classed(pipe.Permanent, fmt.Errorf("not written within deadline %v, after %d attempts, the last: %v", w.set.Deadline, w.attempts, w.last))
	}
	return pipe.Classed(pipe.Permanent, fmt.Errorf("not written within deadline %v, and never tried", w.set.Deadline))
}

// nextDeadline returns when the next event has reached its deadline.
func (w *write) nextDeadline() time.Time {
	next := never
	if w.set.Deadline > 0 {
		for _, e := range w.in {
			next = earliest(next, w.deadlineOf(e))
		}
	}
	return next
}

// lastDeadline returns when all events have reached their deadline.
func (w *write) lastDeadline() time.Time {
	if w.set.Deadline <= 0 || len(w.in) == 0 {
		return never
	}
	last := time.Time{}
	for _, e := range w.in {
		if d := w.deadlineOf(e); d.After(last) {
			last = d
		}
	}
	return last
}
