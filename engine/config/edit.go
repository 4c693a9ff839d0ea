package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// WithEdge returns a copy of the pipeline in which the edge of that id has the
// settings s. The nodes and all other edges are shared with p, which stays as it
// is. The edge must exist; ask Edge first.
func (p *Pipeline) WithEdge(id string, s EdgeSettings) *Pipeline {
	i := slices.IndexFunc(p.Edges, func(e *Edge) bool { return e.ID == id })
	if i < 0 {
		panic(fmt.Sprintf("BUG: there is no edge %q to change", id))
	}
	next, edge := *p, *p.Edges[i]
	edge.EdgeSettings = s
	next.Edges = slices.Clone(p.Edges)
	next.Edges[i] = &edge
	return &next
}

// String renders the settings for receipts and logs, the policy first:
// "block, 1024 events, 16MiB". Of the rest only what is not the default follows:
// "drop-oldest, 100 events, 1MiB, age 30s, on_drop nack".
func (s EdgeSettings) String() string {
	events := "events"
	if s.Buffer.Events == 1 {
		events = "event"
	}
	parts := []string{s.Policy.String(), strconv.Itoa(s.Buffer.Events) + " " + events, s.Buffer.Bytes.String()}
	if s.Buffer.Age > 0 {
		parts = append(parts, "age "+s.Buffer.Age.String())
	}
	base := DefaultEdge()
	if s.OnDrop != base.OnDrop {
		parts = append(parts, "on_drop "+s.OnDrop)
	}
	if s.Priority != base.Priority {
		parts = append(parts, fmt.Sprintf("priority %d", s.Priority))
	}
	if s.OnShrink != base.OnShrink {
		parts = append(parts, "on_shrink "+s.OnShrink)
	}
	return strings.Join(parts, ", ")
}

// String renders the policy with the options that matter: "block 5s then
// drop-newest", "sample 1 to 0.01 from 0.8 by user".
func (p Policy) String() string {
	switch {
	case p.Type == Block && p.Timeout > 0:
		return fmt.Sprintf("%s %v then %s", p.Type, p.Timeout, p.Then)
	case p.Type != Sample:
		return p.Type
	}
	text := fmt.Sprintf("%s %v to %v from %v", p.Type, p.BaseRate, p.MinRate, p.Threshold)
	if !p.Key.IsZero() {
		text += " by " + p.Key.Source()
	}
	return text
}
