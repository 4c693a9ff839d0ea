package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// examples is what every file of examples/pipelines must show.
var examples = map[string]example{
	"access-log.yaml":                  {check: showsAccessLog},
	"batch.yaml":                       {check: showsBatch},
	"buffer-age.yaml":                  {check: showsBufferAge},
	"buffer-bytes.yaml":                {check: showsBufferBytes},
	"change-while-running.yaml":        {drive: drivesChange},
	"chaos.yaml":                       {check: showsChaos},
	"clickhouse.yaml":                  {drive: drivesClickHouse},
	"convert.yaml":                     {check: showsConvert},
	"cookbook-csv-parquet.yaml":        {drive: drivesCSVParquet},
	"cookbook-enrich-clickhouse.yaml":  {drive: drivesEnrichClickHouse},
	"cookbook-fan-out.yaml":            {drive: drivesFanOut},
	"cookbook-http-shedding.yaml":      {drive: drivesShedding},
	"cookbook-java-elasticsearch.yaml": {drive: drivesJavaElasticsearch},
	"cookbook-log-metrics.yaml":        {drive: drivesLogMetrics},
	"cookbook-nginx-loki.yaml":         {drive: drivesNginxLoki},
	"cookbook-poll-api.yaml":           {drive: drivesPollAPI},
	"cookbook-redact.yaml":             {drive: drivesRedact},
	"cookbook-syslog-hosts.yaml":       {drive: drivesSyslogHosts},
	"cron.yaml":                        {drive: drivesCron},
	"csv-to-json.yaml":                 {check: showsCSV},
	"csv-to-parquet.yaml":              {check: showsParquet},
	"dead-letters.yaml":                {check: showsDeadLetters},
	"dedupe.yaml":                      {check: showsDedupe},
	"elasticsearch.yaml":               {drive: drivesElasticsearch},
	"encode-decode.yaml":               {check: showsEncodeDecode},
	"enrich-http.yaml":                 {drive: drivesEnrichHTTP},
	"enrich.yaml":                      {check: showsEnrich},
	"exec.yaml":                        {check: showsExec},
	"fan-in-priority.yaml":             {check: showsPriority},
	"fan-out-isolated.yaml":            {check: showsIsolation},
	"file-rotation.yaml":               {check: showsRotation},
	"flapping-sink.yaml":               {drive: drivesFlapping},
	"generate-curves.yaml":             {check: showsCurves},
	"grok.yaml":                        {check: showsGrok},
	"http-ingest.yaml":                 {drive: drivesIngest},
	"http-sink.yaml":                   {drive: drivesHTTPSink},
	"inbox-directory.yaml":             {drive: drivesInbox},
	"live-view.yaml":                   {drive: drivesLiveView},
	"loki.yaml":                        {drive: drivesLoki},
	"metrics-from-logs.yaml":           {drive: drivesMetrics},
	"multiline-java.yaml":              {check: showsMultiline},
	"on-drop-nack.yaml":                {drive: drivesNack},
	"parse-nginx.yaml":                 {check: showsNginx},
	"policy-block-timeout.yaml":        {check: showsBlockTimeout},
	"policy-block.yaml":                {check: showsBlock},
	"policy-drop-newest.yaml":          {check: showsDropNewest},
	"policy-drop-oldest.yaml":          {check: showsDropOldest},
	"policy-drop-random.yaml":          {check: showsDropRandom},
	"policy-sample-key.yaml":           {check: showsSampleKey},
	"policy-sample.yaml":               {check: showsSample},
	"poll-api.yaml":                    {drive: drivesPages},
	"quickstart.yaml":                  {check: showsQuickstart, args: quickstartArgs()},
	"redact.yaml":                      {check: showsRedact},
	"route.yaml":                       {check: showsRoute},
	"sample.yaml":                      {check: showsSampleStage},
	"self-metrics.yaml":                {drive: drivesSelf},
	"stdin-to-stdout.yaml":             {check: showsStdin, stdin: "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n"},
	"syslog-to-file.yaml":              {drive: drivesSyslog},
	"tail.yaml":                        {drive: drivesTail},
	"tcp-forward.yaml":                 {drive: drivesTCPForward},
	"tcp-ingest.yaml":                  {drive: drivesTCPIngest},
	"throttle.yaml":                    {check: showsThrottle},
	"tracing.yaml":                     {drive: drivesTracing},
	"udp-ingest.yaml":                  {drive: drivesUDPIngest},
	"unnest.yaml":                      {check: showsUnnest},
	"window-counts.yaml":               {check: showsWindow},
	"wasm.yaml":                        {check: showsWasm},
	"workers.yaml":                     {check: showsWorkers},
}

