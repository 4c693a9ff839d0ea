package sinks

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

const hecGood = `{"text":"Success","code":0}`

func splunkTo(t testing.TB, f *far, set func(*SplunkHEC)) *SplunkHEC {
	return fresh(t, "splunk_hec", func(s *SplunkHEC) {
		s.URL, s.Token = f.URL, "t0k"
		if set != nil {
			set(s)
		}
	})
}

// hecEvents are the events in a request.
func hecEvents(body string) (lines []string) {
	d := json.NewDecoder(strings.NewReader(body))
	for {
		var doc struct{ Event json.RawMessage }
		if d.Decode(&doc) != nil {
			return lines
		}
		var text string
		if json.Unmarshal(doc.Event, &text) != nil {
			text = string(doc.Event)
		}
		lines = append(lines, text)
	}
}

func TestSplunkHECConformance(t *testing.T) {
	service{
		new:   func(t *testing.T, f *far) pipe.Sink { return splunkTo(t, f, nil) },
		good:  func(w http.ResponseWriter, _ string) { io.WriteString(w, hecGood) },
		lines: hecEvents,
	}.conformance(t)
}

func TestSplunkHECRequest(t *testing.T) {
	f := newFar(t, (*httptest.Server).Start)
	s := splunkTo(t, f, func(s *SplunkHEC) {
		s.Index, s.Sourcetype, s.Source, s.Host = ex(t, `"web"`), ex(t, `"_json"`), ex(t, "app"), ex(t, "host")
		s.Fields, s.Time = named(t, "region", "region", "n", "n"), ex(t, "at")
	})
	open(t, s)
	write(t, s, `{"app":"shop","at":1772366400.1239,"region":"eu","n":7}`, `{"at":1}`)
	want := `{"time":1772366400.123,"source":"shop","sourcetype":"_json","index":"web","fields":{"region":"eu","n":"7"},"event":{"app":"shop","at":1772366400.1239,"region":"eu","n":7}}
{"time":1.000,"sourcetype":"_json","index":"web","event":{"at":1}}
`
	if f.text() != want {
		t.Errorf("got  %s\nwant %s", f.text(), want)
	}
	if r := f.last(); r.URL.Path != "/services/collector/event" || r.Header.Get("Authorization") != "Splunk t0k" {
		t.Errorf("got %s with %v", r.URL.Path, r.Header)
	}
	s = splunkTo(t, f, func(s *SplunkHEC) { s.Event = ex(t, "text") })
	open(t, s)
	if got := failures(t, s.Write(t.Context(), batch(t, `{"text":"a"}`, `{"text":""}`, `{}`, ""))); len(got) != 3 || got[1] != pipe.Poison {
		t.Errorf("got %v, want all but the first failed", got)
	}
	s = splunkTo(t, f, nil)
	open(t, s)
	if got := failures(t, s.Write(t.Context(), batch(t, "", "a"))); len(got) != 1 || got[0] != pipe.Poison {
		t.Errorf("a blank line: got %v", got)
	}
}

func TestSplunkHECAnswers(t *testing.T) {
	side := newFar(t, (*httptest.Server).Start)
	s := splunkTo(t, side, nil)
	open(t, s)
	f := func(code int, body string, class pipe.Class, parts ...string) {
		t.Helper()
		side.set(said(code, body))
		wantError(t, s.Write(t.Context(), batch(t, "a", "b")), class, append(parts, fmt.Sprint(code))...)
	}
	f(403, `{"text":"Token disabled","code":1}`, pipe.Permanent, "Token disabled")
	f(401, `{"text":"Invalid authorization","code":3}`, pipe.Permanent, "check token")
	f(403, `{"text":"Invalid token","code":4}`, pipe.Permanent, "Invalid token")
	f(400, `{"text":"No data","code":5}`, pipe.Permanent, "No data")
	f(500, `{"text":"Internal server error","code":8}`, pipe.Retryable)
	f(503, `{"text":"Server is busy","code":9}`, pipe.Throttled, "Server is busy")
	f(400, `{"text":"Data channel is missing","code":10}`, pipe.Permanent, "demands indexer acknowledgement")
	f(503, `{"text":"Server is shutting down","code":23}`, pipe.Throttled)
	f(413, `The request your client sent was too large.`, pipe.Permanent, "lower batch.events")
	f(404, `<html>`, pipe.Permanent, "check the path")
}

func TestSplunkHECFindsTheEvent(t *testing.T) {
	side := newFar(t, (*httptest.Server).Start)
	side.read = map[*http.Request]string{}
	s := splunkTo(t, side, nil)
	open(t, s)
	for _, base := range []int{0, 1} { // where the server begins to count does not matter
		var taken []string
		side.set(func(w http.ResponseWriter, r *http.Request) {
			events := hecEvents(side.read[r])
			for i, e := range events {
				if e == "nested" {
					w.WriteHeader(400)
					fmt.Fprintf(w, `{"text":"Error in handling indexed fields","code":15,"invalid-event-number":%d}`, i+base)
					return
				}
			}
			taken = append(taken, events...)
			io.WriteString(w, hecGood)
		})
		got := failures(t, s.Write(t.Context(), batch(t, "a", "b", "nested", "c", "nested")))
		if len(got) != 2 || got[2] != pipe.Poison || got[4] != pipe.Poison || len(taken) != 3 {
			t.Errorf("counted from %d: got failures %v, taken %q", base, got, taken)
		}
	}
}

func TestSplunkHECValidate(t *testing.T) {
	s := &SplunkHEC{URL: "https://h:8088", Token: "Splunk abc"}
	if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "without the word Splunk") {
		t.Errorf("got %v", err)
	}
}

// FuzzSplunkHECEncode checks that the envelope is JSON with the event as it was.
func FuzzSplunkHECEncode(f *testing.F) {
	f.Add("a line", int64(0))
	f.Add("\"}\n{\"event\":1", int64(-1))
	f.Fuzz(func(t *testing.T, line string, seconds int64) {
		s := &SplunkHEC{Time: ex(t, `int(meta("t"))`), Host: ex(t, `meta("h")`)}
		in := batch(t, "x"+line)
		in[0].SetMeta("t", fmt.Sprint(seconds))
		in[0].SetMeta("h", line)
		text, err := s.append(nil, in[0], &record.Arena{})
		if err != nil {
			if seconds > -1e9 && seconds < 1e9 {
				t.Fatalf("%q at %d: %v", line, seconds, err)
			}
			return
		}
		var got struct {
			Time  json.Number
			Event string
			Host  string
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if sayable(line) && (got.Event != "x"+line || got.Host != line) || string(got.Time) != fmt.Sprintf("%d.000", seconds) {
			t.Errorf("got %+v, want %q at %d", got, line, seconds)
		}
	})
}
