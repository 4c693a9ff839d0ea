package stages

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterStage("encode", func() pipe.Stage { return &Encode{Field: "message", Delimiter: ","} })
}

// Encode writes the value of a field as text in another format. An event whose
// value cannot be written so fails, and leaves as it came; so does one without
// the field.
//
//	stages:
//	  pack: {type: encode, format: json, field: details}          # {"a":1} becomes "{\"a\":1}"
//	  line: {type: encode, format: logfmt, field: request, target: message}
//	  small: {type: encode, format: gzip, field: body}
//
// The stage decode is its counterpart. (Sinks have codec and compress for what they
// write; encode is for fields.)
//
// Example:
//
//	type: encode
//	format: json
//	field: details
type Encode struct {
	// Format is what is written. json: any value on one line. csv: one record, without
	// a line break at its end, of a list, or of an object with columns. logfmt:
	// an object as key=value; objects in it become a.b=1, lists JSON. base64,
	// base64url: the bytes of a text. gzip, zstd: a text compressed, and that in
	// base64, as an event holds text. base64 to zstd take the JSON of what is no text.
	Format string `yaml:"format" required:"true" enum:"json,csv,logfmt,base64,base64url,gzip,zstd"`

	// Field is the path of the value, message by default.
	Field string `yaml:"field"`

	// Target is the path of the text, by default the field itself. With another
	// target the field stays.
	Target string `yaml:"target"`

	// Columns names the members of an object that csv writes, from left to right; a
	// missing one and null are empty. Without columns csv needs a list.
	Columns []string `yaml:"columns"`

	// Delimiter is the one character between the cells of csv, a comma by
	// default; "\t" is a tab.
	Delimiter string `yaml:"delimiter"`

	source, target *record.Path
	encode         func(dst []byte, v record.Value) ([]byte, error)
}

var codingFormats = []string{"json", "csv", "logfmt", "base64", "base64url", "gzip", "zstd"}

// Validate checks that the options fit the format.
func (s *Encode) Validate() error {
	errs := []error{validateCoding(s.Format, s.Field, s.Target)}
	if s.Format != "csv" {
		if len(s.Columns) > 0 {
			errs = append(errs, fieldError("columns", "", "has no meaning for the format %s", s.Format))
		}
		if s.Delimiter != "," {
			errs = append(errs, fieldError("delimiter", "", "has no meaning for the format %s", s.Format))
		}
	}
	return errors.Join(append(errs, validateDelimiter(s.Delimiter), validateColumns(s.Columns))...)
}

// validateCoding checks what encode and decode have in common.
func validateCoding(format, field, target string) error {
	var errs []error
	if !slices.Contains(codingFormats, format) {
		errs = append(errs, fieldError("format", "one of "+strings.Join(codingFormats, ", "), "unknown format %q", format))
	}
	if _, err := record.ParsePath(field); err != nil {
		errs = append(errs, &pipe.FieldError{Field: "field", Err: err})
	}
	if _, err := record.ParsePath(target); err != nil && target != "" {
		errs = append(errs, &pipe.FieldError{Field: "target", Err: err})
	}
	return errors.Join(errs...)
}

// codingPaths parses the paths of encode and decode.
func codingPaths(field, target string) (source, to *record.Path, err error) {
	if source, err = record.ParsePath(field); err != nil {
		return nil, nil, fmt.Errorf("field: %w", err)
	}
	if to = source; target != "" {
		if to, err = record.ParsePath(target); err != nil {
			return nil, nil, fmt.Errorf("target: %w", err)
		}
	}
	return source, to, nil
}

// Open prepares the encoder.
func (s *Encode) Open(context.Context, pipe.Env) (err error) {
	if s.source, s.target, err = codingPaths(s.Field, s.Target); err != nil {
		return err
	}
	switch s.Format {
	case "json":
		s.encode = func(dst []byte, v record.Value) ([]byte, error) { return v.AppendJSON(dst), nil }
	case "csv":
		s.encode = s.appendCSV
	case "logfmt":
		s.encode = appendLogfmt
	case "base64", "base64url":
		c := base64Codings[s.Format]
		s.encode = func(dst []byte, v record.Value) ([]byte, error) { return c.AppendEncode(dst, v.Bytes(nil)), nil }
	case "gzip":
		pool := &sync.Pool{New: func() any { return gzip.NewWriter(nil) }}
		s.encode = func(dst []byte, v record.Value) ([]byte, error) { return appendGzip(dst, v.Bytes(nil), pool) }
	case "zstd":
		z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return fmt.Errorf("zstd: %w", err)
		}
		s.encode = func(dst []byte, v record.Value) ([]byte, error) {
			return base64.StdEncoding.AppendEncode(dst, z.EncodeAll(v.Bytes(nil), nil)), nil
		}
	}
	return nil
}

var base64Codings = map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64url": base64.RawURLEncoding}

// Process encodes the field of each event; one that cannot be encoded fails unchanged.
func (s *Encode) Process(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.edit(e, out); err != nil {
			out.Fail(e, poison(fmt.Errorf("%s: %w", s.Format, err)))
			continue
		}
		out.Emit(e)
	}
	return nil
}

func (s *Encode) edit(e *pipe.Event, out *pipe.Out) error {
	v := e.Body.Get(s.source)
	if !v.Exists() {
		return fmt.Errorf("there is no field %s", s.Field)
	}
	text, err := s.encode(out.Scratch(), v)
	if err != nil {
		return fmt.Errorf("field %s: %w", s.Field, err)
	}
	out.KeepScratch(text)
	if e.Body.IsText() && s.target.String() == "message" { // a line stays one
		e.Body = record.FromText(out.Arena.Copy(text))
		return nil
	}
	return e.Body.Set(&out.Arena, s.target, record.Text(text)) // which copies it
}

func appendGzip(dst, text []byte, pool *sync.Pool) ([]byte, error) {
	var packed bytes.Buffer
	z := pool.Get().(*gzip.Writer)
	defer pool.Put(z)
	z.Reset(&packed)
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return base64.StdEncoding.AppendEncode(dst, packed.Bytes()), nil
}
