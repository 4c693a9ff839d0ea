package stages

import (
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/record"
)

// readAt is when the events of these tests were read: on New Year's Day.
var readAt = time.Date(2024, 1, 1, 9, 30, 0, 0, time.UTC)

// stamp parses a time and writes it again; an error is returned as "!" and its text.
func stamp(t *testing.T, zone, output, text string, layouts ...string) string {
	t.Helper()
	r, err := newTimeReader("", layouts, zone, output)
	if err != nil {
		t.Fatal(err)
	}
	at, err := r.time(text, readAt)
	if err != nil {
		return "!" + err.Error()
	}
	v, err := r.value(at, &record.Arena{})
	if err != nil {
		return "!" + err.Error()
	}
	return v.String()
}

func TestTimestampLayouts(t *testing.T) {
	f := func(layout, text, want string) {
		t.Helper()
		got := stamp(t, "UTC", "rfc3339", text, layout)
		if got != want && !(want == "!" && strings.HasPrefix(got, "!")) {
			t.Errorf("%s of %q: got %s, want %s", layout, text, got, want)
		}
	}
	f("rfc3339", "2024-03-04T05:06:07Z", "2024-03-04T05:06:07Z")
	f("rfc3339", "2024-03-04 05:06:07.120+01:30", "2024-03-04T05:06:07.12+01:30")
	f("rfc3339", "2024-03-04T05:06:07", "!")
	f("rfc3339", "2024-02-30T05:06:07Z", `!"2024-02-30T05:06:07Z" is no such time (rfc3339)`)
	f("iso8601", "2024-03-04T05:06", "2024-03-04T05:06:00Z")
	f("iso8601", "2024-03-04 05:06:07,5", "2024-03-04T05:06:07.5Z")
	f("iso8601", "2024-03-04T05:06:07+0100", "2024-03-04T05:06:07+01:00")
	f("iso8601", "2024-03-04T05:06-03", "2024-03-04T05:06:00-03:00")
	f("iso8601", "2024-03-04", "2024-03-04T00:00:00Z")
	f("iso8601", "2024-03", "!")
	f("unix", "1700000000", "2023-11-14T22:13:20Z")
	f("unix", "1700000000.25", "2023-11-14T22:13:20.25Z")
	f("unix", "-0.5", "1969-12-31T23:59:59.5Z")
	f("unix", "1700000000000", "!")
	f("unix", "1.7e9", "!")
	f("unix", "", "!")
	f("unix", "1.", "!")
	f("unix", "1.1234567890x", "!")
	f("unix_ms", "1700000000123.5", "2023-11-14T22:13:20.1235Z")
	f("unix_us", "1700000000123456", "2023-11-14T22:13:20.123456Z")
	f("unix_ns", "-1", "1969-12-31T23:59:59.999999999Z")
	f("common_log", "17/May/2015:10:05:03 +0200", "2015-05-17T10:05:03+02:00")
	f("common_log", "31/Apr/2015:10:05:03 +0200", "!")
	f("rfc2822", "Sun, 17 May 2015 10:05:03 +0000", "2015-05-17T10:05:03Z")
	f("rfc2822", "Sun, 17 May 2015 10:05:03 CET", "!")
	f("http", "Sun, 17 May 2015 10:05:03 GMT", "2015-05-17T10:05:03Z")
	f("ctime", "Sun May 17 10:05:03 2015", "2015-05-17T10:05:03Z")
	f("rfc3164", "Jan  1 09:00:00", "2024-01-01T09:00:00Z")
	f("rfc3164", "Jan  2 09:00:00", "2024-01-02T09:00:00Z") // their clock is before ours
	f("rfc3164", "Jan  2 10:00:00", "2023-01-02T10:00:00Z")
	f("rfc3164", "Dec 31 23:59:59", "2023-12-31T23:59:59Z")
	f("rfc3164", "Feb 29 00:00:00", "2020-02-29T00:00:00Z")
	f("rfc3164", "Feb 30 00:00:00", "!")
	f("%d/%b/%Y:%H:%M:%S %z", "17/May/2015:10:05:03 -0330", "2015-05-17T10:05:03-03:30")
	f("%d/%b/%Y:%H:%M:%S %z", "31/Apr/2015:10:05:03 -0330", "!")
	f("%Y%m%d%H%M%S", "20240431010203", "!")
	f("%Y%m%d%H%M%S", "20240503010203", "2024-05-03T01:02:03Z")
	f("%Y-%m-%d", "2023-02-29", "!")
	f("%e.%m.%y %k Uhr", " 1.02.24  7 Uhr", "2024-02-01T07:00:00Z")
	f("%s.%f", "1700000000.5", "2023-11-14T22:13:20.5Z")
	f("%b %d %H:%M:%S", "Feb 29 01:02:03", "2020-02-29T01:02:03Z")
	f("%b %d %H:%M", "Dec 31 23:59", "2023-12-31T23:59:00Z")
	f("%H:%M:%S", "01:02:03", "2024-01-01T01:02:03Z")
	f("%Y-%m-%d %H:%M %Z", "2024-03-04 05:06 UTC", "2024-03-04T05:06:00Z")
	f("%Y-%m-%d %H:%M %Z", "2024-03-04 05:06 CET", `!"2024-03-04 05:06 CET" has the zone CET, which is not known: set zone (%Y-%m-%d %H:%M %Z)`)
	f("%Y-%m-%dT%H:%M%:z", "2024-03-04T05:06+02:00", "2024-03-04T05:06:00+02:00")
}

