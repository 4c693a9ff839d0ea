// Package trace makes OpenTelemetry spans of the steps that traced events take,
// and sends them to a collector over OTLP/HTTP. It is the only package that sees
// the OpenTelemetry libraries.
//
// Tracing never holds the pipeline back: spans wait in a bounded queue, and those
// that find it full, or that the collector does not take, are dropped and counted.
package trace

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

const (
	scope       = "github.com/pipectl/pipectl"
	tracesPath  = "/v1/traces"
	requestTime = 10 * time.Second // one request to the collector
	retryFirst  = time.Second      // before a batch that the collector put off is sent again
	retryLast   = 5 * time.Second
	retryFor    = 30 * time.Second // then it is given up
	closeLimit  = 3 * time.Second  // for what is in the queue at the end
)

// Options are what a program sets beside the configuration.
type Options struct {
	Pipeline string                   // the pipeline's name
	Version  string                   // of the program; may be empty
	Log      *slog.Logger             // nil discards
	Redact   func(text string) string // removes secrets from errors; nil changes nothing
}

// Tracer makes spans. Give its Observer to the engine, and Close it after the run.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   oteltrace.Tracer
	queue    *queue
	client   *http.Client
	ratio    float64
	pipeline attribute.KeyValue
	redact   func(string) string
	log      *slog.Logger
	handed   handed
}

// New makes a tracer; nil, without an error, when c has no endpoint: the methods
// of a nil Tracer do nothing. It does not connect: a collector that is not there
// costs the spans of that time and nothing else.
func New(c config.Tracing, o Options) (*Tracer, error) {
	if c.Endpoint == "" {
		return nil, nil
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Redact == nil {
		o.Redact = func(text string) string { return text }
	}
	place, err := tracesURL(c.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("tracing: endpoint: %w", err)
	}
	client := newClient()
	exporter, err := otlptracehttp.New(context.Background(),
		otlptracehttp.WithEndpointURL(place),
		otlptracehttp.WithHTTPClient(client),
		otlptracehttp.WithHeaders(c.Headers),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithMaxResponseSize(64<<10),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true,
			InitialInterval: retryFirst, MaxInterval: retryLast, MaxElapsedTime: retryFor}),
	)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	o.Log = o.Log.With("collector", place)
	return newTracer(exporter, client, c.Ratio, o), nil
}

func newTracer(exporter sdktrace.SpanExporter, client *http.Client, ratio float64, o Options) *Tracer {
	t := &Tracer{
		queue:    newQueue(exporter, o.Log, o.Redact),
		client:   client,
		ratio:    ratio,
		pipeline: attribute.String("pipectl.pipeline", o.Pipeline),
		redact:   o.Redact,
		log:      o.Log,
	}
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.AlwaysSample()), // Step asks for wanted spans only
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", o.Pipeline),
			attribute.String("service.version", o.Version))),
		sdktrace.WithSpanProcessor(t.queue),
	)
	t.tracer = t.provider.Tracer(scope, oteltrace.WithInstrumentationVersion(o.Version))
	return t
}

// Observer returns t for the engine's Options; of a nil Tracer nil, which the
// engine never calls.
func (t *Tracer) Observer() pipe.Observer {
	if t == nil {
		return nil
	}
	return t
}

// tracesURL is where an endpoint takes spans: its path with /v1/traces, unless it
// ends like that already.
func tracesURL(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", err
	}
	if path := strings.TrimRight(u.Path, "/"); !strings.HasSuffix(path, tracesPath) {
		u.Path = path + tracesPath
	}
	return u.String(), nil
}

// newClient makes a client of its own, so that Close can close its connections.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			MaxIdleConns:           1,
			MaxConnsPerHost:        1, // there is one goroutine that sends
			IdleConnTimeout:        90 * time.Second,
			TLSHandshakeTimeout:    requestTime,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		},
		Timeout:       requestTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Stats says what became of the spans so far.
type Stats struct {
	Sent    int64 // the collector took them
	Failed  int64 // the collector did not take them
	Dropped int64 // the queue was full, or closed
	Queued  int   // wait to be sent
}

// Stats returns the counts of this moment. It may be called at any time; a nil
// Tracer has none.
func (t *Tracer) Stats() Stats {
	if t == nil {
		return Stats{}
	}
	return t.queue.now()
}

// Close sends what is queued, for 3 seconds at most and not longer than ctx, and
// ends the tracer: what could not be sent is dropped, and how many spans were is
// logged. Call it after the engine's Run has returned: the spans of steps that end
// later are lost, uncounted. A nil Tracer has nothing to close.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeLimit)
	defer cancel()
	err := t.provider.Shutdown(ctx)
	t.client.CloseIdleConnections()
	if s := t.Stats(); s.Failed+s.Dropped > 0 {
		t.log.Warn("not all spans were sent", "sent", s.Sent, "failed", s.Failed, "dropped", s.Dropped)
	}
	return err
}
