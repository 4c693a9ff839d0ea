package config

import (
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// A node is a value of the file with everything YAML-ish resolved: aliases are
// copied, merge keys are merged, tags are known. It keeps where it came from.
type node struct {
	kind   kind
	pos    Pos
	text   string     // of a scalar, after expansion
	tag    scalarTag  // of a scalar
	loose  bool       // an expansion made the text: quotes do not make it text
	src    *yaml.Node // of a scalar in the file, to find places inside it
	spans  []span     // how text came from src.Value, nil when it is the same
	quoted bool       // written in quotes or as a block: it is text whatever it looks like
	bad    bool       // its mistake is reported already

	items []*node
	pairs []pair
	hops  []*node // of a chain scalar: settings of single hops made by --set
}

type kind uint8

const (
	nullNode kind = iota
	scalarNode
	listNode
	mapNode
)

// scalarTag is what a scalar looks like in YAML.
type scalarTag uint8

const (
	textTag scalarTag = iota
	intTag
	floatTag
	boolTag
)

// pair is an entry of a mapping.
type pair struct {
	key string
	pos Pos
	val *node
}

// get returns the value of key, or nil.
func (n *node) get(key string) *node {
	for _, p := range n.pairs {
		if p.key == key {
			return p.val
		}
	}
	return nil
}

// what describes the node for "got …": never a Go type.
func (n *node) what() string {
	switch {
	case n.kind == nullNode:
		return "nothing"
	case n.kind == listNode:
		return "a list"
	case n.kind == mapNode:
		return "a mapping"
	case n.tag == intTag || n.tag == floatTag:
		return "the number " + n.text
	case n.tag == boolTag:
		return n.text
	}
	return "the text " + quoted(n.text)
}

// quoted quotes a text of the user. What is long is cut when secrets are out.
func quoted(s string) string { return strconv.Quote(s) }

// Bounds of what one file may ask of the converter.
const (
	maxDepth       = 100
	maxAliasValues = 100_000
	maxAliasBytes  = MaxFileBytes
)

// converter turns YAML nodes into nodes.
type converter struct {
	r      *reporter
	set    int                 // the --set option the YAML came from
	active map[*yaml.Node]bool // anchors being copied: they must not contain themselves
	copied int                 // values copied through aliases
	bytes  int                 // of text among them
	full   bool                // too many: reported once
}

func (c *converter) pos(n *yaml.Node) Pos {
	if c.set > 0 {
		return Pos{Set: c.set}
	}
	return Pos{Line: n.Line, Col: n.Column}
}

// node converts n; it returns a bad node where it reported an error.
func (c *converter) node(n *yaml.Node, depth int) *node {
	out := &node{pos: c.pos(n)}
	if depth > maxDepth {
		c.r.error(out.pos, "too-deep", fmt.Sprintf("nested more than %d levels deep", maxDepth), "")
		out.bad = true
		return out
	}
	if len(c.active) > 0 {
		if c.copied++; c.tooMuch(n, out.pos) {
			out.bad = true
			return out
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		return c.alias(n, depth)
	case yaml.ScalarNode:
		c.scalar(n, out)
	case yaml.SequenceNode:
		c.tagged(n, "!!seq")
		out.kind = listNode
		for _, item := range n.Content {
			out.items = append(out.items, c.node(item, depth+1))
		}
	case yaml.MappingNode:
		c.tagged(n, "!!map")
		out.kind = mapNode
		c.mapping(n, out, depth)
	}
	return out
}

// tooMuch reports, once, that aliases of aliases explode.
func (c *converter) tooMuch(n *yaml.Node, p Pos) bool {
	c.bytes += len(n.Value)
	if c.copied <= maxAliasValues && c.bytes <= maxAliasBytes {
		return false
	}
	if !c.full {
		c.full = true
		c.r.error(p, "alias", fmt.Sprintf("aliases expand to more than %d values or %d bytes", maxAliasValues, maxAliasBytes), "write the values out, or use fewer aliases of aliases")
	}
	return true
}

func (c *converter) alias(n *yaml.Node, depth int) *node {
	target := n.Alias
	if c.active[target] {
		c.r.error(c.pos(n), "alias", fmt.Sprintf("anchor %q contains itself", n.Value), "")
		return &node{pos: c.pos(n), bad: true}
	}
	if c.active == nil {
		c.active = map[*yaml.Node]bool{}
	}
	c.active[target] = true
	defer delete(c.active, target)
	return c.node(target, depth+1)
}

// tagged reports an explicit tag that does not fit the kind of value.
func (c *converter) tagged(n *yaml.Node, want string) {
	if n.Style&yaml.TaggedStyle != 0 && n.ShortTag() != want {
		c.r.error(c.pos(n), "tag", fmt.Sprintf("the tag %s is not supported", n.ShortTag()), "remove it")
	}
}

func (c *converter) scalar(n *yaml.Node, out *node) {
	out.kind, out.text = scalarNode, n.Value
	if c.set == 0 {
		out.src = n
	}
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		out.quoted = true
		if n.Style&yaml.TaggedStyle == 0 {
			return
		}
	}
	switch tag := n.ShortTag(); tag {
	case "!!null":
		out.kind = nullNode
	case "!!int", "!!float", "!!bool", "!!str", "!!timestamp", "!!merge":
		out.tag = tagOf(tag)
	default:
		out.bad = true
		c.r.error(out.pos, "tag", fmt.Sprintf("the tag %s is not supported", tag), "remove it")
	}
}

func tagOf(short string) scalarTag {
	switch short {
	case "!!int":
		return intTag
	case "!!float":
		return floatTag
	case "!!bool":
		return boolTag
	}
	return textTag
}

// mapping fills out with the entries of n. A key written here wins over merged
// ones, and the first of several merged ones wins.
func (c *converter) mapping(n *yaml.Node, out *node, depth int) {
	own := map[string]Pos{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key, ok := keyText(n.Content[i]); ok && !isMerge(n.Content[i]) {
			if _, taken := own[key]; !taken {
				own[key] = c.pos(n.Content[i])
			}
		}
	}
	merged := map[string]bool{}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key, ok := keyText(k)
		switch {
		case !ok:
			c.r.error(c.pos(k), "bad-key", "a key must be text", "")
		case isMerge(k):
			c.merge(v, out, own, merged, depth)
		case seen[key]:
			c.r.error(c.pos(k), "duplicate-key", fmt.Sprintf("key %q is repeated; it is already given %s", key, c.place(own[key])), "remove one of them")
		default:
			seen[key] = true
			out.pairs = append(out.pairs, pair{key, c.pos(k), c.node(v, depth+1)})
		}
	}
}

