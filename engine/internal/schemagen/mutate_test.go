package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestMutations makes random mistakes in good files. What the schema refuses
// pipectl must refuse too: an editor must not complain about what works.
func TestMutations(t *testing.T) {
	files := goodFiles(t)
	var paths []string
	for path := range files {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	rounds := 1000
	if os.Getenv("PIPECTL_TORTURE") != "" {
		rounds = 10_000
	}
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	bad, found := 0, 0
	for range rounds {
		path := paths[rnd.IntN(len(paths))]
		data, what := mutate(t, rnd, files[path])
		if meaningless.Match(data) {
			continue
		}
		parse, schema := byParse(data), bySchema(data)
		if parse == nil && schema != nil {
			t.Fatalf("seed %d: %s: %s: only the schema refuses it: %v\n%s", seed, path, what, schema, data)
		}
		if parse != nil {
			bad++
		}
		if schema != nil {
			found++
		}
	}
	t.Logf("the schema refuses %d of %d", found, bad)
	if found*10 < bad*7 {
		t.Errorf("seed %d: of %d files that pipectl refuses the schema refuses only %d", seed, bad, found)
	}
}

// meaningless finds what pipectl takes as if it were left out and the schema
// refuses.
var meaningless = regexp.MustCompile(`(?m)^version: 0$|\bthen: ['"]{2}`)

// values are what a mutation puts into the place of another.
var values = []string{
	"nonsense", "''", "5", "'5'", "0", "-1", "1.5", "1_000", "true", "'true'", "null", "[]", "[1, a]", "[true]", "{}", "{type: file}",
	"1s", "0s", "1KiB", "0KiB", "1/s", "0/s", "a, b", "2024-01-01", "'${ONE}'", "'${WORD}'", "block", "a -> b", "0x1F", "1e3", "x.y",
}

// mutate makes one change to a file and says which.
func mutate(t *testing.T, rnd *rand.Rand, data []byte) (changed []byte, what string) {
	t.Helper()
	doc, mappings, _ := parsed(t, data)
	_, others, all := parsed(t, data) // a copy, so that nothing comes to contain itself
	m := mappings[rnd.IntN(len(mappings))]
	at := 2 * rnd.IntN(len(m.Content)/2)
	key := m.Content[at]
	switch rnd.IntN(5) {
	case 0:
		what = "without " + key.Value
		m.Content = slices.Delete(m.Content, at, at+2)
	case 1:
		what = "misspelled " + key.Value
		misspelled := *key
		misspelled.Value = misspell(rnd, key.Value)
		m.Content[at] = &misspelled
	case 2:
		other := others[rnd.IntN(len(others))]
		from := 2 * rnd.IntN(len(other.Content)/2)
		what = fmt.Sprintf("%s copied beside %s", other.Content[from].Value, key.Value)
		if !slices.ContainsFunc(m.Content, func(n *yaml.Node) bool { return n.Value == other.Content[from].Value }) {
			m.Content = append(m.Content, other.Content[from:from+2]...)
		}
	case 3:
		what = "another value for " + key.Value
		m.Content[at+1] = all[rnd.IntN(len(all))]
	case 4:
		text := values[rnd.IntN(len(values))]
		what = key.Value + ": " + text
		var v yaml.Node
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		m.Content[at+1] = v.Content[0]
	}
	changed, err := yaml.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return changed, what
}

// parsed returns a file with the mappings and all keys and values in it.
func parsed(t *testing.T, data []byte) (doc *yaml.Node, mappings, all []*yaml.Node) {
	t.Helper()
	doc = new(yaml.Node)
	if err := yaml.Unmarshal(data, doc); err != nil {
		t.Fatal(err)
	}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		if n.Kind == yaml.MappingNode && len(n.Content) > 0 {
			mappings = append(mappings, n)
		}
		all = append(all, n.Content...)
		for _, c := range n.Content {
			walk(c)
		}
	}
	walk(doc)
	return doc, mappings, all
}

// misspell leaves out, doubles or changes a letter.
func misspell(rnd *rand.Rand, s string) string {
	i := rnd.IntN(len(s))
	switch rnd.IntN(3) {
	case 0:
		return s[:i] + s[i+1:]
	case 1:
		return s[:i] + s[i:i+1] + s[i:]
	}
	return s[:i] + "z" + s[i+1:]
}
