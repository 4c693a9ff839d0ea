package trace

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"

	_ "github.com/pipectl/pipectl/sinks"
	_ "github.com/pipectl/pipectl/sources"
	_ "github.com/pipectl/pipectl/stages"
)

// announced is a log that tells where the source listens.
type announced struct {
	mu   sync.Mutex // guards what follows
	text bytes.Buffer
	addr chan string
}

var address = regexp.MustCompile(`msg=listening .*address=(\S+)`)

func (a *announced) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := address.FindSubmatch(p); m != nil {
		a.addr <- string(m[1])
	}
	return a.text.Write(p)
}

// run runs a pipeline with spans sent to r, while drive talks to its source.
func run(t *testing.T, r *receiver, yaml string, drive func(url string)) {
	t.Helper()
	cfg, diags := config.Parse([]byte(yaml), config.Options{})
	if err := diags.Err(); err != nil {
		t.Fatal(err)
	}
	log := &announced{addr: make(chan string, 1)}
	logger := slog.New(slog.NewTextHandler(log, nil))
	tr, err := New(cfg.Tracing, Options{Pipeline: cfg.Name, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(cfg, engine.Options{Log: logger, Observer: tr.Observer()})
	if err != nil {
		t.Fatal(err)
	}
	if drive != nil {
		go func() {
			defer e.Drain()
			drive("http://" + <-log.addr)
		}()
	}
	receipt, err := e.Run(context.Background())
	if err != nil || receipt.Outcome != engine.Drained || receipt.Balance.Error != 0 {
		t.Errorf("%s, %+v, %v\n%s", receipt.Outcome, receipt.Balance, err, log.text.String())
	}
	if err := tr.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func post(t *testing.T, url, body string, headers ...string) {
	req, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	req.Close = true
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
		t.Errorf("%s: %d %s", body, resp.StatusCode, text)
	}
}

const shop = `
version: 1
name: shop
tracing: {endpoint: %q}
sources:
  in: {type: http_server, listen: "127.0.0.1:0"}
stages:
  big: {type: filter, where: n > 1}
  sum: {type: map, set: {twice: 'n > 90 ? int("no number") : n * 2'}}
sinks:
  out: {type: http, url: %q, idempotency_header: ""}
  copy: {type: discard}
  bad: {type: discard}
edges:
  - in -> big -> sum -> out
  - sum -> copy
  - {from: sum.failed, to: bad}
`

// TestTraceThroughAPipeline sends requests with a traceparent through a running
// pipeline: the spans of source, stages and sinks hang together, also over a
// fan-out and a failed port, and the far side gets a traceparent whose parent is
// the sink's span.
func TestTraceThroughAPipeline(t *testing.T) {
	r := newReceiver(t)
	var mu sync.Mutex
	received := map[string]http.Header{}
	far := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		mu.Lock()
		defer mu.Unlock()
		received[string(body)] = req.Header
	}))
	defer far.Close()
	id := func(i int) string { return fmt.Sprintf("%032x", i) }
	run(t, r, fmt.Sprintf(shop, r.URL, far.URL), func(url string) {
		f := func(i int, body, flags string) {
			post(t, url, body, "traceparent", "00-"+id(i)+"-b7ad6b7169203331-"+flags, "tracestate", "shop=1")
		}
		f(1, `{"n":2}`, "01")
		f(2, `[{"n":3},{"n":4},{"n":1}]`, "01")
		f(3, `{"n":0}`, "01")
		f(4, `{"n":91}`, "01")
		f(5, `{"n":5}`, "00")
		post(t, url, `{"n":6}`)
	})
	for i, want := range map[int]string{
		1: "in events=1\n  big events=1\n    sum events=1\n      copy events=1\n      out events=1\n",
		2: "in events=3\n  big events=3 filtered=1\n    sum events=2\n      copy events=2\n      out events=2\n",
		3: "in events=1\n  big events=1 filtered=1\n",
		5: "",
	} {
		if got := r.tree(id(i), "b7ad6b7169203331", "events", "filtered", "failed"); got != want {
			t.Errorf("request %d: got\n%swant\n%s", i, got, want)
		}
	}
	got := r.tree(id(4), "b7ad6b7169203331", "events", "filtered", "failed")
	if !regexp.MustCompile(`^in events=1\n  big events=1\n    sum events=1 failed=1 error: .+\n      bad events=1\n$`).MatchString(got) {
		t.Errorf("request 4: got\n%s", got)
	}
	for _, s := range r.named("out") {
		if v := values(s.Attributes); hex.EncodeToString(s.TraceId) == id(1) {
			want := "00-" + id(1) + "-" + hex.EncodeToString(s.SpanId) + "-01"
			h := received[`{"n":2,"twice":4}`+"\n"]
			if h.Get("traceparent") != want || h.Get("tracestate") != "shop=1" {
				t.Errorf("the far side got %q with %q, want %q", h.Get("traceparent"), h.Get("tracestate"), want)
			}
			if v["pipectl.edge_wait_seconds"] == "" || s.EndTimeUnixNano <= s.StartTimeUnixNano {
				t.Errorf("a request that takes its time: %v", s)
			}
		}
	}
	if got, want := received[`{"n":5,"twice":10}`+"\n"].Get("traceparent"), "00-"+id(5)+"-b7ad6b7169203331-00"; got != want {
		t.Errorf("not sampled: the far side got %q, want %q", got, want)
	}
	if got := received[`{"n":6,"twice":12}`+"\n"].Get("traceparent"); got != "" {
		t.Errorf("not traced: the far side got %q", got)
	}
}

// TestTraceContextWithoutTracing is passed on as it came.
func TestTraceContextWithoutTracing(t *testing.T) {
	var got http.Header
	far := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { got = req.Header }))
	defer far.Close()
	run(t, nil, fmt.Sprintf(shop, "", far.URL), func(url string) {
		post(t, url, `{"n":2}`, "traceparent", parent, "tracestate", "shop=1")
	})
	if got.Get("traceparent") != parent || got.Get("tracestate") != "shop=1" {
		t.Errorf("the far side got %v", got)
	}
}

// TestTracesBegunAtTheSource: with ratio 1 each event is a trace of its own, also
// with several workers, and what is batched goes on in the first one's.
func TestTracesBegunAtTheSource(t *testing.T) {
	r := newReceiver(t)
	const n = 300
	run(t, r, fmt.Sprintf(`
version: 1
tracing: {endpoint: %q, ratio: 1}
sources:
  in: {type: generate, count: %d, event: {n: seq}}
stages:
  work: {type: map, set: {m: n + 1}, workers: 4}
sinks:
  out: {type: discard}
edges:
  - in -> work -> out
`, r.URL, n), nil)
	traces := map[string]bool{}
	for _, s := range r.named("in") {
		id := hex.EncodeToString(s.TraceId)
		if got, want := r.tree(id, "", "events"), "in events=1\n  work events=1\n    out events=1\n"; got != want {
			t.Fatalf("got\n%swant\n%s", got, want)
		}
		traces[id] = true
	}
	if len(traces) != n || len(r.spans) != 3*n {
		t.Errorf("%d traces of %d spans, want %d of %d", len(traces), len(r.spans), n, 3*n)
	}
}
