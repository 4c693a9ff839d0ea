package sources

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func newCron(t testing.TB, set func(*Cron)) *Cron {
	t.Helper()
	c, _ := pipe.Lookup(pipe.KindSource, "cron")
	s := c.New().(*Cron)
	s.Schedule = "* * * * * *"
	if set != nil {
		set(s)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

func template(t testing.TB, text string) (e expr.Template) {
	t.Helper()
	if err := e.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestCronConformance(t *testing.T) {
	pipetest.Source(t, func() pipe.Source {
		return newCron(t, func(s *Cron) {
			s.Event = pipe.OrderedMap[expr.Template]{{Key: "n", Value: template(t, "seq")}, {Key: "job.name", Value: template(t, `"report"`)}}
			s.after = func(at time.Time) (time.Time, error) { return at.Add(5 * time.Millisecond), nil }
		})
	}, pipetest.SourceOptions{Endless: true, Unstable: true,
		Want: []string{`{"n":0,"job":{"name":"report"}}`, `{"n":1,"job":{"name":"report"}}`, `{"n":2,"job":{"name":"report"}}`}})
}

// TestCronTimes shows which times a schedule has, also where clocks change.
func TestCronTimes(t *testing.T) {
	f := func(schedule, zone, from string, want ...string) {
		t.Helper()
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.ParseInLocation("2006-01-02 15:04:05", from, loc)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if at, err = next(schedule, at); err != nil {
				t.Fatalf("%s after %s: %v", schedule, at, err)
			}
			if got := at.Format("2006-01-02 15:04:05 MST"); got != w {
				t.Errorf("%s in %s: got %s, want %s", schedule, zone, got, w)
			}
		}
	}
	f("*/5 * * * *", "UTC", "2026-03-01 23:52:10", "2026-03-01 23:55:00 UTC", "2026-03-02 00:00:00 UTC")
	f("*/20 * * * * *", "UTC", "2026-03-01 23:59:30", "2026-03-01 23:59:40 UTC", "2026-03-02 00:00:00 UTC", "2026-03-02 00:00:20 UTC")
	f("@daily", "Asia/Tokyo", "2026-03-01 12:00:00", "2026-03-02 00:00:00 JST")
	f("30 7 * * MON-FRI", "UTC", "2026-11-20 08:00:00", "2026-11-23 07:30:00 UTC")
	f("0 0 29 2 *", "UTC", "2026-03-01 00:00:00", "2028-02-29 00:00:00 UTC")
	f("0 12 1 * SUN", "UTC", "2026-11-21 13:00:00", "2026-11-22 12:00:00 UTC", "2026-11-29 12:00:00 UTC", "2026-12-01 12:00:00 UTC")
	// Forward: 02:00 to 03:00 on 2026-03-29. Back: 03:00 to 02:00 on 2026-10-25.
	f("30 2 * * *", "Europe/Berlin", "2026-03-28 12:00:00", "2026-03-30 02:30:00 CEST")
	f("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00:00", "2026-10-25 02:30:00 CEST", "2026-10-26 02:30:00 CET")
	f("0 * * * *", "Europe/Berlin", "2026-03-29 01:30:00", "2026-03-29 03:00:00 CEST", "2026-03-29 04:00:00 CEST")
	f("*/30 * * * *", "Europe/Berlin", "2026-10-25 01:59:00", "2026-10-25 02:00:00 CEST", "2026-10-25 02:30:00 CEST", "2026-10-25 03:00:00 CET")
}

// pulledAt opens a source and returns a function that reads one event.
func cronRig(t *testing.T, s *Cron) func() (scheduled, missed string, p *pipetest.Puller, all []pipetest.Pulled) {
	p := pipetest.Pull(t, s)
	t.Cleanup(p.Close)
	return func() (string, string, *pipetest.Puller, []pipetest.Pulled) {
		t.Helper()
		all, err := p.Read(context.Background())
		if err != nil || len(all) != 1 {
			t.Fatalf("got %d events, %v", len(all), err)
		}
		at, _ := all[0].Event.Meta("scheduled")
		missed, _ := all[0].Event.Meta("missed")
		return at, missed, p, all
	}
}

func TestCronMissed(t *testing.T) {
	f := func(policy, wantAt, wantMissed string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) { // which begins at 2000-01-01 00:00:00 UTC
			s := newCron(t, func(s *Cron) { s.Schedule, s.Missed = "* * * * *", policy })
			read := cronRig(t, s)
			if at, missed, _, _ := read(); at != "2000-01-01T00:01:00Z" || missed != "" {
				t.Errorf("first event at %s, %q missed", at, missed)
			}
			time.Sleep(5*time.Minute + 30*time.Second) // nobody reads at 2, 3, 4, 5 and 6
			at, missed, _, _ := read()
			if at != wantAt || missed != wantMissed {
				t.Errorf("%s: got %s with %q missed, want %s with %q", policy, at, missed, wantAt, wantMissed)
			}
			if got := time.Now().UTC().Format(time.RFC3339); policy == cronSkip && got != at {
				t.Errorf("the event of %s came at %s", at, got)
			}
		})
	}
	f(cronSkip, "2000-01-01T00:07:00Z", "5")
	f(cronOnce, "2000-01-01T00:06:00Z", "5")
}

func TestCronOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCron(t, func(s *Cron) { s.Schedule, s.Overlap = "* * * * *", cronSkip })
		read := cronRig(t, s)
		_, _, p, first := read()
		time.AfterFunc(150*time.Second, func() { p.Settle(first, pipe.Delivered) })
		if at, missed, _, _ := read(); at != "2000-01-01T00:04:00Z" || missed != "2" {
			t.Errorf("got %s with %q missed, want the first minute after the event before is settled", at, missed)
		}
	})
}

func TestCronAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := cronRig(t, newCron(t, func(s *Cron) { s.Schedule, s.AtStart = "@hourly", true }))
		if at, _, _, all := read(); at != "2000-01-01T00:00:00Z" && !strings.HasPrefix(all[0].Text, `{"seq":0,"time":"2000-01-01T`) {
			t.Errorf("got %s, %s", at, all[0].Text)
		}
		if at, _, _, all := read(); at != "2000-01-01T01:00:00Z" || all[0].Text != `{"seq":1,"time":"2000-01-01T01:00:00Z"}` {
			t.Errorf("got %s, %s", at, all[0].Text)
		}
	})
}

func TestCronValidate(t *testing.T) {
	f := func(set func(*Cron), field, want string) {
		t.Helper()
		s := &Cron{Schedule: "* * * * *", Timezone: "UTC", Missed: cronSkip, Overlap: cronAllow}
		set(s)
		var fe *pipe.FieldError
		if err := s.Validate(); !errors.As(err, &fe) || fe.Field != field || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error at %s with %q", err, field, want)
		}
	}
	f(func(s *Cron) { s.Schedule = "" }, "schedule", "not a schedule")
	f(func(s *Cron) { s.Schedule = "61 * * * *" }, "schedule", "not a schedule")
	f(func(s *Cron) { s.Schedule = "* * * *" }, "schedule", "not a schedule")
	f(func(s *Cron) { s.Schedule = "0 0 30 2 *" }, "schedule", "never comes")
	f(func(s *Cron) { s.Timezone = "Mars/Olympus" }, "timezone", "Europe/Berlin")
	f(func(s *Cron) { s.Event = pipe.OrderedMap[expr.Template]{{Key: "a["}} }, "event.a[", "")
}

func FuzzCronSchedule(f *testing.F) {
	for _, s := range []string{"* * * * *", "@daily", "*/7 1-5,9 L * MON#2", "0 0 30 2 *", "* * * * * * 2026"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, schedule string) {
		if len(schedule) > 100 {
			return
		}
		s := &Cron{Schedule: schedule, Timezone: "UTC"}
		if s.Validate() != nil {
			return
		}
		from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		at, err := next(schedule, from)
		if err != nil || !at.After(from) {
			t.Errorf("%q after %v: %v, %v", schedule, from, at, err)
		}
	})
}
