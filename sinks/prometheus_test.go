package sinks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
	"github.com/pipectl/pipectl/engine/record"
)

func expression(t testing.TB, text string) (v expr.Value) {
	t.Helper()
	if err := v.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return v
}

// metric makes one; labels come in pairs of a name and an expression.
func metric(t testing.TB, name, typ, value string, labels ...string) pipe.Pair[PrometheusMetric] {
	t.Helper()
	m := PrometheusMetric{Type: typ, Help: "What " + name + " is."}
	if value != "" {
		m.Value = expression(t, value)
	}
	for i := 0; i < len(labels); i += 2 {
		m.Labels = append(m.Labels, pipe.Pair[expr.Value]{Key: labels[i], Value: expression(t, labels[i+1])})
	}
	return pipe.Pair[PrometheusMetric]{Key: name, Value: m}
}

func newPrometheus(t testing.TB, set func(*Prometheus), metrics ...pipe.Pair[PrometheusMetric]) *Prometheus {
	t.Helper()
	return fresh(t, "prometheus", func(s *Prometheus) {
		s.Listen, s.Metrics = "127.0.0.1:0", metrics
		if set != nil {
			set(s)
		}
	})
}

// get returns the status and the body of a GET.
func get(t testing.TB, url string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	a, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(body)
}

// samples are the lines of a scrape without comments and pipectl's own.
func samples(t testing.TB, s *Prometheus) (lines []string) {
	t.Helper()
	status, text := get(t, "http://"+s.site.address()+s.Path)
	if status != 200 {
		t.Fatalf("status %d: %s", status, text)
	}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "pipectl_") {
			lines = append(lines, line)
		}
	}
	return lines
}

func wantSamples(t testing.TB, s *Prometheus, want ...string) {
	t.Helper()
	if got := samples(t, s); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPrometheusConformance(t *testing.T) {
	pipetest.Sink(t, pipetest.SinkCase{
		New: func(t *testing.T) pipe.Sink {
			return newPrometheus(t, nil, metric(t, "lines_total", "counter", "", "text", "message"), metric(t, "ms", "gauge", "ms"))
		},
		Poison: func() record.Body {
			var a record.Arena
			body, _ := record.FromJSON([]byte(`{"ms":"long"}`), &a)
			return body
		},
	})
}

func TestPrometheusCounts(t *testing.T) {
	latency := metric(t, "latency_seconds", "histogram", "ms / 1000.0", "path", "path")
	latency.Value.Buckets = []float64{0.1, 1}
	slow := metric(t, "slow_total", "counter", "")
	if err := slow.Value.When.UnmarshalText([]byte("ms > 500")); err != nil {
		t.Fatal(err)
	}
	s := newPrometheus(t, nil, metric(t, "requests_total", "counter", "", "path", "path", "status", "status"),
		metric(t, "bytes_total", "counter", "bytes"), metric(t, "temperature", "gauge", "c"), latency, slow)
	open(t, s)
	write(t, s, `{"path":"/a","status":200,"ms":50,"bytes":10,"c":1.5}`, `{"path":"/a","status":200,"ms":100,"bytes":5,"c":-3}`,
		`{"path":"/b \"x\"","status":500,"ms":2000}`, `{"path":null,"ms":700}`)
	wantSamples(t, s, `bytes_total 15`,
		`latency_seconds_bucket{path="",le="0.1"} 0`, `latency_seconds_bucket{path="",le="1"} 1`, `latency_seconds_bucket{path="",le="+Inf"} 1`, `latency_seconds_sum{path=""} 0.7`, `latency_seconds_count{path=""} 1`,
		`latency_seconds_bucket{path="/a",le="0.1"} 2`, `latency_seconds_bucket{path="/a",le="1"} 2`, `latency_seconds_bucket{path="/a",le="+Inf"} 2`, `latency_seconds_sum{path="/a"} 0.15000000000000002`, `latency_seconds_count{path="/a"} 2`,
		`latency_seconds_bucket{path="/b \"x\"",le="0.1"} 0`, `latency_seconds_bucket{path="/b \"x\"",le="1"} 0`, `latency_seconds_bucket{path="/b \"x\"",le="+Inf"} 1`, `latency_seconds_sum{path="/b \"x\""} 2`, `latency_seconds_count{path="/b \"x\""} 1`,
		`requests_total{path="",status=""} 1`, `requests_total{path="/a",status="200"} 2`, `requests_total{path="/b \"x\"",status="500"} 1`,
		`slow_total 2`, `temperature -3`)
	promtool(t, s)
}

// promtool lets Prometheus' own checker read the answer.
func promtool(t *testing.T, s *Prometheus) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not installed: its check is left out")
		return
	}
	_, text := get(t, "http://"+s.site.address()+s.Path)
	cmd := exec.Command(path, "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool: %v: %s", err, out)
	}
}

