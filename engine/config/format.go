package config

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Format returns a pipeline file in its usual layout: keys in the order of the
// manual, an indentation of two spaces, a blank line before each section, no
// blanks at the ends of lines. Comments stay with what they are about, values as
// they are written. The file need not be valid, but it must be YAML; the
// diagnostics say where it is not. data itself does not change.
//
// What Format returns has the same meaning and the same comments as data: it
// checks that, and reports a file that it cannot lay out so. Formatting twice
// changes nothing more.
func Format(data []byte, file string) ([]byte, Diagnostics) {
	r := &reporter{file: file}
	if r.read(data, "a mapping such as version: 1") == nil {
		return nil, r.finish()
	}
	data = bytes.ReplaceAll(bytes.TrimPrefix(data, []byte(bom)), []byte("\r\n"), []byte("\n"))
	for _, sorted := range []bool{true, false} { // an anchor must stay before its aliases
		out, err := layOut(data, sorted)
		if err != nil {
			continue
		}
		again, err := layOut(out, sorted)
		if err == nil && bytes.Equal(out, again) && sameDocument(data, out) {
			return out, nil
		}
	}
	r.error(Pos{Line: 1, Col: 1}, "format", "the layout of this file cannot be changed safely; it stays as it is", "write it with plain keys and indented blocks")
	return nil, r.finish()
}

// errLayout says that a document has a form that layout does not know.
var errLayout = errors.New("unknown layout")

// layout writes the lines of a document anew.
type layout struct {
	lines  []string
	sorted bool
	err    error
}

func layOut(data []byte, sorted bool) (out []byte, err error) {
	root, err := document(data)
	if err != nil {
		return nil, err
	}
	l := &layout{lines: strings.Split(strings.TrimRight(string(data), "\n"), "\n"), sorted: sorted}
	if root.Style&yaml.FlowStyle != 0 {
		return nil, errLayout
	}
	header := 0 // the comment at the top of the file
	for header < len(l.lines) && header < root.Content[0].Line-1 && (header == 0 || !isBlank(l.lines[header-1])) {
		header++
	}
	text := slices.Clone(l.lines[:header])
	body := l.mapping(root, header, len(l.lines), 0, fileOrder())
	if l.err != nil {
		return nil, l.err
	}
	text = append(text, body...)
	return []byte(strings.Join(tidyLines(text, l.verbatim(text)), "\n") + "\n"), nil
}

// document returns the mapping of a file.
func document(data []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := decode(yaml.NewDecoder(bytes.NewReader(data)), &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode || len(doc.Content[0].Content) == 0 {
		return nil, errLayout
	}
	return doc.Content[0], nil
}

// part is an entry of a mapping or list: the lines before it that are about it,
// and its own.
type part struct {
	key   string
	rank  int
	above []string
	own   []string
}

// mapping writes the lines from (counted from 0) up to but not including to,
// which hold the entries of n and nothing else, with its keys at the column indent.
func (l *layout) mapping(n *yaml.Node, from, to, indent int, o *order) []string {
	var parts []part
	o = o.of(n)
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		start, end := key.Line-1, to
		if i+2 < len(n.Content) {
			end = n.Content[i+2].Line - 1
		}
		if start < from || end <= start || key.Kind != yaml.ScalarNode && key.Kind != yaml.AliasNode {
			l.err = errLayout
			return nil
		}
		if i+2 < len(n.Content) {
			end = l.endOf(start, end, key.Column-1)
		}
		p := part{key: key.Value, rank: o.rankOf(key.Value), above: l.comments(from, start, indent)}
		p.own = l.value(value, start, end, key.Column-1, indent, o.below(key.Value))
		parts = append(parts, p)
		from = end
	}
	if l.sorted && o.sorts() {
		slices.SortStableFunc(parts, func(a, b part) int { return a.rank - b.rank })
	}
	return linesOf(parts)
}

// list writes a list in block form with its dashes at the column indent.
func (l *layout) list(n *yaml.Node, from, to, indent int, o *order) []string {
	var parts []part
	dash := n.Column - 1
	starts := make([]int, 0, len(n.Content))
	for _, item := range n.Content {
		at := item.Line - 1
		for at >= from && !l.dashAt(at, dash) {
			at--
		}
		if at < from || len(starts) > 0 && at <= starts[len(starts)-1] {
			l.err = errLayout
			return nil
		}
		starts = append(starts, at)
	}
	for i, item := range n.Content {
		end := to
		if i+1 < len(starts) {
			end = l.endOf(starts[i], starts[i+1], dash)
		}
		p := part{above: l.comments(from, starts[i], indent)}
		l.item(&p, item, starts[i], end, dash, indent, o.entry())
		parts = append(parts, p)
		from = end
	}
	return linesOf(parts)
}

