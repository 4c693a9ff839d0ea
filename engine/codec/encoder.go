package codec

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// Encoder writes events in a format. It is not safe for concurrent use.
type Encoder struct {
	codec   *Codec
	header  bool // csv: the names are still to be written
	columns []csvColumn
	fixed   bool // the columns were configured
	cell    []byte
}

// csvColumn is a field by its name, or by its path where no field has that name.
type csvColumn struct {
	name string
	path *record.Path
}

// NewEncoder returns an encoder at the beginning of a file or body.
func (c *Codec) NewEncoder() *Encoder {
	e := &Encoder{codec: c, fixed: len(c.Columns) > 0}
	for _, name := range c.Columns {
		col := csvColumn{name: name}
		if p, err := record.ParsePath(name); err == nil {
			col.path = p
		}
		e.columns = append(e.columns, col)
	}
	e.Begin(true)
	return e
}

// Begin tells the encoder that a new file begins. empty is false when there is
// something in it already: then csv writes no header.
func (e *Encoder) Begin(empty bool) {
	e.header = empty && e.codec.Type == TypeCSV && e.codec.Header
}

// Append appends ev to dst as the format writes it, with what ends it. An error
// is about this event only; dst is then returned as it was.
func (e *Encoder) Append(dst []byte, ev *pipe.Event) ([]byte, error) {
	switch e.codec.Type {
	case TypeLines:
		return append(ev.Body.AppendText(dst), '\n'), nil
	case TypeJSON, TypeNDJSON:
		return append(ev.Body.AppendJSON(dst), '\n'), nil
	case TypeCSV:
		return e.appendCSV(dst, &ev.Body)
	}
	return ev.Body.AppendText(dst), nil
}

func (e *Encoder) appendCSV(dst []byte, body *record.Body) ([]byte, error) {
	if err := e.check(body); err != nil {
		return dst, pipe.Classed(pipe.Poison, err)
	}
	if e.header {
		e.header = false
		for i, c := range e.columns {
			dst = e.appendCell(dst, i, []byte(c.name))
		}
		dst = append(dst, '\n')
	}
	for i, c := range e.columns {
		v := body.Field(c.name)
		if !v.Exists() && e.fixed && c.path != nil {
			v = body.Get(c.path)
		}
		e.cell = e.cell[:0]
		switch v.Kind() {
		case record.KindMissing, record.KindNull:
		case record.KindString:
			e.cell = append(e.cell, v.Bytes(nil)...)
		default:
			e.cell = v.AppendJSON(e.cell)
		}
		dst = e.appendCell(dst, i, e.cell)
	}
	return append(dst, '\n'), nil
}

// check takes the columns from the first event, and refuses fields that later
// ones would lose.
func (e *Encoder) check(body *record.Body) error {
	if e.fixed {
		return nil
	}
	first := e.columns == nil
	var err error
	body.Range(func(key []byte, _ record.Value) bool {
		switch {
		case first:
			e.columns = append(e.columns, csvColumn{name: string(key)})
		case !slices.ContainsFunc(e.columns, func(c csvColumn) bool { return c.name == string(key) }):
			err = fmt.Errorf("csv: field %q is not among the columns, which are the fields of the first event; list the columns", key)
			return false
		}
		return true
	})
	if err == nil && len(e.columns) == 0 {
		return fmt.Errorf("csv: the event has no fields to take the columns from; list the columns")
	}
	return err
}

// appendCell appends field i of a record, in quotes where they are needed.
func (e *Encoder) appendCell(dst []byte, i int, cell []byte) []byte {
	d := e.codec.delimiter()
	if i > 0 {
		dst = append(dst, d)
	}
	lone := len(cell) == 0 && len(e.columns) == 1 // else it would be a blank line
	if has := func(c byte) bool { return bytes.IndexByte(cell, c) >= 0 }; !lone && !has(d) && !has('"') && !has('\n') && !has('\r') {
		return append(dst, cell...)
	}
	dst = append(dst, '"')
	for {
		j := bytes.IndexByte(cell, '"')
		if j < 0 {
			break
		}
		dst = append(append(dst, cell[:j+1]...), '"')
		cell = cell[j+1:]
	}
	return append(append(dst, cell...), '"')
}
