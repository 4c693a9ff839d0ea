package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/pipe"
)

// checkOutputs reports main outputs and cases that lead nowhere.
func (g *graph) checkOutputs() {
	for _, n := range g.p.Nodes() {
		if n.Kind == pipe.KindSink || n.broken || g.nodes[n.Name] != n || g.typosFrom[n.Name] {
			continue
		}
		ports := n.Ports
		if len(ports) == 0 {
			ports = []pipe.Port{{}}
		}
		for _, port := range ports {
			connected := slices.ContainsFunc(g.out[n.Name], func(e *Edge) bool { return e.Port == port.Name })
			if connected || port.Optional || g.typosFrom[output(n.Name, port.Name)] {
				continue
			}
			what := fmt.Sprintf("%s %s: its output is not connected", n.Kind, n.Name)
			if port.Name != "" {
				what = fmt.Sprintf("%s %s: its output %q is not connected", n.Kind, n.Name, port.Name)
			}
			g.error(n.Pos, "unconnected", what, fmt.Sprintf("add the edge %s -> …", output(n.Name, port.Name)))
		}
	}
}

// checkInputs reports stages and sinks that no event can reach.
func (g *graph) checkInputs() {
	reached := map[string]bool{}
	var queue []string
	add := func(name string) {
		if !reached[name] {
			reached[name] = true
			queue = append(queue, name)
		}
	}
	for _, n := range g.p.Sources {
		add(n.Name)
	}
	for name := range g.typosTo { // reported already; what follows them is not to blame
		add(name)
	}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		for _, e := range g.out[name] {
			add(e.To)
		}
	}
	for _, n := range slices.Concat(g.p.Stages, g.p.Sinks) {
		switch {
		case reached[n.Name] || g.nodes[n.Name] != n:
		case len(g.in[n.Name]) == 0:
			g.error(n.Pos, "unreachable", fmt.Sprintf("%s %s: no edge leads to it", n.Kind, n.Name), fmt.Sprintf("add an edge … -> %s, or remove it", n.Name))
		default:
			g.error(n.Pos, "unreachable", fmt.Sprintf("%s %s: no source leads to it", n.Kind, n.Name), "")
		}
	}
}

// checkCycles reports each cycle once, at the edge that closes it.
func (g *graph) checkCycles() {
	const onPath, done = 1, 2
	state := map[string]int{}
	var path []string
	type frame struct {
		name string
		next int
	}
	for _, start := range g.p.Nodes() {
		if state[start.Name] != 0 {
			continue
		}
		stack := []frame{{name: start.Name}}
		state[start.Name] = onPath
		path = append(path[:0], start.Name)
		for len(stack) > 0 { // iterative: a chain may have many thousand nodes
			top := &stack[len(stack)-1]
			if top.next == len(g.out[top.name]) {
				state[top.name] = done
				stack, path = stack[:len(stack)-1], path[:len(path)-1]
				continue
			}
			e := g.out[top.name][top.next]
			top.next++
			switch state[e.To] {
			case onPath:
				loop := append(slices.Clone(path[slices.Index(path, e.To):]), e.To)
				g.error(e.Pos, "cycle", "the edges form a cycle: "+shortPath(loop), "pipelines have no cycles: remove one of its edges")
			case 0:
				state[e.To] = onPath
				path = append(path, e.To)
				stack = append(stack, frame{name: e.To})
			}
		}
	}
}

// shortPath renders a path, without the middle of a very long one.
func shortPath(names []string) string {
	const most = 12
	if len(names) > most {
		names = slices.Concat(names[:most/2], []string{"…"}, names[len(names)-most/2:])
	}
	return strings.Join(names, " -> ")
}
