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

// parseYAML reads the one document of data. It reports what is wrong and
// returns nil when there is none.
func (r *reporter) parseYAML(data []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := decode(dec, &doc)
	switch {
	case errors.Is(err, io.EOF), err == nil && emptyDocument(&doc):
		r.error(Pos{Line: 1, Col: 1}, "empty-file", "the file is empty", "start with: version: 1")
		return nil
	case err != nil:
		r.syntaxError(data, err)
		return nil
	}
	switch err := decode(dec, &second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.syntaxError(data, err)
		return nil
	default:
		r.error(Pos{Line: second.Line, Col: second.Column}, "multiple-documents", "the file holds more than one YAML document", "one file is one pipeline: remove the --- or split the file")
		return nil
	}
	return doc.Content[0]
}

// decode is Decode, with the library's own panics as errors.
func decode(dec *yaml.Decoder, doc *yaml.Node) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: the parser cannot read this (%v)", p)
		}
	}()
	return dec.Decode(doc)
}

func emptyDocument(doc *yaml.Node) bool {
	if len(doc.Content) == 0 {
		return true
	}
	n := doc.Content[0]
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" && n.Value == ""
}

// The library tells the line of a syntax error, sometimes off by one, sometimes
// that of the surrounding mapping, and no column. Its scanner looks only a few
// characters ahead, so how much it has read when it gives up says more.

var lineInError = regexp.MustCompile(`^line (\d+): `)

func (r *reporter) syntaxError(data []byte, err error) {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if m := lineInError.FindStringSubmatch(msg); m != nil {
		line, _ = strconv.Atoi(m[1])
		msg = msg[len(m[0]):]
	}
	p := at(data, lastRead(data))
	p = r.lastContent(p)
	text := r.text.line(p.Line)
	indent := len(text) - len(strings.TrimLeft(text, " \t"))
	var hint string
	switch {
	case strings.HasPrefix(msg, "unknown anchor"):
		name := strings.TrimSuffix(strings.TrimPrefix(msg, "unknown anchor '"), "' referenced")
		p = r.findAlias(name, p)
		msg, hint = fmt.Sprintf("there is no anchor &%s before this *%s", name, name), fmt.Sprintf("a text that begins with * needs quotes: \"*%s\"", name)
	case strings.Contains(text[:indent], "\t"):
		p.Col = strings.IndexByte(text, '\t') + 1
		msg, hint = "a tab cannot indent a line", "use spaces"
	case strings.Contains(msg, "found unexpected end of stream"):
		if line > 0 && line < p.Line {
			p = r.lineStart(line)
		}
		msg, hint = "a quoted text is not closed", "add the closing quote"
	case strings.Contains(msg, "could not find expected ':'"):
		if line > 0 && line < p.Line {
			p = r.lineStart(line)
		}
		msg, hint = `a ":" is missing after a key`, "write key: value"
	case strings.Contains(text, "${") && strings.ContainsAny(text, "{[") && (strings.Contains(msg, "did not find expected ','") || strings.Contains(msg, "did not find expected node")):
		p.Col = columnOf(text, "${")
		hint = `inside { } and [ ] a ${NAME} needs quotes: "${NAME}"`
	default:
		p, msg, hint = r.syntaxWords(p, msg, line+1)
	}
	r.error(p, "syntax", "YAML: "+msg, hint)
}

