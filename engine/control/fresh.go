package control

import (
	"context"
	"fmt"
	"reflect"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
	"github.com/pipectl/pipectl/engine/pipe"
)

// putBack puts the configuration before a change in force again.
func (c *Controller) putBack(ctx context.Context, u undo, who string) (Outcome, error) {
	next, err := fresh(u.before)
	if err != nil {
		return Outcome{}, err
	}
	report := diff.Compare(c.engine.Config(), next)
	receipt, err := c.engine.Reload(ctx, next, engine.ReloadOptions{})
	if err != nil {
		return Outcome{}, clean(next, err)
	}
	return outcome(who, receipt, report), nil
}

// fresh returns a copy of a pipeline that an engine has had, with components
// that have never run: what an engine was given belongs to it.
func fresh(p *config.Pipeline) (*config.Pipeline, error) {
	next := *p
	for _, list := range []*[]*config.Node{&next.Sources, &next.Stages, &next.Sinks} {
		nodes := make([]*config.Node, len(*list))
		for i, n := range *list {
			made := *n
			if made.Component = anew(n); made.Component == nil {
				return nil, &engine.RefusedError{Reason: fmt.Sprintf("%s %s cannot be made again: its type %q is not registered", n.Kind, n.Name, n.Type)}
			}
			nodes[i] = &made
		}
		*list = nodes
	}
	next.Edges = make([]*config.Edge, len(p.Edges))
	for i, e := range p.Edges {
		made := *e
		next.Edges[i] = &made
	}
	if found := next.Complete(); found.HasErrors() {
		return nil, &engine.RefusedError{Reason: "the configuration before is not valid any more", Diagnostics: found}
	}
	return &next, nil
}

// anew makes the component of a node again, nil if it is not of a registered type.
func anew(n *config.Node) any {
	known, ok := pipe.Lookup(n.Kind, n.Type)
	if !ok {
		return nil
	}
	made := known.New()
	to, from := reflect.ValueOf(made), reflect.ValueOf(n.Component)
	if to.Type() != from.Type() {
		return nil
	}
	if to.Kind() == reflect.Pointer && to.Elem().Kind() == reflect.Struct {
		copyOptions(to.Elem(), from.Elem())
	}
	return made
}

// copyOptions copies what a component has from YAML: its exported fields, those
// of embedded structs included.
func copyOptions(to, from reflect.Value) {
	for i := range to.NumField() {
		field := to.Type().Field(i)
		switch {
		case field.IsExported() && field.Tag.Get("yaml") != "-":
			to.Field(i).Set(from.Field(i))
		case field.Anonymous && field.Type.Kind() == reflect.Struct:
			copyOptions(to.Field(i), from.Field(i))
		}
	}
}
