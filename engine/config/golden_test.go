package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files of testdata/bad")

// testEnv is the environment of the test files.
func testEnv(name string) (string, bool) {
	v, ok := map[string]string{
		"BUFFER": "64", "HOST": "db.example", "EMPTY": "", "DB_PASSWORD": "hunter2-secret", "POLICY": "drop-oldst",
		"NAN": "nan", "SIZE_TOKEN": "not-a-size", "YES": "true",
	}[name]
	return v, ok
}

func testRead(path string) ([]byte, error) {
	if path == "/run/secrets/token" {
		return []byte("s3cr3t-from-file\n"), nil
	}
	return nil, &os.PathError{Op: "open", Path: path, Err: os.ErrNotExist}
}

// loadCase parses a file of testdata. Lines "#--set path=value" at its top are
// --set options.
func loadCase(t testing.TB, path string) (*Pipeline, Diagnostics, []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{File: filepath.Base(path), Env: testEnv, ReadFile: testRead}
	for line := range strings.Lines(string(data)) {
		if set, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "#--set "); ok {
			o.Set = append(o.Set, set)
		}
	}
	p, ds := Parse(data, o)
	return p, ds, data
}

func TestBadFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	if len(files) < 60 {
		t.Fatalf("only %d bad files", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			p, ds, data := loadCase(t, file)
			if p != nil || !ds.HasErrors() {
				t.Fatal("the file was accepted")
			}
			inside(t, ds, data)
			plainWords(t, ds)
			var got strings.Builder
			if err := ds.WriteText(&got); err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
			}
		})
	}
}

// inside checks that every position is in the file and shows its line.
func inside(t testing.TB, ds Diagnostics, data []byte) {
	t.Helper()
	text := splitText([]byte(strings.TrimPrefix(string(data), bom)))
	for _, d := range ds {
		if d.Line == 0 && d.Col == 0 {
			continue
		}
		if d.Line < 1 || d.Line > len(text.lines) || d.Col < 1 || d.Col > len([]rune(text.line(d.Line)))+1 {
			t.Errorf("%v: not in the file", d)
		}
		if d.Source != shown(text.line(d.Line)) {
			t.Errorf("%v: shows %q, not its line", d, d.Source)
		}
	}
}

// plainWords checks that messages do not speak of Go.
func plainWords(t *testing.T, ds Diagnostics) {
	t.Helper()
	for _, d := range ds {
		for _, word := range []string{"struct", "Unmarshal", "reflect", "<nil>", "%!", "BUG", "yaml:"} {
			if strings.Contains(d.Message+d.Hint, word) {
				t.Errorf("%v: speaks of %q", d, word)
			}
		}
	}
}

func TestGoodFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/good/*.yaml")
	if len(files) < 8 {
		t.Fatalf("only %d good files", len(files))
	}
	for _, file := range files {
		p, ds, _ := loadCase(t, file)
		if len(ds) > 0 {
			t.Errorf("%s: %v", file, ds)
			continue
		}
		if ds := p.Check(); len(ds) > 0 {
			t.Errorf("%s: Check after Parse: %v", file, ds)
		}
	}
}
