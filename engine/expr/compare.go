package expr

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// Relations of two values, as bits: an operator accepts some of them. A number
// that is not a number has none.
const (
	less uint8 = 1 << iota
	same
	more
)

var accepts = map[string]uint8{"<": less, "<=": less | same, ">": more, ">=": more | same}

func relate[T int | float64](a, b T) uint8 {
	switch {
	case a < b:
		return less
	case a == b:
		return same
	case a > b:
		return more
	}
	return 0
}

// order is a comparison by size. Nil on either side makes it false.
func (c *closures) order(op string, left, right ast.Node) test {
	accept := accepts[op]
	l, lok := c.operand(left)
	r, rok := c.operand(right)
	if !lok || !rok {
		return nil
	}
	if l.kind == constant && r.kind == fieldValue {
		l, r = r, l
		accept = accept&same | accept&less<<2 | accept&more>>2 // c < x is x > c
	}
	if l.kind == fieldValue && r.kind == constant && r.scalar.kind == kindInt {
		return orderInt(l.path, accept, r.scalar.i)
	}
	a, b := l.load(), r.load()
	return func(e *pipe.Event) verdict {
		x, y := a(e), b(e)
		return orderScalars(&x, &y, accept)
	}
}

// orderInt compares a field with a whole number: the shape that filters are
// mostly made of.
func orderInt(path *record.Path, accept uint8, n int) test {
	f := float64(n)
	return func(e *pipe.Event) verdict {
		v := e.Body.Get(path)
		if i, ok := v.Int(); ok {
			return of(relate(int(i), n)&accept != 0)
		}
		if isNil(&v) {
			return no
		}
		if x, ok := v.Float(); ok {
			return of(relate(x, f)&accept != 0)
		}
		return unsure
	}
}

func orderScalars(x, y *scalar, accept uint8) verdict {
	switch {
	case x.kind == kindUnsure || y.kind == kindUnsure:
		return unsure
	case x.kind == kindNil || y.kind == kindNil:
		return no
	case x.isNumber() && y.isNumber():
		return of(relateNumbers(x, y)&accept != 0)
	case x.kind == kindText && y.kind == kindText:
		return of(relate(bytes.Compare(x.text, y.text), 0)&accept != 0)
	}
	return unsure
}

func relateNumbers(x, y *scalar) uint8 {
	if x.kind == kindInt && y.kind == kindInt {
		return relate(x.i, y.i)
	}
	return relate(x.float(), y.float())
}

// equal is ==. Values of different types are not equal.
func (c *closures) equal(left, right ast.Node) test {
	l, lok := c.operand(left)
	r, rok := c.operand(right)
	if !lok || !rok {
		return nil
	}
	if l.kind == constant {
		l, r = r, l
	}
	if l.kind == fieldValue && r.kind == constant {
		return equalConstant(l.path, r.scalar)
	}
	if l.kind == metaValue && r.kind == constant {
		return equalMeta(l.key, r.scalar)
	}
	a, b := l.load(), r.load()
	return func(e *pipe.Event) verdict {
		x, y := a(e), b(e)
		return equalScalars(&x, &y)
	}
}

func equalConstant(path *record.Path, s scalar) test {
	switch s.kind {
	case kindNil:
		return func(e *pipe.Event) verdict {
			v := e.Body.Get(path)
			return of(isNil(&v))
		}
	case kindBool:
		return func(e *pipe.Event) verdict {
			v := e.Body.Get(path)
			b, ok := v.Bool()
			return of(ok && b == s.b)
		}
	case kindText:
		text := string(s.text)
		return func(e *pipe.Event) verdict {
			v := e.Body.Get(path)
			return of(v.EqualString(text))
		}
	}
	return func(e *pipe.Event) verdict {
		v := e.Body.Get(path)
		if v.Kind() != record.KindNumber {
			return no
		}
		x := scalarOf(&v)
		return of(relateNumbers(&x, &s) == same)
	}
}

func equalMeta(key string, s scalar) test {
	text := string(s.text)
	return func(e *pipe.Event) verdict {
		v, ok := e.Meta(key)
		return of(ok && s.kind == kindText && v == text || !ok && s.kind == kindNil)
	}
}

