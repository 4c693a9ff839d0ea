package config

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// verbatim marks the lines of texts over several lines, whose blanks count.
func (l *layout) verbatim(text []string) []bool {
	keep := make([]bool, len(text))
	root, err := document([]byte(strings.Join(text, "\n") + "\n"))
	if err != nil {
		l.err = err
		return keep
	}
	l.err = nil
	var visit func(n *yaml.Node)
	var starts []*yaml.Node
	visit = func(n *yaml.Node) {
		starts = append(starts, n)
		for _, c := range n.Content {
			visit(c)
		}
	}
	visit(root)
	for i, n := range starts {
		if n.Kind != yaml.ScalarNode || n.Style&(yaml.LiteralStyle|yaml.FoldedStyle|yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) == 0 {
			continue
		}
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1].Line - 1
		}
		for line := n.Line; line < end; line++ {
			keep[line] = true
		}
		if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 && end > n.Line {
			keep[n.Line-1] = true
		}
	}
	return keep
}

// sections are the keys that have a blank line before them, all or none.
var sections = []string{"sources:", "stages:", "sinks:", "edges:"}

// tidyLines removes blanks at the ends of lines and blank lines beyond one,
// except where verbatim says that lines count. When a section has a blank line
// before it, all get one.
func tidyLines(text []string, verbatim []bool) []string {
	var out []string
	airy := false
	for i, line := range text {
		if i > 0 && !verbatim[i] && isSection(line) {
			above := i
			for above > 0 && strings.HasPrefix(text[above-1], "#") {
				above--
			}
			airy = airy || above > 1 && isBlank(text[above-1])
		}
	}
	for i, line := range text {
		if verbatim[i] {
			out = append(out, line)
			continue
		}
		line = strings.TrimRight(line, " \t")
		if line == "" && (len(out) == 0 || out[len(out)-1] == "") {
			continue
		}
		if airy && isSection(line) {
			out = blankBefore(out)
		}
		out = append(out, line)
	}
	for len(out) > 0 && out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return out
}

func isSection(line string) bool {
	return slices.ContainsFunc(sections, func(s string) bool { return line == s || strings.HasPrefix(line, s+" ") })
}

// blankBefore puts a blank line behind the lines, before the comment that they
// end with. A file's first comment stays where it is.
func blankBefore(lines []string) []string {
	at := len(lines)
	for at > 0 && strings.HasPrefix(lines[at-1], "#") {
		at--
	}
	if at == 0 || lines[at-1] == "" {
		return lines
	}
	return slices.Insert(lines, at, "")
}

// sameDocument reports whether two files have the same meaning and hold the same
// characters apart from blanks, commas and dashes: no comment is lost.
func sameDocument(a, b []byte) bool {
	da, errA := document(a)
	db, errB := document(b)
	return errA == nil && errB == nil && sameNode(da, db) && letters(a) == letters(b)
}

func sameNode(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.Tag != b.Tag || a.Value != b.Value || a.Anchor != b.Anchor || len(a.Content) != len(b.Content) {
		return false
	}
	if a.Kind != yaml.MappingNode {
		for i := range a.Content {
			if !sameNode(a.Content[i], b.Content[i]) {
				return false
			}
		}
		return true
	}
	ka, kb := entriesByKey(a), entriesByKey(b)
	for i := range ka {
		if ka[i].Value != kb[i].Value || !sameNode(ka[i], kb[i]) || !sameNode(valueOf(a, ka[i]), valueOf(b, kb[i])) {
			return false
		}
	}
	return true
}

func entriesByKey(n *yaml.Node) []*yaml.Node {
	var keys []*yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		keys = append(keys, n.Content[i])
	}
	slices.SortStableFunc(keys, func(a, b *yaml.Node) int { return strings.Compare(a.Value, b.Value) })
	return keys
}

func valueOf(n, key *yaml.Node) *yaml.Node { return n.Content[slices.Index(n.Content, key)+1] }

// letters counts the characters of a file that layout must not lose.
func letters(data []byte) (counts [256]int) {
	for _, c := range data {
		if c != ' ' && c != '\n' && c != '\t' && c != '-' && c != ',' {
			counts[c]++
		}
	}
	return counts
}
