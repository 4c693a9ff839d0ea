package sinks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSink("prometheus", func() pipe.Sink {
		return &Prometheus{Listen: "127.0.0.1:9200", Path: "/metrics", MaxSeries: 1000, Overflow: overflowOther,
			Expire: pipe.Duration(time.Hour)}
	})
}

// The values of overflow.
const (
	overflowOther = "other"
	overflowDrop  = "drop"
)

// Prometheus counts events and serves the metrics to a Prometheus server, which
// comes for them at its own pace.
//
// An event is confirmed when it is counted. What was counted is in memory: at a
// restart all begins at 0, which rate() understands; an event that is delivered
// again after a crash counts in the new process. A reload keeps the series of each
// metric that did not change. An event counts in all its metrics or, when one of
// them cannot be worked out, in none: then it fails. Scrapes do not hold the
// pipeline back.
//
// Beside the configured metrics there are two of its own:
// pipectl_sink_overflow_events_total by metric, and pipectl_sink_series.
//
// Example:
//
//	type: prometheus
//	listen: 127.0.0.1:9200
//	metrics:
//	  http_requests_total:
//	    type: counter
//	    help: Requests by method and status.
//	    labels: {method: method, status: status}
//	  http_request_seconds:
//	    type: histogram
//	    help: How long requests took.
//	    value: ms / 1000.0
//	    buckets: [0.01, 0.1, 1, 10]
type Prometheus struct {
	// Listen is the address that is scraped, as host:port; 127.0.0.1:9200 by default,
	// which only this machine reaches. Port 0 takes a free one, which is logged.
	Listen string `yaml:"listen"`

	// Path is the path that is scraped, /metrics by default.
	Path string `yaml:"path"`

	// Token is what a scrape must show, as `Authorization: Bearer TOKEN`. Empty asks
	// for none.
	Token string `yaml:"token" secret:"true"`

	// TLS makes the sink speak HTTPS. Without it, it speaks plain HTTP.
	TLS *ServerTLS `yaml:"tls"`

	// Metrics are the metrics, by name. A name has letters, digits and _; that of a
	// counter ends in _total.
	Metrics pipe.OrderedMap[PrometheusMetric] `yaml:"metrics" required:"true"`

	// MaxSeries is how many series each metric may have, one for each combination of
	// its labels, 1 to 1,000,000; 1,000 by default. A series takes some hundred bytes
	// here, and a histogram counts as one, but costs the server a series a bucket.
	MaxSeries int `yaml:"max_series" min:"1" max:"1000000"`

	// Overflow says what happens to an event that needs one series too many: other
	// (the default) counts it in a series whose labels are all "other", drop does not
	// count it in this metric. Both count it in pipectl_sink_overflow_events_total.
	Overflow string `yaml:"overflow" enum:"other,drop"`

	// Expire is after what time without an event a series is no longer served and
	// makes room for another; 1h by default. 0s keeps every series.
	Expire pipe.Duration `yaml:"expire"`

	site *site

	mu       sync.Mutex // guards what follows
	families []*family
	before   *Prometheus // whose series are taken over
	sweep    time.Time   // when series were looked through last
}

// PrometheusMetric is one metric.
type PrometheusMetric struct {
	// Type is counter (adds value up), gauge (the last value) or histogram (how many
	// values were up to each bucket, and their sum).
	Type string `yaml:"type" enum:"counter,gauge,histogram" required:"true"`

	// Help is what the metric is, for people.
	Help string `yaml:"help"`

	// Value is an expression that gives a number, such as bytes or ms / 1000.0. A counter
	// counts 1 without it. An event for which it gives null, such as one without the
	// field, does not count; one for which it gives something else fails. For a counter
	// it must not be negative.
	Value expr.Value `yaml:"value"`

	// When is a condition: only events for which it holds count. Without it all do.
	When expr.Bool `yaml:"when"`

	// Labels are the labels, by name, with an expression for each, such as the name
	// of a field. null, and a field that an event does not have, is the empty text;
	// text is cut at 128 bytes. Take only what has few values: no ids, no addresses.
	Labels pipe.OrderedMap[expr.Value] `yaml:"labels"`

	// Buckets are the upper bounds of a histogram's buckets, rising; at most 100.
	// Without them they are those for seconds, 0.005 to 10.
	Buckets []float64 `yaml:"buckets"`
}

