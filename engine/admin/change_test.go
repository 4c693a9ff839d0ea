package admin

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/control"
)

func TestChanges(t *testing.T) {
	r := newRig(t, "")
	f := func(method, path, body, want string) {
		t.Helper()
		w := r.do(method, "/api/v1/"+path, body)
		wantStatus(t, path, w, 200)
		if got := r.took(); got != want {
			t.Errorf("%s %s: got %q, want %q", method, path, got, want)
		}
		if got := r.fake.last.Who; got != "api 127.0.0.1" {
			t.Errorf("%s: who is %q", path, got)
		}
	}
	f("PATCH", "edges/in-%3Ekeep", `{"buffer": 5}`, `patch in->keep {"buffer": 5}`)
	f("PATCH", "edges/in->keep", `buffer: 5`, `patch in->keep buffer: 5`)
	f("PATCH", "edges", `{"dead": {"buffer": 5}, "in->keep": {"policy": "block"}}`, `patches {"dead":{"buffer":5},"in-\u003ekeep":{"policy":"block"}}`)
	f("POST", "apply", "version: 1", "apply version: 1")
	f("POST", "reload", "", "reload")
	f("POST", "reload", "{}", "reload")
	f("POST", "revert", "{}", "revert")
	f("POST", "confirm?generation=4", "{}", "confirm")
	f("POST", "confirm?generation=4", "", "confirm")
	f("POST", "confirm", `{"generation": 4}`, "confirm")
	var out control.Outcome
	w := r.do("POST", "/api/v1/reload", "")
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || out.Result != control.Applied || out.Generation != 4 || out.Before != 3 {
		t.Errorf("got %s: %v", w.Body, err)
	}
}

func TestConditions(t *testing.T) {
	r := newRig(t, "")
	f := func(query string, want control.Change) {
		t.Helper()
		want.Who = "api 127.0.0.1"
		wantStatus(t, query, r.do("POST", "/api/v1/apply?"+query, "version: 1"), 200)
		if r.fake.last != want {
			t.Errorf("%s: got %+v, want %+v", query, r.fake.last, want)
		}
	}
	f("", control.Change{})
	f("dry_run=1", control.Change{DryRun: true})
	f("dry_run=true", control.Change{DryRun: true})
	f("dry_run=0", control.Change{})
	f("confirm_within=60s", control.Change{ConfirmWithin: time.Minute})
	f("guard="+url.QueryEscape(`edges["a->b"].dropped_rate == 0`)+"&for=2m", control.Change{Guard: `edges["a->b"].dropped_rate == 0`, GuardFor: 2 * time.Minute})
}

// A misspelt option must not make a change for real.
func TestBadConditionsChangeNothing(t *testing.T) {
	r := newRig(t, "")
	f := func(method, path, body, want string) {
		t.Helper()
		w := r.do(method, "/api/v1/"+path, body)
		var got refusal
		json.Unmarshal(w.Body.Bytes(), &got)
		if w.Code != 400 || got.Error != want {
			t.Errorf("%s: got %d %q, want 400 %q", path, w.Code, got.Error, want)
		}
		if calls := r.took(); calls != "" {
			t.Errorf("%s: %s was made", path, calls)
		}
	}
	f("POST", "apply?dryrun=1", "version: 1", `unknown option "dryrun", did you mean "dry_run"?`)
	f("POST", "apply?dry_run", "version: 1", `dry_run: 1 or 0 is needed, got ""`)
	f("POST", "apply?dry_run=yes", "version: 1", `dry_run: 1 or 0 is needed, got "yes"`)
	f("POST", "apply?dry_run=0&dry_run=1", "version: 1", `option dry_run is there twice`)
	f("POST", "apply?dry_run=1;x", "version: 1", `the query of the URL cannot be read: escape it`)
	f("POST", "apply?confirm_within=60", "version: 1", `confirm_within: a duration from 1s to 24h0m0s is needed, got "60"`)
	f("POST", "apply?for=2m", "version: 1", `for: says how long a guard is watched, but there is no guard`)
	f("PATCH", "edges/dead?dryrun=1", `{"buffer": 5}`, `unknown option "dryrun", did you mean "dry_run"?`)
	f("PATCH", "edges?dryrun=1", `{"dead": {"buffer": 5}}`, `unknown option "dryrun", did you mean "dry_run"?`)
	f("POST", "reload?dry_run=1", "", `unknown option "dry_run"; this path takes none`)
	f("POST", "revert?generation=1", "", `unknown option "generation"; this path takes none`)
	needed := `generation: the number of the generation to keep is needed, such as {"generation": 7}`
	f("POST", "confirm", "", needed)
	f("POST", "confirm", "{}", needed)
	f("POST", "confirm", "seven", needed)
	f("POST", "confirm?generation=-1", "", needed)
	edges := `the body must be JSON such as {"a->b": {"buffer": 100}}: `
	f("PATCH", "edges", ``, edges+"an object is needed")
	f("PATCH", "edges", `[]`, edges+"an object is needed")
	f("PATCH", "edges", `{}`, edges+"there is no edge in it")
	f("PATCH", "edges", `{"dead": {"buffer": 5}, "dead": {"buffer": 6}}`, edges+`edge "dead" is there twice`)
	f("PATCH", "edges", `{"dead": {"buffer": 5}`, edges+"it is cut off or not JSON")
	f("PATCH", "edges", `{"dead": {"buffer": 5}} {}`, edges+"something follows the object")
	f("PATCH", "edges", `{"dead": {"buf`, edges+"it is cut off or not JSON")
	f("PATCH", "edges", `dead: {buffer: 5}`, edges+"an object is needed")
	if strings.Contains(r.log.String(), "level=ERROR") {
		t.Errorf("a client's mistakes are no errors of ours: %s", r.log)
	}
}
