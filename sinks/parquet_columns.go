package sinks

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// ParquetType is the type of a column.
type ParquetType string

// The types of columns.
const (
	parquetString    ParquetType = "string"
	parquetInt64     ParquetType = "int64"
	parquetDouble    ParquetType = "double"
	parquetBoolean   ParquetType = "boolean"
	parquetTimestamp ParquetType = "timestamp"
	parquetJSON      ParquetType = "json"
)

// UnmarshalText reads the name of a type.
func (p *ParquetType) UnmarshalText(text []byte) error {
	switch t := ParquetType(text); t {
	case parquetString, parquetInt64, parquetDouble, parquetBoolean, parquetTimestamp, parquetJSON:
		*p = t
		return nil
	}
	return fmt.Errorf("%q is not one of string, int64, double, boolean, timestamp, json", text)
}

// MarshalText renders the type as UnmarshalText reads it.
func (p ParquetType) MarshalText() ([]byte, error) { return []byte(p), nil }

func (p ParquetType) node() parquet.Node {
	switch p {
	case parquetInt64:
		return parquet.Leaf(parquet.Int64Type)
	case parquetDouble:
		return parquet.Leaf(parquet.DoubleType)
	case parquetBoolean:
		return parquet.Leaf(parquet.BooleanType)
	case parquetTimestamp:
		return parquet.Timestamp(parquet.Microsecond)
	case parquetJSON:
		return parquet.JSON()
	}
	return parquet.String()
}

// columns are the columns of the files.
type columns struct {
	fixed bool // the file says which; else events add to them
	most  int
	list  []column
	known map[string]bool
	made  *parquet.Schema // of list, nil until it is needed
}

type column struct {
	name string
	path *record.Path
	typ  ParquetType
}

func newColumns(schema pipe.OrderedMap[ParquetType], most int) (columns, error) {
	c := columns{fixed: len(schema) > 0, most: most, known: map[string]bool{}}
	for _, p := range schema {
		path, err := record.ParsePath(p.Key)
		if err != nil {
			return c, &pipe.FieldError{Field: "schema." + p.Key, Err: err}
		}
		c.add(column{p.Key, path, p.Value})
	}
	return c, nil
}

func (c *columns) add(one column) {
	c.list = append(c.list, one)
	c.known[one.name] = true
	c.made = nil
}

// learn adds columns for fields that have none yet, by the values of all these
// events. It returns the events that need too many.
func (c *columns) learn(in []*pipe.Event) map[int]error {
	bad := map[int]error{}
	if c.fixed {
		return bad
	}
	var order []string
	kinds := map[string]ParquetType{}
	for i, e := range in {
		e.Body.Range(func(key []byte, v record.Value) bool {
			name, typ := string(key), guessed(v)
			if typ == "" || c.known[name] {
				return true
			}
			before, seen := kinds[name]
			if name == "" || !utf8.ValidString(name) {
				bad[i] = pipe.Classed(pipe.Poison, fmt.Errorf("a field named %.100q cannot be a column", name))
				return false
			}
			if !seen && len(c.list)+len(order) >= c.most {
				bad[i] = pipe.Classed(pipe.Poison, fmt.Errorf("the field %.100q would be one more than max_columns (%d): write a schema or raise it", name, c.most))
				return false
			}
			if !seen {
				order = append(order, name)
				kinds[name] = typ
			} else {
				kinds[name] = common(before, typ)
			}
			return true
		})
	}
	for _, name := range order {
		c.add(column{name, record.NewPath(name), kinds[name]})
	}
	return bad
}

// guessed is the type of column that suits a value; "" for null.
func guessed(v record.Value) ParquetType {
	switch v.Kind() {
	case record.KindString:
		return parquetString
	case record.KindBool:
		return parquetBoolean
	case record.KindNumber:
		if _, whole := v.Int(); whole {
			return parquetInt64
		}
		return parquetDouble
	case record.KindArray, record.KindObject:
		return parquetJSON
	}
	return ""
}

// common is the type of column that suits both.
func common(a, b ParquetType) ParquetType {
	number := func(t ParquetType) bool { return t == parquetInt64 || t == parquetDouble }
	switch {
	case a == b:
		return a
	case number(a) && number(b):
		return parquetDouble
	case a == parquetJSON || b == parquetJSON:
		return parquetJSON
	}
	return parquetString
}

