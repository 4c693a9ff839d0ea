package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/check"
	"github.com/pipectl/pipectl/engine/config"
)

// recipe is a pipeline of the cookbook, and behind it the guarantees that
// validate prints.
var recipe = regexp.MustCompile("(?s)\n```yaml\n(.*?)```\n(.*?)\n## ")

var (
	pipelineName = regexp.MustCompile(`(?m)^name: (\S+)$`)
	guarantees   = regexp.MustCompile("(?s)^\n`pipectl validate` says of it:\n\n```text\n(.*?)```\n\n\\*\\*Why so\\.\\*\\* .*\n\n\\*\\*Try it\\.\\*\\* ")
)

// TestCookbookPage demands that every pipeline of the cookbook is an example, byte
// for byte, with the guarantees that validate prints, why it is so, and how to try
// it; and that every example of the cookbook is there.
func TestCookbookPage(t *testing.T) {
	page := string(readFile(t, filepath.Join(repository, "docs", "cookbook.md")))
	shown := map[string]bool{}
	for _, section := range strings.Split(page, "\n## ")[1:] {
		m := recipe.FindStringSubmatch("\n" + section + "\n## ")
		if m == nil {
			t.Errorf("there is no pipeline in:\n%s", section)
			continue
		}
		name := pipelineName.FindStringSubmatch(m[1])
		if name == nil {
			t.Errorf("a pipeline has no name:\n%s", m[1])
			continue
		}
		file := filepath.Join(exampleDir, name[1]+".yaml")
		shown[name[1]+".yaml"] = true
		if m[1] != string(readFile(t, file)) {
			t.Errorf("the page does not have %s as it is", file)
		}
		p, found := config.Load(file, config.Options{Env: noEnvironment})
		if p == nil {
			t.Errorf("%s: %v", file, found)
			continue
		}
		var want strings.Builder
		for _, g := range check.Analyze(p).Guarantees {
			want.WriteString(g.String() + "\n")
		}
		if got := guarantees.FindStringSubmatch(m[2]); got == nil || got[1] != want.String() {
			t.Errorf("%s: behind the pipeline the page must have why, how to try it, and the guarantees:\n%s", name[1], want.String())
		}
	}
	for name := range examples {
		if strings.HasPrefix(name, "cookbook-") && !shown[name] {
			t.Errorf("the page does not have %s", name)
		}
	}
	if len(shown) < 10 {
		t.Errorf("only %d pipelines are on the page", len(shown))
	}
}
