package page_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/admin/page"
)

func get(h http.Handler, path string, header ...string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var link = regexp.MustCompile(`(?:src|href)="([^"]+)"`)

func TestHandler(t *testing.T) {
	h := page.Handler()
	index := get(h, "/")
	text := body(t, index)
	if index.StatusCode != 200 || index.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("/: got %s, %s", index.Status, index.Header.Get("Content-Type"))
	}
	if got, want := index.Header.Get("Cache-Control"), "no-cache"; got != want {
		t.Errorf("/: Cache-Control is %q, want %q", got, want)
	}
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:", "frame-ancestors 'none'"} {
		if csp := index.Header.Get("Content-Security-Policy"); !strings.Contains(csp, want) {
			t.Errorf("/: policy %q lacks %q", csp, want)
		}
	}
	links := link.FindAllStringSubmatch(text, -1)
	if len(links) < 5 {
		t.Fatalf("/ has %d links, want its styles and its script", len(links))
	}
	for _, l := range links {
		if strings.HasPrefix(l[1], "/") || strings.Contains(l[1], "//") {
			t.Errorf("link %q is not relative", l[1])
		}
		r := get(h, "/"+l[1])
		if r.StatusCode != 200 {
			t.Errorf("%s: got %s", l[1], r.Status)
		}
		if got := r.Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
			t.Errorf("%s: Cache-Control is %q", l[1], got)
		}
		again := get(h, "/"+l[1], "If-None-Match", r.Header.Get("ETag"))
		if again.StatusCode != http.StatusNotModified {
			t.Errorf("%s with its ETag: got %s, want 304", l[1], again.Status)
		}
	}
}

func TestHandlerRefuses(t *testing.T) {
	h := page.Handler()
	f := func(method, path string, want int) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != want {
			t.Errorf("%s %s: got %d, want %d", method, path, w.Code, want)
		}
	}
	f("GET", "/nothing", 404)
	f("GET", "/assets/", 404)
	f("GET", "/assets/js/main.js", 404) // without the hash
	f("GET", "/assets/../page.go", 404)
	f("POST", "/", 405)
	f("DELETE", "/", 405)
	f("HEAD", "/", 200)
}

// imported finds what a script imports: in ours a line each, in those of others
// somewhere in one long line.
var imported = map[string]*regexp.Regexp{
	".js":  regexp.MustCompile(`(?m)^(?:import|export) (?:.* from )?'([^']+)'$`),
	".mjs": regexp.MustCompile(`(?:\bfrom|\bimport)\s*"([^"]+)"`),
}

// A page without inline scripts has no import map: every import names its file.
func TestScriptsImportFilesThatAreThere(t *testing.T) {
	scripts := 0
	walk(t, "assets", func(path, text string) {
		find := imported[filepath.Ext(path)]
		if find == nil {
			return
		}
		scripts++
		if found := len(find.FindAllString(text, -1)); strings.HasSuffix(path, ".js") && found != strings.Count("\n"+text, "\nimport ") {
			t.Errorf("%s: %d imports were understood", path, found)
		}
		for _, m := range find.FindAllStringSubmatch(text, -1) {
			if !strings.HasPrefix(m[1], ".") {
				t.Errorf("%s imports %q, which a browser cannot find", path, m[1])
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s imports %q: %v", path, m[1], err)
			}
		}
	})
	if scripts < 10 {
		t.Errorf("%d scripts were read", scripts)
	}
}

// Nothing is fetched from anywhere else, and nothing needs inline code.
func TestAssetsAreSelfContained(t *testing.T) {
	outside := regexp.MustCompile(`(?:src|href|url\(|import\s*\(|fetch\()\s*=?\s*["'(]?https?://`)
	inline := regexp.MustCompile(`<script>|<style|\sstyle="|\son[a-z]+="|new Function|\beval\(`)
	walk(t, "assets", func(path, text string) {
		if strings.Contains(path, "licences") {
			return
		}
		if m := outside.FindString(text); m != "" {
			t.Errorf("%s reaches outside: %s", path, m)
		}
		if m := inline.FindString(text); m != "" && !strings.Contains(path, "/lib/") {
			t.Errorf("%s has inline code: %s", path, m)
		}
		if strings.HasPrefix(path, "assets/lib/") {
			return
		}
		if n := strings.Count(text, "\n"); n > 400 {
			t.Errorf("%s has %d lines", path, n)
		}
	})
}

// The libraries are those that vendor.sh copied, each with its licence.
func TestLibrariesAreAsVendored(t *testing.T) {
	const root = "assets/lib"
	sums, err := os.ReadFile(root + "/SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(sums)) {
		sum, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			t.Fatalf("SHA256SUMS has the line %q", line)
		}
		want[name] = sum
	}
	walk(t, root, func(path, text string) {
		name := filepath.ToSlash(strings.TrimPrefix(path, root+"/"))
		if name == "SHA256SUMS" {
			return
		}
		sum := sha256.Sum256([]byte(text))
		if got := hex.EncodeToString(sum[:]); got != want[name] {
			t.Errorf("%s has sum %s, want %q: run vendoring/vendor.sh", name, got, want[name])
		}
		delete(want, name)
	})
	for name := range want {
		t.Errorf("%s is in SHA256SUMS and not there", name)
	}
	for _, lib := range []string{"preact", "htm", "dagre", "uplot"} {
		if _, err := os.Stat(root + "/licences/" + lib + ".txt"); err != nil {
			t.Error(err)
		}
	}
}

func walk(t *testing.T, root string, f func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		f(filepath.ToSlash(path), string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
