package control

import (
	"context"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
	"github.com/pipectl/pipectl/engine/pipe"
)

// TestFresh makes every example anew: the same values, other components.
func TestFresh(t *testing.T) {
	files, err := filepath.Glob("../../examples/pipelines/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		p, found := config.Load(file, config.Options{})
		if p == nil {
			t.Errorf("%s: %v", file, found.Err())
			continue
		}
		again, err := fresh(p)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if changes := diff.Plan(p, again); len(changes) > 0 {
			t.Errorf("%s: %+v", file, changes)
		}
		for _, n := range again.Nodes() {
			a, b := n.Component, p.Node(n.Name).Component
			if reflect.TypeOf(a) != reflect.TypeOf(b) || a == b && reflect.TypeOf(a).Elem().Size() > 0 {
				t.Errorf("%s: node %s: got %T, want another %T", file, n.Name, a, b)
			}
		}
	}
}

type homemade struct{}

func (*homemade) Write(context.Context, []*pipe.Event) error { return nil }

// What is of no registered type cannot be made anew: that is said, not guessed.
func TestFreshOfHandmadeComponents(t *testing.T) {
	f := func(typ string) {
		t.Helper()
		p := parse(t, base)
		p.Sinks = []*config.Node{config.NewNode(pipe.KindSink, "out", typ, &homemade{})}
		_, err := fresh(p)
		if want := `sink out cannot be made again: its type "` + typ + `" is not registered`; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f("homemade")
	f("stdout") // the name of another
}

type inner struct {
	Depth int `yaml:"depth"`
	state int
}

type nested struct {
	inner
	Names  []string `yaml:"names"`
	Hidden int      `yaml:"-"`
	state  int
}

func TestCopyOptions(t *testing.T) {
	from := nested{inner: inner{Depth: 2, state: 3}, Names: []string{"a"}, Hidden: 4, state: 5}
	var to nested
	copyOptions(reflect.ValueOf(&to).Elem(), reflect.ValueOf(&from).Elem())
	if want := (nested{inner: inner{Depth: 2}, Names: []string{"a"}}); !reflect.DeepEqual(to, want) {
		t.Errorf("got %+v, want %+v", to, want)
	}
}
