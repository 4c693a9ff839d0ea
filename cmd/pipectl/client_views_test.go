package main

import (
	"io"
	"log"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/check"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/diff"
)

var quietLog = log.New(io.Discard, "", 0)

func TestStatusText(t *testing.T) {
	var b strings.Builder
	s := fixture(100, 9)
	writeStatus(&b, snapshot{s.Status, fixtureHistory(10), *s.Why})
	golden(t, filepath.Join("testdata", "status.golden"), b.String())
}

func TestWhyText(t *testing.T) {
	var b strings.Builder
	writeWhy(&b, *fixtureWhy())
	golden(t, filepath.Join("testdata", "why.golden"), b.String())
}

func TestOutcomeText(t *testing.T) {
	reverts := time.Date(2026, 3, 1, 10, 57, 3, 0, time.Local)
	o := control.Outcome{ReloadReceipt: engine.ReloadReceipt{Generation: 4, Before: 3, Class: diff.Swap, PausedUS: 52,
		Changes: []diff.Change{
			{Part: "edge", Name: "a->b", Action: diff.Changed, Class: diff.Live, Fields: []diff.Field{{Path: "buffer.events", Before: "64", After: "9"}}},
			{Part: "edge", Name: "a->c", Action: diff.Added, Class: diff.Swap},
			{Part: "sink", Name: "out", Action: diff.Changed, Class: diff.Swap, Fields: []diff.Field{{Path: "url", Before: "http://a", After: "http://b"}, {Path: "headers", After: "***"}}}},
		Edges: []engine.EdgeReceipt{
			{Edge: "a->b", Action: diff.Changed, BeforeText: "block, 64 events, 16MiB", AfterText: "drop-oldest, 9 events, 16MiB", CarriedOver: 1024, BlockedProducers: 2},
			{Edge: "a->c", Action: diff.Added, AfterText: "block, 1024 events, 16MiB"},
			{Edge: "a->d", Action: diff.Removed, BeforeText: "block, 1024 events, 16MiB"}}},
		Result: control.Applied, Reverts: &reverts, MemoryBefore: 16 << 20, MemoryAfter: 32 << 20,
		Guarantees: []diff.GuaranteeChange{{Source: "in", Sink: "out", Before: check.Level("at-least-once"), After: check.Level("at-most-once"), Weaker: true, Gained: []string{"edge a->b is drop-oldest"}}}}
	var b strings.Builder
	if err := writeOutcome(&b, o, trial{guard: "true", watch: time.Minute}); err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("testdata", "outcome.golden"), b.String())
}

func TestSpark(t *testing.T) {
	f := func(want string, width int, most float64, samples ...float32) {
		t.Helper()
		if got := spark(samples, width, most); got != want {
			t.Errorf("spark(%v, %d, %v) = %q, want %q", samples, width, most, got, want)
		}
	}
	f("   ", 3, 1)
	f(" ·▁▄▇", 5, 1, 0, .001, .5, 1)
	f("▄▇", 2, 1, 0, 0, .5, 1) // only the newest fit
	f("▇·", 2, 1, 9, -1)       // out of its bounds
	f("▁▁", 2, 0, 1, 1)        // everything is 0
}

func TestArea(t *testing.T) {
	f := func(want []string, width, height int, samples ...float32) {
		t.Helper()
		if got := area(samples, width, height, 1); !reflect.DeepEqual(got, want) {
			t.Errorf("area(%v, %d, %d) = %q, want %q", samples, width, height, got, want)
		}
	}
	f([]string{"   ▇", " ·██"}, 4, 2, 0, .5, 1)
	f([]string{"▇", "█", "█"}, 1, 3, 1)
}

func TestWrap(t *testing.T) {
	f := func(text string, width, most int, want ...string) {
		t.Helper()
		if got := wrap(text, width, most); !reflect.DeepEqual(got, want) {
			t.Errorf("wrap(%q, %d, %d) = %q, want %q", text, width, most, got, want)
		}
	}
	f("", 10, 2)
	f("one two three", 7, 3, "one two", "three")
	f("one two three", 7, 1, "one tw…")
	f("a  b\nc", 10, 1, "a b c")
}

// Nodes that several edges lead to have what follows from them below the first.
func TestGraphLines(t *testing.T) {
	s := fixture(1, 9)
	var got strings.Builder
	for _, l := range graphLines(s.Status) {
		got.WriteString(l.lead + l.label + ifText(l.again, " again") + "\n")
	}
	want := `access
└─parse
  ├─bad (failed)
  └─keep
    └─shape
      └─by_tenant
        ├─es (gold)
        └─archive (else)
metrics
├─es again
└─archive again
`
	if got.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &got, want)
	}
}
