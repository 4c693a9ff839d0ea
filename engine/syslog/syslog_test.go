package syslog

import (
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// newYear is shortly after midnight of the first day of a year.
var newYear = time.Date(2026, 1, 1, 0, 0, 30, 0, time.UTC)

func parser(format Format) *Parser {
	return &Parser{Format: format, Zone: time.UTC, Now: func() time.Time { return newYear }}
}

// parsed returns the message as JSON, or the error.
func parsed(p *Parser, line string) string {
	var m Message
	if err := p.Parse([]byte(line), &m); err != nil {
		return err.Error()
	}
	body := m.Body(new(record.Arena))
	return string(body.AppendJSON(nil))
}

func TestParse(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		if got := parsed(parser(Auto), line); got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", line, got, want)
		}
	}
	head := func(time, rest string) string {
		return `{"facility":"user","severity":"notice","timestamp":"` + time + `",` + rest + `}`
	}
	// RFC 3164, as it is on the wire.
	f("<13>Jan  1 00:00:01 host app[12]: hello", head("2026-01-01T00:00:01Z", `"hostname":"host","app_name":"app","proc_id":"12","message":"hello"`))
	f("<13>Dec 31 23:59:59 host app: hello\n", head("2025-12-31T23:59:59Z", `"hostname":"host","app_name":"app","message":"hello"`))
	f("<13>Feb 29 10:00:00 host app: leap", head("2024-02-29T10:00:00Z", `"hostname":"host","app_name":"app","message":"leap"`))
	f("<13>Jan 01 00:00:01 app[12]: no host\x00", head("2026-01-01T00:00:01Z", `"app_name":"app","proc_id":"12","message":"no host"`))
	f("<13>Jan  1 00:00:01 app: no host", head("2026-01-01T00:00:01Z", `"app_name":"app","message":"no host"`))
	f("<13>Jan  1 00:00:01 fe80::1 app: v6", head("2026-01-01T00:00:01Z", `"hostname":"fe80::1","app_name":"app","message":"v6"`))
	f("<13>Jan  1 00:00:01 host no tag: here", head("2026-01-01T00:00:01Z", `"hostname":"host","message":"no tag: here"`))
	f("<13>Jan  1 00:00:01 host last message repeated 2 times", head("2026-01-01T00:00:01Z", `"hostname":"host","message":"last message repeated 2 times"`))
	f("<13>Jan  1 00:00:01 host app[12]:tight", head("2026-01-01T00:00:01Z", `"hostname":"host","app_name":"app","proc_id":"12","message":"tight"`))
	f("<13>Jan  1 00:00:01.25 host app: frac", head("2026-01-01T00:00:01.25Z", `"hostname":"host","app_name":"app","message":"frac"`))
	f("<13>Jan  1 2019 00:00:01 host app: year", head("2019-01-01T00:00:01Z", `"hostname":"host","app_name":"app","message":"year"`))
	f("<13>Jan  1 00:00:01 2019: %ASA-6-1: year", head("2019-01-01T00:00:01Z", `"app_name":"%ASA-6-1","message":"year"`))
	f("<13>2026-01-01T00:00:01.123456+01:00 host app: rsyslog", head("2026-01-01T00:00:01.123456+01:00", `"hostname":"host","app_name":"app","message":"rsyslog"`))
	f("<13>Jan  1 00:00:01 host", head("2026-01-01T00:00:01Z", `"message":"host"`))
	f("<13>Jan  1 00:00:61 host app: no time", `{"facility":"user","severity":"notice","message":"Jan  1 00:00:61 host app: no time"}`)
	f("<13>Apr 31 00:00:01 h a: x", `{"facility":"user","severity":"notice","message":"Apr 31 00:00:01 h a: x"}`)
	f("<13>just text", `{"facility":"user","severity":"notice","message":"just text"}`)
	f("<13>", `{"facility":"user","severity":"notice","message":""}`)
	f("<13>1 error found", `{"facility":"user","severity":"notice","message":"1 error found"}`)
	f("<13>Jan  1 00:00:01 host app: \xff", head("2026-01-01T00:00:01Z", `"hostname":"host","app_name":"app","message":"`+"\ufffd"+`"`))
	// Not even that.
	f("no priority", "byte 0: a priority such as <13> should be here")
	f("", "byte 0: a priority such as <13> should be here")
	f("<192>1 - - - - - -", "byte 5: a priority such as <13> should be here")
	f("<01>x", "byte 0: a priority such as <13> should be here")
	f("<1x>x", "byte 0: a priority such as <13> should be here")
	// RFC 5424.
	full := `<165>1 2003-10-11T22:14:15.003Z host app 12 ID47 [a@1 ip="1" n="x" ip="2"][b q="\"\]\\\n"] ` + "\ufeffAn event"
	f(full, `{"facility":"local4","severity":"notice","timestamp":"2003-10-11T22:14:15.003Z","hostname":"host","app_name":"app","proc_id":"12","msg_id":"ID47",`+
		`"structured_data":{"a@1":{"ip":["1","2"],"n":"x"},"b":{"q":"\"]\\\\n"}},"message":"An event"}`)
	f("<0>1 - - - - - -", `{"facility":"kern","severity":"emerg"}`)
	f("<0>1 - - - - - - ", `{"facility":"kern","severity":"emerg","message":""}`)
	f("<0>1 - - - - - [a] two\nlines", `{"facility":"kern","severity":"emerg","structured_data":{"a":{}},"message":"two\nlines"}`)
	f("<0>1 2003-10-11 22:14:15 h a p m - x", `byte 5: the time should be like 2026-03-01T23:30:00.123Z or -, got "2003-10-11"`)
	f("<0>2 - h a p m - x", `version "2" is not known: only 1 is defined`)
	f("<0>1 - h a p", "byte 11: the message ends in or before proc_id")
	f("<0>1 -  a p m - x", "byte 7: hostname is missing")
	f("<0>1 - h a p m x", "byte 15: structured data in brackets or - should be here")
	f(`<0>1 - h a p m [x y="1] x`, "byte 25: the closing quote of the parameter is missing")
	f(`<0>1 - h a p m [x y] x`, `byte 19: =" should follow the name of the parameter`)
	f(`<0>1 - h a p m [x y="1"x`, "byte 23: ] should end the element")
	f("<0>1 - h "+strings.Repeat("a", 49)+" p m - x", "byte 9: app_name is longer than the 48 bytes that it may have")
	f("<0>1 - h a p m -x", "byte 16: a space should follow the structured data")
}

