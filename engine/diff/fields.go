package diff

import (
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/config"
)

// fields returns the settings that differ between two mappings.
func (p *planner) fields(old, next config.Value) []Field {
	var list []Field
	p.compare("", old, next, &list)
	return list
}

// compare appends what differs at path. Mappings are compared key by key, all
// else as a whole.
func (p *planner) compare(path string, old, next config.Value, list *[]Field) {
	switch {
	case old.Equal(next):
	case old.Form == config.Mapping && next.Form == config.Mapping:
		p.mappings(path, old, next, list)
	default:
		f := Field{path, p.text(old), p.text(next)}
		if f.Before == "" && f.After == "" { // one of them is there, and empty
			f.Before, f.After = present(old), present(next)
		}
		*list = append(*list, f)
	}
}

func present(v config.Value) string {
	if v.Form == config.Nothing {
		return ""
	}
	return `""`
}

func (p *planner) mappings(path string, old, next config.Value, list *[]Field) {
	if slices.EqualFunc(old.Parts, next.Parts, func(a, b config.Part) bool { return a.Key == b.Key }) {
		for i, e := range next.Parts { // as nearly always
			p.compare(child(path, e.Key), old.Parts[i].Value, e.Value, list)
		}
		return
	}
	before := map[string]config.Value{}
	for _, e := range old.Parts {
		before[e.Key] = e.Value
	}
	found := len(*list)
	for _, e := range next.Parts {
		p.compare(child(path, e.Key), before[e.Key], e.Value, list)
		delete(before, e.Key)
	}
	for _, e := range old.Parts {
		if _, gone := before[e.Key]; gone {
			p.compare(child(path, e.Key), e.Value, config.Value{}, list)
		}
	}
	if was, is := order(old, next), order(next, old); was != is {
		*list = slices.Insert(*list, found, Field{path, was, is})
	}
}

// order returns the keys of v that o has too, in order, if the order matters.
func order(v, o config.Value) string {
	if !v.Ordered {
		return ""
	}
	others := map[string]bool{}
	for _, e := range o.Parts {
		others[e.Key] = true
	}
	var keys []string
	for _, e := range v.Parts {
		if others[e.Key] {
			keys = append(keys, e.Key)
		}
	}
	return "order " + strings.Join(keys, ", ")
}

// text renders a value without any secret of either pipeline.
func (p *planner) text(v config.Value) string { return p.redact(v.String()) }

func (p *planner) redact(s string) string { return p.next.Redact(p.old.Redact(s)) }

func child(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
