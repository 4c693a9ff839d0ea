package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine"
)

// topLine is one line of the table of top: an edge with the node it leads to, or
// a source.
type topLine struct {
	id     string // of the edge, or the name of the source
	source bool
	lead   string // what is drawn before the label: the branches of the tree
	label  string
	again  bool // the node it leads to stands above already
}

// graphLines are the sources of a pipeline with all that follows from them, as a
// tree: data flows downwards and to the right. A node that several edges lead to
// has what follows from it below the first of them.
func graphLines(s engine.Status) []topLine {
	out := map[string][]string{}
	for _, id := range s.EdgeNames {
		from := s.Edges[id].From
		out[from] = append(out[from], id)
	}
	var lines []topLine
	drawn := map[string]bool{}
	var follow func(node, lead string)
	follow = func(node, lead string) {
		for i, id := range out[node] {
			branch, below := "├─", "│ "
			if i == len(out[node])-1 {
				branch, below = "└─", "  "
			}
			e := s.Edges[id]
			line := topLine{id: id, lead: lead + branch, label: e.To, again: drawn[e.To]}
			if e.Port != "" {
				line.label += " (" + e.Port + ")"
			}
			lines = append(lines, line)
			if !drawn[e.To] {
				drawn[e.To] = true
				follow(e.To, lead+below)
			}
		}
	}
	for _, name := range s.SourceNames {
		lines = append(lines, topLine{id: name, source: true, label: name})
		follow(name, "")
	}
	return lines
}

// listLines are the edges without the tree.
func listLines(edges []edgeFigures) []topLine {
	lines := make([]topLine, len(edges))
	for i, e := range edges {
		lines[i] = topLine{id: e.id, label: e.id}
	}
	return lines
}

// order is a way to put the edges in order.
type order struct {
	name  string
	title string                     // of the column that is marked
	worse func(a, b edgeFigures) int // nil: as the graph
}

var orders = []order{
	{"graph", "", nil},
	{"fill", "FILL", func(a, b edgeFigures) int { return cmp.Compare(b.fill, a.fill) }},
	{"rate", "RATE", func(a, b edgeFigures) int { return cmp.Compare(b.rate, a.rate) }},
	{"drops", "DROPS/S", func(a, b edgeFigures) int {
		return cmp.Or(cmp.Compare(b.dropRate, a.dropRate), cmp.Compare(b.dropped, a.dropped))
	}},
	{"blocked", "BLOCK", func(a, b edgeFigures) int { return cmp.Compare(b.blocked, a.blocked) }},
	{"name", "EDGE", func(a, b edgeFigures) int { return strings.Compare(a.id, b.id) }},
}

// tableLines are the lines of the table: the whole graph, or the edges that match
// a filter, in order.
func tableLines(w window, by order, filter string) []topLine {
	if by.worse == nil && filter == "" {
		return graphLines(w.now)
	}
	var edges []edgeFigures
	for _, line := range graphLines(w.now) {
		if !line.source {
			edges = append(edges, w.edge(line.id))
		}
	}
	filter = strings.ToLower(filter)
	edges = slices.DeleteFunc(edges, func(e edgeFigures) bool {
		return !strings.Contains(strings.ToLower(e.id+" "+policy(e)), filter)
	})
	if by.worse != nil {
		slices.SortStableFunc(edges, by.worse)
	}
	return listLines(edges)
}