// quickstartArgs shortens the longest example, except where time is no matter.
func quickstartArgs() []string {
	if os.Getenv("PIPECTL_TORTURE") != "" {
		return nil
	}
	return []string{"--set", "sources.shop.count=4000"}
}

// post sends a body and returns the answer's status and headers.
func post(t *testing.T, url, body string) (int, http.Header) {
	t.Helper()
	answer, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header
}

func drivesIngest(t *testing.T, r *rig) {
	p := r.start(t)
	url := "http://" + p.listening() + "/events"
	for i := range 3 {
		status, _ := post(t, url, fmt.Sprintf(`{"n":%d}`, i))
		must(t, status == 200, "a delivered event is answered with 200", status)
		got := ran{out: r.out}.records(t, "ingested.ndjson")
		must(t, len(got) == i+1, "what is answered with 200 is in the file", got)
	}
	status, _ := post(t, url, `{"n":`)
	must(t, status == 400, "broken JSON is answered with 400", status)
	result := p.drained(r)
	must(t, result.Balance.Delivered == 3 && result.Sources["in"].Acked == 3, "three events are delivered", result.Balance)
}

func drivesHTTPSink(t *testing.T, r *rig) {
	var refused, events atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		if refused.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		events.Add(int64(strings.Count(string(body), "\n")))
	}))
	defer server.Close()
	r.env = append(r.env, "URL="+server.URL+"/events")
	p := r.start(t)
	p.exit(0, 20*time.Second)
	result := r.result(t)
	must(t, events.Load() == 500 && result.Balance.Delivered == 500, "the server has all 500 events", events.Load(), result.Balance)
	must(t, result.Sinks["server"].Retries >= 1, "the refused batch is sent again", result.Sinks["server"])
	must(t, result.Seconds >= 1, "Retry-After is waited for", result.Seconds)
	must(t, result.Edges["in->server"].BlockedSeconds > 0.1, "the source waits meanwhile", result.Edges["in->server"])
}

func drivesNack(t *testing.T, r *rig) {
	p := r.start(t)
	url := "http://" + p.listening() + "/"
	one, _ := post(t, url, `{"n":1}`)
	must(t, one == 200, "one event finds room", one)
	many, header := post(t, url, strings.Repeat("{\"n\":2}\n", 20))
	must(t, many == 503 && header.Get("Retry-After") != "", "the client of dropped events gets 503 with Retry-After", many, header)
	result := p.drained(r)
	must(t, result.Edges["in->slow"].Dropped["newest"] > 0, "events are dropped", result.Edges["in->slow"])
	must(t, result.Sources["in"].Nacked > 0 && result.Sources["in"].Acked >= 1, "what was dropped is not acknowledged", result.Sources["in"])
}

func drivesTracing(t *testing.T, r *rig) {
	var spans atomic.Int64 // requests with some, that is
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		if body, _ := io.ReadAll(q.Body); q.URL.Path == "/v1/traces" && len(body) > 0 {
			spans.Add(1)
		}
	}))
	run := func() ran {
		p := r.start(t)
		p.exit(0, 10*time.Second)
		result := r.result(t)
		lines := len(result.records(t, "orders.ndjson"))
		must(t, lines == int(result.Balance.Delivered) && result.Balance.Read == 400, "all orders are in the file", lines, result.Balance)
		os.Remove(filepath.Join(r.out, "orders.ndjson"))
		return result
	}
	r.env = append(r.env, "COLLECTOR="+collector.URL)
	with := run()
	must(t, spans.Load() > 0, "the collector gets spans", spans.Load())
	collector.Close() // now it is not there
	without := run()
	must(t, without.Seconds < with.Seconds+1, "without a collector it runs as well", with.Seconds, without.Seconds)
}

func drivesTail(t *testing.T, r *rig) {
	log, tailed := filepath.Join(r.out, "app.log"), filepath.Join(r.out, "tailed.log")
	want := ""
	for run := range 2 { // the second goes on where the first ended
		p := r.start(t)
		for i := range 2 {
			line := fmt.Sprintf("run %d line %d\n", run, i)
			appendTo(t, log, line)
			want += line
			awaitFile(t, tailed, want)
		}
		result := p.drained(r)
		must(t, result.Balance.Read == 2, "only new lines are read", result.Balance)
	}
}