func TestTimestampZones(t *testing.T) {
	f := func(zone, layout, text, want string) {
		t.Helper()
		if got := stamp(t, zone, "rfc3339", text, layout); got != want {
			t.Errorf("%s in %s: got %s, want %s", text, zone, got, want)
		}
	}
	f("Europe/Berlin", "iso8601", "2024-07-01 12:00", "2024-07-01T12:00:00+02:00")
	f("Europe/Berlin", "iso8601", "2024-07-01 12:00Z", "2024-07-01T12:00:00Z")
	f("Europe/Berlin", "iso8601", "2024-10-27 02:30", "2024-10-27T02:30:00+02:00") // the first of two
	f("Europe/Berlin", "iso8601", "2024-10-27 03:00", "2024-10-27T03:00:00+01:00")
	f("Europe/Berlin", "%Y-%m-%d %H:%M", "2024-10-27 02:30", "2024-10-27T02:30:00+02:00")
	f("Australia/Lord_Howe", "iso8601", "2024-04-07 01:45", "2024-04-07T01:45:00+11:00") // half an hour back
	f("Europe/Berlin", "%Y-%m-%d %H:%M %Z", "2024-07-01 12:00 CEST", "2024-07-01T12:00:00+02:00")
	f("America/New_York", "%H:%M", "23:00", "2024-01-01T23:00:00-05:00")
}

func TestTimestampOutputs(t *testing.T) {
	f := func(output, text, want string) {
		t.Helper()
		if got := stamp(t, "UTC", output, text, "rfc3339", "unix"); got != want {
			t.Errorf("%s as %s: got %s, want %s", text, output, got, want)
		}
	}
	const at = "2024-03-04T05:06:07.25+01:00"
	f("utc", at, "2024-03-04T04:06:07.25Z")
	f("unix", at, "1709525167.25")
	f("unix", "1970-01-01T00:00:00Z", "0")
	f("unix", "1969-12-31T23:59:58.75Z", "-1.25")
	f("unix", "1969-12-31T23:59:59.75Z", "-0.25")
	f("unix_ms", at, "1709525167250")
	f("unix_us", at, "1709525167250000")
	f("unix_ns", at, "1709525167250000000")
	f("unix_ns", "1600-01-01T00:00:00Z", "!1600-01-01T00:00:00Z cannot be written as unix_ns")
	f("unix", "0000-01-01T00:00:00Z", "!the year 0 cannot be written")
	f("unix", "x", `!"x" is none of the 2 layouts`)
}