func TestParseBounds(t *testing.T) {
	many := "<0>1 - - - - - [a" + strings.Repeat(` b="c"`, 2000) + "]"
	if got := parsed(parser(RFC5424), many); got != errParams.Error() {
		t.Errorf("got %.100s", got)
	}
}

// The year is the one that puts the time nearest to now, unless it is given.
func TestYear(t *testing.T) {
	f := func(now, line string, year int, want string) {
		t.Helper()
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		zone := time.FixedZone("", 3600)
		p := &Parser{Format: RFC3164, Year: year, Zone: zone, Now: func() time.Time { return at }}
		var m Message
		if err := p.Parse([]byte("<13>"+line+" h a: x"), &m); err != nil || string(m.Timestamp) != want {
			t.Errorf("%s at %s: got %s, %v, want %s", line, now, m.Timestamp, err, want)
		}
	}
	f("2026-01-01T00:00:00Z", "Dec 31 23:00:00", 0, "2025-12-31T23:00:00+01:00")
	f("2025-12-31T22:59:00Z", "Jan  1 00:00:10", 0, "2026-01-01T00:00:10+01:00")
	f("2026-06-15T00:00:00Z", "Jan  1 00:00:10", 0, "2026-01-01T00:00:10+01:00")
	f("2026-12-15T00:00:00Z", "Jan  1 00:00:10", 0, "2027-01-01T00:00:10+01:00")
	f("2026-06-15T00:00:00Z", "Feb 29 00:00:10", 0, "2028-02-29T00:00:10+01:00")
	f("2101-06-15T00:00:00Z", "Feb 29 00:00:10", 0, "2104-02-29T00:00:10+01:00")
	f("2026-06-15T00:00:00Z", "Jan  1 00:00:10", 2019, "2019-01-01T00:00:10+01:00")
	f("2026-06-15T00:00:00Z", "Feb 29 00:00:10", 2019, "")
}