func equalScalars(x, y *scalar) verdict {
	switch {
	case x.kind == kindUnsure || y.kind == kindUnsure:
		return unsure
	case x.isNumber() && y.isNumber():
		return of(relateNumbers(x, y) == same)
	case x.kind != y.kind:
		return no
	case x.kind == kindText:
		return of(bytes.Equal(x.text, y.text))
	case x.kind == kindBool:
		return of(x.b == y.b)
	case x.kind == kindNil:
		return yes
	}
	return unsure // two arrays or objects
}

// text is contains, startsWith, endsWith or matches with a constant. Nil
// contains nothing; what is not text is an error.
func (c *closures) text(x *ast.BinaryNode) test {
	arg, ok := x.Right.(*ast.StringNode)
	if !ok {
		return nil
	}
	find := finder(x.Operator, arg.Value)
	if path, ok := c.field(x.Left); ok {
		return func(e *pipe.Event) verdict {
			v := e.Body.Get(path)
			if v.Kind() == record.KindString {
				return of(find.bytes(v.Bytes(nil)))
			}
			if isNil(&v) {
				return no
			}
			return unsure
		}
	}
	if key, ok := c.meta(x.Left); ok {
		return func(e *pipe.Event) verdict {
			s, ok := e.Meta(key)
			return of(ok && find.string(s))
		}
	}
	return nil
}

// search finds something in text, given as bytes or as a string.
type search struct {
	bytes  func([]byte) bool
	string func(string) bool
}

func finder(op, arg string) search {
	b := []byte(arg)
	switch op {
	case "contains":
		return search{
			func(t []byte) bool { return bytes.Contains(t, b) },
			func(t string) bool { return strings.Contains(t, arg) },
		}
	case "startsWith":
		return search{
			func(t []byte) bool { return bytes.HasPrefix(t, b) },
			func(t string) bool { return strings.HasPrefix(t, arg) },
		}
	case "endsWith":
		return search{
			func(t []byte) bool { return bytes.HasSuffix(t, b) },
			func(t string) bool { return strings.HasSuffix(t, arg) },
		}
	}
	re := regexp.MustCompile(arg) // the checker has compiled it already
	return search{re.Match, re.MatchString}
}

// in is membership in a constant list.
func (c *closures) in(left, right ast.Node) test {
	elements, ok := constants(right)
	l, known := c.operand(left)
	if !ok || !known {
		return nil
	}
	var words []string
	for _, s := range elements {
		if s.kind == kindText {
			words = append(words, string(s.text))
		}
	}
	if l.kind == fieldValue && len(words) == len(elements) && len(words) <= 8 {
		return oneOf(l.path, words)
	}
	set := make(map[string]bool, len(words))
	for _, w := range words {
		set[w] = true
	}
	if l.kind == metaValue {
		return func(e *pipe.Event) verdict {
			v, ok := e.Meta(l.key)
			return of(ok && set[v])
		}
	}
	load := l.load()
	return func(e *pipe.Event) verdict {
		x := load(e)
		switch x.kind {
		case kindUnsure:
			return unsure
		case kindText:
			return of(set[string(x.text)])
		}
		for i := range elements {
			if equalScalars(&elements[i], &x) == yes {
				return yes
			}
		}
		return no
	}
}

func oneOf(path *record.Path, words []string) test {
	return func(e *pipe.Event) verdict {
		v := e.Body.Get(path)
		if v.Kind() != record.KindString {
			return no
		}
		for _, w := range words {
			if v.EqualString(w) {
				return yes
			}
		}
		return no
	}
}

// between is membership in a range of whole numbers.
func (c *closures) between(left, from, to ast.Node) test {
	lo, okFrom := from.(*ast.IntegerNode)
	hi, okTo := to.(*ast.IntegerNode)
	l, ok := c.operand(left)
	if !ok || !okFrom || !okTo {
		return nil
	}
	load := l.load()
	return func(e *pipe.Event) verdict {
		switch x := load(e); x.kind {
		case kindInt:
			return of(lo.Value <= x.i && x.i <= hi.Value)
		case kindFloat:
			return of(between(x.f, lo.Value, hi.Value))
		case kindUnsure:
			return unsure
		}
		return no
	}
}
