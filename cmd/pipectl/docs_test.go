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
	componentRow = regexp.MustCompile("(?m)^\\| \\[`([a-z_]+)`\\]\\(\\.\\./(source|stage|sink)s/[a-z_]+\\.go\\) \\|(.*)\\|$")
	inTicks      = regexp.MustCompile("`([a-z_]+)`")
)

// TestComponentsPage demands a row for every component with its four facts: what it
// is, what it promises, what it does under pressure, and what it was tested against.
// What stands in ticks must be one of its options, a common one, or another component.
// The rows of a kind are in the order of their names.
func TestComponentsPage(t *testing.T) {
	page := string(readFile(t, filepath.Join(repository, "docs", "components.md")))
	rows := map[string]bool{}
	last := ""
	for _, m := range componentRow.FindAllStringSubmatch(page, -1) {
		kind, name := pipe.Kind(m[2]), m[2]+" "+m[1]
		if rows[name] || strings.HasPrefix(last, m[2]) && last > name {
			t.Errorf("%s stands behind %s", name, last)
		}
		rows[name], last = true, name
		facts := strings.Split(m[3], "|")
		for _, fact := range facts {
			if len(facts) != 3 || strings.TrimSpace(fact) == "" {
				t.Errorf("%s has not its guarantee, what it does under pressure, and what it was tested against: %s", name, m[3])
				break
			}
		}
		known := append(pipe.Types(kind), "sample_rate", "kernel_drop", "else", "first", "all")
		if _, ok := config.Describe(kind, m[1]); !ok {
			t.Errorf("the page has a %s, which is not registered", name)
		}
		fields, _ := config.Describe(kind, m[1])
		for _, f := range append(fields, config.DescribeNode(kind)...) {
			known = append(known, f.Name)
		}
		for _, option := range inTicks.FindAllStringSubmatch(m[3], -1) {
			if !slices.Contains(known, option[1]) {
				t.Errorf("%s has no option %s", name, option[1])
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

var (
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fenced = regexp.MustCompile("(?ms)^```.*?^```$") // has no links
)

// TestDocsLinksLeadSomewhere follows every link to a file of the repository, and
// every anchor within a page.
func TestDocsLinksLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(string(readFile(t, page)), ""), -1) {
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
