package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	published "github.com/pipectl/pipectl/schema"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

const moduleRoot = "../../.."

func TestCommittedSchemaIsFresh(t *testing.T) {
	want, err := generate(moduleRoot)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(published.Pipeline, want) {
		t.Error("schema/pipeline.schema.json is stale: run make generate")
	}
	if again, _ := generate(moduleRoot); !bytes.Equal(again, want) {
		t.Error("two runs differ")
	}
}

func compiler(t testing.TB) *jsonschema.Compiler {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(published.Pipeline))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("pipeline.json", doc); err != nil {
		t.Fatal(err)
	}
	return c
}

var compiled = sync.OnceValue(func() *jsonschema.Schema {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(published.Pipeline))
	c := jsonschema.NewCompiler()
	if err == nil {
		err = c.AddResource("pipeline.json", doc)
	}
	if err != nil {
		panic(err)
	}
	return c.MustCompile("pipeline.json")
})

// bySchema is what the schema says about a file.
func bySchema(data []byte) error {
	var v any
	if err := yaml.Unmarshal(data, &v); err != nil {
		return err
	}
	return compiled().Validate(asJSON(v))
}

// asJSON makes of YAML values what JSON has.
func asJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = asJSON(v[k])
		}
	case map[any]any:
		m := map[string]any{}
		for k, x := range v {
			m[fmt.Sprint(k)] = asJSON(x)
		}
		return m
	case []any:
		for i := range v {
			v[i] = asJSON(v[i])
		}
	case time.Time:
		return v.Format(time.DateOnly)
	}
	return v
}

// environment is what expansions in the test files find.
func environment(name string) (string, bool) {
	v, ok := map[string]string{
		"ONE": "1", "WORD": "word", "TYPE": "generate", "YES": "true", "START": "beginning", "NONE": "none",
		"POLICY": "drop-oldest", "SAMPLE": "sample", "FILES": "files",
	}[name]
	return v, ok
}

// byParse is what pipectl says about a file.
func byParse(data []byte) error {
	_, ds := config.Parse(data, config.Options{Env: environment})
	return ds.Err()
}

// goodFiles returns the files that pipectl accepts: the examples, those of this
// package, and those of engine/config that have no components of their own.
func goodFiles(t testing.TB) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for pattern, least := range map[string]int{
		"examples/pipelines/*.yaml":                      11,
		"engine/internal/schemagen/testdata/good/*.yaml": 3,
		"engine/config/testdata/good/design.yaml":        1,
	} {
		paths, _ := filepath.Glob(filepath.Join(moduleRoot, pattern))
		if len(paths) < least {
			t.Fatalf("%s: found %d files, want at least %d", pattern, len(paths), least)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files[path] = data
		}
	}
	return files
}

func TestGoodFiles(t *testing.T) {
	for path, data := range goodFiles(t) {
		if err := byParse(data); err != nil {
			t.Errorf("%s: pipectl refuses it: %v", path, err)
		}
		if err := bySchema(data); err != nil {
			t.Errorf("%s: the schema refuses it: %v", path, err)
		}
	}
}

// TestDefaultsAreValid looks at every default and every $ref of the schema.
func TestDefaultsAreValid(t *testing.T) {
	c := compiler(t)
	defaults := 0
	var walk func(v any, path string)
	walk = func(v any, path string) {
		switch v := v.(type) {
		case []any:
			for i, x := range v {
				walk(x, fmt.Sprintf("%s/%d", path, i))
			}
		case map[string]any:
			for key, x := range v {
				walk(x, path+"/"+key)
			}
			value, ok := v["default"]
			if _, isSchema := v["description"]; !ok || !isSchema || strings.HasSuffix(path, "/properties") {
				return
			}
			defaults++
			s, err := c.Compile("pipeline.json#" + path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
			} else if err := s.Validate(value); err != nil {
				t.Errorf("%s: the default %v: %v", path, value, err)
			}
		}
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(published.Pipeline))
	if err != nil {
		t.Fatal(err)
	}
	walk(doc, "")
	if defaults < 50 {
		t.Errorf("found only %d defaults", defaults)
	}
}

// TestEveryKeyIsDescribed keeps comments in the language of the file.
func TestEveryKeyIsDescribed(t *testing.T) {
	var doc struct {
		Properties map[string]json.RawMessage
		Defs       map[string]struct {
			Description string
			Properties  map[string]struct {
				Ref         string `json:"$ref"`
				Const       any
				Description string
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(published.Pipeline, &doc); err != nil {
		t.Fatal(err)
	}
	for name, def := range doc.Defs {
		kind, _, _ := strings.Cut(name, "_")
		component := slices.Contains([]string{"source", "stage", "sink"}, kind) && name != kind
		if component && !strings.HasSuffix(name, "_options") && !strings.Contains(def.Description, " ") {
			t.Errorf("%s is not described", name)
		}
		for key, p := range def.Properties {
			if p.Description == "" && p.Const == nil && !strings.Contains(p.Ref, "_options/") {
				t.Errorf("%s: %s is not described", name, key)
			}
		}
	}
	got := doc.Defs["sink_options"].Properties["retry"].Description
	if want := "retry says how often a write that may succeed later is tried again. Of stages, only those that call out have it."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var keys []string
	for key := range doc.Properties {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	if got, want := strings.Join(keys, " "), "admin defaults description edges limits name shutdown sinks sources stages tracing version"; got != want {
		t.Errorf("got the sections %s, want %s", got, want)
	}
}

func TestCommentsInYAML(t *testing.T) {
	keys := map[string]string{"BaseRate": "base_rate", "MinRate": "min_rate", "Then": "then", "Threshold": "threshold", "URL": "url"}
	f := func(goName, text, want string) {
		t.Helper()
		if got := inYAML(text, goName, keys); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	f("MinRate", "MinRate is at most BaseRate.", "min_rate is at most base_rate.")
	f("Timeout", "is how long it waits before Then. Then is over.", "is how long it waits before then. Then is over.")
	f("URL", "URL is where. The URL has a host.", "url is where. The URL has a host.")
	f("BaseRate", "BaseRate is kept below Threshold,\nabove 0. MinRate too.", "base_rate is kept below threshold,\nabove 0. min_rate too.")
	f("Then", "Then, if at all, comes late.", "then, if at all, comes late.")
	f("Then", "", "")
}
