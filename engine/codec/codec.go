// Package codec turns byte streams into events and events into bytes: lines,
// JSON, CSV and raw bytes, and what compresses them.
//
// A Reader cuts events out of its read buffer without copying them. A buffer is
// never written to again once an event points into it.
package codec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Name is the name of a format in YAML.
type Name string

// The formats.
const (
	TypeLines  Name = "lines"
	TypeJSON   Name = "json"
	TypeNDJSON Name = "ndjson"
	TypeCSV    Name = "csv"
	TypeRaw    Name = "raw"
)

var names = []Name{TypeLines, TypeJSON, TypeNDJSON, TypeCSV, TypeRaw}

// Codec is the `codec` field of sources and sinks: the name of a format, or a
// mapping with its type and options. The zero value is invalid; start from
// Lines, NDJSON or one of the other constructors, which set the defaults.
type Codec struct {
	// Type is the format.
	//
	// lines: one event per line, the line being its field "message"; an empty line
	// is an empty event, and "\r\n" ends a line like "\n".
	//
	// ndjson: one JSON object per line; blank lines are skipped.
	//
	// json: as ndjson, and when reading also objects over several lines, several
	// on one line, and the elements of an array at the top. An object that is never
	// closed takes the rest of the input with it: prefer ndjson where it fits.
	//
	// csv: RFC 4180, one record per event, with line breaks allowed inside quotes.
	//
	// raw: the whole input is one event; events are written as they are, with
	// nothing between them.
	Type Name `yaml:"type" enum:"lines,json,ndjson,csv,raw"`

	// Delimiter stands between the fields of csv: one ASCII character, "," by default.
	Delimiter string `yaml:"delimiter"`

	// Header says that the first record of csv holds the column names (the
	// default). When writing it puts them there, once per file.
	Header bool `yaml:"header"`

	// Columns names the fields of csv, in order. Reading needs it when header is
	// false; with a header, the header must be exactly this. Writing takes the
	// fields of the first event when it is empty, and then refuses events with
	// others; when it is given, other fields are left out.
	Columns []string `yaml:"columns"`

	// Types says what csv values become when read. text, the default, keeps every
	// value as text. auto makes numbers of what JSON would write as one (so 007
	// stays text), booleans of true and false, and null of an empty value.
	Types string `yaml:"types" enum:"text,auto"`
}

func newCodec(n Name) Codec {
	return Codec{Type: n, Delimiter: ",", Header: true, Types: "text"}
}

// Lines returns the codec for plain lines.
func Lines() Codec { return newCodec(TypeLines) }

// JSON returns the codec for JSON objects in any layout.
func JSON() Codec { return newCodec(TypeJSON) }

// NDJSON returns the codec for one JSON object per line.
func NDJSON() Codec { return newCodec(TypeNDJSON) }

// CSV returns the codec for comma-separated values with a header.
func CSV() Codec { return newCodec(TypeCSV) }

// Raw returns the codec that leaves bytes as they are.
func Raw() Codec { return newCodec(TypeRaw) }

// UnmarshalText sets the format with its defaults: the short form `codec: ndjson`.
func (c *Codec) UnmarshalText(text []byte) error {
	n := Name(text)
	if !slices.Contains(names, n) {
		return fmt.Errorf("unknown codec %q: it is one of %s", text, list())
	}
	*c = newCodec(n)
	return nil
}

func list() string {
	all := make([]string, len(names))
	for i, n := range names {
		all[i] = string(n)
	}
	return strings.Join(all, ", ")
}

func (c *Codec) String() string { return string(c.Type) }

// Validate checks the options. Errors are *pipe.FieldError with names below codec.
func (c *Codec) Validate() error {
	if !slices.Contains(names, c.Type) {
		return pipe.Fieldf("type", "unknown codec %q: it is one of %s", c.Type, list())
	}
	if c.Type != TypeCSV {
		return c.validateNoCSV()
	}
	if d := c.Delimiter; len(d) != 1 || d[0] >= 0x80 || strings.ContainsAny(d, "\"\r\n\x00") {
		return pipe.Fieldf("delimiter", "%q cannot separate fields: it must be one ASCII character, and no quote or line break", d)
	}
	if c.Types != "text" && c.Types != "auto" {
		return pipe.Fieldf("types", "%q is neither text nor auto", c.Types)
	}
	for i, name := range c.Columns {
		if name == "" {
			return pipe.Fieldf(fmt.Sprintf("columns[%d]", i), "a column needs a name")
		}
		if slices.Contains(c.Columns[:i], name) {
			return pipe.Fieldf(fmt.Sprintf("columns[%d]", i), "column %q is there twice", name)
		}
	}
	return nil
}

// validateNoCSV refuses options that would have no effect.
func (c *Codec) validateNoCSV() error {
	switch {
	case c.Delimiter != "" && c.Delimiter != ",":
		return pipe.Fieldf("delimiter", "only codec csv has a delimiter, not %s", c.Type)
	case len(c.Columns) > 0:
		return pipe.Fieldf("columns", "only codec csv has columns, not %s", c.Type)
	case c.Types == "auto":
		return pipe.Fieldf("types", "only codec csv has types, not %s", c.Type)
	}
	return nil
}

// ValidateRead checks what reading needs beyond Validate.
func (c *Codec) ValidateRead() error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.Type == TypeCSV && !c.Header && len(c.Columns) == 0 {
		return pipe.Fieldf("columns", "csv without a header needs the names of its columns")
	}
	return nil
}

// ContentType returns the media type of what the codec writes.
func (c *Codec) ContentType() string {
	switch c.Type {
	case TypeJSON:
		return "application/json"
	case TypeNDJSON:
		return "application/x-ndjson"
	case TypeCSV:
		return "text/csv; charset=utf-8"
	case TypeRaw:
		return "application/octet-stream"
	}
	return "text/plain; charset=utf-8"
}

// unit is what the format calls one event, for messages.
func (c *Codec) unit() string {
	switch c.Type {
	case TypeJSON:
		return "JSON value"
	case TypeCSV:
		return "record"
	case TypeRaw:
		return "input"
	}
	return "line"
}