// TestPrometheusAllOrNothing: an event that fails in one metric counts in none.
func TestPrometheusAllOrNothing(t *testing.T) {
	s := newPrometheus(t, nil, metric(t, "events_total", "counter", ""), metric(t, "bytes_total", "counter", "bytes"), metric(t, "by_total", "counter", "", "by", "by"))
	open(t, s)
	err := s.Write(t.Context(), batch(t, `{"bytes":1}`, `{"bytes":"many"}`, `{"bytes":-1}`, `{"by":[1]}`, `{"bytes":2.5}`))
	var part *pipe.PartialError
	if !errors.As(err, &part) || len(part.Items) != 3 {
		t.Fatalf("got %v, want three failures", err)
	}
	for i, want := range []string{"metric bytes_total: value: many is no number", "is negative", "metric by_total: label by: a list"} {
		if wantError(t, part.Items[i].Err, pipe.Poison, want); part.Items[i].Index != i+1 {
			t.Errorf("failure %d is about event %d", i, part.Items[i].Index)
		}
	}
	wantSamples(t, s, `by_total{by=""} 2`, `bytes_total 3.5`, `events_total 2`)
}

func TestPrometheusOverflow(t *testing.T) {
	f := func(overflow string, want ...string) {
		t.Helper()
		s := newPrometheus(t, func(s *Prometheus) { s.MaxSeries, s.Overflow = 2, overflow }, metric(t, "users_total", "counter", "", "user", "user"))
		shut := open(t, s)
		for _, user := range []string{"a", "b", "c", "d", "a", "c"} {
			write(t, s, fmt.Sprintf(`{"user":%q}`, user))
		}
		wantSamples(t, s, want...)
		if _, text := get(t, "http://"+s.site.address()+s.Path); !strings.Contains(text, `pipectl_sink_overflow_events_total{metric="users_total"} 3`) {
			t.Errorf("%s: three events are not counted:\n%s", overflow, text)
		}
		shut()
	}
	f("other", `users_total{user="a"} 2`, `users_total{user="b"} 1`, `users_total{user="other"} 3`)
	f("drop", `users_total{user="a"} 2`, `users_total{user="b"} 1`)
}

func TestPrometheusLabelsAreBounded(t *testing.T) {
	s := newPrometheus(t, nil, metric(t, "x_total", "counter", "", "v", "v"))
	open(t, s)
	write(t, s, `{"v":"`+strings.Repeat("é", 200)+`"}`, `{"v":true}`, `{"v":1.5}`)
	wantSamples(t, s, `x_total{v="1.5"} 1`, `x_total{v="true"} 1`, `x_total{v="`+strings.Repeat("é", 64)+`"} 1`)
}

func TestPrometheusExpires(t *testing.T) {
	s := newPrometheus(t, func(s *Prometheus) { s.Expire, s.MaxSeries = pipe.Duration(time.Minute), 2 }, metric(t, "x_total", "counter", "", "v", "v"))
	open(t, s)
	write(t, s, `{"v":"old"}`, `{"v":"new"}`)
	s.mu.Lock()
	for _, one := range s.families[0].series {
		if one.labels[0] == "old" {
			one.last = one.last.Add(-61 * time.Second)
		}
	}
	s.sweep = time.Time{}
	s.mu.Unlock()
	write(t, s, `{"v":"third"}`) // there is room for it
	wantSamples(t, s, `x_total{v="new"} 1`, `x_total{v="third"} 1`)
}

