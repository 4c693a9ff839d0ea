package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/near"
)

func TestJSON(t *testing.T) {
	_, ds := Parse([]byte("version: 1\nsources: {in: {type: tickr}}\nsinks: {out: {type: discard}}\nedges: [in -> out]\n"), Options{File: "p.yaml"})
	got, err := json.Marshal(ds)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"file":"p.yaml","line":2,"col":22,"severity":"error","code":"unknown-type","message":"source in: unknown source type \"tickr\"",` +
		`"hint":"did you mean \"ticker\"?","source":"sources: {in: {type: tickr}}"}]`
	equal(t, "json", string(got), want)
}

func TestSortAndRepetitions(t *testing.T) {
	ds := Diagnostics{
		{File: "b", Line: 1, Col: 1, Severity: Error, Message: "4"},
		{File: "--set #2", set: 2, Severity: Error, Message: "6"},
		{File: "a", Line: 2, Col: 1, Severity: Warning, Message: "3"},
		{File: "--set #1", set: 1, Severity: Error, Message: "5"},
		{File: "a", Line: 1, Col: 9, Severity: Error, Message: "2"},
		{File: "a", Line: 1, Col: 2, Severity: Warning, Message: "1"},
		{File: "a", Line: 1, Col: 9, Severity: Error, Message: "2"},
	}
	ds.Sort()
	var order strings.Builder
	for _, d := range ds {
		order.WriteString(d.Message)
	}
	equal(t, "order", order.String(), "123456")
	if ds[0].Severity != Warning || !ds.HasErrors() || ds[:1].HasErrors() || ds[:1].Err() != nil {
		t.Error("severities are mixed up")
	}
	equal(t, "err", ds[:2].Err().Error(), "a:1:9: error: 2\n    1 | \n      | ^")
}

func TestText(t *testing.T) {
	f := func(d Diagnostic, want string) {
		t.Helper()
		d.File, d.Severity, d.Message = "f", Error, "m"
		equal(t, "text", d.Text(), want)
	}
	f(Diagnostic{}, "f: error: m\n")
	f(Diagnostic{Hint: "h"}, "f: error: m\n      | h\n")
	f(Diagnostic{Line: 3, Col: 3, Source: "a\tbc", Hint: "h"}, "f:3:3: error: m\n    3 | a\tbc\n      |  \t^ h\n")
	f(Diagnostic{Line: 3, Col: 99, Source: "\x1b[31m", Hint: ""}, "f:3:99: error: m\n    3 | \uFFFD[31m\n      |      ^\n")
	long := strings.Repeat("a", 100) + "X" + strings.Repeat("b", 100)
	f(Diagnostic{Line: 1, Col: 101, Source: long}, "f:1:101: error: m\n    1 | …"+strings.Repeat("a", 60)+"X"+strings.Repeat("b", 59)+"…\n      | "+strings.Repeat(" ", 61)+"^\n")
}

func TestSuggestions(t *testing.T) {
	f := func(word, want string) {
		t.Helper()
		got := near.Word(word, []string{"buffer", "policy", "on_drop", "max_event_bytes", "to", "parse", "part"})
		if got != want {
			t.Errorf("nearest(%q): got %q, want %q", word, got, want)
		}
	}
	f("bufer", "buffer")
	f("bfufer", "buffer")
	f("Buffer", "buffer")
	f("onDrop", "on_drop")
	f("maxEventBytes", "max_event_bytes")
	f("too", "to")
	f("pars", "parse")
	f("x", "")
	f("nothing", "")
	f("", "")
	f(strings.Repeat("x", 1000), "")
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	f := func(path, code, want string) {
		t.Helper()
		p, ds := Load(path, Options{File: "x.yaml"})
		if p != nil || len(ds) != 1 || ds[0].Code != code || !strings.Contains(ds[0].Error(), want) {
			t.Errorf("Load(%s): got %v, want %s: %s", path, ds, code, want)
		}
	}
	f(filepath.Join(dir, "missing.yaml"), "read", "x.yaml: error: cannot read the file: no such file or directory")
	f(dir, "read", "is a directory")
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 10<<20); err != nil {
		t.Fatal(err)
	}
	f(big, "too-large", "it has 10MiB, more than the limit of 4MiB")
}

func TestLoadReadsEnvironmentAndFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("PIPECTL_TEST_DIR", dir)
	write("token", "from-a-file\r\n")
	path := write("my.pipeline.yaml", "admin: {token: '${file:${PIPECTL_TEST_DIR}/token}'}\nsources: {in: {type: ticker}}\nsinks: {out: {type: discard}}\nedges: [in -> out]\n")
	_, ds := Load(path, Options{})
	if !ds.HasErrors() || !strings.Contains(ds[0].Message, "${PIPECTL_TEST_DIR}/token") {
		t.Errorf("expansions in file names are not meant to work: %v", ds)
	}
	write("my.pipeline.yaml", "description: ${PIPECTL_TEST_DIR}\nadmin: {token: '${file:"+dir+"/token}'}\nsources: {in: {type: ticker}}\nsinks: {out: {type: discard}}\nedges: [in -> out]\n")
	p, ds := Load(path, Options{})
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	equal(t, "name", p.Name, "my.pipeline")
	equal(t, "file", p.File, path)
	equal(t, "environment", p.Description, dir)
	equal(t, "token", p.Admin.Token, "from-a-file")
	write("token", strings.Repeat("x", maxSecretFile+1))
	if _, ds := Load(path, Options{}); !ds.HasErrors() || !strings.Contains(ds[0].Message, "more than the limit of 1MiB") {
		t.Errorf("large secret: got %v", ds)
	}
}

func TestSecrets(t *testing.T) {
	var s secrets
	s.add("abc")
	s.add("")
	equal(t, "too short", s.redact("abc"), "abc")
	equal(t, "too short, in a diagnostic", s.redactAll("abc"), "***")
	s.add("pass word\"&1")
	s.add("pass word\"&1 and more")
	f := func(in, want string) {
		t.Helper()
		equal(t, in, s.redact(in), want)
	}
	f(`x pass word"&1 y`, "x *** y")
	f(`pass word"&1 and more`, "***")
	f(`{"p":"pass word\"\u00261"}`, `{"p":"***"}`)
	f(`"pass word\"&1"`, `"***"`)
	f("http://u:pass+word%22%261@h", "http://u:***@h")
	f("http://u:pass%20word%22&1@h", "http://u:***@h")
	p, ds := Parse([]byte("sources: {in: {type: ticker}}\nsinks:\n  out:\n    type: http\n    url: http://x\n    headers:\n      X-Token: Bearer ${HOST}\n      X-Host: ${BUFFER}000\nedges: [in -> out]\n"), Options{Env: testEnv})
	if p == nil {
		t.Fatal(ds)
	}
	done := make(chan bool)
	for range 2 { // the race detector looks at this
		go func() { done <- p.Redact("Bearer db.example 64000") == "Bearer *** 64000" }()
	}
	equal(t, "by the name of the key", []bool{<-done, <-done}, []bool{true, true})
	for name, want := range map[string]bool{
		"DB_PASSWORD": true, "API_KEY": true, "GITHUB_PAT": true, "APIKEY": true, "CLIENT_SECRET": true, "PG_PASS": true,
		"HOST": false, "KEYBOARD": false, "PATH": false, "MONKEY": false, "BYPASS": false,
	} {
		equal(t, name, secretVariable(name), want)
	}
	for name, want := range map[string]bool{"password": true, "api_key": true, "Authorization": true, "key": false, "keys": false, "path": false} {
		equal(t, name, secretKey(name), want)
	}
}

