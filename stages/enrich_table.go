package stages

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"

	"github.com/pipectl/pipectl/engine/record"
)

// readTable reads the rows of a file. They keep parts of data.
func readTable(data []byte, f *Enrich, plan *takePlan) (map[string]*row, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	t := tableReader{file: f, plan: plan, rows: map[string]*row{}, lines: map[string]int{}, tops: topPaths{}}
	var err error
	switch f.format() {
	case "csv":
		err = t.csv(data)
	case "ndjson":
		err = t.ndjson(data)
	default:
		err = t.json(data)
	}
	return t.rows, err
}

// tableReader collects the rows of a file.
type tableReader struct {
	file  *Enrich
	plan  *takePlan
	rows  map[string]*row
	lines map[string]int // where each key is
	tops  topPaths
}

func (t *tableReader) csv(data []byte) error {
	r := csv.NewReader(bytes.NewReader(data))
	r.ReuseRecord = true
	head, err := r.Read()
	if err == io.EOF {
		return errors.New("the file is empty: its first line must name the columns")
	}
	if err != nil {
		return err
	}
	columns := append([]string(nil), head...)
	types, has := make([]fieldType, len(columns)), map[string]bool{}
	for i, name := range columns {
		if has[name] {
			return fmt.Errorf("line 1: the column %q is there twice", name)
		}
		types[i], has[name] = t.file.Types.of(name), true
	}
	if !has[t.file.Column] {
		return fmt.Errorf("line 1: there is no column %q", t.file.Column)
	}
	for {
		cells, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		line, _ := r.FieldPos(0)
		object := record.NewObject(nil, len(columns))
		for i, cell := range cells {
			v, want := types[i].convert([]byte(cell), nil)
			if want != "" {
				return fmt.Errorf("line %d: %s: %.40q is not %s", line, columns[i], cell, want)
			}
			if v.Exists() {
				object.Add(nil, columns[i], v)
			}
		}
		if err := t.add(object, "line", line); err != nil {
			return err
		}
	}
}

func (t *tableReader) ndjson(data []byte) error {
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		object, err := record.FromJSON(line, nil)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, jsonMistake(err))
		}
		if err := t.add(object, "line", number); err != nil {
			return err
		}
	}
	return nil
}

func (t *tableReader) json(data []byte) error {
	const before = `{"rows":`
	all, err := record.FromJSON(append(append([]byte(before), data...), '}'), nil)
	var at *record.SyntaxError
	switch {
	case errors.As(err, &at):
		return fmt.Errorf("json: byte %d: %s", at.Offset-len(before), at.Msg)
	case err != nil:
		return err
	}
	list := all.Field("rows")
	count := 0
	all.Range(func([]byte, record.Value) bool { count++; return true })
	if list.Kind() != record.KindArray || count != 1 {
		return errors.New("json: the file must be an array of objects")
	}
	number := 0
	list.Elements(func(v record.Value) bool {
		var object record.Body
		number++
		if object, err = record.FromJSON(v.Raw(), nil); err != nil {
			err = fmt.Errorf("element %d is not an object", number)
		} else {
			err = t.add(object, "element", number)
		}
		return err == nil
	})
	return err
}

// add adds a row by its key.
func (t *tableReader) add(object record.Body, unit string, number int) error {
	text, ok := object.Field(t.file.Column).Key(nil)
	if !ok {
		return fmt.Errorf("%s %d has no %q", unit, number, t.file.Column)
	}
	key := string(text)
	if first, twice := t.lines[key]; twice {
		return fmt.Errorf("%s %d: the key %.60q is there twice, first at %s %d", unit, number, key, unit, first)
	}
	t.lines[key], t.rows[key] = number, t.plan.row(object, t.tops)
	return nil
}
