package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// letter is the event of the first dead letter in a file.
func letter(t *testing.T, r ran, name string) map[string]any {
	t.Helper()
	event, _ := r.records(t, name)[0]["event"].(map[string]any)
	return event
}

func drivesElasticsearch(t *testing.T, r *rig) {
	var mu sync.Mutex
	documents := map[string]int{} // by index and id
	search := peerOf(t, func(w http.ResponseWriter, _ *http.Request, n int, body string) {
		mu.Lock()
		defer mu.Unlock()
		lines := strings.Split(strings.TrimSpace(body), "\n")
		var items []string
		for i := 0; i+1 < len(lines); i += 2 {
			key := lines[i]
			switch {
			case strings.Contains(lines[i+1], `"unknown"`):
				items = append(items, `{"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"failed to parse field [age] of type [long]"}}}`)
			case n == 1 && i > 20: // no room for the rest
				items = append(items, `{"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"rejected execution"}}}`)
			case documents[key] > 0:
				items = append(items, `{"create":{"status":409,"error":{"type":"version_conflict_engine_exception"}}}`)
			default:
				documents[key]++
				items = append(items, `{"create":{"status":201}}`)
			}
		}
		if n == 3 { // written, and the answer is lost
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		fmt.Fprintf(w, `{"errors":true,"items":[%s]}`, strings.Join(items, ","))
	})
	r.env = append(r.env, "ES="+search.URL)
	p := r.start(t)
	p.exit(0, 20*time.Second)
	result := r.result(t)
	must(t, len(documents) == 495 && result.Balance.Delivered == 495 && result.Balance.DeadLettered == 5, "all that fit are there once, the others are kept apart", len(documents), result.Balance)
	must(t, result.Sinks["search"].Retries >= 2, "what was refused for lack of room is sent again", result.Sinks["search"])
	must(t, len(result.records(t, "orders-odd.ndjson")) == 5, "the others are in a file")
}

func drivesLoki(t *testing.T, r *rig) {
	var mu sync.Mutex
	lines := map[string]bool{} // Loki shows a line only once
	loki := peerOf(t, func(w http.ResponseWriter, _ *http.Request, n int, body string) {
		var push struct {
			Streams []struct {
				Stream map[string]string
				Values [][]string
			}
		}
		if err := json.Unmarshal([]byte(body), &push); err != nil || n == 1 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		code := http.StatusNoContent
		for _, s := range push.Streams {
			for _, v := range s.Values {
				if v[0] == "1000000000" {
					code = http.StatusBadRequest
				} else {
					lines[fmt.Sprint(s.Stream, v)] = true
				}
			}
		}
		w.WriteHeader(code)
		if code == http.StatusBadRequest {
			io.WriteString(w, "entry with timestamp 1970-01-01 00:00:01 +0000 UTC ignored, reason: 'entry too far behind'")
		}
	})
	r.env = append(r.env, "LOKI="+loki.URL)
	p := r.start(t)
	p.exit(0, 20*time.Second)
	result := r.result(t)
	must(t, len(lines) == 299 && result.Balance.Delivered == 299 && result.Balance.DeadLettered == 1, "one line is refused, and no other", len(lines), result.Balance)
	must(t, letter(t, result, "loki-odd.ndjson")["message"] == "order 77", "it is the one that is too old")
}

func drivesClickHouse(t *testing.T, r *rig) {
	var mu sync.Mutex
	rows := 0
	server := peerOf(t, func(w http.ResponseWriter, q *http.Request, n int, body string) {
		mu.Lock()
		defer mu.Unlock()
		no := func(code, status int, text string) {
			w.Header().Set("X-ClickHouse-Exception-Code", fmt.Sprint(code))
			w.WriteHeader(status)
			fmt.Fprintf(w, "Code: %d. DB::Exception: %s", code, text)
		}
		switch {
		case q.URL.Query().Get("query") != "INSERT INTO `default`.`requests` FORMAT JSONEachRow":
			no(62, 400, "Syntax error")
		case n == 1:
			no(252, 500, "Too many parts (300). Merges are processing significantly slower than inserts. (TOO_MANY_PARTS)")
		case strings.Contains(body, `"slow"`):
			no(27, 400, "Cannot parse input: expected '\"' before: 'slow\"}': (while reading the value of key ms): (at row 235)")
		default:
			rows += strings.Count(body, "\n")
		}
	})
	r.env = append(r.env, "CLICKHOUSE="+server.URL)
	p := r.start(t)
	p.exit(0, 20*time.Second)
	result := r.result(t)
	must(t, rows == 1999 && result.Balance.Delivered == 1999 && result.Balance.DeadLettered == 1, "one row does not fit, and no other is lost or there twice", rows, result.Balance)
	must(t, letter(t, result, "requests-odd.ndjson")["id"] == 1234.0, "it is the one with a text for a number")
}

func drivesPages(t *testing.T, r *rig) {
	api := peerOf(t, func(w http.ResponseWriter, q *http.Request, n int, _ string) {
		page := q.URL.Query().Get("page")
		switch {
		case n == 2:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		case page == "1":
			w.Header().Set("Link", `</issues?page=2>; rel="next", </issues?page=3>; rel="last"`)
		case page == "2":
			w.Header().Set("Link", `</issues?page=3>; rel="next"`)
		}
		fmt.Fprintf(w, `[{"page":%s,"n":1}, {"page":%s,"n":2}]`, page, page)
	})
	r.env = append(r.env, "API="+api.URL)
	began := time.Now()
	p := r.start(t)
	awaitLines(t, r, "issues.ndjson", 6)
	must(t, time.Since(began) >= time.Second, "Retry-After is waited for", time.Since(began))
	result := p.drained(r)
	got := result.records(t, "issues.ndjson")
	must(t, len(got) == 6 && got[2]["page"] == 2.0 && got[5]["page"] == 3.0, "three pages, in order", got)
	must(t, result.Sources["issues"].Acked == 6, "and nothing twice", result.Sources["issues"])
}
