package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/pipectl/pipectl/engine/config"
)

// drawText draws the pipeline as a tree that begins at the sources. A node that
// several edges lead to is drawn once; further edges refer to it.
func drawText(w io.Writer, p *config.Pipeline) error {
	t := tree{p: p, out: map[string][]*config.Edge{}, drawn: map[string]bool{}}
	for _, e := range p.Edges {
		t.out[e.From] = append(t.out[e.From], e)
	}
	fmt.Fprintf(&t.b, "pipeline %s", p.Name)
	if p.Description != "" {
		fmt.Fprintf(&t.b, ": %s", oneLine(p.Description))
	}
	t.b.WriteString("\n")
	for _, s := range p.Sources {
		fmt.Fprintf(&t.b, "\n%s\n", nodeText(s))
		t.edges(s.Name, "")
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}

type tree struct {
	p     *config.Pipeline
	out   map[string][]*config.Edge // edges by the node they start at
	drawn map[string]bool           // nodes whose edges have been drawn
	b     strings.Builder
}

// edges draws what follows a node, indented by lead.
func (t *tree) edges(node, lead string) {
	for i, e := range t.out[node] {
		branch, below := "├─ ", "│  "
		if i == len(t.out[node])-1 {
			branch, below = "└─ ", "   "
		}
		label := fmt.Sprintf("%s, %s", bufferText(e), policyText(e))
		if title := edgeTitle(e); title != "" {
			label = title + ": " + label
		}
		n := t.p.Node(e.To)
		again := t.drawn[e.To] && len(t.out[e.To]) > 0
		t.b.WriteString(lead + branch + "(" + oneLine(label) + ") → " + nodeText(n))
		if again {
			t.b.WriteString(", see above")
		}
		t.b.WriteString("\n")
		if !t.drawn[e.To] {
			t.drawn[e.To] = true
			t.edges(e.To, lead+below)
		}
	}
}

// nodeText names a node: "stage parse (parse, 4 workers)".
func nodeText(n *config.Node) string {
	text := fmt.Sprintf("%s %s (%s", n.Kind, n.Name, n.Type)
	if n.Workers > 1 {
		text += fmt.Sprintf(", %d workers", n.Workers)
	}
	return text + ")"
}

// oneLine makes text from the file fit to stand in a line.
func oneLine(s string) string { return printable(strings.Join(strings.Fields(s), " ")) }
