package config

import (
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestLocate marks a character with "^" in many spellings of a text and checks
// that it is found in the file. Every other character must not be a "^".
func TestLocate(t *testing.T) {
	f := func(doc string) {
		t.Helper()
		text := splitText([]byte(doc))
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(doc), &n); err != nil {
			t.Fatalf("%q: %v", doc, err)
		}
		scalar := n.Content[0].Content[1]
		c := converter{r: &reporter{text: text}}
		x := expander{r: c.r, env: testEnv, readFile: testRead, done: map[*yaml.Node]*expansion{}}
		value := c.node(scalar, 0)
		x.tree(value, "")
		off := strings.Index(value.text, "^")
		if off < 0 {
			t.Fatalf("%q: no mark in %q", doc, value.text)
		}
		got := text.inText(value, off)
		want := at([]byte(doc), strings.Index(doc, "^"))
		if got != want {
			t.Errorf("%q: got %v, want %v", doc, got, want)
		}
		text.inText(value, len(value.text))
		if again := text.inText(value, off); again != want {
			t.Errorf("%q: after a search further on: got %v, want %v", doc, again, want)
		}
		if end := text.inText(value, len(value.text)); end != text.clamp(end) || end.Line == 0 {
			t.Errorf("%q: the end is at %v", doc, end)
		}
	}
	f("a: ^")
	f("a: b ^ c")
	f("a: é ^ c")
	f("a:     'b ''quoted'' ^ c'")
	f(`a: "b \"q\" \t \x41 \u00e9 \U0001F600 \\ ^ c"`)
	f("a: \"one\n\n  two ^ \"")
	f("a: \"one \\\n   two ^ \"")
	f("a: 'one\n  two\n  ^ three'")
	f("a: one\n  two\n  ^x three")
	f("a: one   \n  two  \n\n\n  three ^x")
	f("a: |\n  one\n    two ^\n")
	f("a: |\n  one ^  \n    two\n")
	f("a: |2-\n    one\n  two ^\n")
	f("a: |\n\n\n  one ^\n")
	f("a: >\n  one\n  two\n\n  three ^\n")
	f("a: >+\n  one\n\n    more indented\n    lines ^\n")
	f("a: &anchor ^x")
	f("a: !!str 'x ^'")
	f("a: &x !!str |\n  one\n  ^\n")
	f("a: &x\n  one\n  ^x\n")
	f("a: &x\n\n  one ^x\n")
	f("a: \"tab\\\there ^\"")
	f("a: x ${HOST} ^ y")
	f("a: x $${HOST} ^ y")
	f("a: '${EMPTY:-''}${HOST}$ ^ y'")
	f("a: |\n  ${HOST}\n  ${BUFFER} ^\n")
	f("a: x\r\n  y ^\r\n")
	f("a: |\r\n  x\r\n  y ^\r\n")
	f("a: |\r  x\r  y ^\r")
	f("a: one\u2028  two ^")
}
