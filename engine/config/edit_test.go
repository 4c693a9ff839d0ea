package config

import (
	"testing"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

func TestEdgeSettingsString(t *testing.T) {
	f := func(want string, change func(s *EdgeSettings)) {
		t.Helper()
		s := DefaultEdge()
		change(&s)
		s.fill()
		if got := s.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	var key expr.Value
	if err := key.UnmarshalText([]byte("user.id")); err != nil {
		t.Fatal(err)
	}
	f("block, 1024 events, 16MiB", func(*EdgeSettings) {})
	f("block, 1 event, 1000B", func(s *EdgeSettings) { s.Buffer = Buffer{Events: 1, Bytes: 1000} })
	f("block, 1024 events, 16MiB, age 30s", func(s *EdgeSettings) { s.Buffer.Age = pipe.Duration(30e9) })
	f("drop-oldest, 1024 events, 16MiB, on_drop nack", func(s *EdgeSettings) { s.Policy.Type, s.OnDrop = DropOldest, "nack" })
	f("block 5s then drop-newest, 1024 events, 16MiB", func(s *EdgeSettings) { s.Policy.Timeout = pipe.Duration(5e9) })
	f("block 5s then fail, 1024 events, 16MiB", func(s *EdgeSettings) { s.Policy.Timeout, s.Policy.Then = pipe.Duration(5e9), Fail })
	f("sample 1 to 0.01 from 0.8, 1024 events, 16MiB", func(s *EdgeSettings) { s.Policy.Type = Sample })
	f("sample 0.5 to 0.1 from 0 by user.id, 1024 events, 16MiB", func(s *EdgeSettings) {
		s.Policy = Policy{Type: Sample, BaseRate: 0.5, MinRate: 0.1, Key: &key}
	})
	f("block, 1024 events, 16MiB, priority 9, on_shrink evict", func(s *EdgeSettings) { s.Priority, s.OnShrink = 9, "evict" })
}

func TestWithEdge(t *testing.T) {
	p := byHand()
	if ds := p.Complete(); len(ds) > 0 {
		t.Fatal(ds.Err())
	}
	before := *p.Edges[1]
	s := DefaultEdge()
	s.Policy.Type, s.Buffer.Events = DropOldest, 7
	next := p.WithEdge("split.big->out", s)
	equal(t, "new settings", next.Edge("split.big->out").EdgeSettings, s)
	equal(t, "ends", next.Edges[1].From+next.Edges[1].Port+next.Edges[1].To, "splitbigout")
	equal(t, "old edge", *p.Edges[1], before)
	equal(t, "edges", edgeIDs(next), edgeIDs(p))
	if next.Edges[0] != p.Edges[0] || next.Sources[0] != p.Sources[0] {
		t.Error("what did not change is not shared")
	}
	if ds := next.Check(); len(ds) > 0 {
		t.Errorf("the copy: %v", ds)
	}
	defer func() {
		if got, want := recover(), `BUG: there is no edge "nowhere" to change`; got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}()
	p.WithEdge("nowhere", s)
}