// TestPrometheusReload: the port stays open, and metrics that stay go on.
func TestPrometheusReload(t *testing.T) {
	old := newPrometheus(t, nil, metric(t, "stays_total", "counter", ""), metric(t, "changes_total", "counter", "n"))
	if err := old.Open(t.Context(), pipetest.Env()); err != nil {
		t.Fatal(err)
	}
	write(t, old, `{"n":5}`)
	env := pipetest.Env()
	env.Predecessor = old
	refused := newPrometheus(t, nil, metric(t, "other_total", "counter", ""))
	if err := refused.Open(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if err := refused.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := newPrometheus(t, nil, metric(t, "stays_total", "counter", ""), metric(t, "changes_total", "counter", "2 * n"))
	if err := next.Open(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	write(t, old, `{"n":5}`)
	wantSamples(t, old, "changes_total 10", "stays_total 2")
	if err := old.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSamples(t, next, "stays_total 2")
	write(t, next, `{"n":5}`)
	wantSamples(t, next, "changes_total 10", "stays_total 3")
	if err := next.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := http.Get("http://" + next.site.address()); err == nil {
		t.Error("the port is still open")
	}
}

func TestPrometheusAsksForTheToken(t *testing.T) {
	s := newPrometheus(t, func(s *Prometheus) { s.Token = "secret" }, metric(t, "x_total", "counter", ""))
	open(t, s)
	url := "http://" + s.site.address()
	f := func(want int, path string, header ...string) {
		t.Helper()
		if status, _ := get(t, url+path, header...); status != want {
			t.Errorf("%s with %q: got %d, want %d", path, header, status, want)
		}
	}
	f(401, "/metrics")
	f(401, "/metrics", "Authorization", "Bearer wrong")
	f(200, "/metrics", "Authorization", "Bearer secret")
	f(404, "/", "Authorization", "Bearer secret")
}

// TestPrometheusStorm scrapes while it counts.
func TestPrometheusStorm(t *testing.T) {
	s := newPrometheus(t, func(s *Prometheus) { s.MaxSeries = 50 }, metric(t, "x_total", "counter", "", "v", "v % 100"))
	open(t, s)
	var scrapers sync.WaitGroup
	for range 3 {
		scrapers.Go(func() {
			for range 10 {
				samples(t, s)
			}
		})
	}
	for i := range 200 {
		write(t, s, fmt.Sprintf(`{"v":%d}`, i), fmt.Sprintf(`{"v":%d}`, i+7))
	}
	scrapers.Wait()
	total := 0
	for _, line := range samples(t, s) {
		var n int
		fmt.Sscanf(line[strings.LastIndexByte(line, ' '):], "%d", &n)
		total += n
	}
	if total != 400 {
		t.Errorf("got %d events, want 400", total)
	}
}

func TestPrometheusValidate(t *testing.T) {
	f := func(field, want string, metrics ...pipe.Pair[PrometheusMetric]) {
		t.Helper()
		s := &Prometheus{Listen: "127.0.0.1:0", Path: "/metrics", Metrics: metrics}
		var fe *pipe.FieldError
		if err := s.Validate(); !errors.As(err, &fe) || fe.Field != field || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error at %s with %q", err, field, want)
		}
	}
	f("metrics", "at least one")
	f("metrics.a-b", "cannot name", metric(t, "a-b", "gauge", "1"))
	f("metrics.requests", "requests_total", metric(t, "requests", "counter", ""))
	f("metrics.pipectl_x", "own metrics", metric(t, "pipectl_x", "gauge", "1"))
	f("metrics.x.value", "needs a value", metric(t, "x", "gauge", ""))
	f("metrics.x.labels.a-b", "cannot name", metric(t, "x", "gauge", "1", "a-b", "1"))
	f("metrics.x.labels.le", "buckets", metric(t, "x", "histogram", "1", "le", "1"))
	f("metrics.x_count", "those of x", metric(t, "x", "histogram", "1"), metric(t, "x_count", "gauge", "1"))
	bad := metric(t, "x", "histogram", "1")
	bad.Value.Buckets = []float64{1, 1}
	f("metrics.x.buckets[1]", "above", bad)
	bad = metric(t, "x", "gauge", "1")
	bad.Value.Buckets = []float64{1}
	f("metrics.x.buckets", "only a histogram", bad)
	for _, s := range []*Prometheus{{Listen: "9200", Path: "/"}, {Listen: "127.0.0.1:1", Path: "metrics"}} {
		if err := s.Validate(); err == nil {
			t.Errorf("%s%s is valid", s.Listen, s.Path)
		}
	}
}

func BenchmarkPrometheus(b *testing.B) {
	s := newPrometheus(b, nil, metric(b, "requests_total", "counter", "", "method", "method", "status", "status"), metric(b, "seconds", "histogram", "ms / 1000.0"))
	open(b, s)
	lines := slices.Repeat([]string{`{"method":"GET","status":200,"ms":12.5}`}, 256)
	in := batch(b, lines...)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Write(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/256, "ns/event")
}