func TestParseTimestamp(t *testing.T) {
	at := func(change func(*Parse)) *Parse {
		return newParse("timestamp", func(p *Parse) { p.Layouts = []string{"unix", "rfc3339"} }, change)
	}
	becomes(t, at(func(*Parse) {}), " 2024-01-02T03:04:05Z ", `{"message":"2024-01-02T03:04:05Z"}`, ``)
	becomes(t, at(func(p *Parse) { p.Field = "t" }), `{"t":1700000000,"n":1}`, `{"t":"2023-11-14T22:13:20Z","n":1}`, ``)
	becomes(t, at(func(p *Parse) { p.Field, p.Target = "t", "a.b" }), `{"t":"1700000000","n":1}`, `{"n":1,"a":{"b":"2023-11-14T22:13:20Z"}}`, ``)
	becomes(t, at(func(p *Parse) { p.Field, p.Target, p.KeepSource, p.Output = "t", "ms", true, "unix_ms" }), `{"t":1.5}`, `{"t":1.5,"ms":1500}`, ``)
	becomes(t, at(func(p *Parse) { p.Field = "t" }), `{"t":true}`, ``, `timestamp: field t is not a text`)
	refuses(t, newParse("timestamp"), "layouts", "is required")
	layouts := func(l ...string) *Parse { return newParse("timestamp", func(p *Parse) { p.Layouts = l }) }
	refuses(t, layouts("rfc3339", "rfc9999"), "layouts[1]", `unknown layout "rfc9999": it is one of rfc3339, iso8601,`)
	refuses(t, layouts("%Y %Q"), "layouts[0]", "there is no %Q in strftime")
	refuses(t, layouts("%Y %"), "layouts[0]", "ends with %")
	refuses(t, layouts("%:Y"), "layouts[0]", "there is no %Y") // a colon is for %z only
	refuses(t, newParse("timestamp", func(p *Parse) { p.Layouts, p.Zone = []string{"unix"}, "Mars/Base" }), "zone", `unknown zone "Mars/Base"`)
}

// What a layout with all parts writes reads back as the same moment.
func TestStrftimeRoundTrip(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/St_Johns"}
	i := 0
	for at := time.Date(2003, 12, 31, 23, 0, 0, 0, time.UTC); at.Year() < 2009; at = at.Add(31*time.Hour + 17*time.Minute + 3*time.Second) {
		i++
		zone := zones[i%3]
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		want := at.In(loc).Format(time.RFC3339)
		if got := stamp(t, zone, "rfc3339", at.In(loc).Format("02 Jan 2006 03:04:05 PM -0700"), "%d %b %Y %I:%M:%S %p %z"); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

// No text makes a layout panic, and what is read can be written and read again.
func FuzzTimestamp(f *testing.F) {
	for _, s := range []string{"2024-03-04T05:06:07Z", "1700000000.5", "17/May/2015:10:05:03 +0000", "Feb 29 00:00:00", "Sun, 17 May 2015 10:05:03 CET", "31.04.2024 25:61"} {
		f.Add(s)
	}
	layouts := []string{"%d.%m.%Y %H:%M:%S", "%b %e %H:%M", "%c", "%G-W%V-%u", "%Y-%j", "%H:%M %Z", "%+", "%s"}
	for _, l := range timeLayouts {
		layouts = append(layouts, l.name)
	}
	var readers []*timeReader
	for _, l := range layouts {
		r, err := newTimeReader("", []string{l}, "Europe/Berlin", "rfc3339")
		if err != nil {
			f.Fatal(err)
		}
		readers = append(readers, r)
	}
	again, err := newTimeReader("", []string{"rfc3339"}, "UTC", "rfc3339")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for i, r := range readers {
			at, err := r.time(text, readAt)
			if err != nil {
				continue
			}
			v, err := r.value(at, &record.Arena{})
			if err != nil {
				continue
			}
			if back, err := again.time(v.String(), readAt); err != nil || !back.Equal(at) {
				t.Errorf("%s of %q is %s, which reads as %v, %v", layouts[i], text, v, back, err)
			}
		}
	})
}
