package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterStage("parse", func() pipe.Stage { return &Parse{Field: "message", Delimiter: ","} })
}

// Parse takes a line of text apart and puts the parts into the event as fields,
// at the top. An event whose line does not match fails, and leaves as it came;
// the error says what should have been at which byte (counted from 0).
//
//	stages:
//	  access: {type: parse, format: apache_combined}
//	  orders: {type: parse, format: csv, columns: [id, item, price], types: {price: float}}
//	  labels: {type: parse, format: regex, field: title, pattern: '^\[(?P<label>\w+)\] '}
//
// What apache_combined makes of a line:
//
//   - client_ip, ident, user, time, method, path, protocol, status, bytes,
//     referer, agent. A "-" in the line means that the field is absent.
//   - status and bytes are numbers. time is RFC 3339: 17/May/2015:10:05:03 +0000
//     becomes 2015-05-17T10:05:03Z.
//   - Escapes in quotes (\" \\ \n \xhh) are undone, unless that would not be
//     UTF-8: then the text stays as it was logged.
//   - A request that is not METHOD PATH PROTOCOL does not fail the line. GET /x
//     has no protocol; "-" has none of the three; anything else that does not
//     begin with a method goes into a field request as it is.
//
// apache_common is the same without referer and agent. In all formats, bytes that
// are not UTF-8 become U+FFFD.
type Parse struct {
	// Format is how the line is written. json: an object, whose fields go to the
	// top. csv: cells as RFC 4180 quotes them; a line must have as many cells as
	// there are columns. logfmt: key=value and key="quoted value"; a key alone is
	// true; of equal keys the last one counts. regex: see pattern.
	// apache_common and apache_combined: access logs of Apache and nginx.
	Format string `yaml:"format" required:"true" enum:"json,csv,logfmt,regex,apache_common,apache_combined"`

	// Field is the path of the text to parse, message by default, which is the
	// whole of an event that is a line. It must be a text. It is removed when it
	// has been parsed, unless keep_source is set.
	Field string `yaml:"field"`

	// KeepSource keeps the parsed text in its field, unless the line has a field
	// of the same name, which then replaces it.
	KeepSource bool `yaml:"keep_source"`

	// Columns names the fields of csv from left to right. An empty name ("")
	// leaves a column out.
	Columns []string `yaml:"columns"`

	// Delimiter is the one character between the cells of csv, a comma by
	// default; "\t" is a tab.
	Delimiter string `yaml:"delimiter"`

	// Pattern is a regular expression (RE2) whose named groups, (?P<name>...), are
	// the fields. It may match anywhere in the text: begin it with ^ and end it
	// with $ to match all of it. A group that took no part is absent.
	Pattern Regexp `yaml:"pattern"`

	// Types says what the fields of csv, logfmt and regex become: string (the
	// default), int, float, bool or auto, by name, as in {price: float}; "*" stands
	// for all fields not named, as in {id: string, "*": auto}. auto makes numbers
	// and booleans of what is written as JSON writes them and leaves all else
	// alone, so 007 stays text. A value that is not of its type fails the event;
	// an empty one is left out. A key alone in logfmt is always true, and what
	// logfmt quotes is text unless the field has a type of its own.
	Types FieldTypes `yaml:"types" enum:"string,int,float,bool,auto"`

	source *record.Path
	whole  bool // the source is the one field of a line of text
	parse  parser
}

// parser puts the fields of line into out. Their values may alias line.
type parser func(line []byte, out *fields, a *record.Arena) error

// Validate checks that the options fit the format.
func (p *Parse) Validate() error {
	_, pathErr := record.ParsePath(p.Field)
	if pathErr != nil {
		pathErr = &pipe.FieldError{Field: "field", Err: pathErr}
	}
	return errors.Join(pathErr, p.validateFormat(), p.Types.validate())
}

const formatHint = "one of json, csv, logfmt, regex, apache_common and apache_combined"

func (p *Parse) validateFormat() error {
	var errs []error
	only := func(field string, set bool, formats ...string) {
		if set && !slices.Contains(formats, p.Format) {
			errs = append(errs, fieldError(field, "", "has no meaning for the format %s", p.Format))
		}
	}
	only("columns", len(p.Columns) > 0, "csv")
	only("delimiter", p.Delimiter != ",", "csv")
	only("pattern", !p.Pattern.IsZero(), "regex")
	only("types", len(p.Types) > 0, "csv", "logfmt", "regex")
	switch p.Format {
	case "json", "logfmt", "apache_common", "apache_combined":
	case "csv":
		errs = append(errs, p.validateCSV())
	case "regex":
		errs = append(errs, p.Pattern.validate())
	case "":
		errs = append(errs, fieldError("format", formatHint, "is required"))
	default:
		errs = append(errs, fieldError("format", formatHint, "unknown format %q", p.Format))
	}
	return errors.Join(errs...)
}

// Open prepares the parser.
func (p *Parse) Open(context.Context, pipe.Env) (err error) {
	if p.source, err = record.ParsePath(p.Field); err != nil {
		return fmt.Errorf("field: %w", err)
	}
	p.whole = p.Field == "message"
	switch p.Format {
	case "json":
		p.parse = parseJSON
	case "csv":
		p.parse = p.csvParser()
	case "logfmt":
		p.parse = p.logfmtParser()
	case "regex":
		p.parse = p.regexParser()
	default:
		p.parse = accessParser(p.Format)
	}
	return nil
}

// Process parses each event; one that does not match fails unchanged.
func (p *Parse) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	var found fields
	for i, e := range in {
		body, err := p.body(e.Body, &found, len(in)-i, &out.Arena)
		if err != nil {
			out.Fail(e, poison(err))
			continue
		}
		e.Body = body
		out.Emit(e)
	}
	return nil
}

// body parses the event of body old; lines is how many are still to come.
func (p *Parse) body(old record.Body, found *fields, lines int, a *record.Arena) (record.Body, error) {
	v := old.Get(p.source)
	switch v.Kind() {
	case record.KindString:
	case record.KindMissing:
		return old, fmt.Errorf("%s: there is no field %s", p.Format, p.Field)
	default:
		return old, fmt.Errorf("%s: field %s is not a text", p.Format, p.Field)
	}
	if !old.IsText() {
		found.source = slices.Grow(found.source[:0], old.Size())
	}
	line := v.Bytes(found.source)
	alone := p.whole && old.IsText() && !p.KeepSource // nothing but the fields will be left
	found.reset(line, lines, alone && p.Format != "json" && p.Format != "logfmt")
	if err := p.parse(line, found, a); err != nil {
		return old, err
	}
	size := old.Size()
	switch {
	case alone && p.Format == "json":
		return found.object, nil
	case alone:
		old = record.Body{}
	case !p.KeepSource:
		old.Delete(a, p.source)
	}
	return found.body(&old, size, lines, a)
}

func parseJSON(line []byte, out *fields, a *record.Arena) error {
	var err error
	if out.object, err = record.FromJSON(line, a); err != nil {
		return jsonMistake(err)
	}
	return nil
}

func jsonMistake(err error) error {
	var syntax *record.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("json: byte %d: %s", syntax.Offset, syntax.Msg)
	}
	return fmt.Errorf("json: %w", err)
}
