package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/metrics"
	_ "github.com/pipectl/pipectl/sinks"
	_ "github.com/pipectl/pipectl/sources"
	_ "github.com/pipectl/pipectl/stages"
)

// pressed is a pipeline in which every policy is at work: a source that is faster
// than each of its consumers, failures, and dead letters.
const pressed = `
version: 1
name: storm
sources:
  in: {type: generate, rate: 20000/s, count: 8000, event: {n: seq, big: 'seq % 3'}, max_in_flight: {events: 4000}}
stages:
  slow:  {type: delay, for: 100us}
  some:  {type: filter, where: 'n % 2 == 0'}
  check: {type: map, set: {inverse: '100 / big'}}
sinks:
  booked:  {type: discard}
  latest:  {type: discard}
  sampled: {type: discard}
  timely:  {type: discard}
  dead:    {type: discard}
edges:
  - {from: in, to: some, buffer: 300}
  - {from: some, to: check, buffer: 100}
  - {from: check, to: booked, buffer: 64}
  - {from: check.failed, to: dead, buffer: 16}
  - {from: in, to: slow, buffer: 100, policy: drop-oldest}
  - {from: slow, to: latest, buffer: 4, policy: drop-newest}
  - {from: in, to: sampled, buffer: 50, policy: {type: sample, min_rate: 0.1, threshold: 0.2}}
  - {from: in, to: timely, buffer: {events: 8, age: 1ms}, policy: {type: block, timeout: 1ms, then: drop-oldest}}
`

// reading is what one scrape says: values by series.
type reading map[string]float64

func read(t *testing.T, h http.Handler) reading {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Errorf("code %d: %s", w.Code, w.Body)
	}
	r := reading{}
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, "pipectl_") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			t.Errorf("series %q: %v", line, err)
		}
		r[line[:at]] = v
	}
	return r
}

// rises reports whether a series may only rise.
func rises(series string) bool {
	name, _, _ := strings.Cut(series, "{")
	for _, end := range []string{"_total", "_bucket", "_count", "_sum"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// audit compares a reading with the one before it.
func (r reading) audit(t *testing.T, before reading) {
	for series, v := range r {
		if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			t.Errorf("%s is %v", series, v)
		}
		if was := before[series]; rises(series) && v < was {
			t.Errorf("%s fell from %v to %v", series, was, v)
		}
	}
	for series := range before {
		if _, ok := r[series]; !ok && rises(series) {
			t.Errorf("%s is gone", series)
		}
	}
	if v := r[`pipectl_conservation_error_events{pipeline="storm"}`]; v != 0 {
		t.Errorf("the books are off by %v events", v)
	}
}

// balance demands that an edge accounts for every event it was offered.
func (r reading) balance(t *testing.T, edge string) {
	of := func(metric, more string) float64 {
		return r[fmt.Sprintf(`pipectl_edge_%s{edge=%q,pipeline="storm"%s}`, metric, edge, more)]
	}
	in, out := of("offered_events_total", ""), of("delivered_events_total", "")+of("queue_events", "")
	for _, reason := range []string{"newest", "oldest", "random", "sampled", "timeout", "expired", "oversize", "resized"} {
		out += of("dropped_events_total", `,reason="`+reason+`"`)
	}
	if in != out {
		t.Errorf("edge %s: offered %v, accounted for %v", edge, in, out)
	}
}

// TestStorm scrapes a pipeline under pressure from several sides while its
// policies change: counters never fall, nothing is ever negative, and every
// single reading of an edge adds up.
func TestStorm(t *testing.T) {
	p, found := config.Parse([]byte(pressed), config.Options{File: "storm.yaml"})
	if found.HasErrors() {
		t.Fatal(found)
	}
	e, err := engine.New(p, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := metrics.Handler(e.Status, metrics.Options{})
	over := make(chan struct{})
	var scrapers sync.WaitGroup
	scrapes := make([]int, 3)
	for i := range scrapes {
		scrapers.Go(func() {
			for last := (reading{}); ; scrapes[i]++ {
				now := read(t, h)
				now.audit(t, last)
				for _, edge := range p.Edges {
					now.balance(t, edge.ID)
				}
				last = now
				select {
				case <-over:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	scrapers.Go(func() { changePolicies(t, e, over) })
	receipt, err := e.Run(context.Background())
	close(over)
	scrapers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	after := read(t, h)
	t.Logf("scrapes %v, %+v", scrapes, receipt.Balance)
	if receipt.Balance.Error != 0 || receipt.Balance.InFlight != 0 || receipt.Balance.Dropped == 0 || receipt.Balance.DeadLettered == 0 {
		t.Errorf("the pipeline was not put under pressure, or not drained: %+v", receipt.Balance)
	}
	for series, want := range map[string]int64{
		`pipectl_node_events_total{direction="in",node="in",pipeline="storm"}`:         8000,
		`pipectl_source_acks_total{node="in",pipeline="storm",result="acked"}`:         8000,
		`pipectl_dead_letter_events_total{node="check",pipeline="storm"}`:              receipt.Balance.DeadLettered,
		`pipectl_node_events_total{direction="filtered",node="some",pipeline="storm"}`: receipt.Balance.Filtered,
	} {
		if got := after[series]; got != float64(want) {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	if got := after[`pipectl_config_generation{pipeline="storm"}`]; got < 5 {
		t.Errorf("the policies were changed only %v times", got-1)
	}
	for _, n := range scrapes {
		if n < 10 {
			t.Errorf("only %d scrapes while it ran", n)
		}
	}
}

// changePolicies swaps the policies of two edges to and fro.
func changePolicies(t *testing.T, e *engine.Engine, over <-chan struct{}) {
	ends := []string{"in->slow", "slow->latest"}
	for {
		select {
		case <-over:
			return
		case <-time.After(5 * time.Millisecond):
		}
		p := e.Config()
		a, b := p.Edge(ends[0]).EdgeSettings, p.Edge(ends[1]).EdgeSettings
		_, err := e.Reload(context.Background(), p.WithEdge(ends[0], b).WithEdge(ends[1], a), engine.ReloadOptions{})
		if refused := (*engine.RefusedError)(nil); err != nil && !errors.As(err, &refused) {
			t.Error(err)
		}
	}
}
