package sinks

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// What the sinks of other systems' formats take out of events.

// textOf evaluates an expression that must give a text, a number or a boolean. It
// returns nil where it gives nil, or an empty text.
func textOf(option string, v *expr.Value, e *pipe.Event, a *record.Arena) ([]byte, error) {
	out, err := v.Eval(e, a)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", option, err)
	}
	switch out.Kind() {
	case record.KindString, record.KindNumber, record.KindBool:
		if text := out.Bytes(nil); len(text) > 0 {
			return text, nil
		}
	case record.KindNull, record.KindMissing:
	default:
		return nil, fmt.Errorf("%s: %s gives an %s, and must give a text", option, v.Source(), out.Kind())
	}
	return nil, nil
}

// The times that fit into 64 bits of nanoseconds.
var (
	firstTime = time.Unix(0, math.MinInt64)
	lastTime  = time.Unix(0, math.MaxInt64)
)

// timeOf evaluates the expression of a time, in nanoseconds since 1970. Without one
// it is when the event was read.
func timeOf(option string, v *expr.Value, e *pipe.Event, a *record.Arena) (int64, error) {
	if v.IsZero() {
		return e.Time().UnixNano(), nil
	}
	out, err := v.Eval(e, a)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", option, err)
	}
	switch out.Kind() {
	case record.KindNumber:
		ns, err := nanoseconds(out.String())
		if err != nil {
			return 0, fmt.Errorf("%s: %s %w", option, out.String(), err)
		}
		return ns, nil
	case record.KindString:
		at, err := time.Parse(time.RFC3339Nano, out.String())
		if err != nil || at.Before(firstTime) || at.After(lastTime) {
			return 0, fmt.Errorf("%s: %.64q is not a time such as 2026-03-01T12:00:00Z between 1678 and 2262", option, out.String())
		}
		return at.UnixNano(), nil
	}
	return 0, fmt.Errorf("%s: %s gives no time", option, v.Source())
}

var errRange = errors.New("is not in seconds since 1970, or not between 1678 and 2262")

// nanoseconds converts a number of seconds without losing any of its digits, up to
// nine behind the point.
func nanoseconds(literal string) (int64, error) {
	if strings.ContainsAny(literal, "eE") {
		f, err := strconv.ParseFloat(literal, 64)
		if err != nil || math.Abs(f) >= math.MaxInt64/1e9 {
			return 0, errRange
		}
		return int64(f * 1e9), nil
	}
	whole, fraction, _ := strings.Cut(literal, ".")
	s, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || s >= math.MaxInt64/int64(1e9) || s <= math.MinInt64/int64(1e9) {
		return 0, errRange
	}
	fraction = (fraction + "000000000")[:9]
	ns, err := strconv.ParseInt(fraction, 10, 64)
	if err != nil {
		return 0, errRange
	}
	if strings.HasPrefix(whole, "-") {
		ns = -ns
	}
	return s*1e9 + ns, nil
}
