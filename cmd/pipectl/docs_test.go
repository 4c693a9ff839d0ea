package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/check"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/spf13/cobra"
)

const repository = "../.."

// pages are the README, the changelog and everything in docs.
func pages(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob(filepath.Join(repository, "docs", "*.md"))
	if err != nil || len(docs) == 0 {
		t.Fatalf("no pages in docs: %v", err)
	}
	return append(docs, filepath.Join(repository, "README.md"), filepath.Join(repository, "CHANGELOG.md"))
}

var yamlFence = regexp.MustCompile("(?ms)^```yaml\n(version:.*?)^```$")

// TestDocsPipelinesAreValid validates every complete pipeline of the pages:
// what stands between ```yaml and ``` and begins with version:. It must not even
// have a warning.
func TestDocsPipelinesAreValid(t *testing.T) {
	seen := 0
	for _, page := range pages(t) {
		for _, m := range yamlFence.FindAllStringSubmatch(string(readFile(t, page)), -1) {
			seen++
			p, found := config.Parse([]byte(m[1]), config.Options{File: filepath.Base(page), Env: noEnvironment})
			if p != nil {
				found = append(found, check.Analyze(p).Findings...)
			}
			var text strings.Builder
			if found.WriteText(&text); len(found) > 0 {
				t.Errorf("%s: a pipeline is not clean:\n%s\nin:\n%s", page, text.String(), m[1])
			}
		}
	}
	if seen < 4 {
		t.Errorf("only %d pipelines found: is the pattern still right?", seen)
	}
}

func noEnvironment(string) (string, bool) { return "", false }

// TestReadmePipelineRuns runs the pipeline that the README tells its reader to
// save, and compares what validate says with what the README shows.
func TestReadmePipelineRuns(t *testing.T) {
	readme := string(readFile(t, filepath.Join(repository, "README.md")))
	first := yamlFence.FindStringSubmatch(readme)
	if first == nil {
		t.Fatal("the README has no pipeline")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "first.yaml")
	if err := os.WriteFile(file, []byte(first[1]), 0o644); err != nil {
		t.Fatal(err)
	}
	r := &rig{file: file, out: dir, env: os.Environ(), receipt: filepath.Join(dir, "receipt.json"), args: []string{"--set", "sources.clicks.rate=10000/s"}}
	r.run(example{check: func(t *testing.T, result ran) {
		lines := int64(strings.Count(result.stdout, "\n"))
		must(t, result.Balance.Read == 2000 && lines == result.Balance.Delivered && lines > 50, "about a tenth of 2000 clicks", lines, result.Balance)
	}})(t)

	p, _ := config.Load(file, config.Options{})
	if p == nil {
		t.Fatal("the README's pipeline is not valid")
	}
	var report strings.Builder
	if err := check.Analyze(p).WriteText(&report); err != nil {
		t.Fatal(err)
	}
	shown := "first.yaml: OK\n"
	for line := range strings.Lines(report.String()) {
		shown += "  " + line
	}
	if !strings.Contains(readme, shown) {
		t.Errorf("the README does not show what validate says:\n%s", shown)
	}
}

var (
	componentRow = regexp.MustCompile("(?m)^\\| \\[`([a-z_]+)`\\]\\(\\.\\./(source|stage|sink)s/.*\\|([^|]*)\\|$")
	inTicks      = regexp.MustCompile("`([a-z_]+)`")
)

// TestComponentsPage demands a row for every component, with no option that it
// does not have.
func TestComponentsPage(t *testing.T) {
	page := string(readFile(t, filepath.Join(repository, "docs", "components.md")))
	rows := map[string]bool{}
	for _, m := range componentRow.FindAllStringSubmatch(page, -1) {
		kind, typ, options := pipe.Kind(m[2]), m[1], m[3]
		rows[m[2]+" "+typ] = true
		fields, ok := config.Describe(kind, typ)
		if !ok {
			t.Errorf("the page has a %s %s, which is not registered", kind, typ)
		}
		for _, option := range inTicks.FindAllStringSubmatch(options, -1) {
			has := func(f config.Field) bool { return f.Name == option[1] }
			if !slices.ContainsFunc(fields, has) {
				t.Errorf("%s %s has no option %s", kind, typ, option[1])
			}
		}
	}
	for _, kind := range []pipe.Kind{pipe.KindSource, pipe.KindStage, pipe.KindSink} {
		for _, typ := range pipe.Types(kind) {
			if name := string(kind) + " " + typ; !rows[name] && !strings.HasPrefix(typ, "test_") {
				t.Errorf("the page has no row for %s", name)
			}
		}
	}
}

// TestPoliciesPage demands a line for every reason to drop an event, and an
// example for every policy.
func TestPoliciesPage(t *testing.T) {
	page := string(readFile(t, filepath.Join(repository, "docs", "policies.md")))
	for reason := range edge.Reasons {
		if !strings.Contains(page, "\n| `"+reason.String()+"` |") {
			t.Errorf("the page does not explain the reason %s", reason)
		}
	}
	for name := range examples {
		if strings.HasPrefix(name, "policy-") && !strings.Contains(page, "examples/pipelines/"+name+")") {
			t.Errorf("the page does not lead to %s", name)
		}
	}
}

// TestCommandsPage demands a heading for every command.
func TestCommandsPage(t *testing.T) {
	page := string(readFile(t, filepath.Join(repository, "docs", "commands.md")))
	var demand func(c *cobra.Command)
	demand = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			demand(sub)
		}
		name := strings.TrimPrefix(c.CommandPath(), "pipectl ")
		if c.HasParent() && !c.HasSubCommands() && !strings.Contains(page, "\n### "+name+"\n") && c.Parent().Name() != "export" {
			t.Errorf("the page has no heading for %s", name)
		}
	}
	demand(newRootCommand(streams{}))
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestDocsLinksLeadSomewhere follows every link to a file of the repository, and
// every anchor within a page.
func TestDocsLinksLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(string(readFile(t, page)), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(m[1], "://") {
				continue
			}
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: the link %s leads nowhere", page, m[1])
			} else if anchor != "" && !hasHeading(string(readFile(t, file)), anchor) {
				t.Errorf("%s: the link %s names no heading", page, m[1])
			}
		}
	}
}

var notInAnchors = regexp.MustCompile(`[^a-z0-9 _-]`)

// hasHeading reports whether a page has a heading with that anchor.
func hasHeading(page, anchor string) bool {
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "#") {
			continue
		}
		words := notInAnchors.ReplaceAllString(strings.ToLower(strings.Trim(line, "# \n")), "")
		if strings.ReplaceAll(words, " ", "-") == anchor {
			return true
		}
	}
	return false
}
