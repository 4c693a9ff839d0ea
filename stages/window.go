package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterStage("window", func() pipe.Stage {
		return &Window{Unit: "s", IdleTimeout: pipe.Duration(30 * time.Second), MaxAhead: pipe.Duration(time.Hour),
			MaxKeys: 10_000, MaxEvents: 1_000_000, Settle: settleResult}
	})
}

// The values of settle.
const (
	settleResult  = "result"
	settleArrival = "arrival"
)

// Window computes figures over the events of a span of time, by key, and hands
// on one event for each key when the span is over. A result looks like this:
// {"window_start": "2026-11-21T10:00:00Z", "window_end": "2026-11-21T10:01:00Z",
// "path": "/", "requests": 17, "p95": 0.25}. Results of a window come together,
// windows in the order of their start, keys in the order of their first event.
//
// Nothing is lost in a crash: an event is settled with the result that it went
// into, so that its source reads it again. Then a result may come twice, the
// second time from those events only that were read again: whoever stores
// results should replace one that is there only if the new count is not smaller.
// The price is that the events of open windows count as in flight: give the
// source no max_in_flight, or one that a whole window fits into. See settle for
// the other choice.
//
// With partial: true a result is not of the whole window: the pipeline ended, was
// drained or reloaded before the window was over, or a limit was reached. What
// comes after it gets into another result of the same window and key, which
// carries partial: true as well.
//
// What comes too late leaves through the port late.
//
// Metadata of a result is that of its first event. The stage needs workers: 1.
//
// Example:
//
//	type: window
//	size: 1m
//	time: time
//	allowed_lateness: 10s
//	by: {path: path}
//	compute:
//	  requests: {function: count}
//	  bytes: {function: sum, of: bytes}
//	  p95: {function: quantile, of: seconds, quantile: 0.95}
type Window struct {
	// Size is how long a window is. Windows begin at whole multiples of slide (of
	// size, without it) since 1970 in UTC: those of 1h at the full hour.
	Size pipe.Duration `yaml:"size" required:"true" above:"0s"`

	// Slide makes the windows overlap: one begins every slide, and an event is in
	// size/slide of them, at most 1,000. It must divide size. By default it is
	// size: windows do not overlap. An event that is in several counts as created
	// for each beyond the first.
	Slide pipe.Duration `yaml:"slide"`

	// Time is when an event happened: RFC 3339 text, or a number since 1970 (see
	// unit). An event for which it is anything else fails. Without it an event
	// counts when it reaches the stage, and is never late.
	Time expr.Value `yaml:"time"`

	// Unit is what numbers in time count: s (the default), ms, us or ns.
	Unit string `yaml:"unit" enum:"s,ms,us,ns"`

	// AllowedLateness is for how long after its end a window waits for events
	// that are out of order, 0s by default. Time passes as the events say: a window
	// is over once there was one that is later than its end by this much. An event
	// all of whose windows are over leaves unchanged through the port late; where that
	// has no edge it is filtered, counted as unrouted. It needs time.
	AllowedLateness pipe.Duration `yaml:"allowed_lateness"`

	// IdleTimeout is how long no event may come before the open windows are taken
	// for over although no event says so, 30s by default. It needs time.
	IdleTimeout pipe.Duration `yaml:"idle_timeout" above:"0s"`

	// MaxAhead is how far the time of an event may be ahead of the clock, 1h by
	// default. One that is further ahead fails: it would make all others late.
	// 0s turns that off. It needs time.
	MaxAhead pipe.Duration `yaml:"max_ahead"`

	// By are the fields of the key, a name and an expression each, as the results
	// have them. Without any, all events are of one key.
	By pipe.OrderedMap[expr.Value] `yaml:"by"`

	// Compute are the figures, by the names that they have in the results.
	Compute pipe.OrderedMap[Figure] `yaml:"compute" required:"true"`

	// MaxKeys is how many keys may be open, those of each window counted, 1 to
	// 1,000,000; 10,000 by default. When there is one more, the oldest window is
	// handed on before its time, as partial. A key needs some hundred bytes, and up
	// to 32 KiB for each expression with a quantile.
	MaxKeys int `yaml:"max_keys" min:"1" max:"1000000"`

	// MaxEvents is how many events may be kept unsettled, 1 to 10,000,000;
	// 1,000,000 by default. One more, and the oldest window is handed on before
	// its time, as partial.
	MaxEvents int `yaml:"max_events" min:"1" max:"10000000"`

	// Settle says when events are settled: result (the default) with the result
	// they went into; arrival at once, as filtered, but for the first one of each
	// key, which becomes the result. With arrival nothing counts as in flight for
	// long, and a window may hold any number of events. After a crash, a source
	// with positions (a file) still reads all of them again, for its position
	// stays before the first one; others lose what was in open windows.
	Settle string `yaml:"settle" enum:"result,arrival"`

	plan    figurePlan
	state   windows
	arrived time.Time // when the last event came
	rows    []column  // of the event at hand
	key     []byte
	values  []record.Value
}

// maxOverlap is the most windows that an event may be in, and maxOpen the most
// that may be open at a time.
const (
	maxOverlap = 1000
	maxOpen    = 100_000
)

// Ports returns the main output and late.
func (w *Window) Ports() []pipe.Port {
	return []pipe.Port{{Name: ""}, {Name: "late", Optional: true}}
}

const latePort = 1

