package config

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// Render returns the effective configuration as YAML: defaults, --set and
// expansion applied, keys in the order of the manual, nodes and edges in that of
// the file, secrets as ***. What is zero and has no default is left out. Without
// secrets, Parse makes the same pipeline of it again. The pipeline may be
// running.
func (p *Pipeline) Render() ([]byte, error) {
	r := renderer{Inspector{short: true}, p}
	root := mappingNode()
	root.put("version", Value{Form: Literal, Text: "1"}, &r)
	for _, e := range r.Pipeline(p).Parts {
		root.put(e.Key, e.Value, &r)
	}
	for _, section := range []struct {
		name  string
		nodes []*Node
	}{{"sources", p.Sources}, {"stages", p.Stages}, {"sinks", p.Sinks}} {
		list := mappingNode()
		for _, n := range section.nodes {
			list.put(n.Name, r.Node(n, nil), &r)
		}
		root.add(section.name, list.Node)
	}
	edges := &yaml.Node{Kind: yaml.SequenceNode}
	for _, e := range p.Edges {
		n := r.node(r.Edge(e, nil))
		n.Style = yaml.FlowStyle
		edges.Content = append(edges.Content, n)
	}
	root.add("edges", edges)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(root.Node); err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", p.Name, err)
	}
	return b.Bytes(), enc.Close()
}

// renderer makes YAML nodes of values.
type renderer struct {
	Inspector
	p *Pipeline
}

// yamlMap is a mapping that is being written.
type yamlMap struct{ *yaml.Node }

func mappingNode() yamlMap { return yamlMap{&yaml.Node{Kind: yaml.MappingNode}} }

// add adds an entry, unless it is an empty list or mapping.
func (m yamlMap) add(key string, n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		m.Content = append(m.Content, textNode(key), n)
	}
}

// put adds the entry for v, unless leaving it out means the same.
func (m yamlMap) put(key string, v Value, r *renderer) {
	if !v.implied {
		m.Content = append(m.Content, textNode(key), r.node(v))
	}
}

func (r *renderer) node(v Value) *yaml.Node {
	switch v.Form {
	case Text, Literal:
		return r.scalar(v)
	case List:
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, item := range v.Parts {
			n.Content = append(n.Content, r.node(item.Value))
		}
		return n
	case Mapping:
		n := mappingNode()
		for _, e := range v.Parts {
			n.put(e.Key, e.Value, r)
		}
		return n.Node
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
}

func (r *renderer) scalar(v Value) *yaml.Node {
	switch {
	case v.Secret && v.Text != "":
		return textNode(hidden)
	case v.Form == Literal && r.p.Redact(v.Text) == hidden:
		return textNode(hidden)
	case v.Form == Literal:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.Text}
	case v.word:
		return textNode(v.Text)
	}
	return textNode(strings.ReplaceAll(r.p.Redact(v.Text), "${", "$${"))
}

// textNode makes a text, in quotes where it looks like something else to any
// version of YAML. Line breaks are escaped: the block forms cannot hold every
// text.
func textNode(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.ToValidUTF8(text, "\ufffd")}
	if strings.ContainsAny(text, "\n\r\t\u0085\u2028\u2029") || misread.MatchString(text) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// misread are true and false in YAML 1.1, and the merge key, which the library
// does not quote by itself.
var misread = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|<<)$`)
