package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/diff"
)

func TestRefusalsOfChanges(t *testing.T) {
	r := newRig(t, "")
	f := func(err error, status int, want string) {
		t.Helper()
		r.err = err
		w := r.do("POST", "/api/v1/reload", "")
		if got := strings.TrimSpace(w.Body.String()); w.Code != status || got != want {
			t.Errorf("%v: got %d %s, want %d %s", err, w.Code, got, status, want)
		}
	}
	refused := &engine.RefusedError{Reason: "small.yaml is not valid: 1 error",
		Diagnostics: config.Diagnostics{{File: "small.yaml", Line: 3, Col: 5, Severity: config.Error, Code: "x", Message: "m", Hint: "h", Source: "s"}}}
	f(refused, 422, `{"error":"small.yaml is not valid: 1 error","diagnostics":[{"file":"small.yaml","line":3,"col":5,"severity":"error","code":"x","message":"m","hint":"h","source":"s"}]}`)
	f(&engine.RefusedError{Reason: "r", Changes: []diff.Change{{Part: "source", Name: "in", Action: diff.Changed, Class: diff.Restart, Why: "w"}}}, 422,
		`{"error":"r","changes":[{"part":"source","name":"in","action":"changed","class":"restart","why":"w"}]}`)
	f(fmt.Errorf("%w: %w", control.ErrConflict, &engine.RefusedError{Reason: "the pipeline is draining"}), 409, `{"error":"the pipeline is draining"}`)
	f(&engine.RefusedError{Reason: "the sink did not open", Busy: true}, 409, `{"error":"the sink did not open"}`)
	f(fmt.Errorf("%w: %w", control.ErrUnknownEdge, &engine.RefusedError{Reason: "there is no edge"}), 404, `{"error":"there is no edge"}`)
	f(context.DeadlineExceeded, 503, `{"error":"it took too long; nothing was changed"}`)
}

// What went wrong in here is for the log, not for the client.
func TestErrorsSayNothingOfTheInside(t *testing.T) {
	r := newRig(t, "")
	hiding := func(what string) {
		t.Helper()
		w := r.do("GET", "/readyz", "")
		if r.err != nil {
			w = r.do("POST", "/api/v1/reload", "")
		}
		if w.Code != 500 || strings.TrimSpace(w.Body.String()) != `{"error":"something went wrong in pipectl; its log says what"}` {
			t.Errorf("%s: got %d %s", what, w.Code, w.Body)
		}
		if !strings.Contains(r.log.String(), "/etc/pipectl/key.pem") {
			t.Errorf("%s: the log does not say it: %s", what, r.log)
		}
		r.log.Reset()
	}
	r.err = errors.New("open /etc/pipectl/key.pem: permission denied")
	hiding("an error")
	r.err = nil
	r.panic = "runtime error at /etc/pipectl/key.pem"
	hiding("a panic")
}

func TestBodies(t *testing.T) {
	r := newRig(t, "")
	wantStatus(t, "apply of what fits", r.do("POST", "/api/v1/apply", strings.Repeat("#", maxBody)), 200)
	wantStatus(t, "apply of too much", r.do("POST", "/api/v1/apply", strings.Repeat("#", maxBody+1)), 413)
	wantStatus(t, "patch of too much", r.do("PATCH", "/api/v1/edges/dead", strings.Repeat("#", maxPatch+1)), 413)
	wantStatus(t, "patches of too much", r.do("PATCH", "/api/v1/edges", strings.Repeat("#", maxPatch+1)), 413)
	wantStatus(t, "confirm of too much", r.do("POST", "/api/v1/confirm", strings.Repeat("#", maxPatch+1)), 413)
	wantStatus(t, "a bomb", r.do("POST", "/api/v1/apply", "\x1f\x8b", "Content-Encoding: gzip"), 415)
	wantStatus(t, "not compressed", r.do("POST", "/api/v1/apply", "version: 1", "Content-Encoding: identity"), 200)
	wantStatus(t, "an empty patch", r.do("PATCH", "/api/v1/edges/dead", ""), 400)
}

func TestPaths(t *testing.T) {
	r := newRig(t, "")
	f := func(method, path string, status int, allow string) {
		t.Helper()
		w := r.do(method, path, "")
		wantStatus(t, method+" "+path, w, status)
		if got := w.Header().Get("Allow"); got != allow {
			t.Errorf("%s %s: Allow %q, want %q", method, path, got, allow)
		}
		var body refusal
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error == "" {
			t.Errorf("%s %s: body %s", method, path, w.Body)
		}
	}
	f("POST", "/api/v1/status", 405, "GET, HEAD")
	f("DELETE", "/api/v1/edges/in->keep", 405, "GET, HEAD, PATCH")
	f("PUT", "/api/v1/apply", 405, "POST")
	f("GET", "/api/v1/apply", 405, "POST")
	f("TRACE", "/api/v1/status", 405, "GET, HEAD")
	f("PROPFIND", "/healthz", 405, "GET, HEAD")
	f("POST", "/", 405, "GET, HEAD")
	f("GET", "/api/v1/nothing", 404, "")
	f("GET", "/api/", 404, "")
	f("GET", "/api/v2/status", 404, "")
	f("GET", "/api/v1/edges/in->keep/nothing", 404, "")
	f("GET", "/api/v1/status/", 404, "")
	wantStatus(t, "what the API does not know is the page's", r.do("GET", "/assets/x.js", ""), 200)
	wantStatus(t, "HEAD", r.do("HEAD", "/api/v1/status", ""), 200)
	wantStatus(t, "HEAD of a stream ends", r.do("HEAD", "/api/v1/events", ""), 200)
}
