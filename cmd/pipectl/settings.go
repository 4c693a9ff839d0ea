package main

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/near"
)

var policyNames = []string{config.Block, config.DropOldest, config.DropNewest, config.DropRandom, config.Sample}

// edgeSettings are what can be changed of an edge: as an option, and as in the
// file.
var edgeSettings = []struct{ flag, path, usage string }{
	{"policy", "policy.type", "what happens to an event that does not fit: `POLICY` block, drop-oldest, drop-newest, drop-random or sample"},
	{"buffer", "buffer.events", "most `EVENTS` queued"},
	{"bytes", "buffer.bytes", "most bytes queued, a `SIZE` such as 16MiB"},
	{"age", "buffer.age", "drop events older than this `TIME` when they are taken; 0s is never"},
	{"timeout", "policy.timeout", "policy block: how long a producer waits, a `TIME`; 0s is as long as it takes"},
	{"then", "policy.then", "policy block: `WHAT` happens after the timeout: drop-newest, drop-oldest or fail"},
	{"base-rate", "policy.base_rate", "policy sample: `SHARE` kept while the edge is below the threshold"},
	{"min-rate", "policy.min_rate", "policy sample: `SHARE` kept when the edge is full"},
	{"threshold", "policy.threshold", "policy sample: `FILL` from which fewer are kept, 0 to 1"},
	{"key", "policy.key", "policy sample: `EXPRESSION`; events with the same value have the same fate"},
	{"on-drop", "on_drop", "what the source is told of a dropped event: `WORD` ack or nack"},
	{"priority", "priority", "`NUMBER` 0 to 9; higher comes first where edges meet"},
	{"on-shrink", "on_shrink", "what happens to events over a lowered bound: `WORD` keep or evict"},
}

// shorthands are the short forms of the file.
var shorthands = map[string]string{"buffer": "buffer.events", "policy": "policy.type"}

// optionOf says which policy an option belongs to.
var optionOf = map[string]string{
	"policy.timeout": config.Block, "policy.then": config.Block, "policy.base_rate": config.Sample,
	"policy.min_rate": config.Sample, "policy.threshold": config.Sample, "policy.key": config.Sample,
}

// settings collects changes of an edge.
type settings struct {
	list map[string]string // by path
}

// set enters one setting by its path in the file.
func (s *settings) set(path, value string) error {
	if long, ok := shorthands[path]; ok {
		path = long
	}
	var paths []string
	for _, e := range edgeSettings {
		paths = append(paths, e.path)
	}
	if !slices.Contains(paths, path) {
		if meant := near.Word(path, append(sortedKeys(shorthands), paths...)); meant != "" {
			return usagef("edge set: an edge has no setting %q, did you mean %q?", path, meant)
		}
		return usagef("edge set: an edge has no setting %q; settings: %s", path, strings.Join(paths, ", "))
	}
	if old, twice := s.list[path]; twice && old != value {
		return usagef("edge set: %s is given twice: %s and %s", path, old, value)
	}
	if s.list == nil {
		s.list = map[string]string{}
	}
	s.list[path] = value
	return nil
}

// body is what the admin endpoint wants: a mapping as in the file. An option of a
// policy without a policy implies it.
func (s *settings) body() map[string]any {
	body := map[string]any{}
	for _, path := range slices.Sorted(maps.Keys(s.list)) {
		value := plainValue(path, s.list[path])
		section, key, nested := strings.Cut(path, ".")
		if !nested {
			body[path] = value
			continue
		}
		part, ok := body[section].(map[string]any)
		if !ok {
			part = map[string]any{}
			body[section] = part
		}
		part[key] = value
		if policy, ok := optionOf[path]; ok && s.list["policy.type"] == "" {
			part["type"] = policy
		}
	}
	return body
}

// plainValue makes numbers of numbers; everything else stays text.
func plainValue(path, text string) any {
	if path == "policy.key" {
		return text
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
		return f
	}
	return text
}
