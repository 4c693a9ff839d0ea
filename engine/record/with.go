package record

import "fmt"

// appendWith appends the value cur, in which what p names is replaced by v. The
// first n steps of p lead to cur. A missing v leaves it out; then it must exist.
func appendWith(dst []byte, cur Value, p *Path, n int, v Value) ([]byte, error) {
	if n == len(p.steps) {
		return v.AppendJSON(dst), nil
	}
	k := &p.steps[n]
	cur, err := container(cur, p, n)
	if err != nil {
		return nil, err
	}
	last, count := cur.find(k)
	if last < 0 && k.isIndex && k.index != count {
		return nil, fmt.Errorf("%s: %s has %d elements, the next is [%d]", p, format(p.steps[:n]), count, count)
	}
	dst = append(dst, cur.b[0])
	open := len(dst)
	r := cur.reader()
	for i := 0; r.next(); i++ {
		switch {
		case i == last && !v.Exists() && n == len(p.steps)-1: // left out
		case i == last:
			if dst, err = appendWith(append(dst, r.lead()...), r.val, p, n+1, v); err != nil {
				return nil, err
			}
			dst = append(dst, ',')
		case !r.at(k, i): // not one of several with this name
			dst = append(append(dst, r.text()...), ',')
		}
	}
	if last < 0 {
		if !k.isIndex {
			dst = append(AppendQuoted(dst, []byte(k.key)), ':')
		}
		if dst, err = appendWith(dst, Value{}, p, n+1, v); err != nil {
			return nil, err
		}
		dst = append(dst, ',')
	}
	if len(dst) > open {
		dst = dst[:len(dst)-1] // the comma
	}
	return append(dst, cur.b[len(cur.b)-1]), nil
}

// container returns cur if it is what step n of p needs, an object or an array, and
// an empty one if there is nothing.
func container(cur Value, p *Path, n int) (Value, error) {
	want := KindObject
	if p.steps[n].isIndex {
		want = KindArray
	}
	switch cur.kind {
	case want:
		return cur, nil
	case KindMissing, KindNull:
		return emptyOf(want), nil
	}
	return Value{}, fmt.Errorf("%s: %s is %s, not %s", p, format(p.steps[:n]), cur.kind.withArticle(), want.withArticle())
}