func appendTo(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// awaitFile waits until another process has written a file. There is nothing to
// wait on but the file itself.
func awaitFile(t *testing.T, name, want string) {
	t.Helper()
	var got []byte
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got, _ = os.ReadFile(name); string(got) == want {
			return
		}
	}
	t.Fatalf("%s has %q, want %q", name, got, want)
}

func showsAccessLog(t *testing.T, r ran) {
	must(t, r.Balance.Read == 40 && r.Balance.Delivered == 6 && r.Balance.DeadLettered == 1 && r.Balance.Filtered == 33, "of 40 lines 6 are kept and one is broken", r.Balance)
	for _, e := range r.records(t, "errors.ndjson") {
		size, _ := e["bytes"].(float64)
		must(t, e["status"].(float64) >= 500 || size > 1e6, "only slow and failing requests are kept", e)
		_, ident := e["ident"]
		must(t, e["service"] == "web" && e["user_agent"] != nil && !ident, "the requests are reshaped", e)
	}
	bad := r.records(t, "bad.ndjson")
	must(t, len(bad) == 1 && strings.HasSuffix(bad[0]["origin"].(string), "access.log:26") && bad[0]["node"] == "parse", "the dead letter names its line", bad)
}

func showsCSV(t *testing.T, r ran) {
	got := r.records(t, "orders.ndjson")
	must(t, len(got) == 5 && got[1]["item"] == "chair, oak" && got[1]["price"] == 120.0 && got[2]["gift"] == true, "text, numbers and booleans", got)
}

func showsStdin(t *testing.T, r ran) {
	must(t, r.stdout == "{\"n\":1}\n{\"n\":3}\n", "the odd ones, as they came", r.stdout)
}

func showsRotation(t *testing.T, r ran) {
	must(t, r.Balance.Delivered == 1000, "all are written", r.Balance)
	files, err := os.ReadDir(filepath.Join(r.out, "rotated"))
	must(t, err == nil && len(files) == 3, "the file and the two put aside", files, err)
	for _, f := range files {
		info, err := f.Info()
		must(t, err == nil && info.Size() < 64<<10, "no file grows far beyond 8 KiB", f, err)
		aside := f.Name() != "events.ndjson"
		must(t, !aside || info.Size() >= 8<<10, "a file is put aside at 8 KiB", f)
	}
}

func showsDeadLetters(t *testing.T, r ran) {
	must(t, r.Balance.Delivered == 450 && r.Balance.DeadLettered == 50, "every tenth is a dead letter", r.Balance)
	for _, l := range r.records(t, "dead-letters.ndjson") {
		event, _ := l["event"].(map[string]any)
		must(t, event["cents"] == "unknown" && l["node"] == "total" && strings.Contains(l["error"].(string), "cents / 100"), "a letter holds the error and the event", l)
	}
}

func showsBatch(t *testing.T, r ran) {
	batches := r.records(t, "batches.ndjson")
	seqs := 0
	for i, b := range batches {
		must(t, len(b["events"].([]any)) == int(b["count"].(float64)), "count is the number of events", b)
		must(t, i == len(batches)-1 || b["count"] == 100.0 || r.Seconds > 2, "batches are full while events come fast", b)
		for _, e := range b["events"].([]any) {
			must(t, e.(map[string]any)["seq"] == float64(seqs), "every event is in a batch, in order", e)
			seqs++
		}
	}
	must(t, seqs == 950 && int(r.Balance.Merged) == 950-len(batches), "all are in batches", seqs, r.Balance)
}

func showsWorkers(t *testing.T, r ran) {
	got := seqs(t, r, "workers.ndjson")
	must(t, len(got) == 400 && slices.IsSorted(got), "all arrive in order", got)
	must(t, r.Seconds < 1.8, "400 events of 5 ms take less than the 2 s of one worker", r.Seconds)
}

// seqs returns the seq of each event of a file.
func seqs(t *testing.T, r ran, name string) []int {
	t.Helper()
	var list []int
	for _, e := range r.records(t, name) {
		list = append(list, int(e["seq"].(float64)))
	}
	return list
}
