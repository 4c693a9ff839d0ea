package main

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// schema is a JSON Schema, with its keywords in the order in which they are
// written. Those not in the standard are understood by editors and ignored by
// others: enumDescriptions, patternErrorMessage.
type schema struct {
	Schema              string              `json:"$schema,omitempty"`
	Ref                 string              `json:"$ref,omitempty"`
	Title               string              `json:"title,omitempty"`
	Description         string              `json:"description,omitempty"`
	Type                any                 `json:"type,omitempty"` // a name or a list of names
	Const               any                 `json:"const,omitempty"`
	Enum                []any               `json:"enum,omitempty"`
	EnumDescriptions    []string            `json:"enumDescriptions,omitempty"`
	Default             any                 `json:"default,omitempty"`
	Pattern             string              `json:"pattern,omitempty"`
	PatternErrorMessage string              `json:"patternErrorMessage,omitempty"`
	MinLength           int                 `json:"minLength,omitempty"`
	Minimum             *float64            `json:"minimum,omitempty"`
	ExclusiveMinimum    *float64            `json:"exclusiveMinimum,omitempty"`
	Maximum             *float64            `json:"maximum,omitempty"`
	ExclusiveMaximum    *float64            `json:"exclusiveMaximum,omitempty"`
	Items               *schema             `json:"items,omitempty"`
	MinItems            int                 `json:"minItems,omitempty"`
	Required            []string            `json:"required,omitempty"`
	DependentRequired   map[string][]string `json:"dependentRequired,omitempty"`
	MinProperties       int                 `json:"minProperties,omitempty"`
	PropertyNames       *schema             `json:"propertyNames,omitempty"`
	Properties          properties          `json:"properties,omitempty"`
	Additional          any                 `json:"additionalProperties,omitempty"` // a schema or false
	If                  *schema             `json:"if,omitempty"`
	Then                *schema             `json:"then,omitempty"`
	Else                *schema             `json:"else,omitempty"`
	AllOf               []*schema           `json:"allOf,omitempty"`
	AnyOf               []*schema           `json:"anyOf,omitempty"`
	Not                 *schema             `json:"not,omitempty"`
	Defs                properties          `json:"$defs,omitempty"`
}

// properties are named schemas in their order.
type properties []property

type property struct {
	name   string
	schema *schema
}

// MarshalJSON renders an object.
func (ps properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range ps {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := encode(p.schema, "")
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", p.name, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// encode renders v without the escapes that JSON needs only inside HTML.
func encode(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	err := enc.Encode(v)
	return b.Bytes(), err
}

func ref(def string) *schema { return &schema{Ref: "#/$defs/" + def} }

// mapping is a mapping with these keys and no others.
func mapping(ps properties, required []string) *schema {
	return &schema{Type: "object", Required: required, Properties: ps, Additional: false}
}

// entries is a mapping from names of the user to values.
func entries(value *schema) *schema { return &schema{Type: "object", Additional: value} }

// either is object for a mapping, and short for all else.
func either(object, short *schema) *schema {
	return &schema{If: &schema{Type: "object"}, Then: object, Else: short}
}

// oneOf is one of some words, or an expansion.
func oneOf(words, meanings []string) *schema {
	enum := &schema{EnumDescriptions: meanings}
	for _, w := range words {
		enum.Enum = append(enum.Enum, w)
	}
	return &schema{AnyOf: []*schema{enum, ref("expansion")}}
}

// nullable allows that s has no value.
func nullable(s *schema) *schema {
	switch t := s.Type.(type) {
	case string:
		s.Type = []string{t, "null"}
		return s
	case []string:
		s.Type = append(t, "null")
		return s
	}
	return &schema{AnyOf: []*schema{s, {Type: "null"}}}
}
