package sinks

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// Line protocol: measurement,tag=value,tag=value field=value,field="text" time.
// A backslash stands before what would end a name or a value; before anything else
// it is itself. So nothing can end with one, and a comment cannot be a measurement.

// append appends an event as a point.
func (s *InfluxDB) append(dst []byte, e *pipe.Event, a *record.Arena) ([]byte, error) {
	measurement, err := textOf("measurement", &s.Measurement, e, a)
	if err != nil {
		return dst, err
	}
	measurement = bytes.TrimRight(measurement, `\`)
	switch {
	case len(measurement) == 0:
		return dst, fmt.Errorf("measurement: %s gives nothing", s.Measurement.Source())
	case measurement[0] == '#':
		return dst, fmt.Errorf("measurement: %.64q begins with #, which would be a comment", measurement)
	}
	ns, err := timeOf("time", &s.Time, e, a)
	if err != nil {
		return dst, err
	}
	dst = appendEscaped(dst, measurement, ", ")
	for i := range s.Tags {
		t := &s.Tags[i]
		text, err := textOf("tags."+t.Key, &t.Value, e, a)
		if err != nil {
			return dst, err
		}
		if text = bytes.TrimRight(text, `\`); len(text) > 0 {
			dst = appendEscaped(append(dst, ','), []byte(t.Key), ",= ")
			dst = appendEscaped(append(dst, '='), text, ",= ")
		}
	}
	before := len(dst)
	if dst, err = s.appendFields(dst, e, a); err != nil {
		return dst, err
	}
	if len(dst) == before {
		return dst, errors.New("fields: none of them has a value, and a point needs one")
	}
	dst[before] = ' ' // instead of the first comma
	return append(strconv.AppendInt(append(dst, ' '), ns, 10), '\n'), nil
}

// appendFields appends the fields, each with a comma before it.
func (s *InfluxDB) appendFields(dst []byte, e *pipe.Event, a *record.Arena) ([]byte, error) {
	if len(s.Fields) == 0 {
		e.Body.Range(func(key []byte, v record.Value) bool {
			if !s.spent[string(key)] && pointName(string(key)) && v.Kind() != record.KindArray && v.Kind() != record.KindObject {
				dst = s.appendField(dst, key, v)
			}
			return true
		})
		return dst, nil
	}
	for i := range s.Fields {
		f := &s.Fields[i]
		v, err := f.Value.Eval(e, a)
		if err != nil {
			return dst, fmt.Errorf("fields.%s: %w", f.Key, err)
		}
		if v.Kind() == record.KindArray || v.Kind() == record.KindObject {
			return dst, fmt.Errorf("fields.%s: %s gives an %s, and must give a number, a boolean or a text", f.Key, f.Value.Source(), v.Kind())
		}
		dst = s.appendField(dst, []byte(f.Key), v)
	}
	return dst, nil
}

// appendField appends one field, or nothing if it is nil.
func (s *InfluxDB) appendField(dst, key []byte, v record.Value) []byte {
	if v.Kind() == record.KindNull || !v.Exists() {
		return dst
	}
	dst = append(appendEscaped(append(dst, ','), key, ",= "), '=')
	switch v.Kind() {
	case record.KindString:
		dst = append(dst, '"')
		dst = appendEscaped(dst, v.Bytes(nil), `"\`)
		return append(dst, '"')
	case record.KindNumber:
		dst = append(dst, v.Bytes(nil)...)
		if _, whole := v.Int(); whole && s.Integers {
			dst = append(dst, 'i')
		}
		return dst
	}
	return v.AppendJSON(dst) // true and false
}

// appendEscaped appends text with a backslash before each of special. Line breaks,
// which line protocol does not have, become \n and \r.
func appendEscaped(dst, text []byte, special string) []byte {
	for _, c := range text {
		switch {
		case c == '\n' || c == '\r':
			if special == `"\` { // in quotes a backslash needs another one
				dst = append(dst, '\\')
			}
			dst = append(dst, `\`...)
			dst = append(dst, "nr"[bytes.IndexByte([]byte("\n\r"), c)])
		case bytes.IndexByte([]byte(special), c) >= 0:
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
