package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
)

// peerOf starts a server. answer is told the number of the request, from 1, and
// its body, decompressed.
func peerOf(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, n int, body string)) *httptest.Server {
	t.Helper()
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			unzipped, err := gzip.NewReader(r.Body)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			body = unzipped
		}
		text, err := io.ReadAll(body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		answer(w, r, int(requests.Add(1)), string(text))
	}))
	t.Cleanup(server.Close)
	return server
}

// until waits for something that another process does.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 20s: %s", what)
		}
	}
}

const accessLine = `192.0.2.%d - - [21/Nov/2026:08:13:%02d +0000] "GET /p%d HTTP/1.1" %d 100 "-" "curl/8"` + "\n"

func drivesNginxLoki(t *testing.T, r *rig) {
	var mu sync.Mutex
	lines := map[string]int{} // by status
	loki := peerOf(t, func(w http.ResponseWriter, _ *http.Request, n int, body string) {
		var push struct {
			Streams []struct {
				Stream map[string]string `json:"stream"`
				Values [][]any           `json:"values"`
			} `json:"streams"`
		}
		if n == 1 {
			w.WriteHeader(http.StatusServiceUnavailable) // away
			return
		}
		if err := json.Unmarshal([]byte(body), &push); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, s := range push.Streams {
			for _, v := range s.Values {
				rate, _ := v[2].(map[string]any)
				if s.Stream["job"] == "nginx" && strings.Contains(v[1].(string), "HTTP/1.1") && (rate["sample_rate"] == "0.1") == (s.Stream["status"] == "200") {
					lines[s.Stream["status"]]++
				}
			}
		}
		w.WriteHeader(http.StatusNoContent)
	})
	var log strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&log, accessLine, i%250, i%60, i, 200+i%20/19*300)
	}
	appendTo(t, filepath.Join(r.out, "access.log"), log.String()+"no request\n")
	r.env = append(r.env, "LOKI="+loki.URL, "LOG="+r.out)
	p := r.start(t)
	until(t, "all errors are in Loki", func() bool { mu.Lock(); defer mu.Unlock(); return lines["500"] >= 50 })
	awaitLines(t, r, "nginx-odd.ndjson", 1)
	result := p.drained(r)
	mu.Lock()
	defer mu.Unlock()
	must(t, lines["500"] == 50 && lines["200"] > 40 && lines["200"] < 190, "all errors, and a tenth of the rest with its rate", lines)
	must(t, int(result.Balance.Delivered) == lines["500"]+lines["200"] && result.Balance.DeadLettered == 1, "the receipt knows", result.Balance)
	must(t, result.Sinks["loki"].Retries >= 1, "an answer of 503 loses nothing", result.Sinks["loki"])
}

func drivesShedding(t *testing.T, r *rig) {
	open := make(chan struct{})
	var stored [2]atomic.Int64 // debug, info
	store := peerOf(t, func(_ http.ResponseWriter, _ *http.Request, _ int, body string) {
		<-open
		stored[0].Add(int64(strings.Count(body, `"debug"`)))
		stored[1].Add(int64(strings.Count(body, `"info"`)))
	})
	r.env = append(r.env, "URL="+store.URL)
	p := r.start(t)
	url := "http://" + p.listening() + "/events"
	var clients sync.WaitGroup
	var took, refused atomic.Int64
	send := func(level string, requests, events int) {
		for range requests {
			clients.Go(func() {
				status, header := post(t, url, strings.Repeat(fmt.Sprintf(`{"level":%q}`+"\n", level), events))
				switch {
				case status == 200:
					took.Add(1)
				case status == 503 && header.Get("Retry-After") != "":
					refused.Add(1)
				default:
					t.Errorf("answer %d, %v", status, header)
				}
			})
		}
	}
	send("debug", 20, 40)
	until(t, "debug events make room for others", func() bool { return took.Load() > 0 })
	send("info", 60, 5)
	until(t, "clients are refused", func() bool { return refused.Load() > 0 })
	close(open)
	clients.Wait()
	result := p.drained(r)
	debug, info := result.Edges["tier.debug->store"], result.Edges["tier.else->store"]
	must(t, took.Load()+refused.Load() == 80 && took.Load() >= 32, "all clients got an answer", took.Load(), refused.Load())
	must(t, info.Offered == info.Delivered && stored[1].Load() == info.Delivered, "what was taken of the others is stored", info, stored[1].Load())
	must(t, debug.Dropped["oldest"]+debug.Dropped["age"]+stored[0].Load() == debug.Offered && debug.Dropped["oldest"] > 0, "debug events are dropped, and counted", debug, stored[0].Load())
}

