package diff_test

import (
	"context"
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
	"github.com/pipectl/pipectl/engine/pipe"
)

var kinds = []pipe.Kind{pipe.KindSource, pipe.KindStage, pipe.KindSink}

// alone is a pipeline of one node.
func alone(kind pipe.Kind, typ string) (*config.Pipeline, *config.Node) {
	n := config.NewNode(kind, "n", typ, nil)
	switch p := (&config.Pipeline{Name: "p"}); kind {
	case pipe.KindSource:
		p.Sources = []*config.Node{n}
		return p, n
	case pipe.KindStage:
		p.Stages = []*config.Node{n}
		return p, n
	default:
		p.Sinks = []*config.Node{n}
		return p, n
	}
}

// change gives v another value, of whatever type it is.
func change(t *testing.T, v reflect.Value) {
	t.Helper()
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		before := fmt.Sprint(v.Interface())
		for _, text := range []string{"seq + 1", "a == 1", "(?P<a>x)", "7/s", "7s", "7KiB", "batch", "csv", "gzip", "zstd"} {
			if u.UnmarshalText([]byte(text)) == nil && fmt.Sprint(v.Interface()) != before {
				return
			}
		}
		t.Fatalf("no text for a %s", v.Type())
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint64:
		v.SetUint(v.Uint() + 1)
	case reflect.Float64:
		v.SetFloat(v.Float() + 0.125)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		change(t, v.Elem())
	case reflect.Slice:
		grown := reflect.MakeSlice(v.Type(), v.Len()+1, v.Len()+1)
		reflect.Copy(grown, v)
		change(t, grown.Index(v.Len()))
		v.Set(grown)
	case reflect.Map:
		elem := reflect.New(v.Type().Elem()).Elem()
		change(t, elem)
		grown := reflect.MakeMap(v.Type())
		for _, k := range v.MapKeys() {
			grown.SetMapIndex(k, v.MapIndex(k))
		}
		grown.SetMapIndex(reflect.ValueOf("new").Convert(v.Type().Key()), elem)
		v.Set(grown)
	case reflect.Struct:
		change(t, v.Field(0))
	default:
		t.Fatalf("a field of type %s", v.Type())
	}
}

// settings calls f with every field of a struct that is a setting, those inside
// of others too, and its path.
func settings(v reflect.Value, path string, f func(v reflect.Value, path string)) {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		at := strings.TrimPrefix(path+"."+name, ".")
		f(v.Field(i), at)
		if inner := v.Field(i); inner.Kind() == reflect.Struct {
			settings(inner, at, f)
		}
	}
}

// TestEveryOptionIsSeen changes every option of every registered component, one
// at a time, and each must be a change of its class, by its path, both ways. A
// component with an option that cannot be written panics here.
func TestEveryOptionIsSeen(t *testing.T) {
	seen := 0
	for _, kind := range kinds {
		want := diff.Swap
		if kind == pipe.KindSource {
			want = diff.Restart
		}
		for _, typ := range pipe.Types(kind) {
			_, probe := alone(kind, typ)
			var paths []string
			settings(reflect.ValueOf(probe.Component).Elem(), "", func(_ reflect.Value, path string) { paths = append(paths, path) })
			for _, path := range paths {
				old, _ := alone(kind, typ)
				next, n := alone(kind, typ)
				settings(reflect.ValueOf(n.Component).Elem(), "", func(v reflect.Value, p string) {
					if p == path {
						change(t, v)
					}
				})
				seen++
				for _, pair := range [][2]*config.Pipeline{{old, next}, {next, old}} {
					got := diff.Plan(pair[0], pair[1])
					if len(got) != 1 || got[0].Class != want || len(got[0].Fields) == 0 || !strings.HasPrefix(got[0].Fields[0].Path, path) {
						t.Errorf("%s %s: %s: got %q", kind, typ, path, brief(got))
					}
				}
				if again := diff.Plan(next, next); len(again) > 0 {
					t.Errorf("%s %s: %s and itself: %q", kind, typ, path, brief(again))
				}
			}
		}
	}
	if seen < 80 {
		t.Errorf("only %d options", seen)
	}
}

// caller is a stage that calls out.
type caller struct{ pipe.Stage }

// CallsOut makes it one.
func (*caller) CallsOut() {}

func init() { pipe.RegisterStage("caller", func() pipe.Stage { return &caller{} }) }

