package diff_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
)

// TestSecretsAreNotShown rotates every secret, and none may be in any output.
func TestSecretsAreNotShown(t *testing.T) {
	const text = `
name: p
description: for ${TEAM_TOKEN} only
admin: {listen: "127.0.0.1:1", token: "${A_TOKEN}"}
tracing: {endpoint: "http://t", headers: {authorization: SECRET-headers}}
sources:
  in: {type: http_server, listen: "127.0.0.1:1", codec: lines, token: SECRET-token}
sinks:
  web: {type: http, url: "http://127.0.0.1:1/${DB_PASSWORD}/x", headers: {X-Key: SECRET-header}, basic_auth: {user: u, password: SECRET-auth}}
edges:
  - {from: in, to: web, policy: {type: sample, key: 'a == "${KEY_SECRET}"'}}
`
	read := func(prefix string) *config.Pipeline {
		env := func(name string) (string, bool) { return prefix + "-" + strings.ToLower(name), true }
		p, ds := config.Parse([]byte(strings.ReplaceAll(text, "SECRET", prefix)), config.Options{Env: env})
		if ds.HasErrors() {
			t.Fatal(ds.Err())
		}
		return p
	}
	old, next := read("first"), read("second")
	r := diff.Compare(old, next)
	var paths []string
	for _, c := range r.Changes {
		for _, f := range c.Fields {
			paths = append(paths, f.Path)
			if !strings.Contains(f.Before, "***") || !strings.Contains(f.After, "***") {
				t.Errorf("%s: %s: got %s -> %s", c.Subject(), f.Path, f.Before, f.After)
			}
		}
	}
	want := "description admin.token tracing.headers.authorization token url basic_auth.password headers.X-Key policy.key"
	if got := strings.Join(paths, " "); got != want {
		t.Errorf("got changes of %s, want %s", got, want)
	}
	f := func(what string, write func(b *bytes.Buffer) error) {
		t.Helper()
		var b bytes.Buffer
		if err := write(&b); err != nil || b.Len() < 100 {
			t.Errorf("%s: %v, %d bytes", what, err, b.Len())
		}
		for _, secret := range []string{"first-", "second-"} {
			if strings.Contains(b.String(), secret) {
				t.Errorf("%s shows a secret:\n%s", what, b.String())
			}
		}
	}
	f("text", func(b *bytes.Buffer) error { return r.WriteText(b) })
	f("markdown", func(b *bytes.Buffer) error { return r.WriteMarkdown(b) })
	f("json", func(b *bytes.Buffer) error { return json.NewEncoder(b).Encode(r) })
	f("render", func(b *bytes.Buffer) error {
		data, err := next.Render()
		b.Write(data)
		return err
	})
	added := diff.Plan(next, next.WithEdge("in->web", config.DefaultEdge()))
	f("an edge that loses its key", func(b *bytes.Buffer) error { return json.NewEncoder(b).Encode(added) })
	gone := *next
	gone.Edges = nil
	f("an edge that is gone", func(b *bytes.Buffer) error { return json.NewEncoder(b).Encode(diff.Plan(next, &gone)) })
}
