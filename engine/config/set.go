package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// setter applies one --set option to the tree.
type setter struct {
	*reporter
	root *node
	pos  Pos
}

// applySet applies "path=value" to the tree below root.
func (r *reporter) applySet(root *node, number int, arg string) {
	s := setter{r, root, Pos{Set: number}}
	path, text, ok := strings.Cut(arg, "=")
	if path = strings.TrimSpace(path); !ok || path == "" {
		s.error(s.pos, "set", "expected path=value", "such as shutdown.timeout=1s or edges.a->b.buffer=10")
		return
	}
	value := s.parse(text)
	if value == nil {
		return
	}
	at, rest := root, path
	done := "" // the part of the path that is behind us, for messages
	if id, ok := strings.CutPrefix(path, "edges."); ok {
		if at, done, rest = s.edge(id); at == nil {
			return
		}
	}
	steps := splitPath(rest)
	if len(steps) == 0 {
		s.error(s.pos, "set", fmt.Sprintf("%s is not a path", quoted(path)), "such as sinks.out.path or edges[2].buffer")
		return
	}
	for _, key := range steps[:len(steps)-1] {
		if at = s.step(at, key, done); at == nil {
			return
		}
		done = child(done, key)
	}
	s.put(at, steps[len(steps)-1], done, value)
}

