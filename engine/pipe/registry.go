package pipe

import (
	"fmt"
	"slices"
)

// Kind is the kind of a component.
type Kind string

// The kinds, named as their sections in the file.
const (
	KindSource Kind = "source"
	KindStage  Kind = "stage"
	KindSink   Kind = "sink"
)

// Component describes a registered type.
type Component struct {
	Kind Kind
	Type string
	// New returns a pointer to a fresh struct with its defaults set.
	New func() any
}

var registry = map[Kind]map[string]Component{KindSource: {}, KindStage: {}, KindSink: {}}

// RegisterSource makes a source type known. Call it from init only; a name
// taken twice panics.
func RegisterSource(typ string, fresh func() Source) {
	register(KindSource, typ, func() any { return fresh() })
}

// RegisterStage makes a stage type known, as RegisterSource does.
func RegisterStage(typ string, fresh func() Stage) {
	register(KindStage, typ, func() any { return fresh() })
}

// RegisterSink makes a sink type known, as RegisterSource does.
func RegisterSink(typ string, fresh func() Sink) {
	register(KindSink, typ, func() any { return fresh() })
}

func register(k Kind, typ string, fresh func() any) {
	if _, taken := registry[k][typ]; taken {
		panic(fmt.Sprintf("BUG: %s type %q is registered twice", k, typ))
	}
	registry[k][typ] = Component{Kind: k, Type: typ, New: fresh}
}

// Lookup returns the component of that kind and type.
func Lookup(k Kind, typ string) (Component, bool) {
	c, ok := registry[k][typ]
	return c, ok
}

// Types returns the registered types of a kind, sorted.
func Types(k Kind) []string {
	var names []string
	for name := range registry[k] {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
