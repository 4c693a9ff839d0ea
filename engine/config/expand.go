package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// Expansion: ${NAME}, ${NAME:-default} and ${file:/path} in values, $${ for a
// literal ${. A default may hold expansions itself.

// maxSecretFile is the largest file that ${file:} reads, in bytes.
const maxSecretFile = 1 << 20

// maxNested is how deep defaults may hold defaults.
const maxNested = 20

// maxExpanded is how much text all expansions of a file may produce, in bytes.
const maxExpanded = 16 << 20

// span says that text[to:] (up to the next span) came from raw[from:]. In a
// fixed span every byte came from raw[from] itself: it is an expansion.
type span struct {
	to, from int
	fixed    bool
}

// rawOffset returns where in the unexpanded text byte off of the text came from.
func rawOffset(spans []span, off int) int {
	raw := off
	for _, s := range spans {
		if s.to > off {
			break
		}
		if raw = s.from; !s.fixed {
			raw += off - s.to
		}
	}
	return raw
}

// expander replaces the expansions of a tree.
type expander struct {
	r        *reporter
	env      func(string) (string, bool)
	readFile func(string) ([]byte, error)
	done     map[*yaml.Node]*expansion // per scalar of the file: aliases share it
	produced int
	depth    int // of defaults in defaults
}

// expansion is the result of one scalar.
type expansion struct {
	text   string
	spans  []span
	values []string
	failed bool
}

// tree expands every scalar below n; key is the key that n is the value of.
func (x *expander) tree(n *node, key string) {
	switch n.kind {
	case scalarNode:
		if strings.Contains(n.text, "${") {
			x.scalar(n, key)
		}
	case listNode:
		for _, item := range n.items {
			x.tree(item, key)
		}
		return
	case mapNode:
		for _, p := range n.pairs {
			x.tree(p.val, p.key)
		}
	}
	for _, hop := range n.hops {
		if hop != nil {
			x.tree(hop, key)
		}
	}
}

func (x *expander) scalar(n *node, key string) {
	e := x.done[n.src]
	if e == nil || n.src == nil {
		e = x.expand(n)
		if n.src != nil {
			x.done[n.src] = e
		}
	}
	if secretKey(key) {
		for _, v := range e.values {
			x.r.secrets.add(v)
		}
	}
	n.text, n.spans, n.loose = e.text, e.spans, len(e.values) > 0
	n.bad = e.failed
	if !n.quoted && n.loose && !n.bad { // what comes out is read as YAML would
		n.tag = tagOf((&yaml.Node{Kind: yaml.ScalarNode, Value: n.text}).ShortTag())
	}
}

func (x *expander) expand(n *node) *expansion {
	e := &expansion{}
	var b strings.Builder
	raw := n.text
	for i := 0; i < len(raw); {
		next := strings.IndexByte(raw[i:], '$')
		if next < 0 {
			next = len(raw) - i
		}
		e.spans = append(e.spans, span{to: b.Len(), from: i})
		b.WriteString(raw[i : i+next])
		i += next
		switch {
		case i >= len(raw):
		case strings.HasPrefix(raw[i:], "$${"):
			e.spans = append(e.spans, span{to: b.Len(), from: i + 1})
			b.WriteString("${")
			i += 3
		case strings.HasPrefix(raw[i:], "${"):
			value, size := x.one(n, raw[i:], i, e)
			e.spans = append(e.spans, span{to: b.Len(), from: i, fixed: true})
			b.WriteString(value)
			i += size
		default:
			e.spans = append(e.spans, span{to: b.Len(), from: i})
			b.WriteByte('$')
			i++
		}
	}
	e.text = b.String()
	return e
}

// one replaces the expansion that text begins with and returns its value and
// how many bytes of text it took. off is where text begins in n, for messages.
func (x *expander) one(n *node, text string, off int, e *expansion) (value string, size int) {
	fail := func(msg, hint string) (string, int) {
		e.failed = true
		x.r.error(x.r.text.inside(n, off), "expansion", msg, hint)
		return "", size
	}
	end := closing(text)
	if end < 0 {
		size = len(text)
		return fail(`"${" is not closed`, `write ${NAME}, or $${ for a plain "${"`)
	}
	size = end + 1
	body := text[2:end]
	if path, ok := strings.CutPrefix(body, "file:"); ok {
		data, err := x.read(path)
		if err != nil {
			return fail(fmt.Sprintf("cannot read %s: %s", quoted(path), plainError(err)), "")
		}
		return x.keep(n, off, e, data, true), size
	}
	name, fallback, hasDefault := strings.Cut(body, ":-")
	if !variableName.MatchString(name) {
		return fail(fmt.Sprintf("%s is not the name of an environment variable", quoted(name)), `write ${NAME}, ${NAME:-default} or ${file:/path}; $${ for a plain "${"`)
	}
	v, set := x.env(name)
	switch {
	case hasDefault && v == "" && x.depth == maxNested:
		return fail(fmt.Sprintf("defaults are nested more than %d deep", maxNested), "")
	case hasDefault && v == "":
		x.depth++
		defer func() { x.depth-- }()
		inner := x.expand(&node{kind: scalarNode, text: fallback, pos: x.r.text.inside(n, off)})
		e.failed = e.failed || inner.failed
		return x.keep(n, off, e, inner.text, secretVariable(name)), size
	case !set:
		return fail(fmt.Sprintf("environment variable %s is not set", name), fmt.Sprintf("set it, or give a default: ${%s:-value}", name))
	}
	return x.keep(n, off, e, v, secretVariable(name)), size
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// keep notes a value that an expansion brought.
func (x *expander) keep(n *node, off int, e *expansion, value string, secret bool) string {
	if x.produced += len(value); x.produced > maxExpanded {
		if x.produced -= len(value); !e.failed {
			x.r.error(x.r.text.inside(n, off), "expansion", fmt.Sprintf("expansions produce more than %d bytes", maxExpanded), "")
		}
		e.failed = true
		return ""
	}
	e.values = append(e.values, value)
	if secret {
		x.r.secrets.add(value)
	}
	return value
}

// read returns the content of a file without its final line break.
func (x *expander) read(path string) (string, error) {
	data, err := x.readFile(path)
	if err != nil {
		return "", err
	}
	s := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(s, "\r"), nil
}

// closing returns the index of the brace that closes the "${" text begins with.
func closing(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], "${"):
			depth++
			i++
		case text[i] == '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// readLimited reads a whole file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		size := int64(len(data))
		if info, statErr := f.Stat(); statErr == nil {
			size = max(size, info.Size())
		}
		return nil, &sizeError{size, limit}
	}
	return data, err
}

// sizeError is a file that is larger than its limit.
type sizeError struct{ size, limit int64 }

func (e *sizeError) Error() string {
	size := roughly(e.size)
	if size == roughly(e.limit) {
		size = fmt.Sprintf("%d bytes", e.size)
	}
	return fmt.Sprintf("it has %s, more than the limit of %s", size, roughly(e.limit))
}

// plainError is the reason in an error of the file system, without the path.
func plainError(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