// TestDiagnosticsNeverShowSecrets puts secrets where they are wrong and looks
// for them in everything that is printed.
func TestDiagnosticsNeverShowSecrets(t *testing.T) {
	const secret = "zq9"
	env := func(string) (string, bool) { return secret, true }
	for _, value := range []string{"${A_TOKEN}", `"${A_TOKEN}"`, "x${A_TOKEN}y", "'a,${A_TOKEN}'", "{b: '${A_TOKEN}'}", "['${A_TOKEN}']"} {
		for _, at := range []string{
			"version: %", "name: %", "shutdown: {timeout: %}", "shutdown: %", "admin: {listen: %}", "limits: {memory: %}",
			"sources: {in: {type: %}}", "sources: {in: {type: ticker, small: %}}", "sources: {in: {type: file, paths: [a], codec: %}}", "sources: {in: {type: file, paths: %}}",
			"stages: {s: {type: filter, where: %, on_error: %, workers: %, ordered: %}}", "stages: {s: {type: parse, format: %}}",
			"sinks: {out: {type: http, url: %, limit: %}}", "sinks: {out: {type: discard, password: %}}",
			"edges: [{from: %, to: %, buffer: %, policy: %, on_drop: %, priority: %}]", "edges:\n  - %", "defaults: %",
		} {
			_, ds := Parse([]byte(strings.ReplaceAll(at, "%", strings.ReplaceAll(value, "\"", "'"))+"\n"), Options{Env: env})
			for _, d := range ds {
				if strings.Contains(d.Message+d.Hint, secret) {
					t.Errorf("%s with %s: %v (%s)", at, value, d, d.Hint)
				}
			}
		}
	}
}
