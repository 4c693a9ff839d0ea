package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/check"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/manual"
	"github.com/pipectl/pipectl/engine/pipe"
)

// TestComponentsAreExplained demands of every component a synopsis, a text for
// each of its keys, and an example that is valid without a warning.
func TestComponentsAreExplained(t *testing.T) {
	for _, kind := range manual.Kinds() {
		list := manual.Components(kind)
		if want := len(real(pipe.Types(kind))); len(list) != want {
			t.Errorf("%d of %d %ss are in the schema: run make generate", len(list), want, kind)
		}
		for _, e := range list {
			if e.Synopsis == "" || len(e.Synopsis) > 200 {
				t.Errorf("%s %s: the first sentence is %q", e.Kind, e.Type, e.Synopsis)
			}
			allDocumented(t, e.Kind+" "+e.Type, e.Fields)
			checkExample(t, e)
		}
		allDocumented(t, string(kind), manual.Common(kind).Fields)
	}
	allDocumented(t, "edge", manual.Edge().Fields)
	allDocumented(t, "pipeline", manual.Pipeline().Fields)
}

// real leaves out the types that tests register.
func real(types []string) (list []string) {
	for _, typ := range types {
		if !strings.HasPrefix(typ, "test_") {
			list = append(list, typ)
		}
	}
	return list
}

func allDocumented(t *testing.T, where string, fields []manual.Field) {
	for _, f := range fields {
		if f.Text == "" {
			t.Errorf("%s: %s has no text", where, f.Name)
		}
		allDocumented(t, where+": "+f.Name, f.Fields)
	}
}

// checkExample makes a pipeline of an example. Its outputs are those of the node
// that cannot stay unconnected.
func checkExample(t *testing.T, e manual.Entry) {
	t.Helper()
	if !strings.HasPrefix(e.Example, "type: "+e.Type+"\n") {
		t.Errorf("%s %s: the example is %q", e.Kind, e.Type, e.Example)
		return
	}
	text := map[string]string{"source": "{type: stdin}", "stage": "", "sink": "{type: discard}"}
	text[e.Kind] = "\n    " + strings.ReplaceAll(strings.TrimSpace(e.Example), "\n", "\n    ")
	file := "version: 1\nsources:\n  a: " + text["source"] + "\nsinks:\n  z: " + text["sink"] + "\n"
	edges := "  - {from: a, to: z, policy: drop-newest}\n" // there are sources that cannot wait
	if e.Kind == "stage" {
		file += "stages:\n  x: " + text["stage"] + "\n"
		edges = "  - a -> x\n"
		for _, port := range ports(e) {
			edges += "  - x" + port + " -> z\n"
		}
	}
	file += "edges:\n" + edges
	p, found := config.Parse([]byte(file), config.Options{File: e.Type, Env: someEnvironment})
	if p != nil {
		found = append(found, check.Analyze(p).Findings...)
	}
	if len(found) > 0 {
		t.Errorf("%s %s: the example is not clean:\n%s%v", e.Kind, e.Type, file, found)
	}
}

// someEnvironment has every variable: examples take their secrets from there.
func someEnvironment(string) (string, bool) { return "secret", true }

// ports are the outputs of an example, with their dots.
func ports(e manual.Entry) []string {
	if e.Type == "route" {
		return []string{".errors", ".slow"}
	}
	return []string{""}
}

// TestTemplates checks every pipeline of init: valid without a warning, in the
// layout of fmt, and with the line that editors look for.
func TestTemplates(t *testing.T) {
	for _, name := range templateNames() {
		data := template(name)
		p, found := config.Parse(data, config.Options{File: name, Env: noEnvironment})
		if p != nil {
			found = append(found, check.Analyze(p).Findings...)
		}
		if len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
		if out, _ := config.Format(data, name); string(out) != string(data) {
			t.Errorf("%s is not formatted:\n%s", name, out)
		}
		if !strings.HasPrefix(string(data), "# yaml-language-server: $schema="+schemaFile+"\n# ") {
			t.Errorf("%s does not begin with the line for editors and a description", name)
		}
	}
}

func TestExamplesAreFormatted(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(exampleDir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, file := range files {
		data := readFile(t, file)
		if out, found := config.Format(data, file); string(out) != string(data) {
			t.Errorf("%s is not formatted: run pipectl fmt examples/pipelines %v", file, found)
		}
	}
}