// rows makes rows of the events with these indexes, with the size of each. Events
// that have a value which its column cannot take go to bad.
func (c *columns) rows(in []*pipe.Event, members []int, bad map[int]error) (rows []parquet.Row, sizes []int) {
	cells := make([]parquet.Value, 0, len(members)*len(c.list))
	for _, i := range members {
		if len(c.list) == 0 {
			bad[i] = pipe.Classed(pipe.Poison, errors.New("it has no field with a value, and there is no column yet"))
			continue
		}
		start := len(cells)
		for k := range c.list {
			v, err := c.list[k].cell(&in[i].Body)
			if err != nil {
				bad[i] = pipe.Classed(pipe.Poison, fmt.Errorf("column %s: %w", c.list[k].name, err))
				break
			}
			level := 1
			if v.IsNull() {
				level = 0
			}
			cells = append(cells, v.Level(0, level, k))
		}
		if bad[i] != nil {
			cells = cells[:start]
			continue
		}
		rows, sizes = append(rows, cells[start:len(cells):len(cells)]), append(sizes, in[i].Size())
	}
	return rows, sizes
}

// cell is the value of the column for an event.
func (c *column) cell(body *record.Body) (parquet.Value, error) {
	v := body.Get(c.path)
	null := parquet.NullValue()
	if !v.Exists() || v.Kind() == record.KindNull {
		return null, nil
	}
	scalar := v.Kind() == record.KindString || v.Kind() == record.KindNumber || v.Kind() == record.KindBool
	switch c.typ {
	case parquetJSON:
		return parquet.ByteArrayValue(validText(v.AppendJSON(nil))), nil
	case parquetString:
		if scalar {
			return parquet.ByteArrayValue(validText(v.Bytes(nil))), nil
		}
	case parquetInt64:
		if n, ok := asNumber(v).Int(); ok {
			return parquet.Int64Value(n), nil
		}
	case parquetDouble:
		if x, ok := asNumber(v).Float(); ok {
			return parquet.DoubleValue(x), nil
		}
	case parquetBoolean:
		if x, ok := v.Bool(); ok {
			return parquet.BooleanValue(x), nil
		}
		if v.EqualString("true") || v.EqualString("false") {
			return parquet.BooleanValue(v.EqualString("true")), nil
		}
	case parquetTimestamp:
		if at, ok := asTime(v); ok {
			return parquet.Int64Value(at.UnixMicro()), nil
		}
	}
	return null, fmt.Errorf("%.100s is no %s", v.AppendJSON(nil), c.typ)
}

// asNumber is the value, or the number that its text reads as.
func asNumber(v record.Value) record.Value {
	if v.Kind() != record.KindString {
		return v
	}
	var a record.Arena
	text := v.Bytes(nil)
	body, err := record.FromJSON(append(append([]byte(`{"n":`), text...), '}'), &a)
	if n := body.Field("n"); err == nil && n.Kind() == record.KindNumber && len(n.Raw()) == len(text) {
		return n
	}
	return record.Value{}
}

// asTime is the time of RFC 3339 text, or of seconds since 1970.
func asTime(v record.Value) (time.Time, bool) {
	if v.Kind() == record.KindString {
		at, err := time.Parse(time.RFC3339Nano, v.String())
		return at, err == nil
	}
	if n, ok := v.Int(); ok && n > -1e12 && n < 1e12 {
		return time.Unix(n, 0), true
	}
	x, ok := v.Float()
	if !ok || x < -1e12 || x > 1e12 {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(x * 1e6)), true
}

// validText has every byte that is no UTF-8 replaced: readers refuse others.
func validText(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	return []byte(strings.ToValidUTF8(string(b), "\uFFFD"))
}

// schema is that of the columns, in their order.
func (c *columns) schema() *parquet.Schema {
	if c.made == nil {
		root := &columnsNode{}
		for i := range c.list {
			root.fields = append(root.fields, &columnNode{parquet.Optional(c.list[i].typ.node()), c.list[i].name})
		}
		c.made = parquet.NewSchema("event", root)
	}
	return c.made
}

// columnsNode is a group whose fields keep their order; the library's own sorts them.
type columnsNode struct {
	parquet.Group
	fields []parquet.Field
}

// Fields implements parquet.Node.
func (n *columnsNode) Fields() []parquet.Field { return n.fields }

// GoType implements parquet.Node. Rows are never made of Go values here.
func (n *columnsNode) GoType() reflect.Type { return reflect.TypeFor[map[string]any]() }

// columnNode is a column below a columnsNode.
type columnNode struct {
	parquet.Node
	name string
}

// Name implements parquet.Field.
func (n *columnNode) Name() string { return n.name }

// Value implements parquet.Field.
func (n *columnNode) Value(base reflect.Value) reflect.Value {
	return base.MapIndex(reflect.ValueOf(n.name))
}