var (
	prometheusName  = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	prometheusLabel = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

// Validate checks names and what belongs together.
func (s *Prometheus) Validate() error {
	errs := validateSite(s.Listen, s.Path)
	if len(s.Metrics) == 0 {
		errs = append(errs, pipe.Fieldf("metrics", "needs at least one metric"))
	}
	taken := map[string]string{}
	for i := range s.Metrics {
		m := &s.Metrics[i]
		bad := func(field, format string, args ...any) {
			errs = append(errs, pipe.Fieldf(strings.TrimSuffix("metrics."+m.Key+"."+field, "."), format, args...))
		}
		switch {
		case !prometheusName.MatchString(m.Key):
			bad("", "%q cannot name a metric: it has letters, digits and _, and begins with a letter", m.Key)
		case strings.HasPrefix(m.Key, "pipectl_"):
			bad("", "names that begin with pipectl_ are for pipectl's own metrics")
		case m.Value.Type == "counter" && !strings.HasSuffix(m.Key, "_total"):
			bad("", "the name of a counter ends in _total: write %s_total", m.Key)
		}
		for _, name := range seriesNames(m.Key, m.Value.Type) {
			if other := taken[name]; other != "" {
				bad("", "its series have the name of those of %s", other)
				break
			}
			taken[name] = m.Key
		}
		m.Value.validate(bad)
	}
	return errors.Join(errs...)
}

// seriesNames are the names under which a metric is served.
func seriesNames(name, typ string) []string {
	if typ == "histogram" {
		return []string{name, name + "_bucket", name + "_count", name + "_sum"}
	}
	return []string{name}
}

func (m *PrometheusMetric) validate(bad func(field, format string, args ...any)) {
	if m.Type != "counter" && m.Value.IsZero() {
		bad("value", "a %s needs a value", m.Type)
	}
	if m.Type != "histogram" && len(m.Buckets) > 0 {
		bad("buckets", "only a histogram has buckets, not a %s", m.Type)
	}
	if len(m.Buckets) > 100 {
		bad("buckets", "%d are more than 100", len(m.Buckets))
	}
	for i, b := range m.Buckets {
		if b != b || i > 0 && b <= m.Buckets[i-1] {
			bad(fmt.Sprintf("buckets[%d]", i), "%v must be above the one before it", b)
		}
	}
	for _, l := range m.Labels {
		switch {
		case !prometheusLabel.MatchString(l.Key), strings.HasPrefix(l.Key, "__"):
			bad("labels."+l.Key, "%q cannot name a label: it has letters, digits and _, and begins with a letter", l.Key)
		case m.Type == "histogram" && l.Key == "le":
			bad("labels.le", "le is the label of a histogram's buckets")
		}
		if l.Value.IsZero() {
			bad("labels."+l.Key, "the expression is missing")
		}
	}
}

// Open listens. Series of the sink that this one takes over from come along.
func (s *Prometheus) Open(_ context.Context, env pipe.Env) (err error) {
	s.before, _ = env.Predecessor.(*Prometheus)
	s.families = nil
	for i := range s.Metrics {
		s.families = append(s.families, newFamily(s.Metrics[i].Key, &s.Metrics[i].Value))
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(s); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 8, ErrorHandling: promhttp.HTTPErrorOnError})
	gate := gate{token: s.Token, origins: []string{"*"}}
	s.site, err = openSite(s.Listen, s.TLS, s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gate.admits(w, r, s.Path) {
			metrics.ServeHTTP(w, r)
		}
	}), env)
	return err
}

func (s *Prometheus) at() *site { return s.site }

// Write counts the events.
func (s *Prometheus) Write(ctx context.Context, in []*pipe.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.inherit()
	s.tidy(now)
	var bad []pipe.ItemError
	for i, e := range in {
		var err error
		for _, f := range s.families {
			if err = f.measure(e); err != nil {
				break
			}
		}
		if err != nil {
			bad = append(bad, pipe.ItemError{Index: i, Err: pipe.Classed(pipe.Poison, err)})
			continue
		}
		for _, f := range s.families {
			f.count(now, s.MaxSeries, s.Overflow)
		}
	}
	if len(bad) > 0 {
		return &pipe.PartialError{Items: bad}
	}
	return nil
}

// inherit takes over the series of the sink before, which has closed: metrics that
// are what they were go on.
func (s *Prometheus) inherit() {
	old := s.before
	if old == nil {
		return
	}
	s.before = nil
	old.mu.Lock()
	defer old.mu.Unlock()
	for _, f := range s.families {
		at := slices.IndexFunc(old.families, func(o *family) bool { return o.same(f) })
		if at >= 0 {
			f.series, f.overflown = old.families[at].series, old.families[at].overflown
		}
	}
	old.families = nil
}

// sweepEvery is how often old series are looked for.
const sweepEvery = time.Second

// tidy drops series that have expired.
func (s *Prometheus) tidy(now time.Time) {
	if s.Expire <= 0 || now.Sub(s.sweep) < min(sweepEvery, s.Expire.D()) {
		return
	}
	s.sweep = now
	for _, f := range s.families {
		f.expire(now.Add(-s.Expire.D()))
	}
}

var (
	overflowDesc = prometheus.NewDesc("pipectl_sink_overflow_events_total", "Events for which a metric had no room for another series.", []string{"metric"}, nil)
	seriesDesc   = prometheus.NewDesc("pipectl_sink_series", "Series that a metric has now.", []string{"metric"}, nil)
)

// Describe implements prometheus.Collector.
func (s *Prometheus) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range s.families {
		ch <- f.desc
	}
	ch <- overflowDesc
	ch <- seriesDesc
}

// Collect implements prometheus.Collector.
func (s *Prometheus) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	s.inherit()
	s.tidy(time.Now())
	var all []prometheus.Metric
	for _, f := range s.families {
		all = f.metrics(all)
		all = append(all, prometheus.MustNewConstMetric(overflowDesc, prometheus.CounterValue, float64(f.overflown), f.name),
			prometheus.MustNewConstMetric(seriesDesc, prometheus.GaugeValue, float64(len(f.series)), f.name))
	}
	s.mu.Unlock()
	for _, m := range all { // a slow scrape waits here, without the lock
		ch <- m
	}
}

// Close closes the port.
func (s *Prometheus) Close(ctx context.Context) error { return s.site.leave(ctx, s) }
