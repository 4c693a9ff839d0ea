package main

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/time/rate"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/dlq"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/sinks"
)

// replayWay is how letters go on their way again.
type replayWay struct {
	pipeline *config.Pipeline
	entries  []replayEntry
	notes    []string // what differs from a run of the pipeline
}

// replayEntry says where the letters of a node enter.
type replayEntry struct {
	failed  string
	letters int64
	at      string
}

// letterSource is the name of the sources that stand for the dead letters.
const letterSource = "dead_letters"

// wayThrough makes a pipeline of p that begins with the letters: each enters at
// the node where it failed, or all at to, which mayEnter allows. What cannot be
// reached is left out.
func wayThrough(p *config.Pipeline, s *dlq.Selection, to string, pace *rate.Limiter) (*replayWay, error) {
	w := &replayWay{}
	next := *p
	next.Sources, next.Stages, next.Sinks, next.Edges = nil, nil, nil, nil
	for _, node := range s.Failed() {
		at := node
		if to != "" {
			at = to
		} else if err := mayEnter(p, node); err != nil {
			return nil, usagef("%s failed at %s, but %w\nname where they enter with --to NODE, or leave them out: --where 'node != %q'",
				plural(s.Nodes[node], "letter"), node, err, node)
		}
		w.entries = append(w.entries, replayEntry{node, s.Nodes[node], at})
	}
	for _, e := range w.entries {
		name, of := letterSource+"_"+e.failed, e.failed
		if to != "" || len(w.entries) == 1 {
			name, of = letterSource, ""
		}
		for p.Node(name) != nil {
			name += "_"
		}
		next.Sources = append(next.Sources, config.NewNode(pipe.KindSource, name, letterSource, s.Source(of, pace)))
		next.Edges = append(next.Edges, letterEdge(name, e.at))
		if of == "" {
			break // one for all
		}
	}
	w.keep(p, &next)
	if found := next.Complete(); found.HasErrors() {
		return nil, fmt.Errorf("the part of %s that the letters go through: %w", p.File, found.Err())
	}
	w.pipeline = &next
	return w, nil
}

// letterEdge is the edge from letters to where they enter. It is short: what is
// not sent yet is as well off in its file.
func letterEdge(from, to string) *config.Edge {
	return &config.Edge{From: from, To: to, EdgeSettings: config.EdgeSettings{Buffer: config.Buffer{Events: 256, Bytes: 1 << 20}}}
}

// mayEnter returns why events cannot enter at a node.
func mayEnter(p *config.Pipeline, name string) error {
	n := p.Node(name)
	switch {
	case n == nil:
		var names []string
		for _, n := range slices.Concat(p.Stages, p.Sinks) {
			names = append(names, n.Name)
		}
		return fmt.Errorf("%s has no node %q; its stages and sinks: %s", p.File, name, strings.Join(names, ", "))
	case n.Kind == pipe.KindSource:
		return fmt.Errorf("%s is a source of %s: nothing enters there, and what it could not decode has never been an event", name, p.File)
	}
	return nil
}

// keep adds to next what of p the letters can reach.
func (w *replayWay) keep(p, next *config.Pipeline) {
	reached := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if reached[name] {
			return
		}
		reached[name] = true
		for _, e := range p.Edges {
			if e.From == name {
				next.Edges = append(next.Edges, e)
				visit(e.To)
			}
		}
	}
	for _, e := range w.entries {
		visit(e.at)
	}
	for _, n := range p.Stages {
		if reached[n.Name] {
			next.Stages = append(next.Stages, n)
		}
	}
	for _, n := range p.Sinks {
		if reached[n.Name] {
			next.Sinks = append(next.Sinks, n)
			w.goOn(n)
		}
	}
}

// goOn makes a file sink append: a replay goes on with what a run has begun, and
// must not empty the file with all that has arrived.
func (w *replayWay) goOn(n *config.Node) {
	file, ok := n.Component.(*sinks.File)
	if !ok || file.Mode == "append" {
		return
	}
	w.notes = append(w.notes, fmt.Sprintf("sink %s: appends to %s, although its mode is %s: what it holds stays", n.Name, file.Path, file.Mode))
	file.Mode = "append"
}

// urlSink is the sink that sends events to a URL.
func urlSink(url, token string) *sinks.HTTP {
	typ, ok := pipe.Lookup(pipe.KindSink, "http")
	if !ok {
		panic("BUG: there is no sink of type http")
	}
	sink := typ.New().(*sinks.HTTP)
	sink.URL, sink.BearerToken, sink.Codec = url, token, codec.Raw()
	return sink
}

// wayToURL makes a pipeline that sends each event in a request of its own.
func wayToURL(s *dlq.Selection, url, token string, pace *rate.Limiter) (*replayWay, error) {
	n := config.NewNode(pipe.KindSink, "url", "http", urlSink(url, token))
	n.Batch.Events, n.OnError = 1, config.OnErrorDrop // what is refused stays among the letters
	p := &config.Pipeline{Name: "replay", Sinks: []*config.Node{n}, Edges: []*config.Edge{letterEdge(letterSource, n.Name)},
		Sources: []*config.Node{config.NewNode(pipe.KindSource, letterSource, letterSource, s.Source("", pace))}}
	if found := p.Complete(); found.HasErrors() {
		return nil, found.Err()
	}
	w := &replayWay{pipeline: p}
	for _, node := range s.Failed() {
		w.entries = append(w.entries, replayEntry{node, s.Nodes[node], url})
	}
	return w, nil
}