func drivesCSVParquet(t *testing.T, r *rig) {
	type row struct {
		Order  *int64   `parquet:"order,optional"`
		Item   *string  `parquet:"item,optional"`
		Pieces *int64   `parquet:"pieces,optional"`
		Price  *float64 `parquet:"price,optional"`
		Gift   *bool    `parquet:"gift,optional"`
	}
	r.env = append(r.env, "DATA="+r.out)
	text := string(readFile(t, filepath.Join(exampleDir, "data", "orders.csv")))
	appendTo(t, filepath.Join(r.out, "orders.csv"), text+"1006,desk,two,80,true\n")
	p := r.start(t)
	p.exit(0, 20*time.Second)
	result := r.result(t)
	files, err := filepath.Glob(filepath.Join(r.out, "lake", "day=*", "*.parquet"))
	must(t, err == nil && len(files) == 1, "one file for the day", files, err)
	rows, err := parquet.ReadFile[row](files[0])
	must(t, err == nil && len(rows) == 5 && result.Balance.Delivered == 5, "all rows that fit", rows, err)
	must(t, *rows[1].Item == "chair, oak" && *rows[1].Price == 120 && *rows[1].Pieces == 4 && !*rows[1].Gift && *rows[2].Gift, "they have types", rows)
	odd := result.records(t, "exports-odd.ndjson")
	must(t, len(odd) == 1 && strings.HasSuffix(odd[0]["origin"].(string), "orders.csv:7") && strings.Contains(odd[0]["error"].(string), "pieces"), "the other is kept, with its line", odd)
	appendTo(t, filepath.Join(r.out, "orders-2.csv"), "order,item,pieces,price,gift\n1007,lamp,1,39.90,false\n")
	p = r.start(t)
	p.exit(0, 20*time.Second)
	must(t, r.result(t).Balance.Read == 1, "the next night only the new file is read", r.result(t).Balance)
}

func drivesFanOut(t *testing.T, r *rig) {
	open := make(chan struct{})
	dashboard := peerOf(t, func(http.ResponseWriter, *http.Request, int, string) { <-open })
	var lines strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&lines, "{\"order\":%d}\n", i)
	}
	appendTo(t, filepath.Join(r.out, "orders.ndjson"), lines.String())
	r.env = append(r.env, "URL="+dashboard.URL)
	p := r.start(t)
	archived := func() string {
		all := ""
		files, _ := filepath.Glob(filepath.Join(r.out, "archive", "*.ndjson"))
		for _, f := range files {
			text, _ := os.ReadFile(f)
			all += string(text)
		}
		return all
	}
	until(t, "the archive has everything while the dashboard hangs", func() bool { return archived() == lines.String() })
	close(open)
	result := p.drained(r)
	screen := result.Edges["orders->dashboard"]
	must(t, result.Edges["orders->archive"].Delivered == 3000, "the archive lost nothing", result.Edges["orders->archive"])
	must(t, screen.Dropped["oldest"] >= 1000 && screen.Dropped["oldest"]+screen.Dropped["age"]+screen.Delivered == 3000, "the dashboard has gaps, which are counted", screen)
}

func drivesSyslogHosts(t *testing.T, r *rig) {
	p := r.start(t)
	c := dialed(t, "tcp", p.listening())
	for i := range 6 {
		fmt.Fprintf(c, "<14>1 2026-03-01T23:30:00Z web-%d app 7 - - line %d\n", i%2, i)
	}
	fmt.Fprint(c, "<14>1 2026-03-01T23:30:00Z ../web-1 app 7 - - where does this go\n")
	fmt.Fprint(c, "no priority\n")
	awaitLines(t, r, "odd.ndjson", 1)
	count := func(host string) (n int) {
		files, _ := filepath.Glob(filepath.Join(r.out, host, "*.ndjson"))
		for _, f := range files {
			text, _ := os.ReadFile(f)
			n += strings.Count(string(text), "\n")
		}
		return n
	}
	until(t, "each host has its lines", func() bool { return count("web-0") == 3 && count("web-1") == 3 && count(".._web-1") == 1 })
	result := p.drained(r)
	must(t, result.Balance.Delivered == 7 && result.Balance.DeadLettered == 1, "all have arrived", result.Balance)
}

