package diff

import (
	"fmt"
	"reflect"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// Plan returns what differs between two pipelines, and what each change takes.
// It compares values, not text: how a file is written, and the order of nodes
// and edges in it, make no difference. The pipeline comes first, one change for
// each setting; then nodes in the order of next and removed ones in that of old;
// then edges likewise. Both must have passed Parse or Complete. They are only
// read, by the exported fields of their components: old may be running.
func Plan(old, next *config.Pipeline) []Change {
	p := &planner{old: old, next: next}
	p.pipeline()
	p.nodes()
	p.edges()
	return p.changes
}

// Heaviest returns the class of all changes together.
func Heaviest(changes []Change) Class {
	c := None
	for _, x := range changes {
		c = Heavier(c, x.Class)
	}
	return c
}

type planner struct {
	config.Inspector
	old, next *config.Pipeline
	changes   []Change
}

func (p *planner) add(c Change) { p.changes = append(p.changes, c) }

func (p *planner) pipeline() {
	for _, f := range p.fields(p.Pipeline(p.old), p.Pipeline(p.next)) {
		class, why := pipelineClass(f.Path)
		p.add(Change{Part: PartPipeline, Action: Changed, Class: class, Why: why, Fields: []Field{f}})
	}
}

func (p *planner) nodes() {
	before := map[string]*config.Node{}
	for _, n := range p.old.Nodes() {
		before[n.Name] = n
	}
	for _, n := range p.next.Nodes() {
		switch o := before[n.Name]; {
		case o == nil:
			p.add(Change{Part: string(n.Kind), Name: n.Name, Action: Added, Class: Swap, Fields: []Field{{Path: "type", After: n.Type}}})
		case o.Kind != n.Kind:
			p.add(Change{
				Part: string(n.Kind), Name: n.Name, Action: Changed, Class: Restart,
				Why:    fmt.Sprintf("%s is a %s and would be a %s; give the %s another name", n.Name, o.Kind, n.Kind, n.Kind),
				Fields: []Field{{"kind", string(o.Kind), string(n.Kind)}},
			})
		default:
			p.node(o, n)
		}
		delete(before, n.Name)
	}
	for _, o := range p.old.Nodes() {
		if before[o.Name] != nil {
			p.add(Change{Part: string(o.Kind), Name: o.Name, Action: Removed, Class: Swap, Fields: []Field{{Path: "type", Before: o.Type}}})
		}
	}
}

// node compares a node that both pipelines have.
func (p *planner) node(old, next *config.Node) {
	was := p.Node(old, next)
	other := old.Type != next.Type || reflect.TypeOf(old.Component) != reflect.TypeOf(next.Component)
	if len(was.Parts) == 0 && !other {
		return
	}
	is := p.Node(next, old)
	c := Change{Part: string(next.Kind), Name: next.Name, Action: Changed, Class: None}
	if other { // the options of one type say nothing about the other
		c.Fields = []Field{{"type", old.Type, next.Type}}
		was, is = engineKeys(was, next.Kind), engineKeys(is, next.Kind)
	}
	c.Fields = append(c.Fields, p.fields(was, is)...)
	for _, f := range c.Fields {
		class, why := nodeClass(next.Kind, f.Path)
		if Heavier(c.Class, class) != c.Class {
			c.Class, c.Why = class, why
		}
	}
	if len(c.Fields) > 0 {
		p.add(c)
	}
}

// engineKeys returns the settings that the engine gives a node.
func engineKeys(v config.Value, kind pipe.Kind) config.Value {
	own := config.Value{Form: config.Mapping}
	for _, e := range v.Parts {
		if _, known := engineClass(kind, e.Key); known {
			own.Parts = append(own.Parts, e)
		}
	}
	return own
}

func (p *planner) edges() {
	before := map[string]*config.Edge{}
	for _, e := range p.old.Edges {
		before[e.ID] = e
	}
	for _, e := range p.next.Edges {
		if o := before[e.ID]; o == nil {
			p.add(Change{Part: PartEdge, Name: e.ID, Action: Added, Class: Swap, Fields: p.about(e, func(f *Field, s string) { f.After = s })})
		} else {
			p.edge(o, e)
		}
		delete(before, e.ID)
	}
	for _, o := range p.old.Edges {
		if before[o.ID] != nil {
			p.add(Change{Part: PartEdge, Name: o.ID, Action: Removed, Class: Swap, Fields: p.about(o, func(f *Field, s string) { f.Before = s })})
		}
	}
}

// edge compares an edge that both pipelines have.
func (p *planner) edge(old, next *config.Edge) {
	moved := old.From != next.From || old.Port != next.Port || old.To != next.To
	if !moved && old.Equal(next.EdgeSettings) {
		return
	}
	c := Change{Part: PartEdge, Name: next.ID, Action: Changed, Class: Live, Fields: p.fields(p.Edge(old, next), p.Edge(next, old))}
	if moved {
		c.Class = Restart
		c.Why = fmt.Sprintf("the edge would lead elsewhere with what it holds; give the new edge another name than %s", next.ID)
	}
	if len(c.Fields) > 0 { // expressions may differ by a line break only
		p.add(c)
	}
}

// about describes an edge that was added or removed; set puts a text on its side.
func (p *planner) about(e *config.Edge, set func(*Field, string)) []Field {
	from := e.From
	if e.Port != "" {
		from += "." + e.Port
	}
	fields := []Field{{Path: "from"}, {Path: "to"}, {Path: "settings"}}
	set(&fields[0], from)
	set(&fields[1], e.To)
	set(&fields[2], p.redact(e.EdgeSettings.String()))
	return fields
}
