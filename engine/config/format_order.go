package config

import (
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/pipe"
	"gopkg.in/yaml.v3"
)

// order says in which order the keys of a mapping are written. A nil order
// leaves them as they are.
type order struct {
	ranks   map[string]int
	inner   map[string]*order
	entries *order                  // of a list's items, or of the values of a mapping with names of the user
	typed   func(typ string) *order // of a node, by its type
}

// fileOrder is the order of a whole file.
func fileOrder() *order {
	fields := DescribePipeline()
	var keys []Field
	early := []string{"version", "name", "description", "defaults"}
	for _, name := range early {
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
		keys = append(keys, fields[i])
	}
	for _, f := range fields {
		if !slices.Contains(early, f.Name) {
			keys = append(keys, f)
		}
	}
	o := orderOf(keys)
	for _, s := range []struct {
		key  string
		kind pipe.Kind
	}{{"sources", pipe.KindSource}, {"stages", pipe.KindStage}, {"sinks", pipe.KindSink}} {
		o.add(s.key, &order{entries: &order{typed: func(typ string) *order { return nodeOrder(s.kind, typ) }}})
	}
	o.add("edges", &order{entries: orderOf(DescribeEdge())})
	return o
}

// nodeOrder is the type, the options of the type, then those of every node.
func nodeOrder(kind pipe.Kind, typ string) *order {
	own, _ := Describe(kind, typ)
	fields := []Field{{Name: "type"}}
	fields = append(fields, own...)
	for _, f := range DescribeNode(kind) {
		if f.Name != "type" {
			fields = append(fields, f)
		}
	}
	return orderOf(fields)
}

func orderOf(fields []Field) *order {
	o := &order{ranks: map[string]int{}, inner: map[string]*order{}}
	for _, f := range fields {
		var inner *order
		if len(f.Fields) > 0 {
			inner = orderOf(f.Fields)
			if strings.HasPrefix(f.Type, "list of") || strings.HasPrefix(f.Type, "mapping of") {
				inner = &order{entries: inner}
			}
		}
		o.add(f.Name, inner)
	}
	return o
}

func (o *order) add(key string, inner *order) {
	o.ranks[key] = len(o.ranks)
	if inner != nil {
		o.inner[key] = inner
	}
}

// of returns the order of n itself: that of its type when it is a node.
func (o *order) of(n *yaml.Node) *order {
	if o == nil || o.typed == nil {
		return o
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "type" {
			return o.typed(n.Content[i+1].Value)
		}
	}
	return o.typed("")
}

// sorts reports whether the keys have an order.
func (o *order) sorts() bool { return o != nil && len(o.ranks) > 0 }

// rankOf is the place of a key. A merge key comes first, an unknown key last.
func (o *order) rankOf(key string) int {
	if key == "<<" {
		return -1
	}
	if o == nil {
		return 0
	}
	if rank, ok := o.ranks[key]; ok {
		return rank
	}
	return len(o.ranks)
}

// below is the order of a key's value.
func (o *order) below(key string) *order {
	if o == nil {
		return nil
	}
	if inner, ok := o.inner[key]; ok {
		return inner
	}
	if len(o.ranks) == 0 {
		return o.entries
	}
	return nil
}

// entry is the order of a list's items.
func (o *order) entry() *order {
	if o == nil {
		return nil
	}
	return o.entries
}
