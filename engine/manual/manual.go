// Package manual is what pipectl knows about its own file format, for people:
// every component, every key with its type, default and bounds, and the text of
// its doc comment, which it reads from the schema.
package manual

import (
	"strings"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/schema"
)

// Entry is a part of the file format with a description of its own: a
// component, an edge, the top level.
type Entry struct {
	Kind     string  `json:"kind"` // source, stage, sink; empty for the rest
	Type     string  `json:"type"` // the word for it: file, edge, pipeline
	Synopsis string  `json:"synopsis"`
	Text     string  `json:"text"`              // the whole description, a line for each paragraph
	Example  string  `json:"example,omitempty"` // YAML of such a node
	Fields   []Field `json:"fields"`
}

// Field is a key with what is said about it.
type Field struct {
	config.Field
	Text   string  `json:"text"`
	Fields []Field `json:"fields,omitempty"`
}

// Facts is what is known of a key in a few words: its type, whether it must be
// there, its default, its words and its bounds.
func (f Field) Facts() string {
	facts := []string{f.Type}
	if len(f.Enum) > 0 {
		facts = []string{strings.Join(f.Enum, " | ")}
	}
	if f.Required {
		facts = append(facts, "required")
	}
	for _, c := range []struct{ word, value string }{
		{"default", f.Default}, {"at least", f.Min}, {"above", f.Above}, {"at most", f.Max},
	} {
		if c.value != "" {
			facts = append(facts, c.word+" "+c.value)
		}
	}
	if f.Secret {
		facts = append(facts, "secret")
	}
	return strings.Join(facts, ", ")
}

// Kinds are the kinds of components, in the order of the file.
func Kinds() []pipe.Kind { return []pipe.Kind{pipe.KindSource, pipe.KindStage, pipe.KindSink} }

// Components returns the entries of all components of a kind, by name.
func Components(kind pipe.Kind) []Entry {
	var list []Entry
	for _, typ := range pipe.Types(kind) {
		if e, ok := Component(kind, typ); ok {
			list = append(list, e)
		}
	}
	return list
}

// Component returns the entry of a component, without the keys that the engine
// gives every node of its kind: those are Common. It returns false for a type
// that is not registered or has no place in the schema.
func Component(kind pipe.Kind, typ string) (Entry, bool) {
	fields, ok := config.Describe(kind, typ)
	s := document.at("$defs", string(kind)+"_"+typ)
	if !ok || s == nil {
		return Entry{}, false
	}
	e := entry(string(kind), typ, s.text())
	e.Fields = documented(fields, s)
	return e, true
}

// Common returns the entry of the keys that every node of a kind has.
func Common(kind pipe.Kind) Entry {
	e := entry("", string(kind), "Every "+string(kind)+" has these keys beside those of its type.")
	for _, f := range documented(config.DescribeNode(kind), document.at("$defs", string(kind)+"_options")) {
		if f.Name != "type" {
			e.Fields = append(e.Fields, f)
		}
	}
	return e
}

// Edge returns the entry of an edge.
func Edge() Entry {
	s := document.at("$defs", "edge").record()
	e := entry("", "edge", s.text())
	e.Fields = documented(config.DescribeEdge(), s)
	return e
}

// Pipeline returns the entry of the top level of a file.
func Pipeline() Entry {
	e := entry("", "pipeline", document.text())
	e.Fields = documented(config.DescribePipeline(), document)
	return e
}

// Policies returns the policies of an edge, each with its options.
func Policies() []Entry {
	var policy Field
	for _, f := range Edge().Fields {
		if f.Name == "policy" {
			policy = f
		}
	}
	var list []Entry
	for typ, text := range document.at("$defs", "edge").record().at("properties", "policy").record().at("properties", "type").words() {
		e := entry("policy", typ, typ+": "+text)
		for _, f := range policy.Fields {
			if policyHas(typ, f.Name) {
				e.Fields = append(e.Fields, f)
			}
		}
		list = append(list, e)
	}
	return list
}

// policyHas reports whether a policy has an option, by the schema.
func policyHas(policy, option string) bool {
	for _, c := range document.at("$defs", "edge").record().at("properties", "policy").record().list("allOf") {
		if c.at("if", "properties", "type").word("const") == policy {
			return option != "type" && c.at("then", "properties", option) != nil
		}
	}
	return false
}

// exampleMark stands before the example in a doc comment.
const exampleMark = "\n\nExample:\n\n"

func entry(kind, typ, text string) Entry {
	text, example, _ := strings.Cut(text, exampleMark)
	return Entry{Kind: kind, Type: typ, Synopsis: synopsis(text), Text: text, Example: unindent(example)}
}

// synopsis is the first sentence of a text.
func synopsis(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	if at := strings.Index(line, ". "); at > 0 {
		line = line[:at]
	}
	return strings.TrimSuffix(line, ".")
}

// unindent takes away what the lines of a block of code begin with. What comes
// after the block is not part of it.
func unindent(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		rest, ok := strings.CutPrefix(line, "    ")
		if !ok && strings.TrimSpace(line) != "" {
			break
		}
		b.WriteString(rest)
	}
	return strings.TrimRight(b.String(), "\n") + strings.Repeat("\n", min(1, b.Len()))
}

// documented adds to fields what s says about them.
func documented(fields []config.Field, s *node) []Field {
	s = s.record()
	var list []Field
	for _, f := range fields {
		p := s.at("properties", f.Name)
		d := Field{Field: f, Text: p.text()}
		d.Fields = documented(f.Fields, p)
		d.Field.Fields = nil
		list = append(list, d)
	}
	return list
}

// document is the schema.
var document = parse(schema.Pipeline)