// place renders a position inside a sentence.
func (c *converter) place(p Pos) string {
	if p.Set > 0 {
		return fmt.Sprintf("in --set #%d", p.Set)
	}
	return fmt.Sprintf("at line %d, column %d", p.Line, p.Col)
}

func (c *converter) merge(v *yaml.Node, out *node, own map[string]Pos, merged map[string]bool, depth int) {
	from := c.node(v, depth+1)
	bases := []*node{from}
	if from.kind == listNode {
		bases = from.items
	}
	for _, base := range bases {
		if base.kind != mapNode {
			if !base.bad {
				c.r.error(c.pos(v), "alias", "<<: expected a mapping or a list of mappings, got "+base.what(), "write <<: *anchor")
			}
			continue
		}
		for _, p := range base.pairs {
			if _, mine := own[p.key]; !mine && !merged[p.key] {
				merged[p.key] = true
				out.pairs = append(out.pairs, p)
			}
		}
	}
}

func isMerge(k *yaml.Node) bool {
	return k.Kind == yaml.ScalarNode && k.Value == "<<" && k.ShortTag() == "!!merge"
}

// keyText returns the text of a key, through an alias if need be.
func keyText(k *yaml.Node) (string, bool) {
	if k.Kind == yaml.AliasNode {
		k = k.Alias
	}
	if k.Kind != yaml.ScalarNode || k.ShortTag() == "!!null" {
		return "", false
	}
	return k.Value, true
}

// join appends a key or an index to a path.
func child(path, key string) string {
	if path == "" || strings.HasPrefix(key, "[") {
		return path + key
	}
	return path + "." + key
}

func element(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
