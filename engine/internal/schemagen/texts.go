package main

import (
	"reflect"
	"slices"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/sinks"
	"github.com/pipectl/pipectl/sources"
	"github.com/pipectl/pipectl/stages"
)

// How texts are written. Whatever has an expansion in it is let through: what
// comes out of it is not known here.
const (
	expansion = `\$\{`
	decimal   = `([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?`
	plain     = `([0-9]+\.?[0-9]*|\.[0-9]+)`
	duration  = `(` + plain + `(ns|us|µs|μs|ms|s|m|h))+|` + plain + `([eE][-+]?[0-9]+)?d`
	nodeName  = `[a-z][a-z0-9_-]*`
	output    = nodeName + `(\.` + nodeName + `)?`

	// What YAML reads as a number and some editors as text: 1_000_000.
	numberText = `[-+]?(0b[01_]+|0[ox][0-9a-fA-F_]+|[0-9]+(_[0-9]+)+(\.[0-9_]*)?)`
)

// orExpansion is the pattern of a whole text that may have an expansion in it.
func orExpansion(pattern string) string { return "^(" + pattern + ")$|" + expansion }

// textDefs are the definitions of texts, for $ref.
var textDefs = properties{
	{"expansion", &schema{
		Description: "A value from outside: ${NAME}, ${NAME:-default} or ${file:/path}.",
		Type:        "string", Pattern: expansion,
		PatternErrorMessage: "expected one of the words, or an expansion such as ${NAME}",
	}},
	{"boolean", &schema{
		Type: []string{"boolean", "string"}, Pattern: expansion, PatternErrorMessage: "expected true or false",
	}},
	{"integer", &schema{
		Type: []string{"integer", "string"}, Pattern: orExpansion(numberText), PatternErrorMessage: "expected a whole number",
	}},
	{"number", &schema{
		Type: []string{"number", "string"}, Pattern: orExpansion(numberText), PatternErrorMessage: "expected a number",
	}},
	{"duration", &schema{
		Title: "duration", Type: []string{"string", "integer"}, Minimum: number(0), Maximum: number(0),
		Pattern: orExpansion(`0|\+?(` + duration + `)`), PatternErrorMessage: "expected a duration such as 250ms, 5s, 1h30m or 2d",
	}},
	{"size", &schema{
		Title: "size", Type: []string{"string", "number"}, Minimum: number(0),
		Pattern:             orExpansion(`\s*\+?` + decimal + `\s*([KMGT]?B|[KMGT]iB)?\s*`),
		PatternErrorMessage: "expected a size such as 4096, 64KiB or 16MiB",
	}},
	{"rate", &schema{
		Title: "rate", Type: "string",
		Pattern: orExpansion(`\s*\+?` + decimal + `\s*/\s*[smh]\s*`), PatternErrorMessage: "expected a rate such as 1000/s, 30/m or 5/h",
	}},
	{"expression", &schema{Title: "expression", Type: []string{"string", "number", "boolean"}, MinLength: 1}},
}

// texts are the types that are written as one text, by their own rules.
var texts = map[reflect.Type]func() *schema{
	reflect.TypeFor[pipe.Duration](): func() *schema { return ref("duration") },
	reflect.TypeFor[pipe.Size]():     func() *schema { return ref("size") },
	reflect.TypeFor[pipe.Rate]():     func() *schema { return ref("rate") },
	reflect.TypeFor[expr.Bool]():     func() *schema { return ref("expression") },
	reflect.TypeFor[expr.Value]():    func() *schema { return ref("expression") },
	reflect.TypeFor[expr.Template](): func() *schema { return ref("expression") },
	reflect.TypeFor[stages.Regexp](): func() *schema {
		return &schema{Title: "regular expression", Type: []string{"string", "number", "boolean"}}
	},
	reflect.TypeFor[codec.Compression](): func() *schema {
		return oneOf([]string{"auto", "none", "gzip", "zstd"}, nil)
	},
	reflect.TypeFor[sinks.FileSync](): func() *schema {
		return &schema{AnyOf: []*schema{{Enum: []any{"never", "batch"}}, ref("duration" + aboveZero)}}
	},
}

// shortFor says for what may be a text or a mapping which key of the mapping the
// text stands for.
var shortFor = map[reflect.Type]string{
	reflect.TypeFor[config.Buffer]():     "events",
	reflect.TypeFor[config.Policy]():     "type",
	reflect.TypeFor[codec.Codec]():       "type",
	reflect.TypeFor[sources.Pace]():      "rate",
	reflect.TypeFor[stages.Conversion](): "type",
}

// aboveZero ends the names of definitions that forbid zero.
const aboveZero = "_above_zero"

// definitions are the textDefs, and those of quantities once more without zero.
func definitions() properties {
	all := slices.Clone(textDefs)
	for _, p := range textDefs {
		if p.name != "duration" && p.name != "size" && p.name != "rate" {
			continue
		}
		s := *p.schema
		s.Not = &schema{AnyOf: []*schema{{Const: 0}, {Type: "string", Pattern: `^[^1-9$]*$`}}}
		all = append(all, property{p.name + aboveZero, &s})
	}
	return all
}

func number(x float64) *float64 { return &x }
