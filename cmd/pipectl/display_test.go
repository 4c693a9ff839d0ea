package main

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine"
)

func TestProgressLine(t *testing.T) {
	var out strings.Builder
	d := &display{log: newLogger(&out, runOptions{logFormat: "json", logLevel: "info"}, false)}
	show := d.logProgress()
	show(accessLogs(3, 30))
	out.Reset()
	show(accessLogs(5, 30))
	var line struct {
		Msg, State  string
		Read        int64
		Rate        float64 `json:"read_per_second"`
		InFlight    int64   `json:"in_flight"`
		Dropped     int64
		Percent     float64
		Edges       map[string]map[string]float64
		FailingSink string `json:"failing_sinks"`
	}
	if err := json.Unmarshal([]byte(out.String()), &line); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	if line.Msg != "progress" || line.State != "running" || line.Read != 400_000 || line.Rate != 80_000 ||
		line.InFlight != 1024 || line.Dropped != 48_000 || line.Percent != 50 || line.FailingSink != "out" {
		t.Errorf("got %s", out.String())
	}
	if len(line.Edges) != 3 { // the idle ones are left out
		t.Errorf("edges %v", line.Edges)
	}
	if e := line.Edges["access->parse"]; e["queued"] != 1024 || e["capacity"] != 1024 || e["blocked"] != 0.93 {
		t.Errorf("blocked edge: %v", e)
	}
	if e := line.Edges["keep->shape"]; e["dropped"] != 48_000 || e["dropped_per_second"] != 9_600 || e["per_second"] != 60_000 {
		t.Errorf("dropping edge: %v", e)
	}
}

// A progress line of a huge pipeline stays a line that people can read.
func TestProgressLineIsBounded(t *testing.T) {
	s := engine.Status{Edges: map[string]engine.EdgeStatus{}}
	for i := range 500 {
		id := strings.Repeat("e", 1+i)
		s.EdgeNames = append(s.EdgeNames, id)
		s.Edges[id] = engine.EdgeStatus{Queued: 10, Capacity: 10}
	}
	edges := edgeAttrs(window{now: s})[0].(slog.Attr)
	if n := len(edges.Value.Group()); n != maxLoggedEdges {
		t.Errorf("%d edges, want %d", n, maxLoggedEdges)
	}
}
