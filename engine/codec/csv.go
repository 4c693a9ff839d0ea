package codec

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

type csvMode uint8

const (
	csvStart  csvMode = iota // at the start of a field
	csvPlain                 // in a field without quotes
	csvQuoted                // in quotes
	csvQuote                 // after a quote in quotes: the end, or half of an escaped one
	csvBad                   // after a misplaced quote: the record ends with the line
)

// csvScanner finds the ends of csv records: line breaks outside of quotes.
type csvScanner struct {
	delimiter byte
	mode      csvMode
}

func (c *Codec) delimiter() byte {
	if c.Delimiter == "" {
		return ','
	}
	return c.Delimiter[0]
}

func (s *csvScanner) next() { s.mode = csvStart }

// scan goes on with the current record in p; see Reader.scan.
func (s *csvScanner) scan(p []byte) (n int, done bool) {
	for i := 0; i < len(p); {
		switch s.mode {
		case csvQuoted:
			j := bytes.IndexByte(p[i:], '"')
			if j < 0 {
				return len(p), false
			}
			i += j + 1
			s.mode = csvQuote
		case csvQuote:
			switch p[i] {
			case '"':
				s.mode = csvQuoted
				i++
			case s.delimiter:
				s.mode = csvStart
				i++
			case '\n', '\r':
				s.mode = csvPlain
			default:
				s.mode = csvBad
			}
		case csvBad:
			if j := bytes.IndexByte(p[i:], '\n'); j >= 0 {
				return i + j + 1, true
			}
			return len(p), false
		default:
			j, end := s.plain(p[i:])
			i += j
			if end {
				return i, true
			}
		}
	}
	return len(p), false
}

// plain goes on outside of quotes, up to the next quote that opens any.
func (s *csvScanner) plain(p []byte) (n int, done bool) {
	end := bytes.IndexByte(p, '\n')
	line := p
	if end >= 0 {
		line = p[:end]
	}
	quote := bytes.IndexByte(line, '"')
	switch {
	case quote == 0 && s.mode == csvStart, quote > 0 && line[quote-1] == s.delimiter:
		s.mode = csvQuoted
		return quote + 1, false
	case quote >= 0: // inside a field
		s.mode = csvBad
		return quote + 1, false
	case end >= 0:
		return end + 1, true
	}
	s.mode = csvPlain
	if line[len(line)-1] == s.delimiter {
		s.mode = csvStart
	}
	return len(line), false
}

// header takes the names of the columns from the first record. Where columns
// are configured too, a difference fails the record: it may well be data.
func (r *Reader) header(b *pipe.Batch, payload []byte, pos int64, large error) error {
	if large != nil {
		return fmt.Errorf("csv header: %w", large)
	}
	cells, err := r.split(payload)
	if err != nil {
		return fmt.Errorf("csv header: %w", err)
	}
	names := make([]string, len(cells))
	for i, c := range cells {
		names[i] = string(c)
	}
	if want := r.codec.Columns; len(want) > 0 {
		r.names = want
		if !slices.Equal(names, want) {
			r.fail(b, payload, pos, fmt.Errorf("the first record is not the header that columns announces; write header: false if the input has none"))
		}
		return nil
	}
	for i, name := range names {
		if name == "" {
			return fmt.Errorf("csv header: column %d has no name", i+1)
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("csv header: column %q is there twice", name)
		}
	}
	r.names = names
	return nil
}

// record decodes one record into an object.
func (r *Reader) record(payload []byte, a *record.Arena) (record.Body, error) {
	cells, err := r.split(payload)
	if err != nil {
		return record.Body{}, err
	}
	if len(cells) != len(r.names) {
		return record.Body{}, fmt.Errorf("the record has %s, the header %s", count(len(cells), "field"), count(len(r.names), "column"))
	}
	body := record.NewObject(a, len(cells))
	for i, c := range cells {
		v := record.Text(c)
		if r.codec.Types == "auto" {
			v = typed(c)
		}
		body.Add(a, r.names[i], v)
	}
	return body, nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// split cuts a record into fields. They point into payload where they can.
func (r *Reader) split(payload []byte) ([][]byte, error) {
	cells, rest := r.cells[:0], payload
	for {
		var cell []byte
		if len(rest) > 0 && rest[0] == '"' {
			n, escaped := quotedEnd(rest[1:])
			if n < 0 {
				return nil, fmt.Errorf("the quotes of field %d are not closed", len(cells)+1)
			}
			cell, rest = rest[1:n+1], rest[n+2:]
			if escaped {
				cell = bytes.ReplaceAll(cell, []byte(`""`), []byte(`"`))
			}
			if len(rest) > 0 && rest[0] != r.csv.delimiter {
				return nil, fmt.Errorf("field %d goes on after its closing quote", len(cells)+1)
			}
		} else {
			n := bytes.IndexByte(rest, r.csv.delimiter)
			if n < 0 {
				n = len(rest)
			}
			cell, rest = rest[:n], rest[n:]
			if bytes.IndexByte(cell, '"') >= 0 {
				return nil, fmt.Errorf("field %d has a quote inside, but is not in quotes", len(cells)+1)
			}
		}
		cells = append(cells, cell[:len(cell):len(cell)])
		if len(rest) == 0 {
			r.cells = cells
			return cells, nil
		}
		rest = rest[1:]
	}
}

// quotedEnd returns where the closing quote is in p, or -1, and whether there
// are escaped quotes before it.
func quotedEnd(p []byte) (n int, escaped bool) {
	for {
		j := bytes.IndexByte(p[n:], '"')
		if j < 0 {
			return -1, escaped
		}
		n += j
		if n+1 >= len(p) || p[n+1] != '"' {
			return n, escaped
		}
		n += 2
		escaped = true
	}
}

// typed reads a csv value as types: auto does.
func typed(c []byte) record.Value {
	switch string(c) {
	case "":
		return record.Null()
	case "true":
		return record.Bool(true)
	case "false":
		return record.Bool(false)
	}
	if isNumber(c) {
		return record.Number(c)
	}
	return record.Text(c)
}

// isNumber reports whether c is a number as JSON writes it.
func isNumber(c []byte) bool {
	digits := func() bool {
		n := 0
		for n < len(c) && '0' <= c[n] && c[n] <= '9' {
			n++
		}
		c = c[n:]
		return n > 0
	}
	if len(c) > 0 && c[0] == '-' {
		c = c[1:]
	}
	if len(c) > 1 && c[0] == '0' && '0' <= c[1] && c[1] <= '9' || !digits() {
		return false
	}
	if len(c) > 0 && c[0] == '.' {
		if c = c[1:]; !digits() {
			return false
		}
	}
	if len(c) > 0 && (c[0] == 'e' || c[0] == 'E') {
		c = c[1:]
		if len(c) > 0 && (c[0] == '+' || c[0] == '-') {
			c = c[1:]
		}
		if !digits() {
			return false
		}
	}
	return len(c) == 0
}
