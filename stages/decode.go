package stages

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterStage("decode", func() pipe.Stage { return &Decode{Field: "message", Delimiter: ",", MaxBytes: 4 << 20} })
}

// Decode reads the text of a field that holds data in another format, and puts
// what it says into the field. An event whose text cannot be read, or would
// become larger than max_bytes, fails, and leaves as it came; so does one without
// the field.
//
//	stages:
//	  inner: {type: decode, format: json, field: log}
//	  body:  {type: decode, format: gzip, field: body, max_bytes: 1MiB}
//
// To put the fields of a line at the top of the event use the stage parse.
//
// Example:
//
//	type: decode
//	format: json
//	field: log
type Decode struct {
	// Format is how the text is written. json: any JSON value. csv: one record, which
	// becomes a list, or an object with columns. logfmt: an object; see the stage
	// parse. base64, base64url: text, with or without = at its end. gzip, zstd: compressed
	// text, in base64 or, in an event that is nothing but its payload, as it is.
	Format string `yaml:"format" required:"true" enum:"json,csv,logfmt,base64,base64url,gzip,zstd"`

	// Field is the path of the text, message by default.
	Field string `yaml:"field"`

	// Target is the path of what was read, by default the field itself. With
	// another target the field stays.
	Target string `yaml:"target"`

	// Columns names the members of the object that csv becomes, from left to right. An
	// empty name ("") leaves a column out. Without columns csv becomes a list.
	Columns []string `yaml:"columns"`

	// Delimiter is the one character between the cells of csv, a comma by
	// default; "\t" is a tab.
	Delimiter string `yaml:"delimiter"`

	// Types says what the values of csv and logfmt become: string (the default), int,
	// float, bool or auto, by name; "*" stands for all that are not named.
	Types FieldTypes `yaml:"types" enum:"string,int,float,bool,auto"`

	// MaxBytes is the most that gzip, zstd and base64 may become, 4MiB by default and
	// never more than limits.max_event_bytes. A small text that would become
	// huge is read no further than this. zstd data that needs a window of more than 8MiB
	// (levels above 19 of its program) cannot be read.
	MaxBytes pipe.Size `yaml:"max_bytes" min:"1B"`

	source, target *record.Path
	limit          int
	decode         func(text []byte, a *record.Arena) (record.Value, error)
	fields         *Parse // of csv and logfmt
	found          sync.Pool
	gzip           sync.Pool
	zstd           sync.Pool
}

// Validate checks that the options fit the format.
func (s *Decode) Validate() error {
	errs := []error{validateCoding(s.Format, s.Field, s.Target), validateDelimiter(s.Delimiter), validateColumns(s.Columns), s.Types.validate()}
	for _, o := range []struct {
		name  string
		given bool
		ok    bool
	}{
		{"columns", len(s.Columns) > 0, s.Format == "csv"},
		{"delimiter", s.Delimiter != ",", s.Format == "csv"},
		{"types", len(s.Types) > 0, s.Format == "csv" || s.Format == "logfmt"},
	} {
		if o.given && !o.ok {
			errs = append(errs, fieldError(o.name, "", "has no meaning for the format %s", s.Format))
		}
	}
	if len(s.Columns) == 0 && s.Format == "csv" {
		for name := range s.Types {
			if name != everyField {
				errs = append(errs, fieldError("types."+name, `"*" stands for all`, "needs columns, as a list has no names"))
			}
		}
	}
	if s.MaxBytes < 1 {
		errs = append(errs, fieldError("max_bytes", "such as 1MiB", "must be at least 1B"))
	}
	return errors.Join(errs...)
}

// Open prepares the decoder.
func (s *Decode) Open(_ context.Context, env pipe.Env) (err error) {
	if s.source, s.target, err = codingPaths(s.Field, s.Target); err != nil {
		return err
	}
	s.limit = int(min(s.MaxBytes, pipe.Size(cmp.Or(env.MaxEventBytes, 1<<30))))
	s.found.New = func() any { return new(fields) }
	switch s.Format {
	case "json":
		s.decode = decodeJSON
	case "csv", "logfmt":
		return s.openFields()
	case "base64", "base64url":
		s.decode = s.decodeBase64
	case "gzip":
		s.gzip.New = func() any { return new(gzip.Reader) }
		s.decode = s.compressed(gzipMagic, s.gunzip)
	case "zstd":
		s.decode = s.compressed(zstdMagic, s.unzstd)
	}
	return nil
}