// Validate checks the spans and the figures.
func (w *Window) Validate() error {
	errs := []error{w.validateSpans(), w.validateLimits()}
	if len(w.Compute) == 0 {
		errs = append(errs, fieldError("compute", "such as {events: {function: count}}", "is required"))
	}
	names := map[string]string{"window_start": "the start of the window", "window_end": "the end of the window", "partial": "results that are not of a whole window"}
	taken := func(field, name, what string) {
		if by := names[name]; by != "" {
			errs = append(errs, fieldError(field, "choose another name", "the field %q is for %s", name, by))
		}
		names[name] = what
	}
	for _, b := range w.By {
		taken("by."+b.Key, b.Key, "by")
		if b.Value.IsZero() {
			errs = append(errs, pipe.Fieldf("by."+b.Key, "the expression is missing"))
		}
	}
	for _, c := range w.Compute {
		taken("compute."+c.Key, c.Key, "compute")
	}
	return errors.Join(errs...)
}

func (w *Window) validateSpans() error {
	size, slide := w.Size.D(), w.slide()
	switch {
	case size <= 0:
		return fieldError("size", "such as 1m", "must be above 0")
	case slide > size || size%slide != 0:
		return fieldError("slide", "such as a tenth of it", "must divide size, which is %v", size)
	case size/slide > maxOverlap:
		return fieldError("slide", fmt.Sprintf("at least %v", size/maxOverlap), "an event would be in %d windows, more than %d", size/slide, maxOverlap)
	}
	if w.Time.IsZero() {
		if w.AllowedLateness > 0 {
			return fieldError("allowed_lateness", "name the field with the time of the event under time", "has no meaning without time: events are never late by arrival")
		}
		return nil
	}
	switch {
	case w.IdleTimeout <= 0:
		return fieldError("idle_timeout", "for quiet sources write 1h", "must be above 0, or the last window could wait for ever")
	case (w.AllowedLateness.D()+size)/slide > maxOpen:
		return fieldError("allowed_lateness", "", "more than %d windows could be open", maxOpen)
	case windowUnits[w.Unit] == 0:
		return fieldError("unit", "one of s, ms, us and ns", "unknown unit %q", w.Unit)
	}
	return nil
}

func (w *Window) validateLimits() error {
	var errs []error
	overlap := 1
	if s := w.slide(); s > 0 && w.Size > 0 {
		overlap = max(1, int(w.Size.D()/s))
	}
	if w.MaxKeys < overlap || w.MaxKeys > 1_000_000 {
		errs = append(errs, fieldError("max_keys", "", "must be %d to 1000000, got %d", overlap, w.MaxKeys))
	}
	if w.MaxEvents < overlap || w.MaxEvents > 10_000_000 {
		errs = append(errs, fieldError("max_events", "", "must be %d to 10000000, got %d", overlap, w.MaxEvents))
	}
	if w.Settle != settleResult && w.Settle != settleArrival {
		errs = append(errs, fieldError("settle", "one of result and arrival", "unknown choice %q", w.Settle))
	}
	return errors.Join(errs...)
}

func (w *Window) slide() time.Duration { return cmp.Or(w.Slide.D(), w.Size.D()) }

// Open begins without windows.
func (w *Window) Open(context.Context, pipe.Env) (err error) {
	if w.plan, err = planFigures(w.Compute); err != nil {
		return err
	}
	w.values = make([]record.Value, len(w.By))
	w.rows = make([]column, len(w.plan.columns))
	w.state = windows{stage: w, open: map[int64]*openWindow{}, passed: minTime, next: maxTime}
	return nil
}

// Timely says that a window never waits for a number of events.
func (w *Window) Timely() {}

// Capacity returns the most events held.
func (w *Window) Capacity() int {
	if w.Settle == settleArrival {
		return w.MaxKeys
	}
	return w.MaxEvents
}

// Deadline returns when the first window is over, or idle.
func (w *Window) Deadline() time.Time {
	switch {
	case w.state.keys == 0:
		return time.Time{}
	case w.Time.IsZero():
		return time.Unix(0, w.state.next)
	}
	return w.arrived.Add(w.IdleTimeout.D())
}

// Process puts each event into its windows and hands on those that are over.
func (w *Window) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	if len(in) == 0 {
		return nil
	}
	now := time.Now()
	w.arrived = now
	if w.Time.IsZero() {
		w.state.pass(now.UnixNano(), out)
	}
	for _, e := range in {
		at, err := w.timeOf(e, now, &out.Arena)
		if err == nil {
			err = w.evaluate(e, &out.Arena)
		}
		if err != nil {
			out.Fail(e, poison(err))
			continue
		}
		if !w.state.add(e, at, out) {
			out.EmitTo(latePort, e)
			continue
		}
		if !w.Time.IsZero() {
			w.state.pass(at-int64(w.AllowedLateness), out)
		}
	}
	return nil
}

// Flush hands on what is over, or everything.
func (w *Window) Flush(_ context.Context, out *pipe.Out, final bool) error {
	now := time.Now()
	switch {
	case final:
		w.state.flush(out)
	case w.Time.IsZero():
		w.state.pass(now.UnixNano(), out)
	case w.state.keys > 0 && !now.Before(w.arrived.Add(w.IdleTimeout.D())):
		w.state.pass(w.state.last(), out)
	}
	return nil
}

// evaluate computes the key and the columns of e.
func (w *Window) evaluate(e *pipe.Event, a *record.Arena) error {
	w.key = w.key[:0]
	for i := range w.By {
		v, err := w.By[i].Value.Eval(e, a)
		if err != nil {
			return fmt.Errorf("by.%s: %w", w.By[i].Key, err)
		}
		w.values[i] = v
		w.key = append(v.AppendJSON(w.key), '\n') // in no JSON on one line
	}
	return w.plan.evaluate(e, w.rows, a)
}