// syntaxWords says the library's more frequent complaints in plain words.
// context is the line where what it was reading began, 1 when unknown.
func (r *reporter) syntaxWords(p Pos, msg string, context int) (Pos, string, string) {
	text := r.text.line(p.Line)
	start := r.lineStart(p.Line)
	switch {
	case strings.Contains(msg, "mapping values are not allowed"):
		p.Col = lastColumnOf(text, ": ", p.Col)
		return p, `a ":" is not allowed here`, `quote a text that holds ": ", and check the indentation of this line and the one before`
	case strings.Contains(msg, "did not find expected key"):
		return start, "this line does not fit the lines before it", "check its indentation, and quotes that end too early"
	case strings.Contains(msg, "did not find expected '-' indicator"):
		return start, "this line does not belong to the list before it", "check its indentation"
	case strings.Contains(msg, "block sequence entries are not allowed"):
		return start, `a "- " is not allowed here`, "put the list on lines of its own, indented below its key"
	case strings.Contains(msg, "did not find expected ','") && context > 1 && context < p.Line:
		return start, fmt.Sprintf("the [ or { opened at line %d is not closed before this line", context), "add the ] or }, or the missing comma"
	case strings.Contains(msg, "did not find expected ','"):
		return start, "a [ or { opened on this line or before is not closed", "add the ] or }, or the missing comma"
	case strings.Contains(msg, "did not find expected alphabetic or numeric character"):
		return p, "a name is missing after the * or &", "quote a text that begins with * or &"
	case strings.Contains(msg, "cannot start any token"):
		char := "this character"
		if t := strings.TrimLeft(text, " "); t != "" {
			for _, c := range []string{"@", "`", "%"} {
				if i := strings.Index(text, c); i >= 0 {
					p.Col, char = columnOf(text, c), `"`+c+`"`
				}
			}
		}
		return p, "a text cannot begin with " + char + " unless it is quoted", "quote the text"
	case strings.Contains(msg, "unknown escape character"):
		p.Col = lastColumnOf(text, "\\", p.Col)
		return p, `unknown escape in a "double-quoted" text`, `write a backslash as \\, or use 'single quotes'`
	}
	return p, msg, ""
}

// columnOf returns the 1-based column of part in line, 1 when it is not there.
func columnOf(line, part string) int {
	i := max(0, strings.Index(line, part))
	return len([]rune(line[:i])) + 1
}

// lastColumnOf returns the column of the last part in line that begins at or
// before col; col itself when there is none.
func lastColumnOf(line, part string, col int) int {
	runes := []rune(line)
	head := string(runes[:min(len(runes), col+len(part)-1)])
	i := strings.LastIndex(head, part)
	if i < 0 {
		return col
	}
	return len([]rune(head[:i])) + 1
}

// lineStart is the place of the first character of a line that is not blank.
func (r *reporter) lineStart(line int) Pos {
	text := r.text.line(line)
	return Pos{Line: line, Col: len(text) - len(strings.TrimLeft(text, " \t")) + 1}
}

// lastContent moves p back to the last character that is not blank.
func (r *reporter) lastContent(p Pos) Pos {
	for line := p.Line; line >= 1; line-- {
		text := []rune(r.text.line(line))
		if line == p.Line {
			text = text[:min(p.Col, len(text))]
		}
		if trimmed := strings.TrimRight(string(text), " \t"); trimmed != "" {
			return Pos{Line: line, Col: len([]rune(trimmed))}
		}
	}
	return Pos{Line: 1, Col: 1}
}

// findAlias returns the first use of *name, which the library does not place.
func (r *reporter) findAlias(name string, fallback Pos) Pos {
	use := regexp.MustCompile(`(?:^|[\s,:\[{-])(\*` + regexp.QuoteMeta(name) + `)(?:$|[\s,\]}:])`)
	for i, text := range r.text.lines {
		if m := use.FindStringSubmatchIndex(text); m != nil {
			return Pos{Line: i + 1, Col: len([]rune(text[:m[2]])) + 1}
		}
	}
	return fallback
}

// lastRead parses data again, byte by byte, and returns the offset of the last
// byte that was read before the error.
func lastRead(data []byte) int {
	r := &oneByOne{data: data}
	dec := yaml.NewDecoder(r)
	for {
		var doc yaml.Node
		if decode(dec, &doc) != nil {
			return max(0, r.off-1)
		}
	}
}

// oneByOne is a reader that gives one byte at a time.
type oneByOne struct {
	data []byte
	off  int
}

func (r *oneByOne) Read(p []byte) (int, error) {
	if r.off >= len(r.data) {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	p[0] = r.data[r.off]
	r.off++
	return 1, nil
}