// zstdWindow is the memory that any zstd data may ask for, however small it is: the
// window of level 19 of its program.
const zstdWindow = 8 << 20

var (
	gzipMagic = []byte{0x1f, 0x8b, 0x08}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// Process decodes the field of each event; one that cannot be decoded fails unchanged.
func (s *Decode) Process(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.edit(e, &out.Arena); err != nil {
			out.Fail(e, poison(fmt.Errorf("%s: %w", s.Format, err)))
			continue
		}
		out.Emit(e)
	}
	return nil
}

func (s *Decode) edit(e *pipe.Event, a *record.Arena) error {
	old := e.Body.Get(s.source)
	switch old.Kind() {
	case record.KindString:
	case record.KindMissing:
		return fmt.Errorf("there is no field %s", s.Field)
	default:
		return fmt.Errorf("field %s is not a text", s.Field)
	}
	v, err := s.decode(old.Bytes(nil), a)
	if err != nil {
		return fmt.Errorf("field %s: %w", s.Field, err)
	}
	text := v.Kind() == record.KindString
	if text && e.Body.IsText() && s.target.String() == "message" {
		e.Body = record.FromText(v.Bytes(nil)) // the payload may be any bytes
		return nil
	}
	if text && !utf8.Valid(v.Bytes(nil)) {
		return fmt.Errorf("field %s: what it holds is not text (UTF-8), so a field cannot have it", s.Field)
	}
	return e.Body.Set(a, s.target, v)
}

// decodeJSON reads any JSON value.
func decodeJSON(text []byte, a *record.Arena) (record.Value, error) {
	text = bytes.TrimSpace(text)
	if len(text) > 0 && text[0] == '{' {
		b, err := record.FromJSON(text, a)
		if err != nil {
			return record.Value{}, jsonCause(err)
		}
		return record.RawJSON(b.AppendJSON(nil)), nil
	}
	if !json.Valid(text) { // by itself: it must not close what we put around it
		var v any
		return record.Value{}, cmp.Or(json.Unmarshal(text, &v), errors.New("is not JSON"))
	}
	b, err := record.FromJSON(append(append([]byte(`{"v":`), text...), '}'), a)
	if err != nil {
		return record.Value{}, errors.New("is not UTF-8, or nested too deep")
	}
	return b.Field("v"), nil
}

func jsonCause(err error) error {
	var syntax *record.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("byte %d: %s", syntax.Offset, syntax.Msg)
	}
	return err
}

// openFields prepares csv and logfmt, which the stage parse can read.
func (s *Decode) openFields() error {
	s.fields = &Parse{Format: s.Format, Columns: s.Columns, Delimiter: s.Delimiter, Types: s.Types}
	if s.Format == "csv" && len(s.Columns) == 0 {
		kind := s.Types.of(everyField)
		s.decode = func(text []byte, a *record.Arena) (record.Value, error) { return s.csvList(text, kind, a) }
		return nil
	}
	f := findFormat(s.Format)
	parse, err := f.open(s.fields)
	if err != nil {
		return err
	}
	s.decode = func(text []byte, a *record.Arena) (record.Value, error) {
		found := s.found.Get().(*fields)
		defer s.found.Put(found)
		found.reset(text, 1, f.once)
		if err := parse(text, found, a); err != nil {
			return record.Value{}, trimFormat(err, s.Format)
		}
		return record.RawJSON(found.written(1)), nil
	}
	return nil
}

// trimFormat takes away the name of the format, which Process writes as well.
func trimFormat(err error, format string) error {
	if text, ok := bytes.CutPrefix([]byte(err.Error()), []byte(format+": ")); ok {
		return errors.New(string(text))
	}
	return err
}

