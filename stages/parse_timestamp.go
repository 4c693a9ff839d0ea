package stages

import (
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the same zones on every machine

	"github.com/pipectl/pipectl/engine/record"
)

// timeReader reads times as they are written in events.
type timeReader struct {
	layouts []timeLayout
	zone    *time.Location
	output  string
}

// timeLayout is one way to write a time. parse takes a text without space around
// it and the time when its event was read.
type timeLayout struct {
	name  string
	parse func(text string, zone *time.Location, read time.Time) (time.Time, error)
}

// timeLayouts are the layouts that have names.
var timeLayouts = []timeLayout{
	{"rfc3339", parseRFC3339},
	{"iso8601", parseISO8601},
	{"unix", unixLayout(time.Second)},
	{"unix_ms", unixLayout(time.Millisecond)},
	{"unix_us", unixLayout(time.Microsecond)},
	{"unix_ns", unixLayout(time.Nanosecond)},
	{"common_log", goLayout("02/Jan/2006:15:04:05 -0700")},
	{"rfc2822", parseMailDate},
	{"http", goLayout(http.TimeFormat)},
	{"rfc3164", parseRFC3164},
	{"ctime", goLayout("Mon Jan _2 15:04:05 2006")},
}

var timeOutputs = []string{"rfc3339", "utc", "unix", "unix_ms", "unix_us", "unix_ns"}

var errTime = errors.New("is no such time")

// newTimeReader reads the options of a timestamp. field is before their names.
func newTimeReader(field string, layouts []string, zone, output string) (*timeReader, error) {
	r := &timeReader{output: output}
	var errs []error
	if len(layouts) == 0 {
		errs = append(errs, fieldError(field+"layouts", `such as [rfc3339] or ["%d.%m.%Y %H:%M:%S"]`, "is required for a timestamp"))
	}
	for i, text := range layouts {
		l, err := findLayout(text)
		if err != nil {
			errs = append(errs, fieldError(fmt.Sprintf("%slayouts[%d]", field, i), "", "%w", err))
		}
		r.layouts = append(r.layouts, l)
	}
	var err error
	if r.zone, err = time.LoadLocation(zone); err != nil || zone == "" {
		errs = append(errs, fieldError(field+"zone", "UTC, Local or a name such as Europe/Berlin", "unknown zone %q", zone))
	}
	return r, errors.Join(errs...)
}

func findLayout(text string) (timeLayout, error) {
	if strings.Contains(text, "%") {
		parse, err := strftimeLayout(text)
		return timeLayout{text, parse}, err
	}
	var names []string
	for _, l := range timeLayouts {
		if l.name == text {
			return l, nil
		}
		names = append(names, l.name)
	}
	return timeLayout{}, fmt.Errorf("unknown layout %q: it is one of %s, or a strftime layout with %%", text, strings.Join(names, ", "))
}

func (p *Parse) validateTimestamp() error {
	_, err := newTimeReader("", p.Layouts, p.Zone, p.Output)
	return err
}

func (p *Parse) timestampParser() (parser, error) {
	r, err := newTimeReader("", p.Layouts, p.Zone, p.Output)
	if err != nil {
		return nil, err
	}
	return func(line []byte, out *fields, a *record.Arena) error {
		t, err := r.time(strings.TrimSpace(view(line)), out.read)
		if err == nil {
			out.value, err = r.value(t, a)
		}
		if err != nil {
			return fmt.Errorf("timestamp: %w", err)
		}
		return nil
	}, nil
}

// time reads a text as the first layout that fits.
func (r *timeReader) time(text string, read time.Time) (time.Time, error) {
	if read.IsZero() {
		read = time.Now()
	}
	var first error
	for i := range r.layouts {
		t, err := r.layouts[i].parse(text, r.zone, read)
		if err == nil {
			return t, nil
		}
		if first == nil {
			first = err
		}
	}
	if len(r.layouts) == 1 {
		return time.Time{}, fmt.Errorf("%q %w (%s)", clip([]byte(text)), first, r.layouts[0].name)
	}
	return time.Time{}, fmt.Errorf("%q is none of the %d layouts", clip([]byte(text)), len(r.layouts))
}

// value writes a time as the output says.
func (r *timeReader) value(t time.Time, a *record.Arena) (record.Value, error) {
	var scratch [40]byte
	number := func(n int64) (record.Value, error) { return record.Int(n, a), nil }
	if y := t.UTC().Year(); y < 1 || y > 9998 { // in any zone
		return record.Value{}, fmt.Errorf("the year %d cannot be written", y)
	}
	switch r.output {
	case "unix":
		if t.Nanosecond() == 0 {
			return number(t.Unix())
		}
		return record.Number(a.Copy(appendUnix(scratch[:0], t))), nil
	case "unix_ms":
		return number(t.UnixMilli())
	case "unix_us":
		return number(t.UnixMicro())
	case "unix_ns":
		if s := t.Unix(); s < -9_223_372_036 || s >= 9_223_372_036 {
			return record.Value{}, fmt.Errorf("%s cannot be written as unix_ns", t.Format(time.RFC3339))
		}
		return number(t.UnixNano())
	case "utc":
		t = t.UTC()
	}
	if _, offset := t.Zone(); offset%60 != 0 { // a local mean time, such as before 1893
		t = t.UTC()
	}
	return record.Text(a.Copy(t.AppendFormat(scratch[:0], time.RFC3339Nano))), nil
}

