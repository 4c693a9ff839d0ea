package stages

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/record"
)

func validateDelimiter(d string) error {
	if len(d) != 1 || d[0] >= 0x80 || strings.ContainsAny(d, "\"\r\n") {
		return fieldError("delimiter", `such as ";" or "\t"`, "must be one ASCII character that is neither a quote nor a line break, got %q", d)
	}
	return nil
}

func validateColumns(columns []string) error {
	var errs []error
	for i, name := range columns {
		if name != "" && slices.Contains(columns[:i], name) {
			errs = append(errs, fieldError(fmt.Sprintf("columns[%d]", i), "", "there are two columns %q", name))
		}
	}
	return errors.Join(errs...)
}

// appendCSV appends a list, or the columns of an object, as one record.
func (s *Encode) appendCSV(dst []byte, v record.Value) ([]byte, error) {
	n := 0
	cell := func(v record.Value) bool {
		if n++; n > 1 {
			dst = append(dst, s.Delimiter[0])
		}
		if k := v.Kind(); k != record.KindNull && k != record.KindMissing {
			dst = appendCell(dst, v.Bytes(nil), s.Delimiter[0])
		}
		return true
	}
	switch {
	case len(s.Columns) > 0 && v.Kind() == record.KindObject:
		members := map[string]record.Value{}
		v.Members(func(key []byte, v record.Value) bool {
			if i := slices.Index(s.Columns, string(key)); i >= 0 {
				members[s.Columns[i]] = v
			}
			return true
		})
		for _, name := range s.Columns {
			cell(members[name])
		}
	case len(s.Columns) > 0:
		return nil, fmt.Errorf("columns need an object, got %s", v.Kind())
	case v.Kind() == record.KindArray:
		v.Elements(cell)
	default:
		return nil, fmt.Errorf("needs a list, or columns for an object, got %s", v.Kind())
	}
	return dst, nil
}

// appendCell appends a cell, in quotes if it needs them (RFC 4180).
func appendCell(dst, cell []byte, delimiter byte) []byte {
	if bytes.IndexByte(cell, delimiter) < 0 && !bytes.ContainsAny(cell, "\"\r\n") {
		return append(dst, cell...)
	}
	dst = append(dst, '"')
	for _, b := range cell {
		if b == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, b)
	}
	return append(dst, '"')
}

// appendLogfmt appends the members of an object as key=value.
func appendLogfmt(dst []byte, v record.Value) ([]byte, error) {
	if v.Kind() != record.KindObject {
		return nil, fmt.Errorf("needs an object, got %s", v.Kind())
	}
	dst, err := appendPairs(dst, nil, v)
	if err == nil && len(dst) == 0 {
		err = errors.New("the object is empty")
	}
	return dst, err
}

// appendPairs appends the members of an object whose path is prefix.
func appendPairs(dst, prefix []byte, v record.Value) ([]byte, error) {
	var err error
	v.Members(func(key []byte, v record.Value) bool {
		if len(key) == 0 || bytes.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == '=' || r == '"' }) {
			err = fmt.Errorf("the name %q cannot be a key", clip(key))
			return false
		}
		path := append(slices.Clip(prefix), key...)
		if v.Kind() == record.KindObject {
			dst, err = appendPairs(dst, append(path, '.'), v)
			return err == nil
		}
		if len(dst) > 0 {
			dst = append(dst, ' ')
		}
		dst = append(append(dst, path...), '=')
		dst = appendLogfmtValue(dst, v)
		return true
	})
	return dst, err
}

// appendLogfmtValue appends a value, in quotes if it is a text that would not be
// read back as one.
func appendLogfmtValue(dst []byte, v record.Value) []byte {
	if v.Kind() == record.KindNull {
		return dst
	}
	text := v.Bytes(nil)
	plain := len(text) > 0 && !bytes.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == '=' || r == '"' || r == '\\' || r == 0x7f })
	if plain && v.Kind() == record.KindString {
		plain = guess(text).Kind() == record.KindString
	}
	if plain {
		return append(dst, text...)
	}
	dst = append(dst, '"')
	for _, b := range text {
		switch {
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		case b == '\n':
			dst = append(dst, '\\', 'n')
		case b == '\t':
			dst = append(dst, '\\', 't')
		case b == '\r':
			dst = append(dst, '\\', 'r')
		case b < ' ':
			dst = fmt.Appendf(dst, `\x%02x`, b)
		default:
			dst = append(dst, b)
		}
	}
	return append(dst, '"')
}