// event makes an event of JSON, or of a line.
func event(t testing.TB, text string) *pipe.Event {
	t.Helper()
	body := record.FromText([]byte(text))
	if strings.HasPrefix(text, "{") {
		var err error
		if body, err = record.FromJSON([]byte(text), new(record.Arena)); err != nil {
			t.Fatal(err)
		}
	}
	return &pipe.Event{Body: body}
}

func formatter(format Format) *Formatter {
	return &Formatter{Format: format, Facility: 1, Severity: 6, Hostname: "here", AppName: "pipectl", Zone: time.UTC}
}

func TestFormat(t *testing.T) {
	f := func(format Format, in, want string) {
		t.Helper()
		got, err := formatter(format).Append([]byte("+"), event(t, in))
		if err != nil {
			if pipe.ClassOf(err, "") != pipe.Poison || string(got) != "+" {
				t.Errorf("%s: %v has class %s, and %q was left", in, err, pipe.ClassOf(err, ""), got)
			}
			got = []byte("+" + err.Error())
		}
		if string(got) != "+"+want {
			t.Errorf("%s:\ngot  %s\nwant %s", in, got[1:], want)
		}
	}
	at := `"timestamp":"2026-03-01T23:30:00.1234567+01:00"`
	f(RFC5424, `{`+at+`,"a":1}`, `<14>1 2026-03-01T23:30:00.123456+01:00 here pipectl - - - {`+at+`,"a":1}`)
	f(RFC5424, `{`+at+`,"message":"m","facility":"local7","severity":0,"hostname":"h","app_name":"a","proc_id":12,"msg_id":"i"}`,
		`<184>1 2026-03-01T23:30:00.123456+01:00 h a 12 i - m`)
	f(RFC5424, `{`+at+`,"message":"m","structured_data":{"a":{"x":"\"]\\","y":["1",2,true,null]},"b":{}}}`,
		`<14>1 2026-03-01T23:30:00.123456+01:00 here pipectl - - [a x="\"\]\\" y="1" y="2" y="true"][b] m`)
	f(RFC5424, `{`+at+`,"message":"m","structured_data":{},"severity":null,"hostname":""}`, `<14>1 2026-03-01T23:30:00.123456+01:00 - pipectl - - - m`)
	f(RFC3164, `{`+at+`,"message":"m","proc_id":"12","severity":"WARN","msg_id":"i"}`, `<12>Mar  1 22:30:00 here pipectl[12]: m`)
	f(RFC3164, `{`+at+`,"message":{"a":"b"}}`, `<14>Mar  1 22:30:00 here pipectl: {"a":"b"}`)
	f(RFC5424, `{"timestamp":"yesterday"}`, `rfc5424: timestamp: "yesterday" is no time like 2026-03-01T23:30:00Z`)
	f(RFC5424, `{"severity":8}`, `rfc5424: severity: 8 is none: it is a name or a number up to 7`)
	f(RFC5424, `{"facility":"me"}`, `rfc5424: facility: "me" is none: it is a name or a number up to 23`)
	f(RFC5424, `{"hostname":"a b"}`, `rfc5424: hostname: "a b" has a character that a header cannot have at byte 1: only ASCII without spaces can be there`)
	f(RFC5424, `{"hostname":["a"]}`, `rfc5424: hostname: ["a"] is not a text`)
	f(RFC5424, `{"msg_id":"`+strings.Repeat("x", 33)+`"}`, `rfc5424: msg_id has 33 bytes, the most are 32`)
	f(RFC5424, `{"structured_data":"x"}`, `rfc5424: structured_data: "x" is not an object`)
	f(RFC5424, `{"structured_data":{"a":1}}`, `rfc5424: structured_data: a: 1 is not an object`)
	f(RFC5424, `{"structured_data":{"a=":{}}}`, `rfc5424: structured_data: the name "a=" has a character that it cannot have: '='`)
	f(RFC5424, `{"structured_data":{"a":{"b":{}}}}`, `rfc5424: structured_data: b: an object cannot be the value of a parameter`)
	f(RFC5424, `{"structured_data":{"a":{"b":[[1]]}}}`, `rfc5424: structured_data: b: an array in an array cannot be the value of a parameter`)
}

