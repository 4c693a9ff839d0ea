package expr_test

import (
	"os"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/record"
)

// TestDocs runs the examples of the manual: the blocks marked expr over the
// event of the block marked json, and those marked template.
func TestDocs(t *testing.T) {
	manual, err := os.ReadFile("../../docs/expressions.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string]string{}
	for _, part := range strings.Split(string(manual), "\n```")[1:] {
		kind, body, _ := strings.Cut(part, "\n")
		blocks[kind] += body + "\n"
	}
	e := event(t, blocks["json"])
	ran := 0
	run := func(kind string, eval func(source string) string) {
		for line := range strings.Lines(blocks[kind]) {
			if strings.TrimSpace(line) == "" {
				continue
			}
			source, want, ok := strings.Cut(line, "→")
			source, want = strings.TrimSpace(source), strings.TrimSpace(want)
			got := eval(source)
			if part, isError := strings.CutPrefix(want, "error: "); isError {
				ok = ok && strings.HasPrefix(got, "error: ") && strings.HasSuffix(got, part)
			} else {
				ok = ok && got == want
			}
			if !ok {
				t.Errorf("%s: got %s, want %s", source, got, want)
			}
			ran++
		}
	}
	run("expr", func(source string) string { return json(value(t, source).Eval(e, new(record.Arena))) })
	run("template", func(source string) string {
		return json(template(t, source).Eval(expr.NewGenEnv(1), new(record.Arena)))
	})
	if ran < 60 {
		t.Errorf("only %d examples were found", ran)
	}
}
