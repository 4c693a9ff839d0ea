package sources

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// look is what the pipeline was at one moment.
type look struct {
	at time.Time

	Pipeline   string                     `json:"pipeline"`
	Outcome    string                     `json:"outcome"`
	Generation uint64                     `json:"generation"`
	Seconds    json.RawMessage            `json:"seconds"`
	Balance    json.RawMessage            `json:"balance"`
	Memory     json.RawMessage            `json:"memory"`
	Stall      json.RawMessage            `json:"stall"`
	Sources    map[string]json.RawMessage `json:"sources"`
	Stages     map[string]json.RawMessage `json:"stages"`
	Edges      map[string]json.RawMessage `json:"edges"`
	Sinks      map[string]json.RawMessage `json:"sinks"`

	edges map[string]edgeLook
	nodes map[string]nodeLook
	own   map[string]bool // the nodes that the source's own events reach, and itself
}

type edgeLook struct {
	From    string           `json:"from"`
	To      string           `json:"to"`
	Dropped map[string]int64 `json:"dropped"`
}

type nodeLook struct {
	Outage  bool `json:"outage"`
	Breaker *struct {
		State string `json:"state"`
	} `json:"breaker"`
}

// see looks at the pipeline now.
func (s *Internal) see() (*look, error) {
	data, err := s.inside.StatusJSON()
	l := &look{at: time.Now(), edges: map[string]edgeLook{}, nodes: map[string]nodeLook{}}
	if err == nil {
		err = json.Unmarshal(data, l)
	}
	for id, raw := range l.Edges {
		var e edgeLook
		if err == nil {
			err = json.Unmarshal(raw, &e)
		}
		l.edges[id] = e
	}
	for _, of := range []map[string]json.RawMessage{l.Sources, l.Stages, l.Sinks} {
		for name, raw := range of {
			var n nodeLook
			if err == nil {
				err = json.Unmarshal(raw, &n)
			}
			l.nodes[name] = n
		}
	}
	if err != nil {
		return nil, fmt.Errorf("status of the pipeline: %w", err)
	}
	l.own = l.reach(s.node)
	return l, nil
}

// reach returns node and all behind it.
func (l *look) reach(node string) map[string]bool {
	seen, next := map[string]bool{node: true}, []string{node}
	for len(next) > 0 {
		from := next[0]
		next = next[1:]
		for _, e := range l.edges {
			if e.From == from && !seen[e.To] {
				seen[e.To] = true
				next = append(next, e.To)
			}
		}
	}
	return seen
}

// figures looks and adds the events of it.
func (s *Internal) figures(b *pipe.Batch) error {
	l, err := s.see()
	if err != nil {
		return err
	}
	before := s.last
	s.last = l
	if s.includes(insideChanges) && before != nil {
		s.changes(b, before, l)
	}
	if s.includes(insidePipeline) {
		body := begin(b, "pipeline", l)
		for _, f := range []struct {
			name string
			raw  json.RawMessage
		}{{"seconds", l.Seconds}, {"balance", l.Balance}, {"memory", l.Memory}, {"stall", l.Stall}} {
			if len(f.raw) > 0 {
				body.Add(&b.Arena, f.name, record.RawJSON(f.raw))
			}
		}
		body.Add(&b.Arena, "outcome", record.Str(l.Outcome))
		body.Add(&b.Arena, "generation", record.Int(int64(l.Generation), &b.Arena))
		s.add(b, body)
	}
	for _, of := range []struct {
		what, kind string
		all        map[string]json.RawMessage
	}{{insideSources, "source", l.Sources}, {insideStages, "stage", l.Stages}, {insideEdges, "edge", l.Edges}, {insideSinks, "sink", l.Sinks}} {
		if !s.includes(of.what) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(of.all)) {
			body := begin(b, of.kind, l)
			body.Add(&b.Arena, "name", record.Str(name))
			figures, err := record.FromJSON(of.all[name], &b.Arena)
			if err != nil {
				return fmt.Errorf("status of %s: %w", name, err)
			}
			figures.Range(func(key []byte, v record.Value) bool {
				body.Add(&b.Arena, string(key), v)
				return true
			})
			s.add(b, body)
		}
	}
	return nil
}

// begin makes a body with what all events have.
func begin(b *pipe.Batch, kind string, l *look) record.Body {
	body := record.NewObject(&b.Arena, 8)
	body.Add(&b.Arena, "kind", record.Str(kind))
	body.Add(&b.Arena, "time", record.Str(l.at.UTC().Format(time.RFC3339Nano)))
	body.Add(&b.Arena, "pipeline", record.Str(l.Pipeline))
	return body
}

