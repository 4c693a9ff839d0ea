// Package page is the live page of a pipeline: static files, embedded, that talk
// to the admin API beside them. They are plain ES modules; the few libraries are
// in assets/lib, copied there by vendoring/vendor.sh.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed assets
var assets embed.FS

// policy lets the page run its own files and talk to its own server, and
// nothing else: no inline scripts, no other hosts, no frames around it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// file is what is served at one path.
type file struct {
	body []byte
	kind string // media type
	tag  string // of the HTTP cache
	keep string // Cache-Control
}

// Handler serves the page at "/" and its files below "/assets/". It holds no
// secrets and needs none: the page asks for the token and sends it to the API.
//
// The page's links to its files carry a hash over all of them, so that browsers
// keep the files for good and still never mix those of two versions. All links
// are relative: the page works behind a proxy that adds a prefix.
func Handler() http.Handler {
	files := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		f.serve(w, r)
	})
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("ETag", f.tag)
	h.Set("Cache-Control", f.keep)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if match := r.Header.Get("If-None-Match"); match != "" && strings.Contains(match, f.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(f.body) // the browser has gone: nobody to tell
}

// load reads the embedded files and gives each its path.
func load() map[string]*file {
	bodies := map[string][]byte{}
	all := sha256.New()
	err := fs.WalkDir(assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := assets.ReadFile(name)
		bodies[name] = body
		all.Write([]byte(name))
		all.Write(body)
		return err
	})
	if err != nil {
		panic("BUG: reading embedded files: " + err.Error())
	}
	root := "assets/" + hex.EncodeToString(all.Sum(nil))[:16]
	files := map[string]*file{}
	for name, body := range bodies {
		if name == "assets/index.html" {
			index := bytes.ReplaceAll(body, []byte(`="assets/`), []byte(`="`+root+`/`))
			files["/"] = newFile(name, index, "no-cache")
			continue
		}
		files["/"+root+strings.TrimPrefix(name, "assets")] = newFile(name, body, "public, max-age=31536000, immutable")
	}
	return files
}

// kinds are the media types of the files. Those of the machine may differ.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".mjs": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
	"": "text/plain; charset=utf-8",
}

func newFile(name string, body []byte, keep string) *file {
	sum := sha256.Sum256(body)
	return &file{body: body, kind: kinds[path.Ext(name)], tag: `"` + hex.EncodeToString(sum[:12]) + `"`, keep: keep}
}
