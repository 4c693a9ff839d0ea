package main

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
)

func TestAdminURL(t *testing.T) {
	f := func(addr string, secure bool, want string) {
		t.Helper()
		u, err := adminURL(addr, secure)
		got := ""
		if err == nil {
			got = u.String()
		}
		if got != want {
			t.Errorf("adminURL(%q, %v) = %q, %v, want %q", addr, secure, got, err, want)
		}
	}
	f("127.0.0.1:9464", false, "http://127.0.0.1:9464")
	f("127.0.0.1:9464", true, "https://127.0.0.1:9464")
	f("pipes", false, "http://pipes:9464")
	f(":1234", false, "http://127.0.0.1:1234")
	f("[::1]:1234", false, "http://[::1]:1234")
	f("https://pipes.example", false, "https://pipes.example:9464")
	f("http://gate:80/pipes/a/", false, "http://gate:80/pipes/a")
	f("", false, "")
	f("ftp://pipes", false, "")
	f("http://", false, "")
	f("a b", false, "")
}

// A path's parts may have any character: edges are called a->b.
func TestClientEscapesPaths(t *testing.T) {
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Method + " " + r.RequestURI + " " + r.Header.Get("X-Pipectl") + " " + r.Header.Get("Content-Type") + " " + r.Header.Get("Authorization")
		fmt.Fprint(w, "{}")
	}))
	defer s.Close()
	pipectl(t, 0, "edge", "set", "a.x->b%?c", "buffer=1", "--addr", s.URL+"/gate", "--token", "secret", "--format", "json")
	if want := "PATCH /gate/api/v1/edges/a.x-%3Eb%25%3Fc 1 application/json Bearer secret"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}

