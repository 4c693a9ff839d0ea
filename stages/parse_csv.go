package stages

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/record"
)

func (p *Parse) validateCSV() error {
	var errs []error
	if !slices.ContainsFunc(p.Columns, func(name string) bool { return name != "" }) {
		errs = append(errs, fieldError("columns", "name the fields from left to right, such as [id, item, price]", "csv needs at least one column with a name"))
	}
	for i, name := range p.Columns {
		if name != "" && slices.Contains(p.Columns[:i], name) {
			errs = append(errs, fieldError(fmt.Sprintf("columns[%d]", i), "", "there are two columns %q", name))
		}
	}
	if d := p.Delimiter; len(d) != 1 || d[0] >= 0x80 || strings.ContainsAny(d, "\"\r\n") {
		errs = append(errs, fieldError("delimiter", `such as ";" or "\t"`, "must be one ASCII character that is neither a quote nor a line break, got %q", d))
	}
	for name := range p.Types {
		if name != everyField && !slices.Contains(p.Columns, name) {
			errs = append(errs, fieldError("types."+name, `"*" stands for all columns that are not named`, "there is no such column"))
		}
	}
	return errors.Join(errs...)
}

func (p *Parse) csvParser() (parser, error) {
	types := make([]fieldType, len(p.Columns))
	for i, name := range p.Columns {
		types[i] = p.Types.of(name)
	}
	columns, delimiter := newNames(p.Columns), p.Delimiter[0]
	parse := func(line []byte, out *fields, a *record.Arena) error {
		c := out.cursor(bytes.TrimSuffix(line, []byte("\r")))
		n := 0
		for more := true; more; n++ {
			var cell []byte
			at := c.at
			if cell, more = c.cell(delimiter); c.want != "" {
				return c.mistake("csv")
			}
			if n >= len(columns) || columns[n].plain == "" {
				continue
			}
			if err := out.convert("csv", &columns[n], cell, types[n], at, a); err != nil {
				return err
			}
		}
		out.room = c.room
		if n != len(columns) {
			return fmt.Errorf("csv: byte %d: the line ends after %d cells, there are %d columns", len(c.line), n, len(columns))
		}
		return nil
	}
	return parse, nil
}

// cell takes the next cell of a line of CSV (RFC 4180) and reports whether more
// follow. The cell aliases the line unless it has doubled quotes.
func (c *cursor) cell(delimiter byte) (cell []byte, more bool) {
	if c.at < len(c.line) && c.line[c.at] == '"' {
		cell = c.quotedCell(delimiter)
	} else {
		n := bytes.IndexByte(c.line[c.at:], delimiter)
		if n < 0 {
			n = len(c.line) - c.at
		}
		cell = c.line[c.at : c.at+n]
		if i := bytes.IndexByte(cell, '"'); i >= 0 {
			c.fail(c.at+i, "a quote", " can only be in a cell that begins with one")
		} else {
			c.at += n
		}
	}
	if c.want != "" || c.at == len(c.line) {
		return cell, false
	}
	c.at++ // the delimiter
	return cell, true
}

func (c *cursor) quotedCell(delimiter byte) []byte {
	start, doubled := c.at+1, false
	for i := start; ; i += 2 {
		n := bytes.IndexByte(c.line[min(i, len(c.line)):], '"')
		if n < 0 {
			c.fail(len(c.line), "the closing quote of a cell", " is missing")
			return nil
		}
		i += n
		switch {
		case i+1 == len(c.line), c.line[i+1] == delimiter:
			c.at = i + 1
			if doubled {
				return c.undouble(c.line[start:i])
			}
			return c.line[start:i]
		case c.line[i+1] != '"':
			c.fail(i+1, "the delimiter", " should follow a closing quote")
			return nil
		}
		doubled = true
	}
}

// undouble makes one quote of every two, which are all that b has.
func (c *cursor) undouble(b []byte) []byte {
	start := len(c.room)
	for {
		i := bytes.IndexByte(b, '"')
		if i < 0 {
			c.room = append(c.room, b...)
			return c.room[start:]
		}
		c.room = append(c.room, b[:i+1]...)
		b = b[i+2:]
	}
}
