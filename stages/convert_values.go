package stages

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// number converts to one of the types that are numbers.
func (r *conversion) number(old record.Value, text []byte, a *record.Arena) (record.Value, bool) {
	switch kind := old.Kind(); {
	case kind == record.KindBool && r.Type == "int":
		if yes, _ := old.Bool(); yes {
			return record.Int(1, a), true
		}
		return record.Int(0, a), true
	case kind == record.KindBool:
		return record.Value{}, false
	case r.Type == "int":
		return wholeNumber(text, a)
	case r.Type == "duration" && kind == record.KindString:
		d, ok := durationOf(view(text))
		return record.Float(float64(d)/float64(r.unit), a), ok
	case r.Type == "size" && kind == record.KindString:
		var size pipe.Size
		err := size.UnmarshalText(text)
		return record.Int(int64(size), a), err == nil
	case r.Type == "size":
		return wholeNumber(text, a)
	}
	if old.Kind() == record.KindNumber {
		return old, true
	}
	if len(text) == 0 || r.Type == "duration" {
		return record.Value{}, false
	}
	v, want := asFloat.convert(text, a)
	return v, want == ""
}

// wholeNumber reads a whole number, which may be written 3.0 or 3e2.
func wholeNumber(text []byte, a *record.Arena) (record.Value, bool) {
	if whole, ok := jsonNumber(text); ok && whole {
		if _, fits := record.Number(text).Int(); fits {
			return record.Number(text), true
		}
		return record.Value{}, false
	}
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil { // +1, 007
		return record.Int(n, a), true
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if n := int64(f); err == nil && float64(n) == f && f >= -1<<53 && f <= 1<<53 && !strings.ContainsAny(view(text), "xX_pP") {
		return record.Int(n, a), true
	}
	return record.Value{}, false
}

// durationOf reads a duration, which may be one of days, such as 1.5d.
func durationOf(text string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		return time.Duration(n * 24 * float64(time.Hour)), err == nil && n > -100_000 && n < 100_000
	}
	d, err := time.ParseDuration(text)
	return d, err == nil
}

// boolOf reads a boolean in lower case.
func boolOf(text string) (value, ok bool) {
	switch strings.TrimSpace(text) {
	case "true", "yes", "on", "1", "t", "y":
		return true, true
	case "false", "no", "off", "0", "f", "n":
		return false, true
	}
	return false, false
}

// mistake says what should have been there.
func (r *conversion) mistake(got record.Value) error {
	want := map[string]string{
		"int": "a whole number", "float": "a number", "bool": "true or false", "timestamp": "a time",
		"duration": "a duration such as 250ms or 1h30m", "size": "a size such as 64KiB",
	}[r.Type]
	return fmt.Errorf("should be %s, got %s", want, clip(got.Raw()))
}
