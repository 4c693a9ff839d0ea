package record

import (
	"fmt"
	"strconv"
	"strings"
)

// A Path names a value inside an event: http.status, tags[0], a["odd key"].b. It is
// made once and used for many events, by any number of goroutines.
type Path struct {
	text  string
	steps []step // at least one; the first is a key
}

// A step is one part of a path: a member's name or an element's index, from 0.
type step struct {
	key        string
	head, rest uint64 // the first bytes of key and its closing quote, as in a guess
	odd        bool   // key has characters that a JSON string must escape
	isIndex    bool
	index      int
}

func newKey(name string) step {
	k := step{key: name}
	for i := range len(name) {
		if c := name[i]; c == '"' || c == '\\' || c < ' ' {
			k.odd = true
		}
	}
	for i := range 8 {
		switch shift := 8 * i; {
		case i < len(name):
			k.head |= uint64(name[i]) << shift
		case i == len(name):
			k.head |= '"' << shift
		default:
			k.head |= 0xff << shift
			k.rest |= 0xff << shift
		}
	}
	return k
}

// NewPath returns the path through members of these names. There must be one.
func NewPath(keys ...string) *Path {
	if len(keys) == 0 {
		panic("BUG: record: a path needs a key")
	}
	p := &Path{}
	for _, k := range keys {
		p.steps = append(p.steps, newKey(k))
	}
	p.text = format(p.steps)
	return p
}

// ParsePath reads a path as users write it. A name with a space, a dot, a bracket
// or a quote in it is written in brackets and quotes, single or double.
func ParsePath(s string) (*Path, error) {
	p := &Path{}
	for i := 0; i < len(s) || i == 0; {
		st, end, err := parseStep(s, i)
		if err != nil {
			return nil, fmt.Errorf("path %q: %w", s, err)
		}
		p.steps = append(p.steps, st)
		i = end
	}
	if p.steps[0].isIndex {
		return nil, fmt.Errorf("path %q: it must start with a name, as an event is an object and not an array", s)
	}
	p.text = format(p.steps)
	return p, nil
}

// parseStep reads the step of s that starts at i.
func parseStep(s string, i int) (st step, end int, err error) {
	if i < len(s) && s[i] == '[' {
		return parseBracket(s, i+1)
	}
	if i > 0 {
		if s[i] != '.' {
			return st, 0, fmt.Errorf("a dot is missing before %q", s[i:])
		}
		i++
	}
	end = i
	for end < len(s) && isNameByte(s[end]) {
		end++
	}
	switch {
	case end < len(s) && s[end] != '.' && s[end] != '[':
		return st, 0, fmt.Errorf(`a name with %q in it is written ["like this"]`, s[end:end+1])
	case end > i:
		return newKey(s[i:end]), end, nil
	case len(s) == 0:
		return st, 0, fmt.Errorf(`it is empty; a field without a name is written [""]`)
	case i == 0:
		return st, 0, fmt.Errorf("a name is missing at the start")
	}
	return st, 0, fmt.Errorf("a name is missing after %q", s[:i])
}

// isNameByte reports whether c may be in a name that is not quoted.
func isNameByte(c byte) bool {
	return c > ' ' && c != 0x7f && !strings.ContainsRune(`.[]"'`, rune(c))
}

// parseBracket reads ["name"] or [index] from after the bracket.
func parseBracket(s string, i int) (st step, end int, err error) {
	if i < len(s) && (s[i] == '"' || s[i] == '\'') {
		name, n, ok := parseQuoted(s[i:])
		if i += n; !ok {
			return st, 0, fmt.Errorf("a name in quotes is not closed, or is not valid")
		}
		if i >= len(s) || s[i] != ']' {
			return st, 0, fmt.Errorf("a ] is missing after %q", s[:i])
		}
		return newKey(name), i + 1, nil
	}
	n := strings.IndexByte(s[i:], ']')
	if n < 0 {
		return st, 0, fmt.Errorf("a ] is missing at the end")
	}
	index, err := strconv.ParseUint(s[i:i+n], 10, 31)
	if err != nil {
		return st, 0, fmt.Errorf(`[%s] must be an index from 0, or a name in quotes`, s[i:i+n])
	}
	return step{isIndex: true, index: int(index)}, i + n + 1, nil
}

// parseQuoted reads the string that s starts with and returns how long it is with
// its quotes. Double quotes may hold the escapes of JSON, single quotes none.
func parseQuoted(s string) (name string, n int, ok bool) {
	if s[0] == '\'' {
		n = strings.IndexByte(s[1:], '\'')
		if n < 0 {
			return "", 0, false
		}
		return s[1 : n+1], n + 2, true
	}
	var scan scanner
	if n = scan.str([]byte(s), 1); n < 0 {
		return "", 0, false
	}
	return string(appendUnescaped(nil, []byte(s[1:n-1]))), n, true
}

// format writes a path as ParsePath reads it.
func format(steps []step) string {
	var b strings.Builder
	for i, st := range steps {
		switch {
		case st.isIndex:
			fmt.Fprintf(&b, "[%d]", st.index)
		case st.key == "" || strings.ContainsFunc(st.key, func(r rune) bool { return r < 0x80 && !isNameByte(byte(r)) }):
			b.WriteByte('[')
			b.Write(AppendQuoted(nil, []byte(st.key)))
			b.WriteByte(']')
		default:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(st.key)
		}
	}
	return b.String()
}

// String returns the path as ParsePath reads it.
func (p *Path) String() string { return p.text }

// Root returns the name of the top-level member the path goes through.
func (p *Path) Root() string { return p.steps[0].key }

// IsTop reports whether the path is a top-level member.
func (p *Path) IsTop() bool { return len(p.steps) == 1 }