// parse reads the value as YAML; nothing stands for the empty text.
func (s *setter) parse(text string) *node {
	if strings.TrimSpace(text) == "" {
		return &node{kind: scalarNode, pos: s.pos, quoted: true}
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	err := decode(dec, &doc)
	if err == nil && !errors.Is(decode(dec, new(yaml.Node)), io.EOF) {
		err = errors.New("more than one document")
	}
	if err != nil {
		s.error(s.pos, "set", "the value is not YAML: "+strings.TrimPrefix(err.Error(), "yaml: "), "quote the value")
		return nil
	}
	if emptyDocument(&doc) { // a comment only
		return &node{kind: scalarNode, pos: s.pos, text: text, quoted: true}
	}
	c := converter{r: s.reporter, set: s.pos.Set}
	return c.node(doc.Content[0], 0)
}

var (
	indexStep = regexp.MustCompile(`^\[(\d+)\]`)
	keyStep   = regexp.MustCompile(`^[^.\[\]]+`)
)

// splitPath splits a path into keys and indexes ("[2]"); nil if it is no path.
func splitPath(path string) []string {
	var steps []string
	for {
		step := indexStep.FindString(path)
		if step == "" {
			step = keyStep.FindString(path)
		}
		if step == "" {
			return nil
		}
		steps = append(steps, step)
		path = path[len(step):]
		switch {
		case path == "":
			return steps
		case path[0] == '.':
			path = path[1:]
			if strings.HasPrefix(path, "[") {
				return nil
			}
		case path[0] != '[':
			return nil
		}
	}
}

// step goes down one key or index, making mappings where there is nothing yet.
func (s *setter) step(at *node, key, done string) *node {
	if key[0] == '[' {
		slot := s.index(at, key, done)
		if slot == nil {
			return nil
		}
		return s.chainHop(*slot, child(done, key))
	}
	if !s.mapping(at, done) {
		return nil
	}
	if next := at.get(key); next != nil {
		if full := shortForms[key]; full != "" && next.kind == scalarNode && strings.HasPrefix(done, "edges") {
			*next = node{kind: mapNode, pos: next.pos, pairs: []pair{{full, next.pos, clone(next)}}}
		}
		return next
	}
	for kind, section := range sectionOf {
		if done == section {
			s.error(s.pos, "set", fmt.Sprintf("there is no %s %s", kind, quoted(key)), didYouMean(key, keys(at), section))
			return nil
		}
	}
	next := &node{kind: mapNode, pos: s.pos}
	at.pairs = append(at.pairs, pair{key, s.pos, next})
	return next
}

// shortForms says which key the text form of an edge's option stands for, so
// that another key can be set beside it.
var shortForms = map[string]string{"buffer": "events", "policy": "type"}

func clone(n *node) *node { c := *n; return &c }

// put sets the last key or index of a path.
func (s *setter) put(at *node, key, done string, value *node) {
	if key[0] == '[' {
		if slot := s.index(at, key, done); slot != nil {
			*slot = value
		}
		return
	}
	if !s.mapping(at, done) {
		return
	}
	for i := range at.pairs {
		if at.pairs[i].key == key {
			at.pairs[i].val = value
			return
		}
	}
	at.pairs = append(at.pairs, pair{key, s.pos, value})
}

// mapping reports whether at is a mapping, after making it one if it is empty.
func (s *setter) mapping(at *node, done string) bool {
	if at.kind == nullNode && !at.bad {
		at.kind = mapNode
	}
	if at.kind != mapNode && !at.bad {
		s.error(s.pos, "set", fmt.Sprintf("%s is %s, not a mapping", done, at.what()), "")
	}
	return at.kind == mapNode
}

func (s *setter) index(at *node, key, done string) **node {
	if at.kind != listNode {
		s.error(s.pos, "set", fmt.Sprintf("%s is %s, not a list", orDefault(done, "the file"), at.what()), "")
		return nil
	}
	i, err := strconv.Atoi(strings.Trim(key, "[]"))
	if err != nil || i >= len(at.items) {
		s.error(s.pos, "set", fmt.Sprintf("%s%s: the list has %d entries, counted from 0", done, key, len(at.items)), "")
		return nil
	}
	return &at.items[i]
}

// chainHop lets settings be set on a chain of two nodes as on a mapping.
func (s *setter) chainHop(item *node, done string) *node {
	if item.kind != scalarNode || !strings.HasPrefix(done, "edges[") {
		return item
	}
	ids := chainIDs(item)
	if len(ids) != 1 {
		s.error(s.pos, "set", fmt.Sprintf("%s is a chain of %d edges", done, len(ids)), fmt.Sprintf("name one of them: edges.%s", strings.Join(ids, ", edges.")))
		return nil
	}
	return item.hop(0, len(ids), s.pos)
}

// hop returns the settings of hop i of a chain.
func (n *node) hop(i, of int, p Pos) *node {
	if n.hops == nil {
		n.hops = make([]*node, of)
	}
	if n.hops[i] == nil {
		n.hops[i] = &node{kind: mapNode, pos: p}
	}
	return n.hops[i]
}

// chainIDs returns the ids of the edges of a chain.
func chainIDs(n *node) []string {
	parts := strings.Split(n.text, "->")
	var ids []string
	for i := range len(parts) - 1 {
		ids = append(ids, strings.TrimSpace(parts[i])+"->"+strings.TrimSpace(parts[i+1]))
	}
	return ids
}

// edge finds the edge that a path begins with by its id, which may hold dots.
// It returns its settings, its name for messages and the rest of the path.
func (s *setter) edge(path string) (at *node, done, rest string) {
	var all []string
	longest := -1
	consider := func(id string, settings func() *node) {
		all = append(all, id)
		after, ok := strings.CutPrefix(path, id)
		if ok && len(id) > longest && strings.HasPrefix(after, ".") && len(after) > 1 {
			longest, at, done, rest = len(id), settings(), "edges."+id, after[1:]
		}
	}
	if list := s.root.get("edges"); list != nil {
		for _, item := range list.items {
			s.ids(item, consider)
		}
	}
	if at == nil {
		id := path
		if i := strings.LastIndex(path, "."); i > strings.LastIndex(path, "->") {
			id = path[:i]
		}
		s.error(s.pos, "set", fmt.Sprintf("there is no edge %s", quoted(id)), didYouMean(id, all, "edges"))
	}
	return at, done, rest
}

// ids calls f for each edge of an entry of the list of edges.
func (s *setter) ids(item *node, f func(id string, settings func() *node)) {
	switch item.kind {
	case scalarNode:
		ids := chainIDs(item)
		for i, id := range ids {
			f(id, func() *node { return item.hop(i, len(ids), s.pos) })
		}
	case mapNode:
		self := func() *node { return item }
		if name := endText(item.get("name")); name != "" {
			f(name, self)
		}
		if from, to := endText(item.get("from")), endText(item.get("to")); from != "" && to != "" {
			f(from+"->"+to, self)
		}
	}
}

func keys(n *node) []string {
	var list []string
	for _, p := range n.pairs {
		list = append(list, p.key)
	}
	return list
}
