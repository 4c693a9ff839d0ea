package stages

import (
	"strings"
	"testing"
	"time"
)

func TestParseSyslog(t *testing.T) {
	f := func(zone, line, want, what string) {
		t.Helper()
		becomes(t, newParse("syslog", func(p *Parse) { p.Zone = zone }), line, want, what)
	}
	f("UTC", "<13>Jan  1 2026 00:00:01 host app[12]: hello",
		`{"facility":"user","severity":"notice","timestamp":"2026-01-01T00:00:01Z","hostname":"host","app_name":"app","proc_id":"12","message":"hello"}`, "")
	f("Europe/Berlin", "<13>Jul  1 2026 00:00:01 app: hello",
		`{"facility":"user","severity":"notice","timestamp":"2026-07-01T00:00:01+02:00","app_name":"app","message":"hello"}`, "")
	f("UTC", `<165>1 2003-10-11T22:14:15.003Z h a p m [x y="1" y="\"2"] text`,
		`{"facility":"local4","severity":"notice","timestamp":"2003-10-11T22:14:15.003Z","hostname":"h","app_name":"a","proc_id":"p","msg_id":"m","structured_data":{"x":{"y":["1","\"2"]}},"message":"text"}`, "")
	f("UTC", "no priority", "", "syslog: byte 0: a priority such as <13> should be here")
	f("UTC", "<13>1 - h", "", "syslog: byte 8: the message ends in or before hostname")
}

// Without a year it is the one nearest to now.
func TestParseSyslogYear(t *testing.T) {
	now := time.Now().UTC()
	at := now.AddDate(0, 0, -20)
	if at.Month() == time.February && at.Day() == 29 {
		at = at.AddDate(0, 0, -1)
	}
	r := run(t, newParse("syslog"), at.Format("<13>Jan _2 15:04:05 host app: x"))
	if got := r.Emitted[""]; len(got) != 1 || !strings.Contains(got[0], at.Format(`"2006-01-02T15:04:05Z"`)) {
		t.Errorf("got %q, want the time %v", got, at)
	}
}

func TestParseSyslogZone(t *testing.T) {
	p := newParse("syslog")
	p.Zone = "Mars/Base"
	if err := p.Validate(); err == nil || !strings.Contains(err.Error(), `zone: unknown time zone "Mars/Base"`) {
		t.Errorf("got %v", err)
	}
}
