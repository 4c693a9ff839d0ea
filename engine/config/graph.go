package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/near"
	"github.com/pipectl/pipectl/engine/pipe"
)

// Complete sets the defaults of what is zero and checks the pipeline. A program
// calls it after building one by hand.
func (p *Pipeline) Complete() Diagnostics {
	p.fill()
	return p.Check()
}

// Check checks a completed pipeline: values, components and the graph. A
// pipeline that Parse returned passes.
func (p *Pipeline) Check() Diagnostics {
	r := p.reporter()
	s := newScope(r, "", p.top())
	s.places = p.places
	s.structLimits(reflect.ValueOf(p).Elem(), fieldsOf(reflect.TypeFor[Pipeline]()), "")
	p.checkTop(s)
	for _, n := range p.Nodes() {
		s := newScope(r, string(n.Kind)+" "+n.Name, n.Pos)
		s.places = n.places
		s.checkNode(n)
		n.broken = s.failed
	}
	for _, e := range p.Edges {
		s := newScope(r, "edge "+e.ID, e.Pos)
		s.places = e.places
		s.structLimits(reflect.ValueOf(e).Elem(), fieldsOf(reflect.TypeFor[Edge]()), "")
	}
	p.checkGraph(r)
	return r.finish()
}

// checkTop checks what concerns the file as a whole.
func (p *Pipeline) checkTop(s *scope) {
	at, written := s.places["version"]
	if p.Version != 1 && (p.Version != 0 || written && !s.r.reported(at)) {
		s.fail(s.places.at("version", s.pos), "version", "bad-value", fmt.Sprintf("version %d is not known", p.Version), "this program reads version: 1")
	}
	if p.Name != "" && (!pipelineName.MatchString(p.Name) || len(p.Name) > 100) {
		s.fail(s.places.at("name", s.pos), "name", "bad-name", fmt.Sprintf("%s is not a pipeline name", quoted(p.Name)), "letters, digits and . _ - beginning with a letter or digit, at most 100")
	}
	p.checkAdmin(s)
}

// checkNode checks a node that a program made.
func (s *scope) checkNode(n *Node) {
	contract := map[pipe.Kind]reflect.Type{
		pipe.KindSource: reflect.TypeFor[pipe.Source](), pipe.KindStage: reflect.TypeFor[pipe.Stage](), pipe.KindSink: reflect.TypeFor[pipe.Sink](),
	}[n.Kind]
	switch {
	case contract == nil:
		s.fail(s.pos, "", "bad-value", fmt.Sprintf("%s is not a kind of node", quoted(string(n.Kind))), "")
		return
	case n.Component == nil:
		s.fail(s.pos, "", "unknown-type", fmt.Sprintf("unknown %s type %s", n.Kind, quoted(n.Type)), didYouMean(n.Type, pipe.Types(n.Kind), fmt.Sprintf("%s types", n.Kind)))
		return
	case !reflect.TypeOf(n.Component).Implements(contract):
		s.fail(s.pos, "", "bad-value", fmt.Sprintf("its component is not a %s", n.Kind), "")
		return
	}
	fields := slices.DeleteFunc(forKind(fieldsOf(reflect.TypeFor[Node]()), n.Kind), func(f field) bool { return f.name == "type" })
	s.structLimits(reflect.ValueOf(n).Elem(), fields, "")
	if v, ok := n.Component.(pipe.Validator); ok && !s.failed {
		s.report(v.Validate(), "", "")
	}
	if !s.failed {
		s.ports(n)
		s.checkOutward(n, n.Component)
		s.checkHolder(n, n.Component)
		s.checkGuards(n)
	}
}

// graph is what the checks of the edges need.
type graph struct {
	*reporter
	p     *Pipeline
	nodes map[string]*Node
	in    map[string][]*Edge
	out   map[string][]*Edge
	// typos are nodes that a misspelt edge meant: they count as connected, so
	// that one mistake is reported once.
	typosTo, typosFrom map[string]bool
}

// checkGraph checks names and edges. It has no opinion on nodes and edges whose
// mistakes are reported already.
func (p *Pipeline) checkGraph(r *reporter) {
	g := &graph{reporter: r, p: p, nodes: map[string]*Node{}, in: map[string][]*Edge{}, out: map[string][]*Edge{}, typosTo: map[string]bool{}, typosFrom: map[string]bool{}}
	g.checkNames()
	for _, section := range []struct {
		kind  pipe.Kind
		nodes []*Node
	}{{pipe.KindSource, p.Sources}, {pipe.KindSink, p.Sinks}} {
		if len(section.nodes) == 0 && !p.unread.sections[sectionOf[section.kind]] {
			g.error(p.At(sectionOf[section.kind]), "no-"+string(section.kind), fmt.Sprintf("the pipeline has no %s", section.kind), fmt.Sprintf("add %s: {name: {type: …}}", sectionOf[section.kind]))
		}
	}
	ids := map[string]*Edge{}
	for _, e := range p.Edges {
		if g.checkEdge(e, ids) {
			g.out[e.From] = append(g.out[e.From], e)
			g.in[e.To] = append(g.in[e.To], e)
		}
	}
	for name := range p.unread.names {
		g.typosTo[name], g.typosFrom[name] = true, true
	}
	if !p.unread.sections["edges"] {
		g.checkOutputs()
		g.checkInputs()
	}
	g.checkCycles()
}

