package admin

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// target fills the names of a route.
func target(path string) string { return strings.Replace(path, "{id}", "in->keep", 1) }

func isStream(path string) bool {
	return strings.HasSuffix(path, "/events") || strings.HasSuffix(path, "/tap")
}

func wantStatus(t *testing.T, what string, w *httptest.ResponseRecorder, want int) {
	t.Helper()
	if w.Code != want {
		t.Errorf("%s: got %d %s, want %d", what, w.Code, strings.TrimSpace(w.Body.String()), want)
	}
}

// A page that points its own name at 127.0.0.1 sends that name as Host.
func TestHostMustNameThisMachine(t *testing.T) {
	r := newRig(t, "")
	secured := newRig(t, "correct horse")
	f := func(host string, want int) {
		t.Helper()
		wantStatus(t, host, r.do("GET", "/api/v1/status", "", "Host: "+host), want)
		wantStatus(t, host+" page", r.do("GET", "/", "", "Host: "+host), want)
		wantStatus(t, host+" health", r.do("GET", "/healthz", "", "Host: "+host), want)
		wantStatus(t, host+" with the token", secured.do("GET", "/api/v1/status", "", "Host: "+host, "Authorization: Bearer correct horse"), want)
	}
	f("127.0.0.1:9464", 200)
	f("127.0.0.1", 200)
	f("127.8.9.1:80", 200)
	f("localhost:9464", 200)
	f("LocalHost", 200)
	f("[::1]:9464", 200)
	f("[::1]", 200)
	f("evil.example:9464", 421)
	f("evil.example", 421)
	f("localhost.evil.example", 421)
	f("127.0.0.1.evil.example:9464", 421)
	f("127.0.0.1@evil.example", 421)
	f("10.0.0.7:9464", 421)
	f("0.0.0.0:9464", 421)
	f("2130706433", 421)
	f("", 421)
	if calls := r.took(); calls != "" {
		t.Errorf("a request got through: %s", calls)
	}
	w := r.do("POST", "/api/v1/reload", "", "Host: evil.example", "Origin: http://evil.example")
	wantStatus(t, "a change of a rebound name, same origin", w, 421)
	if r.took() != "" {
		t.Error("it was made")
	}
	if strings.Contains(w.Body.String(), "evil") {
		t.Errorf("the answer repeats what was sent: %s", w.Body)
	}
}

// Off loopback the names of the machine are not known; a token protects it.
func TestHostIsFreeElsewhere(t *testing.T) {
	r := newRig(t, "correct horse")
	r.Server.local = false
	wantStatus(t, "any host", r.do("GET", "/api/v1/status", "", "Host: pipes.example", "Authorization: Bearer correct horse"), 200)
}

func TestEverythingWantsTheToken(t *testing.T) {
	r := newRig(t, "correct horse")
	open := map[string]bool{"/healthz": true, "/readyz": true}
	for _, rt := range r.routes() {
		if isStream(rt.path) && rt.access != reader {
			t.Errorf("%s is not protected", rt.path)
		}
		want := 401
		if open[rt.path] {
			want = 200
		}
		w := r.do(rt.method, target(rt.path), "")
		wantStatus(t, rt.method+" "+rt.path, w, want)
		if want == 401 && !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: no WWW-Authenticate", rt.path)
		}
		if (rt.method == "GET") != (rt.access != writer) {
			t.Errorf("%s %s has the wrong access", rt.method, rt.path)
		}
	}
	wantStatus(t, "unknown path", r.do("GET", "/api/v1/unknown", ""), 401)
	wantStatus(t, "wrong method", r.do("DELETE", "/api/v1/status", ""), 401)
	wantStatus(t, "the page asks for the token itself", r.do("GET", "/", ""), 200)
	wantStatus(t, "its files", r.do("GET", "/assets/js/main.js", ""), 200)
	if calls := r.took(); calls != "" {
		t.Errorf("requests without the token got through: %s", calls)
	}
}

