package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

// TapOptions say what a tap shows.
type TapOptions struct {
	Rate     float64    // events a second at most; 0 means 10
	Where    *expr.Bool // only events for which it is true; nil means all
	MaxBytes int        // of a body, the rest is cut off; 0 means 16 KiB
}

// TapEvent is a copy of an event that was offered to an edge.
type TapEvent struct {
	Time      time.Time         `json:"time"` // when it passed
	ID        string            `json:"id"`
	Origin    string            `json:"origin"`
	AgeMS     int64             `json:"age_ms"` // since the source read it
	Size      int               `json:"size"`   // accounted bytes
	Meta      map[string]string `json:"meta,omitempty"`
	Event     json.RawMessage   `json:"event,omitempty"` // of an event with fields
	Text      string            `json:"text,omitempty"`  // of a line, or of a body that was cut off
	Truncated bool              `json:"truncated,omitempty"`
}

// TapCounts say what a tap has shown and what it has not. Seen = Filtered +
// Shown + Skipped.
type TapCounts struct {
	Seen     int64 `json:"seen"`     // offered to the edge since the tap began
	Filtered int64 `json:"filtered"` // where was false, or failed
	Shown    int64 `json:"shown"`
	Skipped  int64 `json:"skipped"` // over the rate, or the reader was too slow
}

const (
	tapRate     = 10
	tapBytes    = 16 << 10
	tapQueue    = 64   // events that wait for the reader
	tapLooks    = 2000 // events a second that where is asked about; the others are skipped
	tapsPerEdge = 8
)

// Tap shows a sample of the events that are offered to an edge.
type Tap struct {
	// C delivers the events. It is closed by Close and when the edge is gone.
	C <-chan TapEvent

	c     chan TapEvent
	link  *link
	where *expr.Bool
	most  int

	filtered, shown, skipped atomic.Int64

	mu     sync.Mutex // guards what follows
	shows  allowance
	looks  allowance
	closed bool
}

// allowance lets so much through in a second.
type allowance struct {
	rate, left float64
	at         time.Time
}

func (a *allowance) take(now time.Time) bool {
	a.left = min(max(1, a.rate), a.left+now.Sub(a.at).Seconds()*a.rate)
	a.at = now
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}

// Tap begins to show events that are offered to the edge of that id. It costs
// the pipeline a copy of each event that is shown, and the time of Where for at
// most 2,000 events a second; it never makes the pipeline wait. The caller must
// Close it.
func (e *Engine) Tap(id string, o TapOptions) (*Tap, error) {
	e.shape.RLock()
	defer e.shape.RUnlock()
	l := e.graph.link(id)
	if l == nil {
		return nil, fmt.Errorf("no edge %q", id)
	}
	if o.Rate <= 0 {
		o.Rate = tapRate
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = tapBytes
	}
	c := make(chan TapEvent, tapQueue)
	now := time.Now()
	t := &Tap{C: c, c: c, link: l, where: o.Where, most: o.MaxBytes,
		shows: allowance{rate: o.Rate, left: 1, at: now}, looks: allowance{rate: tapLooks, left: tapLooks, at: now}}
	if !l.addTap(t) {
		return nil, fmt.Errorf("edge %s has %d taps already; close one first", id, tapsPerEdge)
	}
	return t, nil
}

// Counts returns the figures of this moment.
func (t *Tap) Counts() TapCounts {
	c := TapCounts{Filtered: t.filtered.Load(), Shown: t.shown.Load(), Skipped: t.skipped.Load()}
	c.Seen = c.Filtered + c.Shown + c.Skipped
	return c
}

// Close ends the tap. Closing twice is allowed.
func (t *Tap) Close() {
	t.link.changeTaps(func(taps []*Tap) []*Tap {
		return slices.DeleteFunc(slices.Clone(taps), func(x *Tap) bool { return x == t })
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed = true
		close(t.c)
	}
}

func (l *link) addTap(t *Tap) (ok bool) {
	l.changeTaps(func(taps []*Tap) []*Tap {
		if ok = len(taps) < tapsPerEdge; !ok {
			return taps
		}
		return append(slices.Clone(taps), t)
	})
	return ok
}

// changeTaps puts other taps in place of the present ones.
func (l *link) changeTaps(f func([]*Tap) []*Tap) {
	for {
		old := l.taps.Load()
		var taps []*Tap
		if old != nil {
			taps = *old
		}
		next := &taps
		if taps = f(taps); len(taps) == 0 {
			next = nil
		}
		if l.taps.CompareAndSwap(old, next) {
			return
		}
	}
}

// closeTaps ends the taps of an edge that is gone.
func (l *link) closeTaps() {
	if taps := l.taps.Load(); taps != nil {
		for _, t := range *taps {
			t.Close()
		}
	}
}

// show lets taps look at events before they are offered to the edge.
func (l *link) show(events []*pipe.Event) {
	if taps := l.taps.Load(); taps != nil {
		for _, t := range *taps {
			t.look(events)
		}
	}
}

func (t *Tap) look(events []*pipe.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	now := time.Now()
	for i, e := range events {
		if t.where == nil {
			if !t.shows.take(now) {
				t.skipped.Add(int64(len(events) - i))
				return
			}
		} else if done := t.sift(e, now); done {
			continue
		}
		select {
		case t.c <- t.copy(e, now):
			t.shown.Add(1)
		default:
			t.skipped.Add(1)
		}
	}
}

// sift reports whether an event is not to be shown, and counts why.
func (t *Tap) sift(e *pipe.Event, now time.Time) (done bool) {
	if !t.looks.take(now) {
		t.skipped.Add(1)
		return true
	}
	if ok, err := t.where.Eval(e); err != nil || !ok {
		t.filtered.Add(1)
		return true
	}
	if !t.shows.take(now) {
		t.skipped.Add(1)
		return true
	}
	return false
}

// copy makes a copy that stays valid when the event is settled.
func (t *Tap) copy(e *pipe.Event, now time.Time) TapEvent {
	x := TapEvent{Time: now, ID: e.ID(), Origin: e.Origin(), Size: e.Size()}
	if read := e.Time(); !read.IsZero() {
		x.AgeMS = now.Sub(read).Milliseconds()
	}
	e.RangeMeta(func(key, value string) bool {
		if x.Meta == nil {
			x.Meta = map[string]string{}
		}
		x.Meta[key] = value
		return true
	})
	text := e.Body.IsText()
	var body []byte
	if text {
		body = e.Body.AppendText(nil)
	} else {
		body = e.Body.AppendJSON(nil)
	}
	if x.Truncated = len(body) > t.most; x.Truncated {
		body, text = body[:t.most], true
	}
	if text {
		x.Text = string(body)
	} else {
		x.Event = body
	}
	return x
}
