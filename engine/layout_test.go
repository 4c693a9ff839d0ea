package engine_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/pipectl/pipectl/"

// allowed lists what each package may import of this module, by prefix, and
// which outside libraries belong to it alone.
var allowed = map[string][]string{
	"engine/record":             {},
	"engine/pipe":               {"engine/record"},
	"engine/near":               {},
	"engine/codec":              {"engine/pipe", "engine/record"},
	"engine/expr":               {"engine/pipe", "engine/record", "engine/near"},
	"engine/edge":               {"engine/pipe"},
	"engine/guard":              {"engine/pipe"},
	"engine/config":             {"engine/pipe", "engine/expr", "engine/record", "engine/near"},
	"engine/check":              {"engine/config", "engine/pipe"},
	"engine/pipetest":           {"engine/pipe", "engine/record", "engine/codec"},
	"engine/diff":               {"engine/config", "engine/check", "engine/pipe"},
	"engine/explain":            {"engine", "engine/edge", "engine/pipe"},
	"engine/control":            {"engine/near", "engine", "engine/config", "engine/check", "engine/diff", "engine/expr", "engine/pipe"},
	"engine/dlq":                {"engine/pipe", "engine/record", "engine/codec", "engine/expr"},
	"engine/manual":             {"engine/config", "engine/near", "engine/pipe", "schema"},
	"engine/metrics":            {"engine", "engine/edge", "engine/pipe"},
	"engine/export":             {"engine/config", "engine/pipe"},
	"engine/admin":              {"engine/near", "engine", "engine/admin", "engine/config", "engine/control", "engine/diff", "engine/explain", "engine/expr", "engine/metrics", "engine/pipe"},
	"engine/trace":              {"engine/config", "engine/pipe"},
	"engine":                    {"engine/config", "engine/check", "engine/diff", "engine/dlq", "engine/guard", "engine/edge", "engine/expr", "engine/pipe", "engine/record"},
	"engine/subprocess":         {"engine/pipe"},
	"engine/syslog":             {"engine/pipe", "engine/record"},
	"engine/web":                {"engine/pipe"},
	"sources":                   {"engine/pipe", "engine/record", "engine/codec", "engine/expr", "engine/subprocess", "engine/syslog", "engine/web"},
	"stages":                    {"engine/pipe", "engine/record", "engine/codec", "engine/expr", "engine/subprocess", "engine/syslog"},
	"sinks":                     {"engine/pipe", "engine/record", "engine/codec", "engine/expr", "engine/subprocess", "engine/syslog", "engine/web"},
	"cmd":                       {""},
	"engine/bench":              {""},
	"engine/internal":           {"engine/internal"},
	"engine/internal/refgen":    {""},
	"engine/internal/schemagen": {""},
}

// alone are libraries that only these packages may see.
var alone = map[string][]string{
	"gopkg.in/yaml.v3":                    {"engine/config"},
	"github.com/expr-lang/expr":           {"engine/expr"},
	"github.com/prometheus/client_golang": {"engine/metrics", "sinks"},
	"go.opentelemetry.io/otel":            {"engine/trace"},
}

func TestImportsPointOneWay(t *testing.T) {
	root := ".."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		pkg, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		checkImports(t, path, filepath.ToSlash(pkg))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkImports(t *testing.T, path, pkg string) {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range f.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		for lib, owners := range alone {
			if strings.HasPrefix(name, lib) && !slices.Contains(owners, pkg) {
				t.Errorf("%s imports %s, which only %s may see", path, lib, strings.Join(owners, " and "))
			}
		}
		if inside, ok := strings.CutPrefix(name, module); ok && !mayImport(pkg, inside) {
			t.Errorf("%s: package %s must not import %s", path, pkg, inside)
		}
	}
}

func mayImport(pkg, inside string) bool {
	for at := pkg; ; at = filepath.ToSlash(filepath.Dir(at)) {
		if list, ok := allowed[at]; ok {
			return slices.ContainsFunc(list, func(p string) bool { return p == "" || inside == p || strings.HasPrefix(inside, p+"/") })
		}
		if at == "." || at == "/" {
			return false
		}
	}
}