func (l *layout) dashAt(line, col int) bool {
	text := l.lines[line]
	return strings.HasPrefix(text[min(col, len(text)):], "-") && strings.Trim(text[:min(col, len(text))], " -") == ""
}

// item writes one entry of a list.
func (l *layout) item(p *part, item *yaml.Node, start, end, dash, indent int, o *order) {
	inline := item.Line-1 == start
	if !inline || item.Style&yaml.FlowStyle != 0 || item.Kind != yaml.MappingNode && item.Kind != yaml.SequenceNode {
		p.own = l.value(item, start, end, dash, indent, o)
		return
	}
	// What is behind the dash is laid out as if the dash were a blank.
	line := l.lines[start]
	l.lines[start] = line[:dash] + " " + line[dash+1:]
	inner := l.block(item, start, end, indent+2, o)
	l.lines[start] = line
	for len(inner) > 0 && (isBlank(inner[0]) || isComment(inner[0])) { // now the first key has a comment
		p.above = append(p.above, strings.TrimPrefix(inner[0], "  "))
		inner = inner[1:]
	}
	if len(inner) == 0 || len(inner[0]) < indent+2 {
		l.err = errLayout
		return
	}
	inner[0] = strings.Repeat(" ", indent) + "- " + inner[0][indent+2:]
	p.own = inner
}

// block writes a mapping or list in block form.
func (l *layout) block(n *yaml.Node, from, to, indent int, o *order) []string {
	if n.Kind == yaml.SequenceNode {
		return l.list(n, from, to, indent, o)
	}
	return l.mapping(n, from, to, indent, o)
}

// value writes the lines of a key or dash at the column col and of its value,
// moved to the column indent.
func (l *layout) value(v *yaml.Node, start, end, col, indent int, o *order) []string {
	first := move(l.lines[start], indent-col)
	blockForm := v.Style&yaml.FlowStyle == 0 && (v.Kind == yaml.MappingNode || v.Kind == yaml.SequenceNode) && len(v.Content) > 0
	if blockForm && v.Line-1 > start {
		return append([]string{first}, l.block(v, start+1, end, indent+2, o)...)
	}
	if blockForm {
		l.err = errLayout // key: &anchor and the like
		return nil
	}
	if l.sorted && v.Style&yaml.FlowStyle != 0 && v.Line-1 == start {
		first = move(l.flowLine(v, start, o), indent-col)
	}
	lines := []string{first}
	for _, text := range l.lines[start+1 : end] {
		lines = append(lines, move(text, indent-col))
	}
	return lines
}

// endOf returns the line after the last one that belongs to the entry at start,
// whose key is at the column col: the lines before next that are blank or a
// comment no further right belong to the next entry.
func (l *layout) endOf(start, next, col int) int {
	end := next
	for end > start+1 {
		text := l.lines[end-1]
		if !isBlank(text) && (!isComment(text) || indentOf(text) > col) {
			break
		}
		end--
	}
	return end
}

// comments are the lines before an entry, at its column.
func (l *layout) comments(from, to, indent int) []string {
	var lines []string
	for _, text := range l.lines[from:to] {
		switch {
		case isBlank(text):
			lines = append(lines, "")
		case isComment(text):
			lines = append(lines, strings.Repeat(" ", indent)+strings.TrimSpace(text))
		case strings.TrimSpace(text) == "---":
			lines = append(lines, "---")
		default:
			l.err = errLayout
		}
	}
	return lines
}

// linesOf puts the parts together. A blank line has no place before the first.
func linesOf(parts []part) []string {
	var lines []string
	for i, p := range parts {
		for i == 0 && len(p.above) > 0 && p.above[0] == "" {
			p.above = p.above[1:]
		}
		lines = append(lines, p.above...)
		lines = append(lines, p.own...)
	}
	return lines
}

// move shifts a line to the right, or to the left as far as it has blanks.
func move(text string, by int) string {
	switch {
	case isBlank(text):
		return text
	case by >= 0:
		return strings.Repeat(" ", by) + text
	}
	return text[min(-by, indentOf(text)):]
}

func isBlank(text string) bool   { return strings.TrimSpace(text) == "" }
func isComment(text string) bool { return strings.HasPrefix(strings.TrimLeft(text, " \t"), "#") }
func indentOf(text string) int   { return len(text) - len(strings.TrimLeft(text, " ")) }