// searchEngine takes _bulk requests: operation create, each id once.
type searchEngine struct {
	mu   sync.Mutex // guards what follows
	docs map[string]map[string]any
}

func (s *searchEngine) bulk(w http.ResponseWriter, _ *http.Request, n int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var items []any
	lines := strings.Split(strings.TrimSpace(body), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		var action struct {
			Create struct {
				Index string `json:"_index"`
				ID    string `json:"_id"`
			} `json:"create"`
		}
		var doc map[string]any
		if json.Unmarshal([]byte(lines[i]), &action) != nil || json.Unmarshal([]byte(lines[i+1]), &doc) != nil || action.Create.ID == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		status := http.StatusCreated
		if s.docs[action.Create.ID] != nil {
			status = http.StatusConflict
		}
		doc["index"] = action.Create.Index
		s.docs[action.Create.ID] = doc
		items = append(items, map[string]any{"create": map[string]any{"status": status, "_id": action.Create.ID}})
	}
	if n == 1 {
		panic(http.ErrAbortHandler) // stored, and the answer is lost
	}
	json.NewEncoder(w).Encode(map[string]any{"errors": true, "items": items})
}

func drivesJavaElasticsearch(t *testing.T, r *rig) {
	s := &searchEngine{docs: map[string]map[string]any{}}
	server := peerOf(t, s.bulk)
	text := string(readFile(t, filepath.Join(exampleDir, "data", "java.log")))
	appendTo(t, filepath.Join(r.out, "shop.log"), text)
	r.env = append(r.env, "ES="+server.URL, "LOG="+r.out)
	p := r.start(t)
	p.await("works again")
	result := p.drained(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	must(t, len(s.docs) == 3 && result.Balance.Delivered == 3 && result.Sinks["search"].Retries == 1, "each entry is one document, also of the batch that was sent twice", len(s.docs), result.Balance)
	for id, d := range s.docs {
		must(t, len(id) == 64 && strings.HasPrefix(d["@timestamp"].(string), "2024-03-12T08:14:0"), "documents have times in UTC", d)
		if d["level"] == "ERROR" {
			trace, _ := d["trace"].(string)
			must(t, d["index"] == "shop-error" && strings.HasSuffix(trace, "... 2 more"), "the trace is whole", d)
		}
	}
}

func drivesRedact(t *testing.T, r *rig) {
	var mu sync.Mutex
	seen := ""
	vendor := peerOf(t, func(_ http.ResponseWriter, _ *http.Request, _ int, body string) {
		mu.Lock()
		defer mu.Unlock()
		seen += body
	})
	text := ""
	for i := range 20 {
		text += fmt.Sprintf(`{"n":%d,"user":"anna","password":"hunter2","text":"write to anna@example.org from 192.0.2.7, DE89370400440532013000"}`+"\n", i)
	}
	appendTo(t, filepath.Join(r.out, "app.ndjson"), text+"{\"user\": \"anna\n")
	r.env = append(r.env, "URL="+vendor.URL)
	p := r.start(t)
	until(t, "all are sent", func() bool { mu.Lock(); defer mu.Unlock(); return strings.Count(seen, "\n") == 20 })
	awaitLines(t, r, "kept.ndjson", 1)
	result := p.drained(r)
	for _, secret := range []string{"anna", "hunter2", "192.0.2.7", "DE8937"} {
		must(t, !strings.Contains(seen, secret), "it does not leave: "+secret, seen)
	}
	must(t, strings.Count(seen, "write to *** from ***, ***") == 20, "the rest does", seen)
	must(t, result.Balance.Delivered == 20 && result.Balance.DeadLettered == 1, "what cannot be read stays here", result.Balance)
}

func drivesLogMetrics(t *testing.T, r *rig) {
	log := filepath.Join(r.out, "access.log")
	appendTo(t, log, fmt.Sprintf(accessLine, 1, 0, 0, 200)) // from before
	r.env = append(r.env, "LOG="+r.out)
	p := r.start(t)
	url := "http://" + p.listening() + "/metrics"
	text := ""
	shows := func(what string) bool {
		answer, err := http.Get(url)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		text = string(body)
		return strings.Contains(text, what)
	}
	until(t, "the log is followed", func() bool {
		appendTo(t, log, "no request\n")
		return shows("web_unread_lines_total ")
	})
	for i := range 30 {
		appendTo(t, log, fmt.Sprintf(accessLine, 1, 0, i, 200+i%10/9*300))
	}
	until(t, "the metrics have all lines", func() bool { return shows("web_sent_bytes_total 3000\n") })
	must(t, strings.Contains(text, `web_requests_total{method="GET",status="200"} 27`) && strings.Contains(text, `web_requests_total{method="GET",status="500"} 3`), "requests by status, from the end of the file on", text)
	p.drained(r)
}

func drivesEnrichClickHouse(t *testing.T, r *rig) {
	var mu sync.Mutex
	rows := map[string]string{} // inserts by token
	server := peerOf(t, func(w http.ResponseWriter, q *http.Request, n int, body string) {
		mu.Lock()
		defer mu.Unlock()
		query := q.URL.Query()
		token := query.Get("insert_deduplication_token")
		if !strings.Contains(query.Get("query"), "INSERT INTO") || token == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		rows[token] = body
		if n == 1 {
			panic(http.ErrAbortHandler) // written, and the answer is lost
		}
	})
	r.env = append(r.env, "CLICKHOUSE="+server.URL)
	p := r.start(t)
	text := ""
	for i := range 8 {
		text += fmt.Sprintf(`{"order_id":%d,"customer_id":%d}`+"\n", i, i%4+1)
	}
	status, _ := post(t, "http://"+p.listening()+"/orders", text)
	must(t, status == 200, "the client knows that all are stored", status)
	result := p.drained(r)
	mu.Lock()
	defer mu.Unlock()
	inserted := ""
	for _, body := range rows {
		inserted += body
	}
	must(t, strings.Count(inserted, "\n") == 6 && strings.Count(inserted, `"name":"Bo, jr"`) == 2, "rows with their customers, once each", rows)
	must(t, result.Balance.Delivered == 6 && result.Balance.DeadLettered == 2 && result.Sinks["rows"].Retries == 1, "orders of nobody are kept", result.Balance)
}

func drivesPollAPI(t *testing.T, r *rig) {
	pages := map[string]string{
		"":  `{"orders":[{"id":1},{"id":2}],"last":"2"}`,
		"2": `{"orders":[{"id":2},{"id":3}],"last":"3"}`,
		"3": `{"orders":[],"last":"3"}`,
		"4": `{"orders":[],"last":"4"}`,
	}
	var mu sync.Mutex
	var asked []string
	api := peerOf(t, func(w http.ResponseWriter, q *http.Request, n int, _ string) {
		mu.Lock()
		defer mu.Unlock()
		if n == 2 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		after := q.URL.Query().Get("after")
		asked = append(asked, after)
		io.WriteString(w, pages[after])
	})
	r.env = append(r.env, "API="+api.URL, "EVERY=100ms")
	p := r.start(t)
	awaitFile(t, filepath.Join(r.out, "orders.ndjson"), "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n")
	result := p.drained(r)
	must(t, result.Balance.Read == 4 && result.Balance.Filtered == 1 && result.Balance.Delivered == 3, "what two pages have goes on once", result.Balance)
	mu.Lock()
	pages["3"] = `{"orders":[{"id":4}],"last":"4"}`
	before := len(asked)
	mu.Unlock()
	p = r.start(t)
	awaitFile(t, filepath.Join(r.out, "orders.ndjson"), "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n{\"id\":4}\n")
	p.drained(r)
	must(t, asked[0] == "" && asked[before] == "3", "a restart goes on at the cursor", asked)
}
