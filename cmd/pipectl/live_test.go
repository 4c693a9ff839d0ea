package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pipectl/pipectl/engine"
)

// accessLogs is a pipeline with one full, one dropping, one sampling and many
// idle edges, k steps into its run.
func accessLogs(k int64, edges int) engine.Status {
	s := engine.Status{Pipeline: "access-logs", Outcome: engine.Running, Seconds: 10 + float64(k),
		Sources:     map[string]engine.SourceStatus{"access": {Read: 80_000 * k, ProgressDone: k, ProgressTotal: 10}},
		SourceNames: []string{"access"},
		Sinks: map[string]engine.SinkStatus{"out": {In: 4, Delivered: 4, Failing: true, Retries: 12},
			"bad": {In: 3, Failed: 3}, "fine": {In: 9, Delivered: 9}},
		SinkNames: []string{"out", "bad", "fine"},
		Edges:     map[string]engine.EdgeStatus{},
		Balance:   engine.Balance{Read: 80_000 * k, InFlight: 1024, Dropped: 9_600 * k, DeadLettered: 3},
	}
	add := func(id string, e engine.EdgeStatus) {
		s.Edges[id], s.EdgeNames = e, append(s.EdgeNames, id)
	}
	add("access->parse", engine.EdgeStatus{Delivered: 80_000 * k, Queued: 1024, Capacity: 1024, Policy: "block",
		PressedSeconds: 0.93 * float64(k)})
	add("parse.failed->bad", engine.EdgeStatus{Delivered: 3, Queued: 1, Capacity: 256, Policy: "block"})
	add("parse->keep", engine.EdgeStatus{Delivered: 79_990 * k, Queued: 10, Capacity: 1024, Policy: "block",
		Utilization: 0.6, CapacityBytes: 16 << 20, QueuedBytes: 10066330}) // few events, but large ones
	add("keep->shape", engine.EdgeStatus{Delivered: 60_000 * k, Queued: 8192, Capacity: 8192, Policy: "drop-oldest",
		Dropped: map[string]int64{"oldest": 9_600 * k}})
	add("shape->out", engine.EdgeStatus{Delivered: 90 * k, Capacity: 512, Policy: "sample", SampleRate: 0.25,
		Dropped: map[string]int64{"sampled": 0, "newest": 0}})
	for i := len(s.EdgeNames); i < edges; i++ {
		add(fmt.Sprintf("shape->sink_number_%d", i), engine.EdgeStatus{Capacity: 1024, Policy: "block"})
	}
	return s
}

// watched is the pipeline as a meter sees it after two seconds.
func watched(edges int) window {
	var m meter
	m.add(accessLogs(3, edges))
	return m.add(accessLogs(5, edges))
}

func TestLivePicture(t *testing.T) {
	f := func(name string, fr frame, w window) {
		t.Helper()
		var b strings.Builder
		for _, r := range fr.render(w) {
			b.WriteString(r.String() + "\n")
		}
		golden(t, filepath.Join("testdata", "live", name+".golden"), b.String())
	}
	f("columns_60", frame{60, 24, false}, watched(5))
	f("columns_100", frame{100, 24, false}, watched(5))
	f("columns_160", frame{160, 24, false}, watched(5))
	f("color", frame{100, 24, true}, watched(5))
	f("many_edges", frame{100, 16, false}, watched(200))
}

// golden compares got with a file, or writes the file with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

// Whatever the terminal and the pipeline, the picture fits: no line wraps, and
// there are fewer lines than the terminal has.
func TestLivePictureFits(t *testing.T) {
	for _, edges := range []int{5, 6, 30, 1000} {
		w := watched(edges)
		for _, height := range []int{12, 24, 60} {
			for width := minWidth; width < 260; width += 1 + edges/40 {
				rows := frame{width, height, false}.render(w)
				if len(rows) >= height {
					t.Fatalf("%d edges: %d lines on %dx%d", edges, len(rows), width, height)
				}
				for _, r := range rows {
					if n := utf8.RuneCountInString(r.String()); n >= width || n > r.width {
						t.Fatalf("%d edges: %d columns on %dx%d, counted as %d: %q", edges, n, width, height, r.width, r)
					}
				}
			}
		}
	}
}

func TestMeter(t *testing.T) {
	var m meter
	var w window
	for i := range 200 { // 25 seconds at 8 a second, 1,000 events/s
		s := engine.Status{Seconds: float64(i) / 8, Balance: engine.Balance{Read: int64(i) * 125},
			Sources: map[string]engine.SourceStatus{"a": {ProgressDone: int64(i), ProgressTotal: 400}}}
		w = m.add(s)
	}
	if got := w.readRate(); got < 999 || got > 1001 {
		t.Errorf("rate %v, want 1000", got)
	}
	if len(m.samples) > 12 || len(m.progress) > 20 {
		t.Errorf("keeps %d samples and %d marks", len(m.samples), len(m.progress))
	}
	if got := w.left.Seconds(); got < 24.8 || got > 25.4 { // 201 of 400 steps left, 8 a second
		t.Errorf("time left %v, want about 25s", got)
	}
	if !w.finite || w.done < 0.49 || w.done > 0.5 {
		t.Errorf("done %v (finite: %v), want just below 0.5", w.done, w.finite)
	}
}

func TestProgressNeedsAllSources(t *testing.T) {
	f := func(want bool, sources map[string]engine.SourceStatus) {
		t.Helper()
		if _, got := progressOf(engine.Status{Sources: sources}); got != want {
			t.Errorf("progressOf(%v): finite is %v, want %v", sources, got, want)
		}
	}
	f(false, nil)
	f(true, map[string]engine.SourceStatus{"a": {ProgressTotal: 10}})
	f(false, map[string]engine.SourceStatus{"a": {ProgressTotal: 10}, "b": {}})
}

func TestBusiest(t *testing.T) {
	figures := []edgeFigures{{id: "idle"}, {id: "full", fill: 1}, {id: "some", fill: .2}, {id: "dropping", dropRate: 1}}
	shown, hidden := busiest(figures, 2)
	if fmt.Sprint(ids(shown), ids(hidden)) != "[full dropping] [idle some]" {
		t.Errorf("shown %v, hidden %v", ids(shown), ids(hidden))
	}
}

func ids(figures []edgeFigures) (names []string) {
	for _, f := range figures {
		names = append(names, f.id)
	}
	return names
}
