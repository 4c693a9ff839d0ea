package syslog

import (
	"fmt"
	"strconv"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// Formatter writes events as messages. What it takes from an event are the fields
// that Body gives them; what an event does not have is taken from here.
type Formatter struct {
	Format   Format // RFC3164 or RFC5424
	Facility int
	Severity int
	Hostname string
	AppName  string
	Zone     *time.Location // in which RFC 3164 writes times
}

// Append appends e as one message, without framing. An error, which is poison,
// names the field that cannot be written; dst is then returned as it was.
//
// RFC 3164 has no place for msg_id and structured_data: they are left out.
func (f *Formatter) Append(dst []byte, e *pipe.Event) ([]byte, error) {
	out, err := f.append(dst, e)
	if err != nil {
		return dst, pipe.Classed(pipe.Poison, fmt.Errorf("%s: %w", f.Format, err))
	}
	return out, nil
}

func (f *Formatter) append(dst []byte, e *pipe.Event) ([]byte, error) {
	var object record.Body // whose fields count: a line has none but its text
	if !e.Body.IsText() {
		object = e.Body
	}
	facility, err := code(&object, Names[FieldFacility], f.Facility, len(facilities), FacilityOf)
	if err != nil {
		return nil, err
	}
	severity, err := code(&object, Names[FieldSeverity], f.Severity, len(severities), SeverityOf)
	if err != nil {
		return nil, err
	}
	dst = strconv.AppendInt(append(dst, '<'), int64(8*facility+severity), 10)
	if f.Format == RFC3164 {
		dst, err = f.append3164(append(dst, '>'), &object, e)
	} else {
		dst, err = f.append5424(append(dst, ">1 "...), &object, e)
	}
	if err != nil {
		return nil, err
	}
	return appendText(dst, &object, e), nil
}

// appendText appends the message: the field message, or else the whole event.
func appendText(dst []byte, object *record.Body, e *pipe.Event) []byte {
	switch v := object.Field(Names[FieldMessage]); v.Kind() {
	case record.KindMissing:
		if e.Body.IsText() {
			return e.Body.AppendText(dst)
		}
		return e.Body.AppendJSON(dst)
	case record.KindString:
		return append(dst, v.Bytes(nil)...)
	default:
		return v.AppendJSON(dst)
	}
}

// code returns the number that a field holds, or whose name it holds.
func code(object *record.Body, field string, fallback, most int, named func(string) (int, bool)) (int, error) {
	v := object.Field(field)
	switch v.Kind() {
	case record.KindMissing, record.KindNull:
		return fallback, nil
	case record.KindString:
		if n, ok := named(v.String()); ok {
			return n, nil
		}
	case record.KindNumber:
		if n, ok := v.Int(); ok && n >= 0 && n < int64(most) {
			return int(n), nil
		}
	}
	return 0, fmt.Errorf("%s: %s is none: it is a name or a number up to %d", field, v.AppendJSON(nil), most-1)
}

func (f *Formatter) append3164(dst []byte, object *record.Body, e *pipe.Event) ([]byte, error) {
	t, err := timeOf(object, e)
	if err != nil {
		return nil, err
	}
	dst = append(t.In(f.Zone).AppendFormat(dst, time.Stamp), ' ')
	if dst, err = appendWord(dst, object, FieldHostname, 255, f.Hostname); err != nil {
		return nil, err
	}
	if dst, err = appendWord(append(dst, ' '), object, FieldAppName, 48, f.AppName); err != nil {
		return nil, err
	}
	if v := object.Field(Names[FieldProcID]); v.Exists() && v.Kind() != record.KindNull {
		if dst, err = appendWord(append(dst, '['), object, FieldProcID, 128, ""); err != nil {
			return nil, err
		}
		dst = append(dst, ']')
	}
	return append(dst, ": "...), nil
}

func (f *Formatter) append5424(dst []byte, object *record.Body, e *pipe.Event) ([]byte, error) {
	t, err := timeOf(object, e)
	if err != nil {
		return nil, err
	}
	dst = append(t.AppendFormat(dst, "2006-01-02T15:04:05.999999Z07:00"), ' ')
	for _, w := range []struct {
		field, most int
		fallback    string
	}{{FieldHostname, 255, f.Hostname}, {FieldAppName, 48, f.AppName}, {FieldProcID, 128, ""}, {FieldMsgID, 32, ""}} {
		if dst, err = appendWord(dst, object, w.field, w.most, w.fallback); err != nil {
			return nil, err
		}
		dst = append(dst, ' ')
	}
	if dst, err = appendElements(dst, object.Field(Names[FieldStructuredData])); err != nil {
		return nil, err
	}
	return append(dst, ' '), nil
}

// timeOf returns the time that the event carries, or when it was read.
func timeOf(object *record.Body, e *pipe.Event) (time.Time, error) {
	v := object.Field(Names[FieldTimestamp])
	if !v.Exists() || v.Kind() == record.KindNull {
		if t := e.Time(); !t.IsZero() {
			return t.Round(0), nil
		}
		return time.Now(), nil
	}
	t, err := time.Parse(time.RFC3339, v.String())
	if v.Kind() != record.KindString || err != nil {
		return t, fmt.Errorf("timestamp: %s is no time like 2026-03-01T23:30:00Z", v.AppendJSON(nil))
	}
	return t, nil
}

// appendWord appends a field of the header, its fallback, or "-".
func appendWord(dst []byte, object *record.Body, field, most int, fallback string) ([]byte, error) {
	v := object.Field(Names[field])
	word := []byte(fallback)
	switch v.Kind() {
	case record.KindMissing, record.KindNull:
	case record.KindString:
		word = v.Bytes(nil)
	case record.KindNumber:
		word = v.AppendJSON(nil)
	default:
		return nil, fmt.Errorf("%s: %s is not a text", Names[field], v.AppendJSON(nil))
	}
	if len(word) == 0 {
		return append(dst, '-'), nil
	}
	if len(word) > most {
		return nil, fmt.Errorf("%s has %d bytes, the most are %d", Names[field], len(word), most)
	}
	for i, b := range word {
		if b <= ' ' || b >= 0x7f {
			return nil, fmt.Errorf("%s: %q has a character that a header cannot have at byte %d: only ASCII without spaces can be there", Names[field], word, i)
		}
	}
	return append(dst, word...), nil
}

// appendElements appends structured data; v is an object of objects.
func appendElements(dst []byte, v record.Value) ([]byte, error) {
	if !v.Exists() || v.Kind() == record.KindNull {
		return append(dst, '-'), nil
	}
	if v.Kind() != record.KindObject {
		return nil, fmt.Errorf("structured_data: %s is not an object", v.AppendJSON(nil))
	}
	start := len(dst)
	var err error
	v.Members(func(id []byte, params record.Value) bool {
		dst, err = appendElement(dst, id, params)
		return err == nil
	})
	if err != nil {
		return nil, fmt.Errorf("structured_data: %w", err)
	}
	if len(dst) == start {
		dst = append(dst, '-')
	}
	return dst, nil
}

func appendElement(dst, id []byte, v record.Value) ([]byte, error) {
	if err := checkName(id); err != nil {
		return nil, err
	}
	if v.Kind() != record.KindObject {
		return nil, fmt.Errorf("%s: %s is not an object", id, v.AppendJSON(nil))
	}
	var err error
	dst = append(append(dst, '['), id...)
	v.Members(func(key []byte, v record.Value) bool {
		if err = checkName(key); err == nil {
			dst, err = appendValues(dst, key, v)
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	return append(dst, ']'), nil
}

// checkName checks the name of an element or a parameter.
func checkName(b []byte) error {
	if len(b) == 0 || len(b) > 32 {
		return fmt.Errorf("the name %q has %d bytes: it must have 1 to 32", b, len(b))
	}
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || c == '=' || c == ']' || c == '"' {
			return fmt.Errorf("the name %q has a character that it cannot have: %q", b, c)
		}
	}
	return nil
}

// appendValues appends a parameter, once for each element of an array.
func appendValues(dst, key []byte, v record.Value) ([]byte, error) {
	switch v.Kind() {
	case record.KindObject:
		return nil, fmt.Errorf("%s: an object cannot be the value of a parameter", key)
	case record.KindNull:
		return dst, nil
	case record.KindArray:
		var err error
		v.Elements(func(v record.Value) bool {
			if v.Kind() == record.KindArray {
				err = fmt.Errorf("%s: an array in an array cannot be the value of a parameter", key)
				return false
			}
			dst, err = appendValues(dst, key, v)
			return err == nil
		})
		return dst, err
	case record.KindString:
		return appendParamText(dst, key, v.Bytes(nil)), nil
	}
	return appendParamText(dst, key, v.AppendJSON(nil)), nil
}

func appendParamText(dst, key, value []byte) []byte {
	dst = append(append(append(dst, ' '), key...), `="`...)
	for _, c := range value {
		if c == '"' || c == '\\' || c == ']' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}
