package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

// ends are the keys of an edge that are not its settings.
type ends struct {
	From string `yaml:"from" required:"true"`
	To   string `yaml:"to" required:"true"`
}

// edges decodes the list of edges, in both forms.
func (s *scope) edges(n *node, base EdgeSettings, u unread) []*Edge {
	if !n.bad && n.kind == nullNode {
		return nil
	}
	if n.kind != listNode {
		u.sections["edges"] = true
		if !n.bad {
			s.wrongType(n, "edges", "a list of edges")
		}
		return nil
	}
	s.places["edges"] = n.pos
	var list []*Edge
	for i, item := range n.items {
		if len(list)+strings.Count(item.text, "->") > maxEntries {
			u.sections["edges"] = true
			s.fail(item.pos, "edges", "too-many", fmt.Sprintf("there are more than %d edges", maxEntries), "")
			break
		}
		switch {
		case item.bad:
			u.sections["edges"] = true
		case item.kind == scalarNode && item.tag == textTag:
			list = append(list, s.r.chain(item, element("edges", i), base, u)...)
		case item.kind == mapNode:
			list = append(list, s.r.edge(item, element("edges", i), base, u)...)
		default:
			s.wrongType(item, element("edges", i), `a chain "a -> b" or a mapping with from and to`)
		}
	}
	return list
}

// hop is a name in a chain and where it is.
type hop struct {
	name string
	pos  Pos
}

// chain decodes "a -> b -> c".
func (r *reporter) chain(n *node, path string, base EdgeSettings, u unread) []*Edge {
	hops := r.splitChain(n)
	if len(hops) < 2 {
		hint := "write a -> b, or {from: a, to: b}"
		for _, arrow := range []string{"=>", "→", "-->", ">"} {
			if strings.Contains(n.text, arrow) {
				hint = "an arrow is written ->"
			}
		}
		u.mention(n.text)
		r.error(n.pos, "bad-edge", join(path, "expected a chain such as a -> b, got "+n.what()), hint)
		return nil
	}
	var list []*Edge
	for i := range len(hops) - 1 {
		from, to := hops[i], hops[i+1]
		if from.name == "" || to.name == "" {
			u.mention(from.name + " " + to.name)
			r.error(from.pos, "bad-edge", join(path, "a name is missing in the chain "+quoted(n.text)), "")
			continue
		}
		if strings.HasSuffix(from.name, ".") {
			r.error(from.pos, "bad-edge", join(path, fmt.Sprintf("the name of an output is missing after %s", quoted(from.name))), noPort(from.name))
			u.mention(from.name + " " + to.name)
			continue
		}
		if i+2 < len(hops) && strings.Contains(to.name, ".") {
			r.error(to.pos, "bad-edge", join(path, fmt.Sprintf("the output %s cannot be in the middle of a chain", to.name)), "begin a new edge with it: "+to.name+" -> …")
			u.mention(from.name + " " + to.name)
			continue
		}
		node, port, _ := strings.Cut(from.name, ".")
		e := &Edge{From: node, Port: port, To: to.name, EdgeSettings: base, Pos: from.pos, places: places{"from": from.pos, "to": to.pos}}
		if i < len(n.hops) && n.hops[i] != nil {
			r.settings(n.hops[i], e)
		}
		list = append(list, e)
	}
	return list
}

// noPort is the hint for an output like "parse.".
func noPort(name string) string {
	name = strings.TrimSuffix(name, ".")
	return fmt.Sprintf("write %s for its main output, or an output such as %s.failed", name, name)
}

// mention notes the names in an edge that could not be read.
func (u unread) mention(text string) {
	for _, name := range nameInText.FindAllString(text, -1) {
		u.names[name] = true
	}
}

var nameInText = regexp.MustCompile(`[a-z][a-z0-9_]*(-[a-z0-9_]+)*`)

// splitChain splits a chain at its arrows.
func (r *reporter) splitChain(n *node) []hop {
	var hops []hop
	off := 0
	for part := range strings.SplitSeq(n.text, "->") {
		name := strings.TrimSpace(part)
		lead := strings.Index(part, name)
		hops = append(hops, hop{name, r.text.inText(n, off+lead)})
		off += len(part) + len("->")
	}
	return hops
}

// edge decodes the mapping form. It returns no edge when it has no ends.
func (r *reporter) edge(n *node, path string, base EdgeSettings, u unread) []*Edge {
	e := &Edge{EdgeSettings: base, Pos: n.pos}
	from, to := endText(n.get("from")), endText(n.get("to"))
	e.From, e.Port, _ = strings.Cut(from, ".")
	e.To = to
	if strings.HasSuffix(from, ".") {
		r.error(n.get("from").pos, "bad-edge", join(path, fmt.Sprintf("from: the name of an output is missing after %s", quoted(from))), noPort(from))
	}
	if from == "" || to == "" {
		u.mention(from + " " + to)
		s := newScope(r, path, n.pos)
		s.edgeMapping(n, e, target{reflect.ValueOf(&ends{}).Elem(), fieldsOf(reflect.TypeFor[ends]())})
		return nil
	}
	r.settings(n, e)
	return []*Edge{e}
}

// endText is the text of from or to, "" when it is none.
func endText(n *node) string {
	if n == nil || n.bad || n.kind != scalarNode || n.tag == boolTag {
		return ""
	}
	return strings.TrimSpace(n.text)
}

// settings decodes name and settings of an edge whose ends are known.
func (r *reporter) settings(n *node, e *Edge) {
	s := newScope(r, "edge "+edgeID(e.From, e.Port, e.To), e.Pos)
	for path, p := range e.places {
		s.places[path] = p
	}
	var ignored ends
	s.edgeMapping(n, e, target{reflect.ValueOf(&ignored).Elem(), withoutRequired(fieldsOf(reflect.TypeFor[ends]()))})
}

func withoutRequired(fields []field) []field {
	for i := range fields {
		fields[i].required = false
	}
	return fields
}

func (s *scope) edgeMapping(n *node, e *Edge, ends target) {
	s.mapping(n, "", mappingRules{}, ends, target{reflect.ValueOf(e).Elem(), fieldsOf(reflect.TypeFor[Edge]())})
	if s.nodes["policy"] != nil {
		s.checkPolicyOptions(e.Policy.Type, "policy")
	}
	if e.Name != "" && !nodeName.MatchString(e.Name) {
		s.fail(s.places.at("name", s.pos), "", "bad-name", fmt.Sprintf("%s is not an edge name", quoted(e.Name)), nameRule)
	}
	e.places = s.places
}