// add appends an event. Its position is the time, so that its identity is not that
// of an event of another run.
func (s *Internal) add(b *pipe.Batch, body record.Body) {
	s.place = max(s.place+1, time.Now().UnixNano())
	b.Add(body, s.place)
}

// changes adds what is different from before, but for what the source's own events
// have to do with.
func (s *Internal) changes(b *pipe.Batch, before, now *look) {
	change := func(what string, fields ...any) {
		body := begin(b, "change", now)
		body.Add(&b.Arena, "change", record.Str(what))
		for i := 0; i < len(fields); i += 2 {
			v, err := record.FromAny(&b.Arena, fields[i+1])
			if err != nil {
				panic("BUG: " + err.Error())
			}
			body.Add(&b.Arena, fields[i].(string), v)
		}
		s.add(b, body)
	}
	if before.Generation != now.Generation {
		change("reloaded", "from", int64(before.Generation), "to", int64(now.Generation))
	}
	if before.Outcome != now.Outcome {
		change("state", "from", before.Outcome, "to", now.Outcome)
	}
	if stalled := len(now.Stall) > 0; stalled != (len(before.Stall) > 0) {
		change("stall", "on", stalled)
	}
	for _, id := range slices.Sorted(maps.Keys(now.edges)) {
		e := now.edges[id]
		if now.own[e.From] { // all behind it is its own, too
			continue
		}
		for _, reason := range slices.Sorted(maps.Keys(e.Dropped)) {
			if n := e.Dropped[reason] - before.edges[id].Dropped[reason]; n > 0 {
				change("dropped", "edge", id, "reason", reason, "events", n)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now.nodes)) {
		was, is := before.nodes[name], now.nodes[name]
		if now.own[name] {
			continue
		}
		if was.Outage != is.Outage {
			change("outage", "node", name, "on", is.Outage)
		}
		if was.Breaker != nil && is.Breaker != nil && was.Breaker.State != is.Breaker.State {
			change("breaker", "node", name, "from", was.Breaker.State, "to", is.Breaker.State)
		}
	}
}

// messages adds what was logged since the last call.
func (s *Internal) messages(b *pipe.Batch) error {
	list, lost := s.logs.take()
	if len(list) == 0 && lost == 0 {
		return nil
	}
	l, err := s.see()
	if err != nil {
		return err
	}
	for _, m := range list {
		if m.node != "" && l.own[m.node] {
			continue
		}
		l.at = m.record.Time
		body := begin(b, "log", l)
		body.Add(&b.Arena, "level", record.Str(levelName(m.record.Level)))
		body.Add(&b.Arena, "message", record.Str(m.record.Message))
		if m.node != "" {
			body.Add(&b.Arena, "node", record.Str(m.node))
		}
		fields := map[string]any{}
		m.record.Attrs(func(a slog.Attr) bool {
			if a.Key != "node" {
				fields[a.Key] = a.Value.String()
			}
			return true
		})
		v, err := record.FromAny(&b.Arena, fields)
		if err != nil {
			return err
		}
		body.Add(&b.Arena, "fields", v)
		s.add(b, body)
	}
	if lost > 0 {
		l.at = time.Now()
		body := begin(b, "log_lost", l)
		body.Add(&b.Arena, "messages", record.Int(lost, &b.Arena))
		s.add(b, body)
	}
	return nil
}

func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}

// logQueue is the messages that wait to be read.
type logQueue struct {
	level slog.Level
	most  int
	wake  chan struct{} // one slot

	mu   sync.Mutex // guards what follows
	list []logMessage
	lost int64
}

type logMessage struct {
	node   string
	record slog.Record
}

// put keeps a message, if there is room.
func (q *logQueue) put(node string, r slog.Record) {
	if r.Level < q.level {
		return
	}
	r.Attrs(func(a slog.Attr) bool { // what speaks of a node without being its log
		if a.Key == "node" && node == "" {
			node = a.Value.String()
		}
		return true
	})
	q.mu.Lock()
	if len(q.list) < q.most {
		q.list = append(q.list, logMessage{node, r})
	} else {
		q.lost++
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *logQueue) take() (list []logMessage, lost int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	list, lost = q.list, q.lost
	q.list, q.lost = nil, 0
	return list, lost
}
