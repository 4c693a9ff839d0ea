package expr

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

var errNotFinite = errors.New("the result is not a finite number")

// maxDepth is how deep a result may be nested, as in an event.
const maxDepth = 1000

// store evaluates the program to a value of an event.
func (p *program) store(e *pipe.Event, a *record.Arena) (record.Value, error) {
	out, err := p.result(e)
	if err != nil {
		return record.Value{}, err
	}
	return keep(p.source, out, a)
}

// keep makes a value of an event of what storable returned.
func keep(source string, out any, a *record.Arena) (record.Value, error) {
	v, err := record.FromAny(a, out)
	if err != nil {
		return v, failure(source, err)
	}
	return v, nil
}

// storable reduces a result to nil, bool, int, float64, string, []any and
// map[string]any, or says why it cannot be part of an event.
func storable(x any, depth int) (any, error) {
	switch v := x.(type) {
	case nil, bool, int, string:
		return x, nil
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, errNotFinite
		}
		return x, nil
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	case time.Duration:
		return v.String(), nil
	case []byte:
		return string(v), nil
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("the result has more than %d levels of nesting", maxDepth)
	}
	v := reflect.ValueOf(x)
	switch v.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		return int(v.Int()), nil
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		return int(v.Uint()), nil
	case reflect.Slice, reflect.Array:
		out := make([]any, v.Len())
		for i := range out {
			var err error
			if out[i], err = storable(v.Index(i).Interface(), depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	case reflect.Map:
		out := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			e, err := storable(it.Value().Interface(), depth+1)
			if err != nil {
				return nil, err
			}
			out[keyText(it.Key().Interface())] = e
		}
		return out, nil
	}
	return nil, fmt.Errorf("the result is a %s, which an event cannot hold", nameOf(x))
}

// keyText is the name of an object's member for a key of any type (groupBy).
func keyText(key any) string {
	if s, ok := key.(string); ok {
		return s
	}
	if key == nil {
		return "nil"
	}
	return fmt.Sprint(key)
}
