package sinks

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

func lokiTo(t testing.TB, f *far, set func(*Loki)) *Loki {
	return fresh(t, "loki", func(s *Loki) {
		s.URL, s.Labels = f.URL, named(t, "job", `"test"`)
		if set != nil {
			set(s)
		}
	})
}

// push is the body of a push request.
type push struct {
	Streams []struct {
		Stream map[string]string
		Values [][]any
	}
}

func TestLokiConformance(t *testing.T) {
	service{
		new:  func(t *testing.T, f *far) pipe.Sink { return lokiTo(t, f, nil) },
		good: func(w http.ResponseWriter, _ string) { w.WriteHeader(204) },
		lines: func(body string) (lines []string) {
			var p push
			json.Unmarshal([]byte(body), &p)
			for _, s := range p.Streams {
				for _, v := range s.Values {
					lines = append(lines, v[1].(string))
				}
			}
			return lines
		},
	}.conformance(t)
}

func TestLokiRequest(t *testing.T) {
	f := newFar(t, (*httptest.Server).Start)
	s := lokiTo(t, f, func(s *Loki) {
		s.Labels, s.Metadata = named(t, "job", `"shop"`, "level", "level"), named(t, "user", "user")
		s.Time, s.Tenant = ex(t, "at"), "team"
	})
	open(t, s)
	write(t, s, `{"level":"info","at":"2026-03-01T12:00:00.123456789Z","user":7}`, `{"level":"warn","at":1772366400.5}`, `{"at":1772366401,"level":"info"}`, `{"at":1772366402,"level":""}`)
	want := `{"streams":[` +
		`{"stream":{"job":"shop","level":"info"},"values":[["1772366400123456789","{\"level\":\"info\",\"at\":\"2026-03-01T12:00:00.123456789Z\",\"user\":7}",{"user":"7"}],["1772366401000000000","{\"at\":1772366401,\"level\":\"info\"}",{}]]},` +
		`{"stream":{"job":"shop","level":"warn"},"values":[["1772366400500000000","{\"level\":\"warn\",\"at\":1772366400.5}",{}]]},` +
		`{"stream":{"job":"shop"},"values":[["1772366402000000000","{\"at\":1772366402,\"level\":\"\"}",{}]]}]}`
	if f.text() != want {
		t.Errorf("got  %s\nwant %s", f.text(), want)
	}
	if r := f.last(); r.URL.Path != "/loki/api/v1/push" || r.Header.Get("X-Scope-OrgID") != "team" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %s with %v", r.URL.Path, r.Header)
	}
	got := failures(t, s.Write(t.Context(), batch(t, `{"at":1}`, `{"at":"noon"}`, `{}`, `{"at":1e300}`, `{"level":{},"at":1}`)))
	if len(got) != 4 || got[0] != "" || got[4] != pipe.Poison {
		t.Errorf("got %v, want all but the first failed", got)
	}
}

func TestLokiWithoutLabels(t *testing.T) {
	f := newFar(t, (*httptest.Server).Start)
	s := lokiTo(t, f, func(s *Loki) { s.Labels, s.Line = named(t, "level", "level"), ex(t, "text") })
	open(t, s)
	got := failures(t, s.Write(t.Context(), batch(t, `{"level":"a","text":"x"}`, `{"text":"x"}`, `{"level":"a"}`)))
	if len(got) != 2 || got[1] != pipe.Poison || got[2] != pipe.Poison {
		t.Errorf("got %v", got)
	}
}

func TestLokiBoundsStreams(t *testing.T) {
	a := activeStreams{limit: 2, last: map[string]time.Time{}}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f := func(labels string, after time.Duration, want bool) {
		t.Helper()
		if err := a.use(labels, now.Add(after)); (err == nil) != want {
			t.Errorf("%s after %v: got %v, want %v", labels, after, err, want)
		}
	}
	f("a", 0, true)
	f("b", 0, true)
	f("c", 0, false)
	f("a", 20*time.Minute, true)
	f("c", 25*time.Minute, false)
	f("c", 31*time.Minute, true) // b is idle
	f("b", 31*time.Minute, false)
	f("a", 31*time.Minute, true)
	if len(a.last) > 2 {
		t.Errorf("%d streams are remembered", len(a.last))
	}
}