// TestEngineKeys changes every key that the engine gives nodes. A new one must
// be given a class.
func TestEngineKeys(t *testing.T) {
	classes := map[string]diff.Class{
		"source on_error": diff.Live, "source max_in_flight": diff.Live,
		"stage on_error": diff.Live, "stage timeout": diff.Live, "stage workers": diff.Restart, "stage ordered": diff.Restart,
		"sink on_error": diff.Live, "sink timeout": diff.Live, "sink batch": diff.Live, "sink retry": diff.Live,
		"sink deadline": diff.Live, "sink breaker": diff.Live, "sink rate_limit": diff.Live, "sink concurrency": diff.Live,
		"stage max_stuck": diff.Live, "sink max_stuck": diff.Live, "sink dead_letters": diff.Live, "stage dead_letters": diff.Live,
		"stage deadline": diff.Live, "stage retry": diff.Live, "stage breaker": diff.Live, "stage rate_limit": diff.Live,
	}
	types := map[pipe.Kind]string{pipe.KindSource: "generate", pipe.KindStage: "caller", pipe.KindSink: "discard"}
	for _, kind := range kinds {
		for _, f := range config.DescribeNode(kind) {
			if f.Name == "type" {
				continue
			}
			want, known := classes[string(kind)+" "+f.Name]
			if !known {
				t.Errorf("%s %s has no class: add it here and to engineClass", kind, f.Name)
			}
			old, _ := alone(kind, types[kind])
			next, n := alone(kind, types[kind])
			change(t, reflect.ValueOf(n).Elem().FieldByName(f.GoName))
			got := diff.Plan(old, next)
			if len(got) != 1 || got[0].Class != want || !strings.HasPrefix(got[0].Fields[0].Path, f.Name) {
				t.Errorf("%s %s: got %q, want %s", kind, f.Name, brief(got), want)
			}
		}
	}
}

// TestPipelineKeys does so for the top level.
func TestPipelineKeys(t *testing.T) {
	live := []string{"description", "limits.memory", "limits.stall_after", "shutdown.timeout"}
	seen := 0
	probe := config.Pipeline{}
	settings(reflect.ValueOf(&probe).Elem(), "", func(v reflect.Value, path string) {
		if v.Kind() == reflect.Struct || path == "version" {
			return
		}
		old, next := &config.Pipeline{}, &config.Pipeline{}
		settings(reflect.ValueOf(next).Elem(), "", func(v reflect.Value, p string) {
			if p == path {
				change(t, v)
			}
		})
		want := diff.Restart
		if slices.Contains(live, path) {
			want = diff.Live
		}
		seen++
		got := diff.Plan(old, next)
		if len(got) != 1 || got[0].Class != want || !strings.HasPrefix(got[0].Fields[0].Path, path) || got[0].Part != diff.PartPipeline {
			t.Errorf("%s: got %q, want %s", path, brief(got), want)
		}
	})
	if seen < 12 {
		t.Errorf("only %d settings", seen)
	}
}

// TestEdgeKeys does so for edges, whose settings are all live.
func TestEdgeKeys(t *testing.T) {
	seen := 0
	edge := func() *config.Edge {
		return &config.Edge{ID: "e", From: "a", To: "b", EdgeSettings: config.DefaultEdge()}
	}
	settings(reflect.ValueOf(&config.EdgeSettings{}).Elem(), "", func(v reflect.Value, path string) {
		if v.Kind() == reflect.Struct {
			return
		}
		old, next := edge(), edge()
		settings(reflect.ValueOf(&next.EdgeSettings).Elem(), "", func(v reflect.Value, p string) {
			if p == path {
				change(t, v)
			}
		})
		seen++
		got := diff.Plan(&config.Pipeline{Edges: []*config.Edge{old}}, &config.Pipeline{Edges: []*config.Edge{next}})
		if len(got) != 1 || got[0].Class != diff.Live || got[0].Fields[0].Path != path {
			t.Errorf("%s: got %q", path, brief(got))
		}
	})
	if seen < 13 {
		t.Errorf("only %d settings", seen)
	}
}

// TestOtherComponent checks that components made by a program, which have no
// type, are told apart by what they are.
func TestOtherComponent(t *testing.T) {
	a, b := mine{}, struct{ mine }{}
	f := func(old, next any, want int) {
		t.Helper()
		got := diff.Plan(
			&config.Pipeline{Sinks: []*config.Node{config.NewNode(pipe.KindSink, "n", "", old)}},
			&config.Pipeline{Sinks: []*config.Node{config.NewNode(pipe.KindSink, "n", "", next)}})
		if len(got) != want || want == 1 && got[0].Class != diff.Swap {
			t.Errorf("%T and %T: got %q", old, next, brief(got))
		}
	}
	f(&a, &mine{}, 0)
	f(&a, &b, 1)
	f(a, &a, 1)
}

type mine struct{}

func (mine) Write(context.Context, []*pipe.Event) error { return nil }