func TestPlainJSON(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := string(plainJSON([]byte(text))); got != want {
			t.Errorf("plainJSON(%s) = %s, want %s", text, got, want)
		}
	}
	f(`{"a-\u003eb":"\u003c\u0026\u2028\""}`, `{"a->b":"<&\u2028\""}`)
	f(`"\\u003e\\\u003e"`, `"\\u003e\\>"`) // the first is a backslash and text
	f(`\`, `\`)
	f(`\u003`, `\u003`)
}

// answering is an endpoint that always gives the same answer.
func answering(t *testing.T, status int, body string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// nobody is an address at which nothing listens.
func nobody(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return l.Addr().String()
}

func TestClientSaysWhatToDo(t *testing.T) {
	f := func(code int, addr, want string, args ...string) {
		t.Helper()
		_, errs := pipectl(t, code, append([]string{"status", "--addr", addr}, args...)...)
		has(t, errs, strings.ReplaceAll(want, "HERE", addr))
	}
	f(1, nobody(t), "pipectl: nothing listens at HERE\npipectl: start the pipeline with its admin endpoint: pipectl run FILE --admin HERE\npipectl: or say where it is: --addr HOST:PORT, or PIPECTL_ADDR\n")
	f(1, "no-such-host.invalid:9464", "--addr")
	f(2, "ftp://x", `pipectl: --addr: "ftp://x" is no address`)
	f(1, answering(t, 401, `{"error":"a token is needed"}`), "pipectl: HERE wants a token: give it with PIPECTL_TOKEN or --token")
	f(1, answering(t, 401, `{"error":"the token is wrong"}`), "pipectl: HERE does not accept the token of --token", "--token", "x")
	f(1, answering(t, 403, `{"error":"requests from pages of other sites are refused"}`), "pipectl: requests from pages of other sites are refused\n")
	f(1, answering(t, 409, `{"error":"the pipeline is draining"}`), "pipectl: the pipeline is draining\n")
	f(1, answering(t, 500, `{"error":"something went wrong"}`), "pipectl: something went wrong\n")
	f(1, answering(t, 404, "404 page not found\n"), "pipectl: HERE does not look like the admin endpoint of pipectl: it answers 404 Not Found\n")
	f(1, answering(t, 302, ""), "it answers 302 Found\n")
	f(1, answering(t, 200, "<html>"), "does not look like the admin endpoint of pipectl")
	f(1, answering(t, 200, "{}"), "does not look like the admin endpoint of pipectl")
	f(2, "x", "pipectl: --tls-cert and --tls-key belong together: give both\n", "--tls-cert", "a.pem")
	f(2, "x", "pipectl: --tls-ca: ", "--tls-ca", "no such file")
	f(2, "x", "has no certificate in PEM", "--tls-ca", "client_test.go")
}

func TestClientOverTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(fixture(1, 9))
	}))
	s.Config.ErrorLog = quietLog
	s.StartTLS()
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "https://")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	pipectl(t, 0, "status", "--addr", host, "--tls-ca", ca, "--format", "json")
	_, errs := pipectl(t, 1, "status", "--addr", "https://"+host)
	has(t, errs, "its certificate is signed by an authority that is not known here: name it with --tls-ca FILE")
	_, errs = pipectl(t, 1, "status", "--addr", host)
	has(t, errs, host+" speaks HTTPS: use --addr https://"+host)
	plain := answering(t, 200, "{}")
	_, errs = pipectl(t, 1, "status", "--addr", plain, "--tls-ca", ca)
	has(t, errs, plain+" speaks plain HTTP, not HTTPS: use --addr http://"+plain)

	strict := httptest.NewUnstartedServer(s.Config.Handler)
	strict.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	strict.Config.ErrorLog = quietLog
	strict.StartTLS()
	defer strict.Close()
	_, errs = pipectl(t, 1, "status", "--addr", strict.URL, "--tls-ca", ca)
	has(t, errs, "wants a client certificate: give it with --tls-cert FILE and --tls-key FILE")
}

// What a refused configuration says looks as validate's does, with the name that
// the user gave the file.
func TestRefusalShowsThePlace(t *testing.T) {
	r := refusal{Message: "pipeline.yaml is not valid: 1 error", Diagnostics: config.Diagnostics{
		{File: "pipeline.yaml", Line: 12, Col: 13, Severity: config.Error, Message: "unknown policy", Hint: `did you mean "drop-oldest"?`, Source: "    policy: drop-oldst"}},
		Changes: []diff.Change{{Part: "source", Name: "in", Action: diff.Changed, Class: diff.Restart, Why: "its position would be lost"}}}
	body, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	addr := answering(t, 422, string(body))
	_, errs := pipectl(t, 2, "apply", file, "--addr", addr)
	want := file + `:12:13: error: unknown policy
   12 |     policy: drop-oldst
      |             ^ did you mean "drop-oldest"?
source in: changed (restart)
  its position would be lost
pipectl: pipeline.yaml is not valid: 1 error
`
	if errs != want {
		t.Errorf("got:\n%s\nwant:\n%s", errs, want)
	}
	out, _ := pipectl(t, 2, "apply", file, "--addr", addr, "--format", "json")
	has(t, out, `"line": 12`)
}

func TestEdgeSetArguments(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		var got string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var body any
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				t.Error(err)
			}
			text, _ := json.Marshal(body)
			got = r.URL.Path + ifText(r.URL.RawQuery != "", "?"+r.URL.RawQuery) + " " + strings.NewReplacer(`\u003e`, ">").Replace(string(text))
			fmt.Fprint(w, "{}")
		}))
		defer s.Close()
		pipectl(t, 0, append([]string{"edge", "set", "--format", "json", "--addr", s.URL}, args...)...)
		if got = strings.TrimPrefix(got, "/api/v1/edges"); got != want {
			t.Errorf("%v sends %s, want %s", args, got, want)
		}
	}
	f(`/a->b {"policy":{"type":"drop-oldest"}}`, "a->b", "--policy", "drop-oldest")
	f(`/a->b {"policy":{"type":"drop-oldest"}}`, "policy=drop-oldest", "a/b")
	f(`/a->b {"buffer":{"bytes":"16MiB","events":4096}}`, "a->b", "--buffer", "4096", "--bytes", "16MiB")
	f(`/a->b {"policy":{"timeout":"5s","type":"block"}}`, "a->b", "--timeout", "5s")
	f(`/a->b {"policy":{"base_rate":0.5,"key":"1","type":"sample"}}`, "a->b", "policy.base_rate=0.5", "policy.key=1")
	f(`/a->b {"on_drop":"nack","priority":3}`, "a->b", "on_drop=nack", "--priority", "3")
	f(`/a->b {"buffer":{"events":"nan"}}`, "a->b", "buffer=nan") // the pipeline says what is wrong with it
	f(` {"a->b":{"priority":3},"c":{"priority":3}}`, "a->b", "c", "a/b", "priority=3")
	f(`/a->b?dry_run=1 {"priority":3}`, "a->b", "priority=3", "--dry-run")
	f(`/a->b?confirm_within=1m0s&for=30s&guard=edges%5B%22a%22%5D.rate+%3E+1 {"priority":3}`, "a->b", "priority=3",
		"--confirm-within", "60s", "--guard", `edges["a"].rate > 1`, "--for", "30s")
}

func TestEdgeSetMistakes(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		_, errs := pipectl(t, 2, append([]string{"edge", "set"}, args...)...)
		if got := strings.TrimPrefix(errs, "pipectl: "); got != want+"\n" {
			t.Errorf("%v: got %q, want %q", args, got, want)
		}
	}
	f("edge set: name the edge, such as: pipectl edge set keep/out --policy drop-oldest")
	f("edge set: say what to change, such as: pipectl edge set 'a->b' --policy drop-oldest", "a->b")
	f(`edge set: edge "a-" ends early: the shell took > for a redirection and wrote to a file; quote the edge, 'a->…', or write it with a slash, a/…`, "a-", "--policy", "block")
	f(`edge set: an edge has no setting "bufer", did you mean "buffer"?`, "a->b", "bufer=1")
	f("edge set: policy.type is given twice: block and sample", "a->b", "policy=block", "--policy", "sample")
	f("--for: says how long a --guard is watched, but there is none", "a->b", "priority=1", "--for", "1m")
	f("--confirm-within: must be above 0, got 0s", "a->b", "priority=1", "--confirm-within", "0s")
	f("--dry-run changes nothing: leave out --confirm-within and --guard", "a->b", "priority=1", "--dry-run", "--guard", "true")
	f("unknown flag: --polcy, did you mean --policy?", "a->b", "--polcy", "block")
}

func TestReadPushes(t *testing.T) {
	f := func(text string, want ...push) {
		t.Helper()
		var got []push
		err := readPushes(strings.NewReader(text), func(p push) error {
			got = append(got, p)
			return nil
		})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
	f("")
	f(": only a comment\n\n")
	f("data: a\n\n", push{"", []byte("a")})
	f("event: x\ndata: a\ndata: b\nid: 7\n\nevent:y\ndata:c\n\n", push{"x", []byte("a\nb")}, push{"y", []byte("c")})
	f("event: cut off\ndata: a\n")
	stop := errors.New("stop")
	if err := readPushes(strings.NewReader("data: a\n\ndata: b\n\n"), func(push) error { return stop }); err != stop {
		t.Errorf("got %v, want the handler's error", err)
	}
}

// What a tap shows and what it skips, as the endpoint tells it.
func TestTapCountsWhatItSkips(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "event: counts\ndata: {\"seen\":0}\n\n")
		for i := range 3 {
			fmt.Fprintf(w, "event: sample\ndata: {\"time\":\"2026-03-01T10:55:27.5Z\",\"origin\":\"a.log:%d\",\"age_ms\":12,\"size\":99,\"event\":{\"n\":%d}}\n\n", i, i)
		}
		fmt.Fprint(w, "event: sample\ndata: {\"time\":\"2026-03-01T10:55:27.5Z\",\"size\":20000,\"text\":\"x\\u001b[31m\",\"truncated\":true}\n\n")
		fmt.Fprint(w, "event: counts\ndata: {\"seen\":1000,\"filtered\":500,\"shown\":4,\"skipped\":496}\n\n")
		fmt.Fprint(w, "event: end\ndata: {\"reason\":\"the edge is gone\"}\n\n")
	}))
	defer s.Close()
	out, errs := pipectl(t, 0, "tap", "a->b", "--addr", s.URL)
	lines := strings.Split(out, "\n")
	if len(lines) != 5 || !strings.HasSuffix(lines[0], ".500    12ms  a.log:0  {\"n\":0}") || !strings.HasSuffix(lines[3], "   0ms  x\uFFFD[31m… (19.5KiB in all)") {
		t.Errorf("got %q", lines)
	}
	if want := "1,000 events seen: 4 shown, 500 filtered out, 496 skipped (--rate 10)\nthe edge is gone\n"; errs != want {
		t.Errorf("got %q, want %q", errs, want)
	}
	out, errs = pipectl(t, 0, "tap", "a->b", "--addr", s.URL, "--count", "2")
	if strings.Count(out, "\n") != 2 || errs != "1,000 events seen: 2 shown, 500 filtered out, 498 skipped (--rate 10)\n" {
		t.Errorf("got %q, %q", out, errs)
	}
	_, errs = pipectl(t, 2, "tap", "a-")
	has(t, errs, "quote the edge")
	_, errs = pipectl(t, 2, "tap", "a->b", "--rate", "0")
	has(t, errs, "--rate: must be above 0")
}

func TestCompleteEdges(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(fixture(1, 9))
	}))
	defer s.Close()
	f := func(want []string, args ...string) {
		t.Helper()
		out, _ := pipectl(t, 0, append([]string{"__complete"}, args...)...)
		var got []string
		for line := range strings.Lines(out) {
			if id, _, ok := strings.Cut(line, "\t"); ok {
				got = append(got, id)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: got %q, want %q", args, got, want)
		}
	}
	f([]string{"parse.failed/bad", "parse/keep"}, "tap", "--addr", s.URL, "pars")
	f([]string{"parse->keep"}, "tap", "--addr", s.URL, "parse->")
	f([]string{"parse/keep"}, "edge", "set", "--addr", s.URL, "parse.failed/bad", "pars")
	f(nil, "tap", "--addr", s.URL, "parse/keep", "")
	f(nil, "tap", "--addr", nobody(t), "")
}

// A shell does not wait for an endpoint that accepts and says nothing.
func TestCompletionIsQuick(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	out, _ := pipectl(t, 0, "__complete", "tap", "--addr", l.Addr().String(), "")
	if took := time.Since(began); took > 10*completeWithin {
		t.Errorf("it took %v", took)
	}
	has(t, out, ":4\n") // no files either
}
