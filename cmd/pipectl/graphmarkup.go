package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// drawMermaid writes a Mermaid flowchart, as Markdown renderers show it. Nodes
// get ids of their own: a name such as "end" is a word of Mermaid's.
func drawMermaid(w io.Writer, p *config.Pipeline) error {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	shapes := map[pipe.Kind][2]string{pipe.KindSource: {"([", "])"}, pipe.KindStage: {"[", "]"}, pipe.KindSink: {"[(", ")]"}}
	ids := nodeIDs(p)
	for _, n := range p.Nodes() {
		s := shapes[n.Kind]
		fmt.Fprintf(&b, "  %s%s\"%s<br/>%s\"%s\n", ids[n.Name], s[0], mermaidText(n.Name), mermaidText(n.Type), s[1])
	}
	for _, e := range p.Edges {
		arrow := "-->"
		if e.Port == failedPort {
			arrow = "-.->"
		}
		fmt.Fprintf(&b, "  %s %s|\"%s\"| %s\n", ids[e.From], arrow, strings.Join(edgeLines(e, mermaidText), "<br/>"), ids[e.To])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// mermaidText escapes text for a quoted label.
func mermaidText(s string) string {
	return strings.NewReplacer(`#`, "#35;", `"`, "#quot;", `<`, "#lt;", `>`, "#gt;", `&`, "#amp;", "`", "#96;", `\`, "#92;").Replace(oneLine(s))
}

// drawDot writes a Graphviz digraph.
func drawDot(w io.Writer, p *config.Pipeline) error {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n", dotText(p.Name))
	b.WriteString("  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n")
	shapes := map[pipe.Kind]string{pipe.KindSource: "cds", pipe.KindStage: "box", pipe.KindSink: "cylinder"}
	for _, n := range p.Nodes() {
		fmt.Fprintf(&b, "  %s [shape=%s, label=%s];\n", dotText(n.Name), shapes[n.Kind], dotLines(n.Name, n.Type))
	}
	for _, e := range p.Edges {
		style := ""
		if e.Port == failedPort {
			style = ", style=dashed"
		}
		plain := func(s string) string { return s }
		fmt.Fprintf(&b, "  %s -> %s [label=%s%s];\n", dotText(e.From), dotText(e.To), dotLines(edgeLines(e, plain)...), style)
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// dotText quotes text for Graphviz, where a backslash begins an escape.
func dotText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(oneLine(s)) + `"`
}

// dotLines is a quoted label of several lines.
func dotLines(lines ...string) string {
	for i, l := range lines {
		quoted := dotText(l)
		lines[i] = quoted[1 : len(quoted)-1]
	}
	return `"` + strings.Join(lines, `\n`) + `"`
}

// edgeLines are the lines of an edge's label, each escaped.
func edgeLines(e *config.Edge, escape func(string) string) []string {
	lines := []string{escape(bufferText(e)), escape(policyText(e))}
	if title := edgeTitle(e); title != "" {
		lines = append([]string{escape(title)}, lines...)
	}
	return lines
}

func nodeIDs(p *config.Pipeline) map[string]string {
	ids := map[string]string{}
	for i, n := range p.Nodes() {
		ids[n.Name] = fmt.Sprintf("n%d", i)
	}
	return ids
}
