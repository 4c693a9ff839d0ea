package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"

	"github.com/pipectl/pipectl/engine/pipe"
)

var (
	nodeName     = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
	pipelineName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

// decodePipeline decodes the whole tree.
func decodePipeline(r *reporter, root *node) *Pipeline {
	p := &Pipeline{unread: unread{sections: map[string]bool{}, names: map[string]bool{}}}
	base := DefaultEdge()
	s := newScope(r, "", Pos{Line: 1, Col: 1})
	if n := root.get("defaults"); n != nil { // before the edges, wherever it stands
		base = s.edgeDefaults(n, base)
	}
	section := func(kind pipe.Kind, to *[]*Node) func(*node, Pos) {
		return func(n *node, _ Pos) { *to = s.section(n, kind, p.unread) }
	}
	rules := mappingRules{others: map[string]func(*node, Pos){
		"defaults": nil,
		"sources":  section(pipe.KindSource, &p.Sources),
		"stages":   section(pipe.KindStage, &p.Stages),
		"sinks":    section(pipe.KindSink, &p.Sinks),
		"edges":    func(n *node, _ Pos) { p.Edges = s.edges(n, base, p.unread) },
	}}
	s.mapping(root, "", rules, target{reflect.ValueOf(p).Elem(), fieldsOf(reflect.TypeFor[Pipeline]())})
	p.places = s.places
	p.checkTop(s)
	return p
}

// defaultsFile is the section "defaults".
type defaultsFile struct {
	Edge EdgeSettings `yaml:"edge"`
}

func (s *scope) edgeDefaults(n *node, base EdgeSettings) EdgeSettings {
	d := defaultsFile{Edge: base}
	s.value(n, reflect.ValueOf(&d).Elem(), "defaults", field{})
	s.checkPolicyOptions(d.Edge.Policy.Type, "defaults.edge.policy")
	return d.Edge
}

// maxEntries is how many sources, stages, sinks or edges a file may have.
const maxEntries = 50_000

var sectionOf = map[pipe.Kind]string{pipe.KindSource: "sources", pipe.KindStage: "stages", pipe.KindSink: "sinks"}

// section decodes sources, stages or sinks.
func (s *scope) section(n *node, kind pipe.Kind, u unread) []*Node {
	name := sectionOf[kind]
	if !n.bad && n.kind == nullNode {
		return nil
	}
	if n.kind != mapNode {
		u.sections[name] = true
		if !n.bad {
			s.wrongType(n, name, "a mapping of names to "+name)
		}
		return nil
	}
	s.places[name] = n.pos
	if len(n.pairs) > maxEntries {
		u.sections[name], u.sections["edges"] = true, true
		s.fail(n.pos, name, "too-many", fmt.Sprintf("has %d entries, more than the limit of %d", len(n.pairs), maxEntries), "")
		return nil
	}
	var list []*Node
	for _, p := range n.pairs {
		list = append(list, s.r.node(p, kind))
	}
	return list
}

// node decodes one node. It always returns one, so that edges find its name.
func (r *reporter) node(p pair, kind pipe.Kind) *Node {
	out := NewNode(kind, p.key, "", nil)
	out.Pos = p.pos
	s := newScope(r, string(kind)+" "+p.key, p.pos)
	s.decodeNode(p.val, out)
	out.places, out.broken = s.places, s.failed
	return out
}

func (s *scope) decodeNode(n *node, out *Node) {
	if n.kind != mapNode {
		s.failed = true
		if !n.bad {
			hint := fmt.Sprintf("write %s: {type: <type>}", out.Name)
			if _, ok := pipe.Lookup(out.Kind, n.text); ok {
				hint = fmt.Sprintf("write %s: {type: %s}", out.Name, n.text)
			}
			at := n.pos
			if n.kind == nullNode {
				at = s.pos
			}
			s.r.error(at, "wrong-type", join(s.who, "expected a mapping with a type, got "+n.what()), hint)
		}
		return
	}
	own := withoutRequired(forKind(fieldsOf(reflect.TypeFor[Node]()), out.Kind))
	if n.get("type") == nil {
		s.fail(s.pos, "type", "missing-key", "is required", listOf(fmt.Sprintf("%s types", out.Kind), pipe.Types(out.Kind)))
	}
	targets := []target{{reflect.ValueOf(out).Elem(), own}}
	component, ok := s.component(n, out.Kind)
	rules := mappingRules{lenient: !ok, hint: func(key string) string { return otherKind(key, out.Kind) }}
	if ok {
		v := reflect.ValueOf(component).Elem()
		targets = append(targets, target{v, fieldsOf(v.Type())})
	}
	s.mapping(n, "", rules, targets...)
	if ok {
		s.checkOutward(out, component)
		s.checkHolder(out, component)
	}
	if s.failed {
		return
	}
	if v, ok := component.(pipe.Validator); ok {
		s.report(v.Validate(), "", "")
	}
	if !s.failed {
		out.Component = component
		s.ports(out)
		s.checkGuards(out)
	}
}

// component makes a fresh component of the type that n names.
func (s *scope) component(n *node, kind pipe.Kind) (any, bool) {
	t := n.get("type")
	if t == nil || t.bad || t.kind != scalarNode {
		return nil, false // mapping reports it
	}
	c, ok := pipe.Lookup(kind, t.text)
	if ok {
		return c.New(), true
	}
	hint := didYouMean(t.text, pipe.Types(kind), fmt.Sprintf("%s types", kind))
	for _, other := range []pipe.Kind{pipe.KindSource, pipe.KindStage, pipe.KindSink} {
		if _, ok := pipe.Lookup(other, t.text); ok {
			hint = fmt.Sprintf("%s is a %s type: move the node to %s", t.text, other, sectionOf[other])
		}
	}
	s.fail(t.pos, "", "unknown-type", fmt.Sprintf("unknown %s type %s", kind, quoted(t.text)), hint)
	return nil, false
}

// otherKind explains an engine option that nodes of this kind do not have.
func otherKind(key string, kind pipe.Kind) string {
	all := fieldsOf(reflect.TypeFor[Node]())
	i := slices.IndexFunc(all, func(f field) bool { return f.name == key })
	if i < 0 || slices.ContainsFunc(forKind(all, kind), func(f field) bool { return f.name == key }) {
		return ""
	}
	for _, other := range []pipe.Kind{pipe.KindSource, pipe.KindStage, pipe.KindSink} {
		if slices.ContainsFunc(forKind(all, other), func(f field) bool { return f.name == key }) {
			return fmt.Sprintf("%s is an option of %s, not of %s", key, sectionOf[other], sectionOf[kind])
		}
	}
	return ""
}

// ports asks a router for its outputs.
func (s *scope) ports(n *Node) {
	r, ok := n.Component.(pipe.Router)
	if !ok {
		return
	}
	n.Ports = slices.Clone(r.Ports())
	seen := map[string]bool{}
	for _, port := range n.Ports {
		switch {
		case port.Name == failedPort:
			s.fail(s.pos, "", "bad-name", `the port name "failed" is taken: it carries what failed`, "choose another name")
		case port.Name != "" && !nodeName.MatchString(port.Name): // a port without a name is the main output
			s.fail(s.pos, "", "bad-name", fmt.Sprintf("%s is not a port name", quoted(port.Name)), nameRule)
		case seen[port.Name]:
			s.fail(s.pos, "", "duplicate-name", fmt.Sprintf("port %q is there twice", port.Name), "")
		}
		seen[port.Name] = true
	}
}

const (
	failedPort = "failed"
	nameRule   = "a name begins with a letter a-z; letters, digits, _ and - may follow"
)
