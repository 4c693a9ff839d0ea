package engine

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestReceiptKeys holds the JSON of a receipt against its contract: outside
// tools read it.
func TestReceiptKeys(t *testing.T) {
	e := build(t, `
sources: {access: {type: numbers, count: 100}}
stages: {keep: {type: script, do: 'drop:3'}}
sinks: {out: {type: memory}}
edges: [access -> keep, {from: keep, to: out, buffer: 8192, policy: drop-oldest}]
`)
	r, err := run(t, e)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Top                           map[string]any `json:"-"`
		Sources, Stages, Edges, Sinks map[string]map[string]any
		Balance                       map[string]any
		Pipeline, Outcome             string
	}
	if err := json.Unmarshal(text, &got.Top); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	f := func(what string, in map[string]any, want ...string) {
		t.Helper()
		slices.Sort(want)
		if keys := slices.Sorted(maps.Keys(in)); !slices.Equal(keys, want) {
			t.Errorf("%s has %v, want %v", what, keys, want)
		}
	}
	f("the receipt", got.Top, "pipeline", "outcome", "exit_code", "generation", "seconds", "sources", "stages", "edges", "sinks", "balance")
	f("a source", got.Sources["access"], "read", "acked", "nacked", "returned", "lost")
	f("a stage", got.Stages["keep"], "in", "out", "filtered", "failed")
	f("an edge", got.Edges["keep->out"], "offered", "admitted", "delivered", "queued", "capacity", "peak", "dropped", "policy", "blocked_seconds")
	f("dropped", got.Edges["keep->out"]["dropped"].(map[string]any), "oldest")
	f("a sink", got.Sinks["out"], "in", "delivered", "failed", "retries")
	f("the balance", got.Balance, "read", "created", "delivered", "dead_lettered", "filtered", "merged", "dropped", "failed", "returned", "in_flight", "error")
	if got.Pipeline != "test" || got.Outcome != "drained" || got.Top["generation"] != 1.0 || got.Edges["keep->out"]["capacity"] != 8192.0 || got.Stages["keep"]["filtered"] != 34.0 {
		t.Errorf("got %s", text)
	}
}

// TestStorm runs a wide pipeline in real time while many look at it, and drains
// or stops it at any moment.
func TestStorm(t *testing.T) {
	rounds := 20
	if torture {
		rounds = 2000
	}
	for round := range rounds {
		e := build(t, `
shutdown: {timeout: 10s}
sources: {a: {type: numbers, count: 1000000, batch: 50, max_in_flight: {events: 3000}}, b: {type: numbers, count: 20000, batch: 7}}
stages:
  split: {type: script, do: 'split:7', workers: 3}
  loose: {type: script, do: 'fail:11', workers: 3, ordered: false}
  by: {type: cases}
  two: {type: pairs}
sinks: {even: {type: memory}, odd: {type: memory}, all: {type: memory}, dead: {type: memory}}
edges:
  - {from: a, to: split, buffer: 100}
  - {from: b, to: split, buffer: 10}
  - split -> loose
  - {from: loose, to: by, buffer: 64}
  - {from: loose, to: two, buffer: 64, policy: drop-oldest}
  - by.even -> even
  - by.odd -> odd
  - two -> all
  - loose.failed -> dead
`)
		var watchers sync.WaitGroup
		over := make(chan struct{})
		for range 8 {
			watchers.Go(func() { watch(t, e, over) })
		}
		end := e.Drain
		if round%2 == 0 {
			end = e.Stop
		}
		timer := time.AfterFunc(time.Duration(round%10)*time.Millisecond, end)
		_, err := run(t, e)
		close(over)
		watchers.Wait()
		timer.Stop()
		if err != nil || t.Failed() {
			t.Fatalf("round %d: error %v", round, err)
		}
	}
}

// watch reads the status again and again, and checks that counts only rise.
func watch(t *testing.T, e *Engine, over <-chan struct{}) {
	read := int64(0)
	for {
		select {
		case <-over:
			return
		default:
		}
		b := e.Status().Balance
		if b.InFlight < 0 || b.Error != 0 || b.Read < read {
			t.Errorf("while running: %+v, before it %d were read", b, read)
			return
		}
		read = b.Read
	}
}
