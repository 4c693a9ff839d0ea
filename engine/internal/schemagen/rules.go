package main

import (
	"fmt"

	"github.com/pipectl/pipectl/engine/config"
)

// rule is what is known of a key beyond the tags and the comment of its field.
type rule struct {
	doc      string
	standard string // the default
	enum     []string
	meanings []string // of enum
	required bool
	pattern  string // of the text, which then cannot be a number
	numbers  bool   // it can, with pattern
	keys     string // the pattern of a mapping's keys
	min, max string
	above    string
	below    string // an upper bound that is itself not allowed
}

// rules are the rules by package, type and field. They repeat what the Validate
// methods check.
var rules = map[string]rule{
	"config.Pipeline.Version":  {min: "1", max: "1"},
	"config.Pipeline.Name":     {pattern: `([A-Za-z0-9][A-Za-z0-9._-]{0,99})?`, numbers: true},
	"config.Edge.Name":         {pattern: `(` + nodeName + `)?`},
	"config.ends.From":         {doc: "from is the node that the events come from, or one of its outputs: parse, parse.failed, split.errors.", pattern: `\s*` + output + `\s*`},
	"config.ends.To":           {doc: "to is the node that the events go to.", pattern: `\s*` + nodeName + `\s*`},
	"config.defaultsFile.Edge": {doc: "edge is what every edge has that does not say otherwise."},
	"config.Policy.Type": {enum: []string{config.Block, config.DropOldest, config.DropNewest, config.DropRandom, config.Sample}, required: true, meanings: []string{
		"the producer waits until the event fits",
		"the oldest queued events make room",
		"the event that does not fit is dropped",
		"an event is dropped at random, among the queued and the new",
		"the fuller the edge, the fewer events are kept",
	}},
	"config.Policy.Then":        {enum: []string{config.DropNewest, config.DropOldest, config.Fail}, standard: config.DropNewest},
	"config.Policy.BaseRate":    {above: "0", max: "1", standard: "1"},
	"config.Policy.MinRate":     {max: "1", standard: fmt.Sprint(config.DefaultMinRate)},
	"config.Policy.Threshold":   {min: "0", below: "1", standard: fmt.Sprint(config.DefaultThreshold)},
	"sources.Pace.Curve":        {standard: "constant"},
	"stages.Route.Cases":        {keys: `^[a-z][a-z0-9_]*$`},
	"sources.HTTPServer.Path":   {pattern: `/.*`},
	"sources.HTTPServer.Listen": {pattern: `.*:[0-9]{1,5}`},
}

// policyOptions are the keys that each policy has beside its type.
var policyOptions = map[string][]string{
	config.Block:  {"timeout", "then"},
	config.Sample: {"base_rate", "min_rate", "threshold", "key"},
}
