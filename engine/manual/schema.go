package manual

import (
	"encoding/json"
	"iter"
	"strings"
)

// node is a part of the schema.
type node struct {
	value any // what encoding/json makes of it
}

func parse(data []byte) *node {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		panic("BUG: the schema is not JSON: " + err.Error())
	}
	return &node{v}
}

// at returns the part below n at a path, with references followed, or nil. A nil
// node has nothing below it.
func (n *node) at(path ...string) *node {
	for _, key := range path {
		if n == nil {
			return nil
		}
		m, _ := n.value.(map[string]any)
		v, ok := m[key]
		if !ok {
			target := n.target()
			if target == nil {
				return nil
			}
			n = target.at(key)
			continue
		}
		n = &node{v}
	}
	return n
}

// target is what n refers to, or nil.
func (n *node) target() *node {
	m, _ := n.value.(map[string]any)
	ref, _ := m["$ref"].(string)
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	return document.at(strings.Split(path, "/")...)
}

// record returns the part of n that has the keys of a mapping: n itself, its
// mapping form, the entries of its list or of its mapping.
func (n *node) record() *node {
	for _, way := range [][]string{{}, {"then"}, {"items"}, {"items", "then"}, {"additionalProperties"}, {"additionalProperties", "then"}, {"anyOf"}} {
		if len(way) > 0 && way[0] == "anyOf" {
			for _, c := range n.list("anyOf") {
				if r := c.record(); r.at("properties") != nil {
					return r
				}
			}
			continue
		}
		if r := n.at(way...); r.at("properties") != nil {
			return r
		}
	}
	return nil
}

// text is the description of n; of what it refers to when it has none.
func (n *node) text() string {
	if d := n.word("description"); d != "" {
		return d
	}
	return n.at("then").word("description")
}

// word returns the text of a key of n.
func (n *node) word(key string) string {
	p := n.at(key)
	if p == nil {
		return ""
	}
	s, _ := p.value.(string)
	return s
}

// list returns the parts of a list.
func (n *node) list(key string) []*node {
	p := n.at(key)
	if p == nil {
		return nil
	}
	values, _ := p.value.([]any)
	var all []*node
	for _, v := range values {
		all = append(all, &node{v})
	}
	return all
}

// words yields the words that a value may be, with what they mean.
func (n *node) words() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, c := range append([]*node{n}, n.list("anyOf")...) {
			meanings := c.list("enumDescriptions")
			for i, w := range c.list("enum") {
				word, _ := w.value.(string)
				meaning := ""
				if i < len(meanings) {
					meaning, _ = meanings[i].value.(string)
				}
				if !yield(word, meaning) {
					return
				}
			}
		}
	}
}
