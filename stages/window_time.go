package stages

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// Times are nanoseconds since 1970, as far as 64 bits go.
const (
	minTime = math.MinInt64
	maxTime = math.MaxInt64
)

// windowUnits has the nanoseconds of the units that numbers may count.
var windowUnits = map[string]int64{"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1}

// farthest is how far from 1970 a time may be: 200 years, so that windows around
// it can be computed with.
const farthest = 200 * 366 * 24 * int64(time.Hour)

var errTimeRange = errors.New("time: more than 200 years from 1970: is it in another unit?")

// timeOf returns when e happened.
func (w *Window) timeOf(e *pipe.Event, now time.Time, a *record.Arena) (int64, error) {
	if w.Time.IsZero() {
		return now.UnixNano(), nil
	}
	v, err := w.Time.Eval(e, a)
	if err != nil {
		return 0, fmt.Errorf("time: %w", err)
	}
	at, err := readTime(v, windowUnits[w.Unit])
	if err != nil {
		return 0, err
	}
	if w.MaxAhead > 0 && at > now.UnixNano() && at-now.UnixNano() > int64(w.MaxAhead) {
		return 0, fmt.Errorf("time: %s is more than max_ahead, %v, ahead of the clock", v, w.MaxAhead)
	}
	return at, nil
}

// readTime reads RFC 3339 text, or a number of units since 1970.
func readTime(v record.Value, unit int64) (int64, error) {
	switch v.Kind() {
	case record.KindString:
		t, err := time.Parse(time.RFC3339Nano, v.String())
		if err != nil {
			return 0, fmt.Errorf("time: %.60q is not a time such as 2026-11-21T10:00:00Z", v.String())
		}
		if s := t.Unix(); s > farthest/1e9 || s < -farthest/1e9 {
			return 0, errTimeRange
		}
		return t.UnixNano(), nil
	case record.KindNumber:
		if n, ok := v.Int(); ok {
			if n > farthest/unit || n < -farthest/unit {
				return 0, errTimeRange
			}
			return n * unit, nil
		}
		x, _ := v.Float()
		if x *= float64(unit); math.Abs(x) > float64(farthest) {
			return 0, errTimeRange
		}
		return int64(math.Round(x)), nil
	case record.KindMissing, record.KindNull:
		return 0, errors.New("time: the event has none")
	}
	return 0, fmt.Errorf("time: must be a text or a number, got %v", v.Kind())
}

// floorTo returns the last multiple of step that is not after t.
func floorTo(t, step int64) int64 {
	r := t % step
	if r < 0 {
		r += step
	}
	return t - r
}
