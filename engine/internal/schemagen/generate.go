package main

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// generator builds the schema and collects what goes wrong.
type generator struct {
	comments *comments
	used     map[string]bool // rules
	err      error           // the first
}

// generate returns the schema as a file. root is the folder of the module.
func generate(root string) ([]byte, error) {
	g := &generator{comments: newComments(root), used: map[string]bool{}}
	doc := g.document()
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		if !g.used[name] {
			g.note(fmt.Errorf("rules.go: there is no field %s", name))
		}
	}
	if g.err != nil {
		return nil, g.err
	}
	return encode(doc, "  ")
}

func (g *generator) note(err error) {
	if g.err == nil {
		g.err = err
	}
}

func (g *generator) typeDoc(t reflect.Type, name string) string {
	text, err := g.comments.typ(t.PkgPath()+"."+t.Name(), name)
	g.note(err)
	if err == nil && text == "" {
		g.note(fmt.Errorf("%s has no comment", t))
	}
	return text
}

// document is the schema of a whole file.
func (g *generator) document() *schema {
	doc := g.record(config.DescribePipeline())
	doc.Schema = "https://json-schema.org/draft/2020-12/schema"
	doc.Title = "pipectl pipeline"
	doc.Description = "A pipeline of pipectl: sources, stages and sinks, and the edges between them."
	doc.Properties = append(doc.Properties,
		property{"sources", section(pipe.KindSource, "Where events come from, by name.")},
		property{"stages", section(pipe.KindStage, "What changes, chooses or holds up events, by name.")},
		property{"sinks", section(pipe.KindSink, "Where events go, by name.")},
		property{"edges", &schema{
			Description: "The bounded buffers between the nodes.",
			Type:        "array", MinItems: 1, Items: ref("edge"),
		}})
	doc.Required = []string{"sources", "sinks", "edges"}
	doc.Defs = append(doc.Defs, property{"edge", g.edge()})
	for _, kind := range []pipe.Kind{pipe.KindSource, pipe.KindStage, pipe.KindSink} {
		doc.Defs = append(doc.Defs, g.nodes(kind)...)
	}
	doc.Defs = append(doc.Defs, definitions()...)
	return doc
}

// section is the mapping of nodes of a kind.
func section(kind pipe.Kind, doc string) *schema {
	s := entries(ref(string(kind)))
	s.Description = doc
	s.PropertyNames = &schema{
		Pattern:             "^" + nodeName + "$",
		PatternErrorMessage: "a name begins with a letter a-z; letters, digits, _ and - may follow",
	}
	if kind == pipe.KindStage {
		return nullable(s)
	}
	s.MinProperties = 1
	return s
}

// edge is an edge in its two forms.
func (g *generator) edge() *schema {
	const blank = `\s*`
	chain := &schema{
		Description: "A chain of nodes, a -> b -> c. It may begin with one output of a node: parse.failed -> dead.",
		Type:        "string",
		// The expression allows the output at the beginning only.
		Pattern:             orExpansion(blank + output + blank + `->` + blank + `(` + nodeName + blank + `->` + blank + `)*` + nodeName + blank),
		PatternErrorMessage: "expected a chain such as a -> b -> c",
	}
	object := g.record(config.DescribeEdge())
	object.Description = g.typeDoc(reflect.TypeFor[config.Edge](), "edge")
	return either(object, chain)
}

// nodes are the definitions for a kind of node: the node, which leads by its type
// to one for each component, and the keys that the engine gives them all.
func (g *generator) nodes(kind pipe.Kind) properties {
	types := pipe.Types(kind)
	var meanings []string
	var cases []*schema
	var components properties
	for _, typ := range types {
		def := string(kind) + "_" + typ
		c := g.component(kind, typ)
		meanings = append(meanings, synopsis(c.Description))
		cases = append(cases, &schema{
			If:   &schema{Required: []string{"type"}, Properties: properties{{"type", &schema{Const: typ}}}},
			Then: ref(def),
		})
		components = append(components, property{def, c})
	}
	which := oneOf(types, meanings)
	which.Description = "The type of the " + string(kind) + "."
	node := &schema{
		Type: "object", Required: []string{"type"},
		Properties: properties{{"type", which}}, AllOf: cases,
	}
	options := g.record(config.DescribeNode(kind))
	options.Properties = without(options.Properties, "type")
	options.Required, options.Additional = nil, nil
	return append(properties{{string(kind), node}, {string(kind) + "_options", options}}, components...)
}

// guarded reports whether a component has the keys of those that call out.
func guarded(kind pipe.Kind, component any) bool {
	_, calls := component.(pipe.Caller)
	return calls || kind != pipe.KindStage
}

func without(ps properties, name string) (rest properties) {
	for _, p := range ps {
		if p.name != name {
			rest = append(rest, p)
		}
	}
	return rest
}

// component is a node of one type.
func (g *generator) component(kind pipe.Kind, typ string) *schema {
	c, _ := pipe.Lookup(kind, typ)
	fields, _ := config.Describe(kind, typ)
	s := g.record(fields)
	s.Title = fmt.Sprintf("%s %s", kind, typ)
	s.Description = g.typeDoc(reflect.TypeOf(c.New()).Elem(), typ)
	all := properties{{"type", &schema{Const: typ}}}
	all = append(all, s.Properties...)
	for _, f := range config.DescribeNode(kind) {
		if f.Name != "type" && (!f.Outward || guarded(kind, c.New())) {
			all = append(all, property{f.Name, ref(string(kind) + "_options/properties/" + f.Name)})
		}
	}
	s.Properties = all
	return s
}