// appendUnix appends seconds with as much of a fraction as there is.
func appendUnix(dst []byte, t time.Time) []byte {
	s, ns := t.Unix(), int64(t.Nanosecond())
	if s < 0 && ns > 0 { // -0.25 is 750 ms after -1
		s, ns = s+1, 1e9-ns
		if s == 0 {
			dst = append(dst, '-')
		}
	}
	dst = strconv.AppendInt(dst, s, 10)
	fraction := strconv.Itoa(int(1e9 + ns))
	return append(append(dst, '.'), strings.TrimRight(fraction[1:], "0")...)
}

// inZone is the time of a clock in zone. In the hour that a change of clocks
// repeats it is the first one.
func inZone(t time.Time, zone *time.Location) time.Time {
	if t.Location() != zone || zone == time.UTC {
		return t
	}
	start, _ := t.ZoneBounds()
	if start.IsZero() {
		return t
	}
	_, before := start.Add(-1).Zone()
	_, now := t.Zone()
	if back := time.Duration(before-now) * time.Second; back > 0 && t.Sub(start) < back {
		return t.Add(-back)
	}
	return t
}

func goLayout(layout string) func(string, *time.Location, time.Time) (time.Time, error) {
	return func(text string, zone *time.Location, _ time.Time) (time.Time, error) {
		return parseGo(layout, text, zone)
	}
}

func parseGo(layout, text string, zone *time.Location) (time.Time, error) {
	t, err := time.ParseInLocation(layout, text, zone)
	if err != nil {
		return t, errTime
	}
	return inZone(t, zone), nil
}

func parseRFC3339(text string, _ *time.Location, _ time.Time) (time.Time, error) {
	layout := time.RFC3339Nano
	if len(text) > 10 && text[10] == ' ' {
		layout = "2006-01-02 15:04:05.999999999Z07:00"
	}
	t, err := time.Parse(layout, text)
	if err != nil {
		return t, errTime
	}
	return t, nil
}

func parseISO8601(text string, zone *time.Location, _ time.Time) (time.Time, error) {
	layout := "2006-01-02"
	if len(text) > len(layout) {
		if layout += "T15:04"; text[10] == ' ' {
			layout = "2006-01-02 15:04"
		}
		clock := text[11:]
		at := strings.IndexAny(clock, "Z+-")
		if at < 0 {
			at = len(clock)
		}
		if at > len("15:04") {
			layout += ":05"
		}
		switch len(clock) - at {
		case 0:
		case len("+01"):
			layout += "Z07"
		case len("+0100"):
			layout += "Z0700"
		default:
			layout += "Z07:00"
		}
	}
	return parseGo(layout, text, zone)
}

func parseMailDate(text string, _ *time.Location, _ time.Time) (time.Time, error) {
	t, err := mail.ParseDate(text)
	if err != nil {
		return t, errTime
	}
	return t, knownZone(t, time.UTC)
}

// knownZone returns an error for an abbreviation that nobody knows the offset
// of: the standard library takes it for UTC.
func knownZone(t time.Time, zone *time.Location) error {
	name, offset := t.Zone()
	switch name {
	case "", "UTC", "GMT", "UT", "Z":
		return nil
	}
	if offset == 0 && t.Location() != zone {
		return fmt.Errorf("has the zone %s, which is not known: set zone", name)
	}
	return nil
}

func parseRFC3164(text string, zone *time.Location, read time.Time) (time.Time, error) {
	return latest(zone, read, func(year string) (time.Time, error) {
		return parseGo("2006 Jan _2 15:04:05", year+" "+text, zone)
	})
}

// latest finds the year of a time that has none: the latest one in which there
// is such a day and the time is not more than a day after read.
func latest(zone *time.Location, read time.Time, parse func(year string) (time.Time, error)) (time.Time, error) {
	limit := read.Add(24 * time.Hour)
	year := limit.In(zone).Year()
	var first error
	for y := year; y > year-9; y-- { // 29 February may be eight years ago
		t, err := parse(strconv.Itoa(y))
		switch {
		case err == nil && !t.After(limit):
			return t, nil
		case first == nil:
			first = err
		}
	}
	if first == nil {
		first = errTime
	}
	return time.Time{}, first
}

// unixLayout reads a number of units since 1970, with or without a fraction.
func unixLayout(unit time.Duration) func(string, *time.Location, time.Time) (time.Time, error) {
	return func(text string, _ *time.Location, _ time.Time) (time.Time, error) {
		digits, negative := strings.CutPrefix(text, "-")
		whole, fraction, _ := strings.Cut(digits, ".")
		n, err := strconv.ParseUint(whole, 10, 63)
		part, err2 := strconv.ParseUint((fraction + "000000000")[:9], 10, 63)
		if err != nil || err2 != nil || whole == "" || strings.HasSuffix(text, ".") || len(fraction) > 9 && strings.Trim(fraction, "0123456789") != "" {
			return time.Time{}, errTime
		}
		second := uint64(time.Second / unit)
		s, ns := int64(n/second), int64(n%second)*int64(unit)+int64(part)*int64(unit)/1e9
		if s > 253402300799 { // the end of 9999
			return time.Time{}, errors.New("is after the year 9999: is it in another unit?")
		}
		if negative {
			s, ns = -s, -ns
		}
		return time.Unix(s, ns).UTC(), nil
	}
}
