package control

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/near"
)

// PatchEdge changes settings of one edge. The body is YAML or JSON, such as
// {"buffer": 100, "policy": "drop-oldest"}; what it does not give stays.
func (c *Controller) PatchEdge(ctx context.Context, id string, body []byte, o Change) (Outcome, error) {
	return c.PatchEdges(ctx, map[string]json.RawMessage{id: body}, o)
}

// PatchEdges changes settings of several edges, by their ids, as PatchEdge
// does: all of them or none.
func (c *Controller) PatchEdges(ctx context.Context, bodies map[string]json.RawMessage, o Change) (Outcome, error) {
	p := proposal{Change: o, subject: "the settings are", next: func(now *config.Pipeline) (*config.Pipeline, config.Diagnostics, error) {
		return patch(now, bodies)
	}}
	return c.propose(ctx, p)
}

// patch returns the pipeline with other settings of edges, or every mistake.
func patch(now *config.Pipeline, bodies map[string]json.RawMessage) (*config.Pipeline, config.Diagnostics, error) {
	next, found := now, config.Diagnostics(nil)
	for _, id := range slices.Sorted(maps.Keys(bodies)) {
		e := now.Edge(id)
		if e == nil {
			return nil, nil, unknownEdge(now, id)
		}
		settings, ds := config.ParseEdgeSettings(bodies[id], e.EdgeSettings)
		for _, d := range ds {
			d.File = "edge " + id
			found = append(found, d)
		}
		next = next.WithEdge(id, settings)
	}
	return next, found, nil
}

func unknownEdge(p *config.Pipeline, id string) error {
	ids := []string{}
	for _, e := range p.Edges {
		ids = append(ids, e.ID)
	}
	reason := fmt.Sprintf("there is no edge %q", id)
	const most = 12
	if meant := near.Word(strings.ReplaceAll(id, " ", ""), ids); meant != "" {
		reason += fmt.Sprintf(", did you mean %q?", meant)
	} else if len(ids) <= most {
		reason += "; edges: " + strings.Join(ids, ", ")
	}
	return &refusal{&engine.RefusedError{Reason: reason}, ErrUnknownEdge}
}
