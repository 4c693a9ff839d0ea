package engine

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

// TestInsideHearsTheLog: a listener hears what is logged, with the node it is about,
// and the log itself is what it was.
func TestInsideHearsTheLog(t *testing.T) {
	var text bytes.Buffer
	var heard []string
	e := &Engine{}
	log := slog.New(&listened{Handler: slog.NewTextHandler(&text, nil), to: &e.listeners})
	log.Info("nobody listens")
	stop := inside{e}.Follow(func(node string, r slog.Record) { heard = append(heard, node+": "+r.Message) })
	other := inside{e}.Follow(func(string, slog.Record) {})
	node := log.With("node", "out")
	node.Warn("failed", "error", "no route")
	node.WithGroup("g").With("a", 1).Info("in a group")
	log.Debug("not logged at all")
	log.Error("of nobody")
	stop()
	log.Info("after the end")
	other()
	if want := []string{"out: failed", "out: in a group", ": of nobody"}; !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
	if e.listeners.some.Load() {
		t.Error("somebody is still told")
	}
	for _, want := range []string{"msg=\"nobody listens\"", "msg=failed node=out error=\"no route\"", "node=out g.a=1", "msg=\"after the end\""} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, text.String())
		}
	}
}

// TestInsideStatus: what a component sees is what everybody sees.
func TestInsideStatus(t *testing.T) {
	e := build(t, `
sources: {in: {type: numbers, count: 3}}
sinks: {out: {type: memory}}
edges: [in -> out]
`)
	run(t, e)
	data, err := inside{e}.StatusJSON()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Outcome string
		Edges   map[string]struct{ Delivered int }
	}
	if err := json.Unmarshal(data, &got); err != nil || got.Outcome != "drained" || got.Edges["in->out"].Delivered != 3 {
		t.Errorf("got %s, %v", data, err)
	}
}
