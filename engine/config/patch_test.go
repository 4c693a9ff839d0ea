package config

import (
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
)

func TestParseEdgeSettings(t *testing.T) {
	base := DefaultEdge()
	base.Buffer.Age = pipe.Duration(5e9)
	base.Policy = Policy{Type: Block, Timeout: pipe.Duration(1e9), Then: Fail}
	f := func(text string, change func(s *EdgeSettings)) {
		t.Helper()
		want := base
		change(&want)
		got, ds := ParseEdgeSettings([]byte(text), base)
		if len(ds) > 0 || got != want {
			t.Errorf("%s: got %v %v, want %v", text, got, ds, want)
		}
	}
	f(`{"buffer": 7}`, func(s *EdgeSettings) { s.Buffer.Events = 7 })
	f(`{"buffer": {"bytes": "1MiB", "age": "0s"}}`, func(s *EdgeSettings) { s.Buffer.Bytes, s.Buffer.Age = 1<<20, 0 })
	f(`policy: block`, func(s *EdgeSettings) { s.Policy = Policy{Type: Block} })
	f(`policy: {type: sample, base_rate: 0.5}`, func(s *EdgeSettings) {
		s.Policy = Policy{Type: Sample, BaseRate: 0.5, MinRate: 0.01, Threshold: 0.8}
	})
	f(`{on_drop: nack, priority: 3}`, func(s *EdgeSettings) { s.OnDrop, s.Priority = "nack", 3 })
	f(`{}`, func(*EdgeSettings) {})
	bad := func(text, want string) {
		t.Helper()
		got, ds := ParseEdgeSettings([]byte(text), base)
		if len(ds) == 0 || ds[0].Error() != want || got != base {
			t.Errorf("%s: got %v, want %s", text, ds, want)
		}
	}
	bad(`{"buffer": 0}`, "settings:1:12: error: buffer: must be at least 1, got 0")
	bad(`{"policy": "${HOME}"}`, `settings:1:12: error: policy: unknown policy "${HOME}"`)
	bad(`{"policy": {"type": "block", "key": "x"}}`, "settings:1:37: error: policy: key is an option of the policy sample, not of block")
	bad(`{"from": "x"}`, `settings:1:2: error: unknown key "from"`)
	bad(`[]`, "settings:1:1: error: expected settings such as {\"buffer\": 100}, got a list")
	bad(``, "settings:1:1: error: the file is empty")
}