func TestToken(t *testing.T) {
	r := newRig(t, "correct horse")
	f := func(target, header string, want int) {
		t.Helper()
		wantStatus(t, target+" "+header, r.do("GET", target, "", header), want)
		wantStatus(t, "POST "+header, r.do("POST", "/api/v1/reload", "", header), want)
	}
	f("/api/v1/config", "Authorization: Bearer correct horse", 200)
	f("/api/v1/config", "Authorization: bearer correct horse", 200)
	f("/metrics", "Authorization: Bearer correct horse", 200)
	f("/api/v1/config", "Authorization: Bearer correct hors", 401)
	f("/api/v1/config", "Authorization: Bearer correct horses", 401)
	f("/api/v1/config", "Authorization: Bearer Correct horse", 401)
	f("/api/v1/config", "Authorization: Bearer", 401)
	f("/api/v1/config", "Authorization: Bearer ", 401)
	f("/api/v1/config", "Authorization: correct horse", 401)
	f("/api/v1/config", "Authorization: Basic correct horse", 401)
	f("/api/v1/config", "X-Token: correct horse", 401)
	f("/api/v1/config", "Cookie: token=correct horse", 401)
	// A token in a URL ends up in histories and logs.
	f("/api/v1/config?token=correct+horse", "X-Nothing: 1", 401)
	f("/api/v1/config?access_token=correct+horse", "X-Nothing: 1", 401)
	if log := r.log.String(); strings.Contains(log, "horse") || !strings.Contains(log, "request refused") {
		t.Errorf("log: %s", log)
	}
}

// With the token no header says where a request must come from: a page of
// another site cannot know it.
func TestTokenNeedsNoOrigin(t *testing.T) {
	r := newRig(t, "correct horse")
	w := r.do("POST", "/api/v1/apply", "version: 1", "Authorization: Bearer correct horse", "X-Pipectl:", "Origin: https://pipes.example", "Content-Type: text/plain")
	wantStatus(t, "apply", w, 200)
}

// Tokens are compared in constant time, and in one place: no == on a token but
// with the empty text.
func TestTokensAreComparedInConstantTime(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil || len(names) < 5 {
		t.Fatalf("the files of this package: %v, %v", names, err)
	}
	constant := 0
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "ConstantTimeCompare" {
					constant++
				}
			case *ast.BinaryExpr:
				if comparesToken(n) {
					t.Errorf("%s: a token is compared with %s", name, n.Op)
				}
			}
			return true
		})
	}
	for source, want := range map[string]bool{`sent == s.o.Token`: true, `s.token != sum`: true, `s.o.Token != ""`: false} {
		if n, err := parser.ParseExpr(source); err != nil || comparesToken(n.(*ast.BinaryExpr)) != want {
			t.Errorf("%s: want %v (%v)", source, want, err)
		}
	}
	if constant != 1 {
		t.Errorf("%d comparisons in constant time, want 1", constant)
	}
}

// comparesToken reports whether n compares something called token with anything
// but the empty text.
func comparesToken(n *ast.BinaryExpr) bool {
	if n.Op != token.EQL && n.Op != token.NEQ {
		return false
	}
	for _, pair := range [][2]ast.Expr{{n.X, n.Y}, {n.Y, n.X}} {
		s, isField := pair[0].(*ast.SelectorExpr)
		empty, isText := pair[1].(*ast.BasicLit)
		if isField && strings.EqualFold(s.Sel.Name, "token") && (!isText || empty.Value != `""`) {
			return true
		}
	}
	return false
}