func TestLokiFindsTheLine(t *testing.T) {
	side := newFar(t, (*httptest.Server).Start)
	side.read = map[*http.Request]string{}
	s := lokiTo(t, side, func(s *Loki) { s.Time = ex(t, "at") })
	open(t, s)
	var taken []string
	side.set(func(w http.ResponseWriter, r *http.Request) {
		var p push
		json.Unmarshal([]byte(side.read[r]), &p)
		old := 0
		for _, v := range p.Streams[0].Values {
			if v[0] == "1000000000" {
				old++
			} else if !slices.Contains(taken, v[0].(string)) { // the rest is taken, though it is 400
				taken = append(taken, v[0].(string))
			}
		}
		if old > 0 {
			w.WriteHeader(400)
			io.WriteString(w, "entry with timestamp 1970-01-01 00:00:01 +0000 UTC ignored, reason: 'entry too far behind, oldest acceptable timestamp is: 2026-03-01T10:25:30Z',\ntotal ignored: 1 out of 4")
			return
		}
		w.WriteHeader(204)
	})
	err := s.Write(t.Context(), batch(t, `{"at":7}`, `{"at":1}`, `{"at":8}`, `{"at":9}`))
	if got := failures(t, err); len(got) != 1 || got[1] != pipe.Poison || len(taken) != 3 || !strings.Contains(err.Error(), "too far behind") {
		t.Errorf("got failures %v, taken %q (%v)", got, taken, err)
	}
	side.set(said(429, "ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '1' lines"))
	wantError(t, s.Write(t.Context(), batch(t, `{"at":7}`)), pipe.Throttled, "ingestion rate limit")
}

func TestLokiValidate(t *testing.T) {
	f := func(want string, set func(*Loki)) {
		t.Helper()
		s := &Loki{URL: "http://h:3100"}
		set(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("labels.a-b", func(s *Loki) { s.Labels = named(t, "a-b", "x") })
	f("labels.__x", func(s *Loki) { s.Labels = named(t, "__x", "x") })
	f("metadata.", func(s *Loki) { s.Metadata = named(t, "", "x") })
	f("headers.x-scope-orgid: is set by tenant", func(s *Loki) { s.Tenant, s.Headers = "t", map[string]string{"x-scope-orgid": "x"} })
}

// FuzzLokiEncode checks that what is pushed is JSON with the line and the label as
// they were.
func FuzzLokiEncode(f *testing.F) {
	f.Add("info", "a line")
	f.Add("a\"b\\", "\x00\n\xff\u2028")
	f.Fuzz(func(t *testing.T, label, line string) {
		s := lokiTo(t, &far{Server: &httptest.Server{URL: "http://h"}}, func(s *Loki) { s.Labels = named(t, "l", "meta(\"l\")") })
		s.streams = activeStreams{limit: 10, last: map[string]time.Time{}}
		in := batch(t, "x"+line)
		in[0].SetMeta("l", label)
		p := &payload{}
		bad := s.encode(p, in, time.Now())
		if len(bad) > 0 != (label == "") {
			t.Fatalf("%q: got %v", label, bad)
		}
		var got push
		if err := json.Unmarshal(p.raw, &got); err != nil {
			t.Fatalf("%q: %v", p.raw, err)
		}
		if label == "" {
			return
		}
		if l, v := got.Streams[0].Stream["l"], got.Streams[0].Values[0][1]; l != strings.ToValidUTF8(label, "\ufffd") && sayable(label) || v != "x"+line && sayable(line) {
			t.Errorf("got %q and %q, want %q and %q", l, v, label, line)
		}
	})
}

// sayable reports whether JSON can say a text as it is.
func sayable(s string) bool { return strings.ToValidUTF8(s, "") == s }