// A line of text is the message, and the time is when it was read.
func TestFormatText(t *testing.T) {
	got, err := formatter(RFC5424).Append(nil, event(t, "two\nlines"))
	if err != nil || !strings.HasPrefix(string(got), "<14>1 20") || !strings.HasSuffix(string(got), " here pipectl - - - two\nlines") {
		t.Errorf("got %q, %v", got, err)
	}
}

// What a formatter writes of a parsed message is parsed to the same message.
func FuzzRoundTrip(f *testing.F) {
	f.Add(`<165>1 2003-10-11T22:14:15.003Z host app 12 ID47 [a@1 ip="1" ip="2"][b q="\"\]\\"] An event`)
	f.Add("<13>Jan  1 00:00:01 host app[12]: hello")
	f.Add("<13>2026-01-01T00:00:01.123456+01:00 host app: rsyslog")
	f.Add("<0>1 - - - - - -")
	f.Add("<13>x")
	f.Fuzz(func(t *testing.T, line string) {
		before := strings.Clone(line)
		first := parsed(parser(Auto), line)
		if line != before {
			t.Fatal("the line was written to")
		}
		if !strings.HasPrefix(first, "{") {
			return
		}
		if _, err := record.FromJSON([]byte(first), new(record.Arena)); err != nil {
			t.Fatalf("%q gives %q: %v", line, first, err)
		}
		if !strings.Contains(first, `"timestamp"`) || !strings.Contains(first, `"message":`) || strings.Contains(first, "\\u") {
			return
		}
		bare := &Formatter{Format: RFC5424, Zone: time.UTC} // gives nothing that was not there
		again, err := bare.Append(nil, event(t, first))
		if err != nil {
			return // a header of RFC 3164 may be longer than RFC 5424 allows
		}
		got := parsed(parser(RFC5424), string(again))
		if !strings.HasPrefix(got, "{") {
			t.Fatalf("%q was written as %q: %s", line, again, got)
		}
		if want := message(t, first); message(t, got) != want && !strings.HasPrefix(want, "\ufeff") {
			t.Fatalf("%q came back as %s", first, got)
		}
	})
}

// message returns the text of a message, without what ends a line.
func message(t testing.TB, text string) string {
	e := event(t, text)
	v := e.Body.Field("message")
	return strings.TrimRight(v.String(), "\r\n\x00")
}

func FuzzParse(f *testing.F) {
	f.Add(`<165>1 2003-10-11T22:14:15.003Z host app 12 ID47 [a@1 ip="1" ip="2"][b q="\"\]\\"] An event`)
	f.Add("<13>Jan 01 00:00:01.5 2019: fe80:: a[1]:x")
	f.Fuzz(func(t *testing.T, line string) {
		for _, format := range []Format{Auto, RFC3164, RFC5424} {
			got := parsed(parser(format), line)
			if strings.HasPrefix(got, "{") {
				if _, err := record.FromJSON([]byte(got), new(record.Arena)); err != nil {
					t.Errorf("%s: %q gives %q: %v", format, line, got, err)
				}
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for name, line := range map[string]string{
		"rfc3164": "<13>Jan  1 00:00:01 host app[12]: hello there this is a message of usual length",
		"rfc5424": `<165>1 2003-10-11T22:14:15.003Z host app 12 ID47 [a@1 ip="1" x="y"] hello there this is a message of usual length`,
	} {
		b.Run(name, func(b *testing.B) {
			p, in := parser(Auto), []byte(line)
			var m Message
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Parse(in, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
