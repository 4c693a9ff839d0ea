package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	_ "github.com/pipectl/pipectl/sinks"
	_ "github.com/pipectl/pipectl/sources"
	_ "github.com/pipectl/pipectl/stages"
)

const shop = `
version: 1
name: shop.eu-1
sources: {till: {type: generate, count: 1, event: {n: seq}}}
stages: {keep: {type: filter, where: 'n > 0'}}
sinks: {out: {type: discard}, bad: {type: discard}, show: {type: discard}}
edges:
  - till -> keep
  - {from: keep, to: out, policy: {type: block, timeout: 5s, then: fail}}
  - {from: keep.failed, to: bad, policy: drop-newest}
  - {from: till, to: show, buffer: {events: 10, age: 5s}}
  - {from: keep, to: bad, name: late, policy: {type: block, timeout: 5s}}
`

func parse(t *testing.T, text string) *config.Pipeline {
	t.Helper()
	p, found := config.Parse([]byte(text), config.Options{File: "shop.yaml"})
	if found.HasErrors() {
		t.Fatal(found)
	}
	return p
}

// promtool runs promtool on files in a folder of their own.
func promtool(t *testing.T, files map[string][]byte, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("SKIPPED: promtool is not installed, nothing was checked; run: make promtool")
	}
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("promtool", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func rules(t *testing.T, th Thresholds) []byte {
	t.Helper()
	text, err := Alerts(parse(t, shop), th)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRulesAreValid(t *testing.T) {
	other := Thresholds{QueueEvents: 1, Utilization: .55, UtilizationFor: 90 * time.Second, LagEvents: 2, LagCritical: 2, LagCriticalFor: 0,
		InFlight: 3, Latency: 1500 * time.Millisecond, For: 0, Runbook: `https://wiki.example/run book?a="b"&c`}
	promtool(t, map[string][]byte{"default.yml": rules(t, DefaultThresholds()), "other.yml": rules(t, other)},
		"check", "rules", "default.yml", "other.yml")
}

// firing is a situation in which an alert must fire, and one that is as near as
// can be in which it must not. Values are in promtool's notation, one a minute.
type firing struct {
	alert  string
	series string // without the labels pipeline and instance
	bad    string
	good   string
	value  string // as the summary shows it
	after  int    // minutes after which it must fire; one minute before it must not
}

var firings = []firing{
	{"PipectlQueueDeep", `pipectl_edge_queue_events{edge="till->keep"}`, "0x4 12000x20", "10000x25", "12k", 6},
	{"PipectlEdgeFull", `pipectl_edge_utilization_ratio{edge="till->keep"}`, "0x4 0.931x20", "0x4 0.9x4 0.8 0.9x4 0.8x20", "93.1%", 10},
	{"PipectlLagHigh", `pipectl_source_lag_events{node="till"}`, "0x4 60000x20", "50000x25", "60k", 6},
	{"PipectlLagCritical", `pipectl_source_lag_events{node="till"}`, "0x4 110000x20", "0x4 110000x14 100000 110000x5", "110k", 20},
	{"PipectlInFlightHigh", `pipectl_source_in_flight_events{node="till"}`, "0x4 5001x20", "5000x25", "5.001k", 6},
	{"PipectlUnexpectedDrop", `pipectl_edge_dropped_events_total{edge="till->keep",reason="expired"}`, "0x9 4x16", "0x25", "4", 10},
	{"PipectlUnexpectedDrop", `pipectl_edge_dropped_events_total{edge="new->edge",reason="oldest"}`, "_x9 3x16", "_x9 0x16", "3", 9},
	{"PipectlUnexpectedDrop", `pipectl_edge_dropped_events_total{edge="keep->out",reason="timeout"}`, "0x9 4x16", "0x25", "4", 10},
	{"PipectlBreakerOpen", `pipectl_sink_breaker_state{node="out"}`, "0x4 2x20", "0x4 1x20", "", 6},
	{"PipectlStalled", `pipectl_stalled`, "0x4 1x20", "0x25", "", 5},
	{"PipectlReloadFailed", `pipectl_last_reload_success`, "1x4 0x20", "1x25", "", 6},
	{"PipectlBalanceError", `pipectl_conservation_error_events`, "0x4 3x20", "0x25", "3", 5},
}

// TestAlertsFire has promtool play every situation: an alert fires when it must,
// with the text it must have, and neither earlier nor for a pipeline that is well.
func TestAlertsFire(t *testing.T) {
	suite := ruleSuite{Files: []string{"rules.yml"}, Interval: "1m"}
	for _, f := range firings {
		suite.add(t, f.alert, f.value, f.after, f.series, map[string]string{f.series: f.bad}, map[string]string{f.series: f.good})
	}
	suite.add(t, "PipectlLatencyHigh", "19s", 7, `{node="out"}`, latencies("0+0x4 0+100x20", "0+0x4 0+110x20"), latencies("0+0x4 0+100x20", "0+0x4 0+100x20"))
	// Edges that declare a loss may.
	for _, series := range []string{`pipectl_edge_dropped_events_total{edge="keep.failed->bad",reason="newest"}`,
		`pipectl_edge_dropped_events_total{edge="till->show",reason="expired"}`, `pipectl_edge_dropped_events_total{edge="late",reason="timeout"}`} {
		suite.quiet("PipectlUnexpectedDrop", 1, 15, map[string]string{series: "0x9 4x16"})
	}
	// What was lost long ago is no news.
	suite.quiet("PipectlUnexpectedDrop", 6, 20, map[string]string{`pipectl_edge_dropped_events_total{edge="till->keep",reason="expired"}`: "7x25"})
	// Other pipelines have rules of their own.
	suite.Tests = append(suite.Tests, ruleTest{Interval: "1m", Series: []ruleSeries{{`pipectl_conservation_error_events{pipeline="shop-eu-1"}`, "5x25"}},
		Alerts: []ruleAlert{{At: "10m", Name: "PipectlBalanceError", Want: []wanted{}}}})

	tested := map[string]bool{}
	for _, test := range suite.Tests {
		for _, a := range test.Alerts {
			tested[a.Name] = tested[a.Name] || len(a.Want) > 0
		}
	}
	for _, a := range alerts(parse(t, shop), DefaultThresholds()) {
		if !tested[a.name] {
			t.Errorf("%s is never seen to fire", a.name)
		}
	}
	text, err := json.MarshalIndent(suite, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, map[string][]byte{"rules.yml": rules(t, DefaultThresholds()), "suite.yml": text}, "test", "rules", "suite.yml")
}

// latencies are the buckets of a histogram of end-to-end times.
func latencies(below10, all string) map[string]string {
	m := map[string]string{`pipectl_end_to_end_seconds_bucket{node="out",le="5"}`: "0x25"}
	m[`pipectl_end_to_end_seconds_bucket{node="out",le="10"}`] = below10
	m[`pipectl_end_to_end_seconds_bucket{node="out",le="30"}`] = all
	m[`pipectl_end_to_end_seconds_bucket{node="out",le="+Inf"}`] = all
	return m
}

// ruleSuite is a file for promtool test rules.
type ruleSuite struct {
	Files    []string   `json:"rule_files"`
	Interval string     `json:"evaluation_interval"`
	Tests    []ruleTest `json:"tests"`
}

type ruleTest struct {
	Interval string       `json:"interval"`
	Series   []ruleSeries `json:"input_series"`
	Alerts   []ruleAlert  `json:"alert_rule_test"`
}

type ruleSeries struct {
	Series string `json:"series"`
	Values string `json:"values"`
}

type ruleAlert struct {
	At   string   `json:"eval_time"`
	Name string   `json:"alertname"`
	Want []wanted `json:"exp_alerts"`
}

type wanted struct {
	Labels      map[string]string `json:"exp_labels"`
	Annotations map[string]string `json:"exp_annotations"`
}

// add enters a situation in which the alert fires, and one in which it does not.
func (s *ruleSuite) add(t *testing.T, name, value string, after int, labelled string, bad, good map[string]string) {
	fires := situation(bad)
	fires.Alerts = []ruleAlert{
		{At: minutes(after - 1), Name: name, Want: []wanted{}},
		{At: minutes(after), Name: name, Want: []wanted{expected(t, name, value, labelled)}},
	}
	s.Tests = append(s.Tests, fires)
	s.quiet(name, 1, after+4, good)
}

// quiet enters a situation in which the alert does not fire, from one minute to
// another.
func (s *ruleSuite) quiet(name string, from, to int, good map[string]string) {
	quiet := situation(good)
	for at := from; at <= to; at++ {
		quiet.Alerts = append(quiet.Alerts, ruleAlert{At: minutes(at), Name: name, Want: []wanted{}})
	}
	s.Tests = append(s.Tests, quiet)
}

func minutes(n int) string { return fmt.Sprintf("%dm", n) }

func situation(values map[string]string) ruleTest {
	test := ruleTest{Interval: "1m"}
	for _, series := range slices.Sorted(maps.Keys(values)) {
		name, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
		full := fmt.Sprintf(`%s{pipeline="shop.eu-1",instance="pipes-1:9464",%s}`, name, labels)
		test.Series = append(test.Series, ruleSeries{full, values[series]})
	}
	return test
}

var (
	labelPair = regexp.MustCompile(`(\w+)="([^"]*)"`)
	value     = regexp.MustCompile(`\{\{ \$value[^}]*\}\}`)
)

// expected is the alert as it must arrive: what promtool makes of the templates
// is compared with what a reader of them would expect.
func expected(t *testing.T, name, shown, labelled string) wanted {
	t.Helper()
	all := alerts(parse(t, shop), DefaultThresholds())
	i := slices.IndexFunc(all, func(a alert) bool { return a.name == name })
	if i < 0 {
		t.Fatalf("there is no alert %s", name)
	}
	w := wanted{Labels: map[string]string{"severity": all[i].severity, "pipeline": "shop.eu-1", "instance": "pipes-1:9464"}}
	fill := func(s string) string {
		for _, m := range labelPair.FindAllStringSubmatch(labelled, -1) {
			w.Labels[m[1]] = m[2]
			s = strings.ReplaceAll(s, "{{ $labels."+m[1]+" }}", m[2])
		}
		s = strings.ReplaceAll(s, "{{ with $labels.instance }} --addr {{ . }}{{ end }}", " --addr pipes-1:9464")
		return value.ReplaceAllLiteralString(s, shown)
	}
	w.Annotations = map[string]string{"summary": "shop.eu-1: " + fill(all[i].summary), "description": fill(all[i].describe + ask),
		"runbook_url": "docs/runbook.md#" + strings.ToLower(name)}
	return w
}

// TestRunbook demands an entry of the runbook for every alert, with all its parts,
// and no entry without an alert.
func TestRunbook(t *testing.T) {
	page, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{}
	for _, part := range strings.Split(string(page), "\n## ")[1:] {
		title, text, _ := strings.Cut(part, "\n")
		entries[title] = text
	}
	for _, a := range alerts(parse(t, shop), DefaultThresholds()) {
		text, ok := entries[a.name]
		if !ok {
			t.Errorf("the runbook has no entry for %s", a.name)
		}
		for _, part := range []string{"**Means:**", "**Look first:**", "**Do:**", "**Severity:** " + a.severity, "pipectl "} {
			if !strings.Contains(text, part) {
				t.Errorf("the runbook's entry for %s has no %s", a.name, part)
			}
		}
		if !regexp.MustCompile(`^Pipectl([A-Z][a-z]+)+$`).MatchString(a.name) {
			t.Errorf("%s is not in camel case", a.name)
		}
		delete(entries, a.name)
	}
	for title := range entries {
		if strings.HasPrefix(title, "Pipectl") {
			t.Errorf("the runbook has an entry for %s, which is no alert", title)
		}
	}
}

func TestThresholds(t *testing.T) {
	f := func(change func(*Thresholds), want string) {
		t.Helper()
		th := DefaultThresholds()
		change(&th)
		_, err := Alerts(parse(t, shop), th)
		if got := fmt.Sprint(err); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(func(th *Thresholds) {}, "<nil>")
	f(func(th *Thresholds) { th.QueueEvents = 0 }, "queue-events: must be at least 1, got 0")
	f(func(th *Thresholds) { th.InFlight = -1 }, "in-flight: must be at least 1, got -1")
	f(func(th *Thresholds) { th.Utilization = 1.01 }, "utilization: must be above 0 and at most 1, got 1.01")
	f(func(th *Thresholds) { th.UtilizationFor = -time.Second }, "utilization-for: must be whole milliseconds and not negative, got -1s")
	f(func(th *Thresholds) { th.For = time.Microsecond }, "for: must be whole milliseconds and not negative, got 1µs")
	f(func(th *Thresholds) { th.LagCritical = 10 }, "lag-critical: must be at least --lag 50000, got 10")
	f(func(th *Thresholds) { th.Latency = time.Minute }, "latency: must be above 0s and below 1m0s, the longest time that is measured, got 1m0s")
	f(func(th *Thresholds) { th.Runbook = "" }, "runbook-url: must not be empty")
}

// TestLargestLatency holds the constant against what is measured.
func TestLargestLatency(t *testing.T) {
	e, err := engine.New(parse(t, shop), engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	bounds := e.Status().Sinks["out"].EndToEnd.Bounds
	if last := bounds[len(bounds)-1]; last != LargestLatency.Seconds() {
		t.Errorf("end-to-end times are measured up to %vs, not %v", last, LargestLatency)
	}
}

func TestPromDuration(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := promDuration(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
	f(0, "0s")
	f(5*time.Minute, "5m")
	f(90*time.Second, "1m30s")
	f(1500*time.Millisecond, "1s500ms")
	f(49*time.Hour, "49h")
}

// TestRulesGolden shows what the file looks like.
func TestRulesGolden(t *testing.T) {
	got := rules(t, DefaultThresholds())
	want, err := os.ReadFile("testdata/shop.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("testdata/shop.rules.yml is not what is written now:\n%s", got)
	}
}