func (g *graph) checkNames() {
	for _, n := range g.p.Nodes() {
		if !nodeName.MatchString(n.Name) {
			g.error(n.Pos, "bad-name", fmt.Sprintf("%s is not a node name", quoted(n.Name)), nameRule)
		}
		if first := g.nodes[n.Name]; first != nil {
			where := ""
			if first.Pos.Line > 0 {
				where = fmt.Sprintf(" at line %d", first.Pos.Line)
			}
			g.error(n.Pos, "duplicate-name", fmt.Sprintf("%s %s: the name is taken by the %s%s", n.Kind, n.Name, first.Kind, where), "names are unique over the whole file")
			continue
		}
		g.nodes[n.Name] = n
	}
}

// checkEdge checks one edge and reports whether it takes part in the graph.
func (g *graph) checkEdge(e *Edge, ids map[string]*Edge) bool {
	from := g.end(e.From, e.At("from"), g.typosFrom)
	to := g.target(e)
	if from != nil && !g.checkPort(e, from) {
		from = nil
	}
	if from == nil || to == nil {
		g.typosTo[e.To], g.typosFrom[output(e.From, e.Port)] = true, true
		return false
	}
	if e.From == e.To {
		g.error(e.At("to"), "cycle", fmt.Sprintf("edge %s: the node feeds itself", e.ID), "pipelines have no cycles")
		return false
	}
	return g.checkDuplicate(e, ids)
}

func (g *graph) checkDuplicate(e *Edge, ids map[string]*Edge) bool {
	key := edgeID(e.From, e.Port, e.To)
	if first := ids[key]; first != nil {
		g.error(e.Pos, "duplicate-edge", fmt.Sprintf("edge %s is there twice%s", key, g.also(first)), "remove one of them")
		return false
	}
	ids[key] = e
	if e.Name == "" || e.Name == key {
		return true
	}
	if first := ids[e.Name]; first != nil {
		g.error(e.At("name"), "duplicate-edge", fmt.Sprintf("edge %s: the name %q is taken%s", key, e.Name, g.also(first)), "")
	}
	ids[e.Name] = e
	return true
}

func (g *graph) also(first *Edge) string {
	if first.Pos.Line == 0 {
		return ""
	}
	return fmt.Sprintf(", first at line %d", first.Pos.Line)
}

// end finds the node that an end of an edge names.
func (g *graph) end(name string, at Pos, typos map[string]bool) *Node {
	if n := g.nodes[name]; n != nil {
		return n
	}
	if g.full() {
		return nil
	}
	all := slices.Collect(maps.Keys(g.nodes))
	typos[near.Word(name, all)] = true
	hint := didYouMean(name, all, "nodes")
	if strings.Contains(name, "->") {
		hint = "a chain is an entry of its own: - " + name
	}
	g.error(at, "unknown-node", fmt.Sprintf("unknown node %s", quoted(name)), hint)
	return nil
}

// target finds the node that an edge leads to and checks that it takes events.
func (g *graph) target(e *Edge) *Node {
	name, port, dotted := strings.Cut(e.To, ".")
	if dotted && g.nodes[name] != nil {
		g.typosTo[name] = true
		g.error(e.At("to"), "bad-edge", fmt.Sprintf("edge %s: an edge leads to a node, not to its output %q", e.ID, port), fmt.Sprintf("write %s", name))
		return nil
	}
	n := g.end(e.To, e.At("to"), g.typosTo)
	if n != nil && n.Kind == pipe.KindSource {
		g.error(e.At("to"), "bad-edge", fmt.Sprintf("edge %s: %s is a source, nothing can lead to it", e.ID, n.Name), "")
		return nil
	}
	return n
}

// checkPort checks that the node has the output that e begins at.
func (g *graph) checkPort(e *Edge, n *Node) bool {
	at := e.At("from")
	var ports []string
	for _, port := range n.Ports {
		ports = append(ports, port.Name)
	}
	switch {
	case e.Port == failedPort:
		return true
	case n.Kind == pipe.KindSink && e.Port == "":
		g.error(at, "bad-edge", fmt.Sprintf("edge %s: %s is a sink, nothing comes out of it", e.ID, n.Name), fmt.Sprintf("only what it cannot write does: %s.failed", n.Name))
		return false
	case n.broken || slices.Contains(ports, e.Port):
		return true
	case e.Port == "" && len(ports) == 0:
		return true
	case e.Port == "":
		g.error(at, "unknown-port", fmt.Sprintf("edge %s: %s has no main output", e.ID, n.Name), "write one of "+strings.Join(prefixed(n.Name+".", append(ports, failedPort)), ", "))
		return false
	}
	ports = append(ports, failedPort)
	hint := didYouMean(e.Port, ports, "outputs of "+n.Name)
	if meant := near.Word(e.Port, ports); meant != "" {
		g.typosFrom[output(n.Name, meant)] = true
	}
	g.error(at, "unknown-port", fmt.Sprintf("edge %s: %s has no output %q", e.ID, n.Name, e.Port), hint)
	return false
}

func prefixed(prefix string, words []string) []string {
	var list []string
	for _, w := range words {
		list = append(list, prefix+w)
	}
	return list
}
