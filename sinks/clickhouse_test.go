package sinks

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
)

func clickhouseTo(t testing.TB, f *far, set func(*ClickHouse)) *ClickHouse {
	return fresh(t, "clickhouse", func(s *ClickHouse) {
		s.URL, s.Table = f.URL, "events"
		if set != nil {
			set(s)
		}
	})
}

// messages are the messages of NDJSON.
func messages(body string) (lines []string) {
	for _, line := range splitLines(body) {
		var doc struct{ Message string }
		if json.Unmarshal([]byte(line), &doc) == nil {
			lines = append(lines, doc.Message)
		}
	}
	return lines
}

func TestClickHouseConformance(t *testing.T) {
	service{
		new:   func(t *testing.T, f *far) pipe.Sink { return clickhouseTo(t, f, nil) },
		good:  func(http.ResponseWriter, string) {},
		lines: messages,
	}.conformance(t)
}

func TestClickHouseRequest(t *testing.T) {
	f := newFar(t, (*httptest.Server).Start)
	s := clickhouseTo(t, f, func(s *ClickHouse) {
		s.Database, s.Table, s.AsyncInsert, s.SkipUnknownFields = "my`db", "t", true, true
		s.Settings = map[string]string{"max_execution_time": "9"}
		s.BasicAuth = &BasicAuth{User: "u", Password: "p"}
	})
	open(t, s)
	write(t, s, `{"a":1}`, "text")
	q := f.last().URL.Query()
	for name, want := range map[string]string{
		"query": "INSERT INTO `my\\`db`.`t` FORMAT JSONEachRow", "wait_end_of_query": "1", "async_insert": "1", "wait_for_async_insert": "1",
		"input_format_skip_unknown_fields": "1", "date_time_input_format": "best_effort", "max_execution_time": "9",
		"insert_deduplication_token": idempotencyKey(batch(t, "", "")),
	} {
		if got := q.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if want := "{\"a\":1}\n{\"message\":\"text\"}\n"; f.text() != want {
		t.Errorf("got %q, want %q", f.text(), want)
	}
}

func TestClickHouseAnswers(t *testing.T) {
	side := newFar(t, (*httptest.Server).Start)
	s := clickhouseTo(t, side, nil)
	open(t, s)
	f := func(code int, exception, body string, class pipe.Class, parts ...string) {
		t.Helper()
		side.set(func(w http.ResponseWriter, _ *http.Request) {
			if exception != "" {
				w.Header().Set("X-ClickHouse-Exception-Code", exception)
			}
			w.WriteHeader(code)
			io.WriteString(w, body)
		})
		wantError(t, s.Write(t.Context(), batch(t, "a", "b")), class, parts...)
	}
	f(500, "252", "Code: 252. DB::Exception: Too many parts (300). Merges are processing significantly slower than inserts. (TOO_MANY_PARTS)", pipe.Throttled, "Too many parts")
	f(500, "202", "Code: 202. DB::Exception: Too many simultaneous queries.", pipe.Throttled)
	f(404, "60", "Code: 60. DB::Exception: Table default.events doesn't exist. (UNKNOWN_TABLE)", pipe.Permanent, "doesn't exist", "check the table")
	f(403, "516", "Code: 516. DB::Exception: default: Authentication failed (AUTHENTICATION_FAILED)", pipe.Permanent, "Authentication failed")
	f(200, "", "\nCode: 159. DB::Exception: Timeout exceeded: elapsed 0.7 seconds, maximum: 0.1. (TIMEOUT_EXCEEDED) (version 22.10.1.1)", pipe.Retryable, "Code: 159", "with 200")
	f(200, "", "partial\r\n__exception__\r\nCode: 241. DB::Exception: Memory limit (total) exceeded", pipe.Throttled)
	f(200, "999", "", pipe.Retryable)
	f(200, "", "DB::Exception without a number", pipe.Retryable)
	f(502, "", "bad gateway", pipe.Retryable, "502")
	f(413, "", "", pipe.Permanent, "lower batch.events")
}

func TestClickHouseFindsTheRow(t *testing.T) {
	side := newFar(t, (*httptest.Server).Start)
	side.read = map[*http.Request]string{}
	s := clickhouseTo(t, side, nil)
	open(t, s)
	var rows []string
	side.set(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(side.read[r], "oops") {
			w.WriteHeader(400)
			io.WriteString(w, "Code: 27. DB::Exception: Cannot parse input: expected '\"' before: 'oops': (while reading the value of key n): (at row 2)")
			return
		}
		rows = append(rows, splitLines(side.read[r])...)
	})
	got := failures(t, s.Write(t.Context(), batch(t, `{"n":1}`, `{"n":"oops"}`, `{"n":3}`, `{"n":4}`)))
	if len(got) != 1 || got[1] != pipe.Poison || strings.Join(rows, "") != `{"n":1}{"n":3}{"n":4}` {
		t.Errorf("got failures %v and rows %q", got, rows)
	}
}

func TestClickHouseValidate(t *testing.T) {
	f := func(want string, set func(*ClickHouse)) {
		t.Helper()
		s := &ClickHouse{URL: "http://h:8123", Database: "d", Table: "t"}
		set(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("url: it must end", func(s *ClickHouse) { s.URL = "http://h/?database=x" })
	f("settings.query: is set by the sink", func(s *ClickHouse) { s.Settings = map[string]string{"query": "DROP TABLE t"} })
	f("table: database and table must be names", func(s *ClickHouse) { s.Table = "a\nb" })
}
