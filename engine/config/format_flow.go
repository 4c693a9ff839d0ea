package config

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// flowLine returns a line in which the mapping or list n, written in braces or
// brackets, has its keys in order. What is not closed on its line stays.
func (l *layout) flowLine(n *yaml.Node, line int, o *order) string {
	text := []rune(l.lines[line])
	end := bracketEnd(text, n.Column-1)
	if end < 0 || !onLine(n, line+1) {
		return l.lines[line]
	}
	return string(text[:n.Column-1]) + flowText(text, n, end, o) + string(text[end:])
}

// onLine reports whether everything in n begins on a line.
func onLine(n *yaml.Node, line int) bool {
	if n.Line != line {
		return false
	}
	return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return !onLine(c, line) })
}

// flowText writes n, which ends before end.
func flowText(text []rune, n *yaml.Node, end int, o *order) string {
	isMapping := n.Kind == yaml.MappingNode
	step := 1
	if isMapping {
		step, o = 2, o.of(n)
	}
	if len(n.Content) == 0 || n.Anchor != "" {
		return string(text[n.Column-1 : end])
	}
	type entry struct {
		text string
		rank int
	}
	var entries []entry
	first := n.Content[0].Column - 1
	for i := 0; i < len(n.Content); i += step {
		start, stop := n.Content[i].Column-1, end-1
		if i+step < len(n.Content) {
			stop = n.Content[i+step].Column - 1
		}
		value, inner, rank := n.Content[i], o.entry(), 0
		if isMapping {
			value, inner, rank = n.Content[i+1], o.below(n.Content[i].Value), o.rankOf(n.Content[i].Value)
		}
		own := strings.TrimRight(string(text[start:stop]), " ,")
		if value.Style&yaml.FlowStyle != 0 && (value.Kind == yaml.MappingNode || value.Kind == yaml.SequenceNode) {
			from := value.Column - 1
			if to := bracketEnd(text, from); to > 0 && to <= stop {
				own = string(text[start:from]) + flowText(text, value, to, inner) + strings.TrimRight(string(text[to:stop]), " ,")
			}
		}
		entries = append(entries, entry{own, rank})
	}
	if isMapping && o.sorts() {
		slices.SortStableFunc(entries, func(a, b entry) int { return a.rank - b.rank })
	}
	return rebuilt(text, n, end, first, step, func(i int) string { return entries[i].text })
}

// rebuilt puts texts in the places of the entries of n and keeps what stands
// between them.
func rebuilt(text []rune, n *yaml.Node, end, first, step int, entry func(i int) string) string {
	var b strings.Builder
	b.WriteString(string(text[n.Column-1 : first]))
	for i := 0; i < len(n.Content); i += step {
		stop := end - 1
		if i+step < len(n.Content) {
			stop = n.Content[i+step].Column - 1
		}
		b.WriteString(entry(i / step))
		own := text[n.Content[i].Column-1 : stop]
		b.WriteString(string(own[len([]rune(strings.TrimRight(string(own), " ,"))):]))
	}
	b.WriteString(string(text[end-1 : end]))
	return b.String()
}

// bracketEnd returns the place behind the bracket that closes the one at start, or
// -1 when it is not on the line.
func bracketEnd(text []rune, start int) int {
	depth := 0
	fresh := true // a quote here begins a quoted text
	for i := start; i < len(text); i++ {
		switch c := text[i]; {
		case c == '{' || c == '[':
			depth++
			fresh = true
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		case fresh && (c == '"' || c == '\''):
			if i = quoteEnd(text, i); i < 0 {
				return -1
			}
			fresh = false
		case c == '#' && i > 0 && text[i-1] == ' ':
			return -1
		case c == ',' || c == ':':
			fresh = true
		case c != ' ':
			fresh = false
		}
	}
	return -1
}

// quoteEnd returns the place of the quote that ends the one at start, or -1.
func quoteEnd(text []rune, start int) int {
	quote := text[start]
	for i := start + 1; i < len(text); i++ {
		switch {
		case quote == '"' && text[i] == '\\':
			i++
		case text[i] == quote && quote == '\'' && i+1 < len(text) && text[i+1] == quote:
			i++
		case text[i] == quote:
			return i
		}
	}
	return -1
}
