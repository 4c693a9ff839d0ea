package trace

import (
	"bytes"
	"encoding/hex"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

func newTest(t *testing.T, c config.Tracing) (*Tracer, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	tr, err := New(c, Options{Pipeline: "orders", Version: "v1.2", Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return tr, &log
}

func TestOffWithoutAnEndpoint(t *testing.T) {
	tr, err := New(config.Tracing{Ratio: 1}, Options{})
	if tr != nil || err != nil {
		t.Errorf("got %v, %v", tr, err)
	}
	if o := tr.Observer(); o != nil {
		t.Errorf("a nil tracer observes as %v", o)
	}
	if err := tr.Close(t.Context()); err != nil || tr.Stats() != (Stats{}) {
		t.Errorf("a nil tracer: %v, %+v", err, tr.Stats())
	}
}

// TestSpansReachTheCollector, with what it needs to know who sends them.
func TestSpansReachTheCollector(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://192.0.2.1:1") // the file counts
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-other=1")
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test,service.name=other")
	r := newReceiver(t)
	tr, log := newTest(t, config.Tracing{Endpoint: r.URL + "/base/", Headers: map[string]string{"X-Key": "k"}})
	in := fed(t, parent)
	tr.Step("in", pipe.KindSource, in)(nil, nil)
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	req := r.requests[0]
	if req.URL.Path != "/base/v1/traces" || req.Header.Get("X-Key") != "k" || req.Header.Get("X-Other") != "" ||
		req.Header.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("got %s with %v", req.URL, req.Header)
	}
	for key, want := range map[string]string{"service.name": "orders", "service.version": "v1.2", "deployment.environment": "test"} {
		if got := r.resource[key]; got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	s := r.only("in")
	if hex.EncodeToString(s.TraceId) != traceID || hex.EncodeToString(s.ParentSpanId) != "b7ad6b7169203331" || meta(in[0])[36:52] != hex.EncodeToString(s.SpanId) {
		t.Errorf("got %v, the event goes on with %s", s, meta(in[0]))
	}
	if got := tr.Stats(); got != (Stats{Sent: 1}) || log.Len() > 0 {
		t.Errorf("got %+v, log %s", got, log)
	}
}

// TestCollectorThatIsNotThere costs the spans and a line in the log.
func TestCollectorThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // now nobody listens
	tr, log := newTest(t, config.Tracing{Endpoint: "http://" + l.Addr().String()})
	tr.spans(t, 600)
	began := time.Now()
	tr.Close(t.Context())
	if s := tr.Stats(); s != (Stats{Failed: 600}) {
		t.Errorf("got %+v", s)
	}
	if took := time.Since(began); took > closeLimit+time.Second {
		t.Errorf("closing took %v", took)
	}
	if got := strings.Count(log.String(), "does not take spans"); got != 1 || !strings.Contains(log.String(), "refused") {
		t.Errorf("got log %s", log)
	}
}

// TestCollectorAnswers: 503 is tried again, other answers are not, redirects are
// not followed.
func TestCollectorAnswers(t *testing.T) {
	f := func(code int, wantSent int64, wantRequests int) {
		t.Helper()
		requests := 0
		far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if requests++; requests == 1 {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(code)
			}
		}))
		defer far.Close()
		tr, _ := newTest(t, config.Tracing{Endpoint: far.URL})
		tr.spans(t, 2)
		tr.Close(t.Context())
		if s := tr.Stats(); s.Sent != wantSent || s.Failed != 2-wantSent || requests != wantRequests {
			t.Errorf("%d: %+v after %d requests, want %d sent after %d", code, s, requests, wantSent, wantRequests)
		}
	}
	f(200, 2, 1)
	f(400, 0, 1)
	f(401, 0, 1)
	f(307, 0, 1)
	f(503, 2, 2)
}

func TestTracesURL(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got, err := tracesURL(in); got != want || err != nil {
			t.Errorf("%s: got %s (%v), want %s", in, got, err, want)
		}
	}
	f("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces")
	f("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces")
	f("https://otlp.example/otlp", "https://otlp.example/otlp/v1/traces")
	f("https://otlp.example/otlp/", "https://otlp.example/otlp/v1/traces")
	f("https://otlp.example/otlp/v1/traces", "https://otlp.example/otlp/v1/traces")
	f("https://otlp.example/v1/traces/", "https://otlp.example/v1/traces/")
}
