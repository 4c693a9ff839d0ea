package stages

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// Figure is what a window computes of its events.
type Figure struct {
	// Function is count, sum, min, max, avg, quantile, first or last. Those of
	// numbers fail an event whose value is something else; nil is left out. With no
	// value at all, count and sum are 0 and the others null. first and last go by
	// the time of the events.
	Function string `yaml:"function" required:"true" enum:"count,sum,min,max,avg,quantile,first,last"`

	// Of is the field, or the expression, that is computed with. count needs none:
	// then it counts events, and else those for which it is not nil.
	Of expr.Value `yaml:"of"`

	// Quantile is the share of the values that are below the result, 0 to 1: 0.5
	// is the median, 0.95 what one event in twenty exceeds. The result is within 1 % of the value at that place.
	Quantile float64 `yaml:"quantile" min:"0" max:"1"`
}

var functions = []string{"count", "sum", "min", "max", "avg", "quantile", "first", "last"}

// Validate checks what the function needs.
func (f *Figure) Validate() error {
	switch {
	case !slices.Contains(functions, f.Function):
		return fieldError("function", "one of "+strings.Join(functions, ", "), "unknown function %q", f.Function)
	case f.Of.IsZero() && f.Function != "count":
		return fieldError("of", "name a field, such as bytes", "is required for the function %s", f.Function)
	case f.Quantile != 0 && f.Function != "quantile":
		return fieldError("quantile", "set function: quantile, or leave it out", "has no meaning for the function %s", f.Function)
	case !(f.Quantile >= 0 && f.Quantile <= 1):
		return fieldError("quantile", "0.95 for what one in twenty exceeds", "must be 0 to 1, got %v", f.Quantile)
	}
	return nil
}

// figurePlan is the work of all figures: expressions that occur several times
// are evaluated, and counted, once.
type figurePlan struct {
	columns []*columnPlan
	of      []int // the column of each figure
	mapping mapping.IndexMapping
}

// columnPlan is an expression and what is computed of it.
type columnPlan struct {
	name    string // of its first figure, for messages
	of      expr.Value
	numbers bool
	sketch  bool
	ends    bool // first or last
}

// column is the value of one expression for one event.
type column struct {
	value  record.Value
	number float64
	some   bool // not nil
}

const (
	sketchAccuracy = 0.01
	sketchBins     = 2048 // values over 17 powers of ten; below, the smallest share one
)

func planFigures(figures pipe.OrderedMap[Figure]) (figurePlan, error) {
	var p figurePlan
	sources := map[string]int{}
	for _, f := range figures {
		if err := f.Value.Validate(); err != nil {
			return p, fmt.Errorf("compute.%s: %w", f.Key, err)
		}
		source := f.Value.Of.Source()
		i, ok := sources[source]
		if !ok {
			i = len(p.columns)
			sources[source] = i
			p.columns = append(p.columns, &columnPlan{name: f.Key, of: f.Value.Of})
		}
		c := p.columns[i]
		switch f.Value.Function {
		case "sum", "min", "max", "avg":
			c.numbers = true
		case "quantile":
			c.numbers, c.sketch = true, true
		case "first", "last":
			c.ends = true
		}
		p.of = append(p.of, i)
	}
	var err error
	p.mapping, err = mapping.NewDefaultMapping(sketchAccuracy)
	return p, err
}

var errNoNumber = errors.New("the number is too large to compute with")

// evaluate computes the columns of e.
func (p *figurePlan) evaluate(e *pipe.Event, into []column, a *record.Arena) error {
	for i, c := range p.columns {
		if c.of.IsZero() {
			into[i] = column{some: true}
			continue
		}
		v, err := c.of.Eval(e, a)
		if err != nil {
			return fmt.Errorf("compute.%s: %w", c.name, err)
		}
		into[i] = column{value: v, some: v.Exists() && v.Kind() != record.KindNull}
		if !c.numbers || !into[i].some {
			continue
		}
		x, ok := v.Float()
		switch {
		case !ok:
			return fmt.Errorf("compute.%s: must be a number, got %v", c.name, v.Kind())
		case math.IsInf(x, 0):
			return fmt.Errorf("compute.%s: %w", c.name, errNoNumber)
		}
		into[i].number = x
	}
	return nil
}

// cell is what is known of one column of one key.
type cell struct {
	n              int64
	sum, rest      float64 // rest is what the sum has lost by rounding
	min, max       float64
	sketch         *ddsketch.DDSketch
	first, last    record.Value
	firstAt, endAt int64
}

func (p *figurePlan) newCells() []cell {
	cells := make([]cell, len(p.columns))
	for i, c := range p.columns {
		if c.sketch {
			cells[i].sketch = ddsketch.NewDDSketch(p.mapping, store.NewCollapsingLowestDenseStore(sketchBins), store.NewCollapsingLowestDenseStore(sketchBins))
		}
	}
	return cells
}

// add adds the value of an event that happened at a time.
func (c *cell) add(v column, at int64, plan *columnPlan) {
	if !v.some {
		return
	}
	if plan.ends && (c.n == 0 || at < c.firstAt) {
		c.first, c.firstAt = detached(v.value), at
	}
	if plan.ends && (c.n == 0 || at >= c.endAt) {
		c.last, c.endAt = detached(v.value), at
	}
	c.n++
	if !plan.numbers {
		return
	}
	if c.n == 1 {
		c.min, c.max = v.number, v.number
	}
	c.min, c.max = min(c.min, v.number), max(c.max, v.number)
	c.addSum(v.number)
	if c.sketch != nil {
		most := c.sketch.MaxIndexableValue()
		c.sketch.Add(max(-most, min(most, v.number))) // neither too large nor NaN: it cannot fail
	}
}

// addSum sums as Neumaier does, so that the order of the events hardly matters.
func (c *cell) addSum(x float64) {
	t := c.sum + x
	if math.Abs(c.sum) >= math.Abs(x) {
		c.rest += c.sum - t + x
	} else {
		c.rest += x - t + c.sum
	}
	c.sum = t
}

func (c *cell) total() float64 {
	if math.IsInf(c.sum, 0) {
		return c.sum
	}
	return c.sum + c.rest
}

// result returns figure i.
func (p *figurePlan) result(i int, f Figure, cells []cell, a *record.Arena) record.Value {
	c := &cells[p.of[i]]
	switch {
	case f.Function == "count":
		return record.Int(c.n, a)
	case f.Function == "sum":
		return record.Float(c.total(), a)
	case c.n == 0:
		return record.Null()
	case f.Function == "min" || f.Function == "quantile" && f.Quantile == 0:
		return record.Float(c.min, a)
	case f.Function == "max" || f.Function == "quantile" && f.Quantile == 1:
		return record.Float(c.max, a)
	case f.Function == "avg":
		return record.Float(c.total()/float64(c.n), a)
	case f.Function == "first":
		return c.first
	case f.Function == "last":
		return c.last
	}
	x, err := c.sketch.GetValueAtQuantile(f.Quantile)
	if err != nil {
		return record.Null()
	}
	return record.Float(max(c.min, min(c.max, x)), a)
}