// csvList reads a record as a list.
func (s *Decode) csvList(text []byte, kind fieldType, a *record.Arena) (record.Value, error) {
	c := cursor{line: bytes.TrimSuffix(text, []byte("\r"))}
	list := []byte{'['}
	for more := true; more; {
		at := c.at
		var cell []byte
		if cell, more = c.cell(s.Delimiter[0]); c.want != "" {
			return record.Value{}, trimFormat(c.mistake("csv"), "csv")
		}
		v, want := kind.convert(cell, a)
		if want != "" {
			return v, fmt.Errorf("byte %d: a cell should be %s, got %q", at, want, clip(cell))
		}
		list = append(v.AppendJSON(list), ',')
	}
	list[len(list)-1] = ']'
	return record.RawJSON(list), nil
}

func (s *Decode) decodeBase64(text []byte, _ *record.Arena) (record.Value, error) {
	coding := base64Codings[s.Format].WithPadding(base64.NoPadding)
	b, err := s.unbase64(coding, text)
	return record.Text(b), err
}

// unbase64 decodes text, whose padding it leaves out.
func (s *Decode) unbase64(coding *base64.Encoding, text []byte) ([]byte, error) {
	text = bytes.TrimRight(bytes.TrimSpace(text), "=")
	if n := coding.DecodedLen(len(text)); n > s.limit {
		return nil, s.tooLarge()
	}
	b, err := coding.AppendDecode(nil, text)
	var at base64.CorruptInputError
	if errors.As(err, &at) {
		return nil, fmt.Errorf("byte %d is not base64", int64(at))
	}
	return b, err
}

func (s *Decode) tooLarge() error {
	return fmt.Errorf("becomes larger than %d bytes: raise max_bytes (now %s) or limits.max_event_bytes if that is right", s.limit, s.MaxBytes)
}

// compressed makes a decoder of an expander; data that does not begin with magic
// is in base64.
func (s *Decode) compressed(magic []byte, expand func([]byte) ([]byte, error)) func([]byte, *record.Arena) (record.Value, error) {
	return func(text []byte, _ *record.Arena) (record.Value, error) {
		if !bytes.HasPrefix(text, magic) {
			packed, err := base64.RawStdEncoding.AppendDecode(nil, bytes.TrimRight(bytes.TrimSpace(text), "="))
			if err != nil || !bytes.HasPrefix(packed, magic) {
				return record.Value{}, fmt.Errorf("is neither %s nor that in base64", s.Format)
			}
			text = packed
		}
		b, err := expand(text)
		if err == nil && len(b) > s.limit {
			err = s.tooLarge()
		}
		return record.Text(b), err
	}
}

func (s *Decode) gunzip(packed []byte) ([]byte, error) {
	z := s.gzip.Get().(*gzip.Reader)
	defer s.gzip.Put(z)
	err := z.Reset(bytes.NewReader(packed))
	if err == nil {
		var b []byte
		if b, err = io.ReadAll(io.LimitReader(z, int64(s.limit)+1)); err == nil {
			return b, nil
		}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("the data is cut off")
	}
	return nil, fmt.Errorf("the data is damaged: %w", err)
}

func (s *Decode) unzstd(packed []byte) ([]byte, error) {
	z, ok := s.zstd.Get().(*zstd.Decoder)
	if !ok {
		var err error
		if z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), // which starts no goroutine
			zstd.WithDecoderMaxMemory(zstdWindow), zstd.WithDecoderMaxWindow(zstdWindow)); err != nil {
			return nil, err
		}
	}
	defer s.zstd.Put(z)
	b, err := []byte(nil), z.Reset(bytes.NewReader(packed))
	if err == nil {
		b, err = io.ReadAll(io.LimitReader(z, int64(s.limit)+1))
	}
	switch {
	case err == nil:
		return b, nil
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return nil, fmt.Errorf("the data needs more than %d bytes of memory to decompress", zstdWindow)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("the data is cut off")
	}
	return nil, fmt.Errorf("the data is damaged: %w", err)
}
