package config

import "reflect"

// ParseEdgeSettings reads new settings of an edge from YAML or JSON, such as
// {"buffer": 100, "policy": "drop-oldest"}, over those it has. What is not given
// stays as it is; a policy is given as a whole. Nothing is expanded: the text
// may come from a client.
func ParseEdgeSettings(data []byte, base EdgeSettings) (EdgeSettings, Diagnostics) {
	r := &reporter{file: "settings"}
	root := r.read(data, `settings such as {"buffer": 100}`)
	if root == nil {
		return base, r.finish()
	}
	next := base
	s := newScope(r, "", Pos{Line: 1, Col: 1})
	s.mapping(root, "", mappingRules{}, target{reflect.ValueOf(&next).Elem(), fieldsOf(reflect.TypeFor[EdgeSettings]())})
	if s.nodes["policy"] != nil {
		s.checkPolicyOptions(next.Policy.Type, "policy")
	}
	next.fill()
	if ds := r.finish(); ds.HasErrors() {
		return base, ds
	}
	return next, nil
}
