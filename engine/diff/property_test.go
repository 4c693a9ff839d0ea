package diff_test

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
)

const exampleDir = "../../examples/pipelines"

// examples loads every example, by name.
func examples(t *testing.T) []*config.Pipeline {
	t.Helper()
	files, _ := filepath.Glob(exampleDir + "/*.yaml")
	if len(files) < 20 {
		t.Fatalf("only %d examples", len(files))
	}
	var all []*config.Pipeline
	for _, file := range files {
		p, ds := config.Load(file, config.Options{})
		if ds.HasErrors() {
			t.Fatal(ds.Err())
		}
		all = append(all, p)
	}
	return all
}

func TestNoChange(t *testing.T) {
	for _, p := range examples(t) {
		if got := diff.Plan(p, p); len(got) > 0 {
			t.Errorf("%s and itself: %s", p.Name, brief(got))
		}
		again, _ := config.Load(p.File, config.Options{})
		if got := diff.Plan(p, again); len(got) > 0 {
			t.Errorf("%s read twice: %s", p.Name, brief(got))
		}
	}
}

// TestRenderedIsTheSame checks that what Render writes is the same pipeline.
func TestRenderedIsTheSame(t *testing.T) {
	compared := 0
	for _, p := range examples(t) {
		data, err := p.Render()
		if err != nil {
			t.Fatalf("%s: %v", p.Name, err)
		}
		if strings.Contains(string(data), "***") {
			continue
		}
		compared++
		again, ds := config.Parse(data, config.Options{File: "other.yaml"})
		if ds.HasErrors() {
			t.Errorf("%s: %v in:\n%s", p.Name, ds.Err(), data)
			continue
		}
		if got := diff.Plan(p, again); len(got) > 0 {
			t.Errorf("%s: %s in:\n%s", p.Name, brief(got), data)
		}
	}
	if compared < 15 {
		t.Errorf("only %d examples were compared", compared)
	}
}

// reverse is what a change is when it is taken back.
func reverse(c diff.Change) diff.Change {
	switch c.Action {
	case diff.Added:
		c.Action = diff.Removed
	case diff.Removed:
		c.Action = diff.Added
	}
	fields := make([]diff.Field, len(c.Fields))
	for i, f := range c.Fields {
		fields[i] = diff.Field{Path: f.Path, Before: f.After, After: f.Before}
	}
	c.Fields = fields
	return c
}

// key is what a change is about, without what depends on the direction: the
// order of fields, the kind that a name would have, and the sentence about it.
type key struct {
	part, name string
	action     diff.Action
	class      diff.Class
}

func index(changes []diff.Change) map[key]map[diff.Field]bool {
	m := map[key]map[diff.Field]bool{}
	for _, c := range changes {
		k := key{c.Part, c.Name, c.Action, c.Class}
		for _, f := range c.Fields {
			if c.Part == diff.PartPipeline {
				k.name = f.Path
			}
			if f.Path == "kind" {
				k.part = "node"
			}
		}
		if m[k] != nil {
			panic("two changes about one thing")
		}
		m[k] = map[diff.Field]bool{}
		for _, f := range c.Fields {
			m[k][f] = true
		}
	}
	return m
}

// TestBothWays checks over all pairs of examples that the way back is the same
// changes the other way round.
func TestBothWays(t *testing.T) {
	all := examples(t)
	changes := 0
	for i, a := range all {
		for _, b := range all[i+1:] {
			there := diff.Plan(a, b)
			var back []diff.Change
			for _, c := range diff.Plan(b, a) {
				back = append(back, reverse(c))
			}
			if got, want := index(back), index(there); !reflect.DeepEqual(got, want) {
				t.Errorf("%s and %s:\n%v\n%v", a.Name, b.Name, want, got)
			}
			changes += len(there)
		}
	}
	if changes < 1000 {
		t.Errorf("only %d changes were compared", changes)
	}
}
