package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse checks that no file makes Parse panic, that every diagnostic is in
// the file, and that what Parse accepts passes Check.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data, "edges[0].buffer=5")
		}
	}
	f.Add([]byte("edges: [a->b]"), "edges.a->b.policy.type=block")
	f.Fuzz(func(t *testing.T, data []byte, set string) {
		if len(data) > 1<<16 {
			return
		}
		o := Options{File: "f.yaml", Env: testEnv, ReadFile: testRead}
		p, ds := Parse(data, o)
		inside(t, ds, data)
		for _, d := range ds {
			if d.Message == "" || strings.ContainsAny(d.Text()[:len(d.Text())-1], "\x00\x1b") {
				t.Errorf("%q is no message", d.Text())
			}
		}
		if (p == nil) != ds.HasErrors() {
			t.Errorf("pipeline %v with diagnostics %v", p, ds)
		}
		if p != nil {
			if again := p.Check(); len(again) > 0 {
				t.Errorf("Check after Parse: %v", again)
			}
		}
		o.Set = []string{set, "name=x"}
		_, ds = Parse(data, o)
		inside(t, ds, data)
	})
}
