package sinks

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

// longestLabel is where the value of a label is cut, in bytes.
const longestLabel = 128

// family is a metric with its series.
type family struct {
	name      string
	m         *PrometheusMetric
	desc      *prometheus.Desc
	buckets   []float64
	series    map[string]*series
	overflown uint64

	// Of the event at hand.
	counts bool
	value  float64
	labels []string
	key    []byte
}

// series is one combination of labels.
type series struct {
	labels []string
	value  float64  // of a counter or gauge; the sum of a histogram
	count  uint64   // of a histogram
	counts []uint64 // of a histogram's buckets, not cumulative
	last   time.Time
}

func newFamily(name string, m *PrometheusMetric) *family {
	var names []string
	for _, l := range m.Labels {
		names = append(names, l.Key)
	}
	f := &family{name: name, m: m, desc: prometheus.NewDesc(name, m.Help, names, nil), series: map[string]*series{}, labels: make([]string, len(names))}
	if m.Type == "histogram" {
		f.buckets = slices.Clone(m.Buckets)
		if len(f.buckets) == 0 {
			f.buckets = prometheus.DefBuckets
		}
		if last := len(f.buckets) - 1; math.IsInf(f.buckets[last], 1) {
			f.buckets = f.buckets[:last] // it is always there
		}
	}
	return f
}

// same reports whether the series of f may go on in g: they mean the same.
func (f *family) same(g *family) bool {
	return f.name == g.name && f.m.Type == g.m.Type && f.m.Value.Source() == g.m.Value.Source() && f.m.When.Source() == g.m.When.Source() &&
		slices.Equal(f.buckets, g.buckets) && slices.EqualFunc(f.m.Labels, g.m.Labels, sameLabel)
}

func sameLabel(a, b pipe.Pair[expr.Value]) bool {
	return a.Key == b.Key && a.Value.Source() == b.Value.Source()
}

// measure works out what the event is for the metric.
func (f *family) measure(e *pipe.Event) (err error) {
	f.counts = true
	if !f.m.When.IsZero() {
		if f.counts, err = f.m.When.Eval(e); err != nil {
			return fmt.Errorf("metric %s: when: %w", f.name, err)
		}
	}
	if f.value = 1; f.counts && !f.m.Value.IsZero() {
		if f.value, f.counts, err = f.number(e); err != nil {
			return fmt.Errorf("metric %s: value: %w", f.name, err)
		}
	}
	if !f.counts {
		return nil
	}
	for i := range f.m.Labels {
		v, err := f.m.Labels[i].Value.EvalAny(e)
		if err == nil {
			f.labels[i], err = labelText(v)
		}
		if err != nil {
			return fmt.Errorf("metric %s: label %s: %w", f.name, f.m.Labels[i].Key, err)
		}
	}
	return nil
}

// number returns the value, and whether there is one.
func (f *family) number(e *pipe.Event) (x float64, some bool, err error) {
	v, err := f.m.Value.EvalAny(e)
	switch v := v.(type) {
	case nil:
		return 0, false, err
	case int:
		x = float64(v)
	case float64:
		x = v
	default:
		return 0, false, fmt.Errorf("%.100v is no number", v)
	}
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0, false, fmt.Errorf("%v cannot be counted", x)
	}
	if f.m.Type == "counter" && x < 0 {
		return 0, false, fmt.Errorf("%v is negative: a counter only rises", x)
	}
	return x, true, err
}

func labelText(v any) (string, error) {
	var s string
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		s = v
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	default:
		return "", fmt.Errorf("a list or an object cannot be the value of a label")
	}
	if len(s) > longestLabel {
		s = s[:longestLabel]
	}
	return strings.ToValidUTF8(strings.Clone(s), "\uFFFD"), nil
}

// count enters the event that was measured.
func (f *family) count(now time.Time, most int, overflow string) {
	if !f.counts {
		return
	}
	s := f.seriesOf(f.labels, most)
	if s == nil {
		f.overflown++
		if overflow == overflowDrop {
			return
		}
		for i := range f.labels {
			f.labels[i] = overflowOther
		}
		s = f.seriesOf(f.labels, most+1) // one more than the bound
	}
	s.last = now
	switch f.m.Type {
	case "counter":
		s.value += f.value
	case "gauge":
		s.value = f.value
	case "histogram":
		s.value += f.value
		s.count++
		if i := sort.SearchFloat64s(f.buckets, f.value); i < len(f.buckets) {
			s.counts[i]++
		}
	}
}

// seriesOf returns the series of these labels; nil when it is not there and there
// are most already.
func (f *family) seriesOf(labels []string, most int) *series {
	f.key = f.key[:0]
	for _, l := range labels {
		f.key = append(append(f.key, l...), 0xff) // which is in no UTF-8
	}
	if s := f.series[string(f.key)]; s != nil {
		return s
	}
	if len(f.series) >= most {
		return nil
	}
	s := &series{labels: slices.Clone(labels), counts: make([]uint64, len(f.buckets))}
	f.series[string(f.key)] = s
	return s
}

func (f *family) expire(before time.Time) {
	for key, s := range f.series {
		if s.last.Before(before) {
			delete(f.series, key)
		}
	}
}

// metrics appends the series as the library has them.
func (f *family) metrics(all []prometheus.Metric) []prometheus.Metric {
	for _, s := range f.series {
		switch f.m.Type {
		case "counter":
			all = append(all, prometheus.MustNewConstMetric(f.desc, prometheus.CounterValue, s.value, s.labels...))
		case "gauge":
			all = append(all, prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, s.value, s.labels...))
		case "histogram":
			buckets, sum := make(map[float64]uint64, len(f.buckets)), uint64(0)
			for i, bound := range f.buckets {
				sum += s.counts[i]
				buckets[bound] = sum
			}
			all = append(all, prometheus.MustNewConstHistogram(f.desc, s.count, s.value, buckets, s.labels...))
		}
	}
	return all
}
