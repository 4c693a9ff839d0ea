package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFormat(t *testing.T) {
	f := func(name, in, want string) {
		t.Helper()
		out, ds := Format([]byte(in), "p.yaml")
		if len(ds) > 0 {
			t.Errorf("%s: %v", name, ds)
		}
		if string(out) != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, out, want)
		}
	}
	f("keys of the top level", `# The head of the file.

edges:
- a -> b
# what reads

sources:
    a:    # the first
        rate: 5/s
        type: generate
name: x # the name
version: 1
sinks: {b: {codec: lines, type: stdout}}
`, `# The head of the file.

version: 1
name: x # the name
# what reads

sources:
  a:    # the first
    type: generate
    rate: 5/s

sinks: {b: {type: stdout, codec: lines}}

edges:
  - a -> b
`)
	f("edges", `version: 1
edges:
    - to: b
      # how full
      buffer:
          bytes: 1MiB
          events: 5


      from: a   
    # the second
    - {policy: {min_rate: 0.1, type: sample}, to: "x, {y}", from: 'it''s', unknown: [1, {a: 2}]}
    -   policy: block
        from: q
        to: r
`, `version: 1
edges:
  - from: a
    to: b
    # how full
    buffer:
      events: 5
      bytes: 1MiB
  # the second
  - {from: 'it''s', to: "x, {y}", policy: {type: sample, min_rate: 0.1}, unknown: [1, {a: 2}]}
  - from: q
    to: r
    policy: block
`)
	f("a comment inside an item comes before it", `edges:
  - to: b
    # from where
    from: a
`, `edges:
  # from where
  - from: a
    to: b
`)
	f("texts over several lines keep their lines", `stages:
   s:
     where: |
        a == 1  

          || b == 2
        # no comment
     # a comment
     type: filter
description: >-
  one

  two
`, `description: >-
  one

  two
stages:
  s:
    # a comment
    type: filter
    where: |
       a == 1  

         || b == 2
       # no comment
`)
	f("an anchor stays before its alias", `sinks:
  b: &out {type: stdout}
sources:
  a: *out
`, `sinks:
  b: &out {type: stdout}
sources:
  a: *out
`)
	f("names of nodes keep their order", "sources:\n  z: {type: stdin}\n  a: {type: stdin}\n", "sources:\n  z: {type: stdin}\n  a: {type: stdin}\n")
	f("a merge key comes first", "sinks:\n  b:\n    type: file\n    <<: {mode: append}\n", "sinks:\n  b:\n    <<: {mode: append}\n    type: file\n")
	f("end of line and of file", "version: 1  \r\nname: x\n\n\n", "version: 1\nname: x\n")
}

func TestFormatRefuses(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		out, ds := Format([]byte(in), "p.yaml")
		if out != nil || len(ds) == 0 || !strings.Contains(ds[0].Message, want) {
			t.Errorf("%q: %q, %v", in, out, ds)
		}
	}
	f("a: [", "YAML")
	f("", "empty")
	f("- a", "expected a mapping")
	f("{version: 1}", "cannot be changed safely")
	f("? [a, b]\n: c\n", "")
}

// TestFormatKeepsWhatItMeans formats every pipeline of the tests and of the
// examples: what is valid stays so, and the second time changes nothing.
func TestFormatKeepsWhatItMeans(t *testing.T) {
	seen := 0
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml", "../../examples/pipelines/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out, ds := Format(data, file)
			if out == nil {
				if strings.Contains(pattern, "bad") || ds.HasErrors() && ds[0].Code == "format" && strings.Contains(file, "testdata") {
					continue
				}
				t.Errorf("%s: %v", file, ds)
				continue
			}
			seen++
			checkFormatted(t, data, out)
		}
	}
	if seen < 100 {
		t.Errorf("only %d files were formatted", seen)
	}
}

func checkFormatted(t *testing.T, data, out []byte) {
	t.Helper()
	if again, ds := Format(out, "again"); !bytes.Equal(again, out) {
		t.Errorf("%v: not stable:\n%s\nbecomes\n%s", ds, out, again)
	}
	o := Options{Env: testEnv, ReadFile: testRead}
	before, _ := Parse(data, o)
	after, _ := Parse(out, o)
	if (before == nil) != (after == nil) {
		t.Errorf("a file became valid or invalid:\n%s\n%s", data, out)
	}
}

func FuzzFormat(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			if data, err := os.ReadFile(file); err == nil && len(data) < 4096 {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<14 {
			return
		}
		if out, _ := Format(data, "f.yaml"); out != nil {
			checkFormatted(t, data, out)
		}
	})
}