func TestCrossSiteChanges(t *testing.T) {
	r := newRig(t, "")
	f := func(want int, headers ...string) {
		t.Helper()
		r.took()
		wantStatus(t, "PATCH "+strings.Join(headers, ", "), r.do("PATCH", "/api/v1/edges/in->keep", `{"buffer": 5}`, headers...), want)
		if made := r.took() != ""; made != (want == 200) {
			t.Errorf("%v: made: %v", headers, made)
		}
		wantStatus(t, "POST "+strings.Join(headers, ", "), r.do("POST", "/api/v1/apply", "version: 1", headers...), want)
	}
	f(200)
	f(200, "Origin: http://127.0.0.1:9464", "Sec-Fetch-Site: same-origin")
	f(200, "Sec-Fetch-Site: none")
	f(200, "Host: localhost:9464", "Origin: http://localhost:9464")
	f(200, "Content-Type: application/yaml; charset=utf-8")
	f(200, "Content-Type: text/yaml")
	f(403, "Origin: http://evil.example")
	f(403, "Origin: http://evil.example:9464")
	f(403, "Origin: http://localhost:9464") // not the host that was asked
	f(403, "Origin: http://127.0.0.1:8080") // another program on this machine
	f(403, "Origin: null")
	f(403, "Origin: http://127.0.0.1:9464.evil.example")
	f(403, "Origin: http://127.0.0.1:9464@evil.example")
	f(403, "Sec-Fetch-Site: cross-site")
	f(403, "Sec-Fetch-Site: same-site")
	f(403, "X-Pipectl:")
	f(403, "X-Pipectl: 0")
	f(403, "X-Pipectl:", "Content-Type: text/plain") // what a form can send
	f(415, "Content-Type: text/plain")
	f(415, "Content-Type: application/x-www-form-urlencoded")
	f(415, "Content-Type: multipart/form-data; boundary=x")
	f(415, "Content-Type:")
	f(415, "Content-Type: application/jsonp")
}

// Every change, whichever it is, wants the header.
func TestEveryChangeIsGuarded(t *testing.T) {
	r := newRig(t, "")
	for _, rt := range r.routes() {
		if rt.method == http.MethodGet {
			continue
		}
		wantStatus(t, rt.path, r.do(rt.method, target(rt.path), "", "X-Pipectl:"), 403)
		wantStatus(t, rt.path, r.do(rt.method, target(rt.path), "", "Origin: http://evil.example"), 403)
	}
	if calls := r.took(); calls != "" {
		t.Errorf("got through: %s", calls)
	}
}

// Figures are not for other sites' pages either, not even blindly.
func TestCrossSiteReads(t *testing.T) {
	r := newRig(t, "")
	for _, rt := range r.routes() {
		if rt.method != http.MethodGet || rt.access == public {
			continue
		}
		wantStatus(t, rt.path, r.do("GET", target(rt.path), "", "Sec-Fetch-Site: cross-site"), 403)
		wantStatus(t, rt.path, r.do("GET", target(rt.path), "", "Origin: https://evil.example"), 403)
	}
	wantStatus(t, "a program", r.do("GET", "/api/v1/status", "", "X-Pipectl:"), 200)
	wantStatus(t, "the page", r.do("GET", "/api/v1/status", "", "Sec-Fetch-Site: same-origin"), 200)
}

// A browser asks before it sends what is not simple. The answer is no.
func TestNoCORS(t *testing.T) {
	r := newRig(t, "")
	for _, rt := range r.routes() {
		w := r.do("OPTIONS", target(rt.path), "", "Origin: http://evil.example", "Access-Control-Request-Method: "+rt.method, "Access-Control-Request-Headers: x-pipectl")
		if w.Code < 400 {
			t.Errorf("%s: %d", rt.path, w.Code)
		}
		for name := range w.Header() {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: %s", rt.path, name)
			}
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	r := newRig(t, "")
	for _, path := range []string{"/", "/healthz", "/api/v1/status", "/api/v1/config", "/api/v1/nothing", "/metrics"} {
		h := r.do("GET", path, "").Header()
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin"} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		csp := h.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "script-src 'self';") ||
			strings.Contains(csp, "unsafe-inline") || strings.Contains(csp, "unsafe-eval") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
	if got := r.do("GET", "/api/v1/status", "").Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("status: Cache-Control %q", got)
	}
}

// A flood of bad requests does not flood the log.
func TestRefusalsAreLoggedSparingly(t *testing.T) {
	r := newRig(t, "correct horse")
	for range 500 {
		r.do("GET", "/api/v1/status", "")
	}
	if n := strings.Count(r.log.String(), "\n"); n != 1 {
		t.Errorf("%d lines for 500 refusals, want 1", n)
	}
}
