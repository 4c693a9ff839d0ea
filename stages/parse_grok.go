package stages

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/elastic/go-grok/patterns"

	"github.com/pipectl/pipectl/engine/record"
)

// longestGrok bounds a pattern after all %{NAME} are replaced, in bytes.
const longestGrok = 64 << 10

// grokTypes are the types that %{NAME:field:type} may have.
var grokTypes = map[string]fieldType{
	"string": asString, "int": asInt, "long": asInt, "float": asFloat, "double": asFloat,
	"bool": asBool, "boolean": asBool, "auto": asAuto,
}

// grokPattern is one compiled pattern.
type grokPattern struct {
	re     *regexp.Regexp
	leaves []grokLeaf
	tree   []grokNode
}

// grokLeaf is a field: the groups that give it, and the type of each.
type grokLeaf struct {
	path   string
	groups []int
	kinds  []fieldType
}

// grokNode is a member of an object: a leaf, or an object of its own.
type grokNode struct {
	name name
	leaf int // in leaves, -1 for an object
	sub  []grokNode
}

// brokenGrok is a pattern of the library that does not compile.
const brokenGrok = "CISCOFW733100"

// grokLibrary returns the patterns that are known by name.
func grokLibrary(own map[string]string) map[string]string {
	all := maps.Clone(patterns.Default)
	for _, set := range []map[string]string{
		patterns.AWS, patterns.Bind9, patterns.Bro, patterns.Exim, patterns.HAProxy, patterns.Httpd, patterns.Firewalls,
		patterns.Java, patterns.Junos, patterns.Maven, patterns.MCollective, patterns.MongoDB, patterns.PostgreSQL,
		patterns.Rails, patterns.Redis, patterns.Ruby, patterns.Squid, patterns.Syslog, own,
	} {
		maps.Copy(all, set)
	}
	if _, mine := own[brokenGrok]; !mine {
		delete(all, brokenGrok)
	}
	return all
}

func (p *Parse) validateGrok() error {
	_, err := p.compileGrok()
	return err
}

func (p *Parse) compileGrok() ([]*grokPattern, error) {
	if len(p.Patterns) == 0 {
		return nil, fieldError("patterns", `such as ['^%{IP:client} %{WORD:method} %{NUMBER:took:float}$']`, "is required for the format grok")
	}
	library := grokLibrary(p.Definitions)
	var errs []error
	fields := map[string]bool{}
	var list []*grokPattern
	for _, name := range slices.Sorted(maps.Keys(p.Definitions)) {
		if grokReference.FindString("%{"+name+"}") != "%{"+name+"}" || strings.Contains(name, ":") {
			errs = append(errs, fieldError("definitions."+name, "", "a name can only have letters, digits, _ and -"))
		} else if _, _, err := parseGrok(p.Definitions[name], library); err != nil {
			errs = append(errs, fieldError("definitions."+name, "", "%w", err))
		}
	}
	for i, text := range p.Patterns {
		g, err := compileGrok(text, library, p.Types)
		if err != nil {
			errs = append(errs, fieldError(fmt.Sprintf("patterns[%d]", i), "", "%w", err))
			continue
		}
		for _, l := range g.leaves {
			fields[l.path] = true
		}
		list = append(list, g)
	}
	for name := range p.Types {
		if name != everyField && !fields[name] && len(list) == len(p.Patterns) {
			errs = append(errs, fieldError("types."+name, "", "no pattern has such a field"))
		}
	}
	return list, errors.Join(errs...)
}

var errNoFields = errors.New("has no %{NAME:field}, so it would give no field")

// parseGrok replaces the names in text and checks what becomes of it.
func parseGrok(text string, library map[string]string) (*grokExpansion, *syntax.Regexp, error) {
	x := &grokExpansion{library: library, kinds: map[string]fieldType{}}
	if err := x.expand(text, nil); err != nil {
		return nil, nil, err
	}
	tree, err := syntax.Parse(x.out.String(), syntax.Perl)
	if err != nil {
		return nil, nil, errors.New(strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return x, tree, nil
}

func compileGrok(text string, library map[string]string, types FieldTypes) (*grokPattern, error) {
	x, tree, err := parseGrok(text, library)
	if err != nil {
		return nil, err
	}
	re, err := regexp.Compile(uncapture(tree).String())
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	g := &grokPattern{re: re}
	for group, id := range re.SubexpNames() {
		if id == "" {
			continue
		}
		path, kind := id, asString
		if f, ok := x.fields[id]; ok {
			path, kind = f, x.kinds[id]
		}
		if _, ok := types[path]; ok || types[everyField] != "" && kind == asString {
			kind = types.of(path)
		}
		i := slices.IndexFunc(g.leaves, func(l grokLeaf) bool { return l.path == path })
		if i < 0 {
			i = len(g.leaves)
			g.leaves = append(g.leaves, grokLeaf{path: path})
		}
		l := &g.leaves[i]
		l.groups, l.kinds = append(l.groups, group), append(l.kinds, kind)
	}
	if len(g.leaves) == 0 {
		return nil, errNoFields
	}
	for i, l := range g.leaves {
		if err := insertLeaf(&g.tree, strings.Split(l.path, "."), i, l.path); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// insertLeaf puts a field where its path says.
func insertLeaf(tree *[]grokNode, path []string, leaf int, whole string) error {
	if path[0] == "" {
		return fmt.Errorf("the field %q has an empty part", whole)
	}
	i := slices.IndexFunc(*tree, func(n grokNode) bool { return n.name.plain == path[0] })
	switch {
	case i >= 0 && ((*tree)[i].leaf >= 0 || len(path) == 1):
		return fmt.Errorf("the field %s is an object and has a value, too", strings.TrimSuffix(whole, "."+strings.Join(path[1:], ".")))
	case i < 0:
		i = len(*tree)
		*tree = append(*tree, grokNode{name: newName(path[0]), leaf: -1})
	}
	if len(path) == 1 {
		(*tree)[i].leaf = leaf
		return nil
	}
	return insertLeaf(&(*tree)[i].sub, path[1:], leaf, whole)
}

// uncapture makes plain groups of those without a name: each captured one costs time.
func uncapture(re *syntax.Regexp) *syntax.Regexp {
	for i, sub := range re.Sub {
		re.Sub[i] = uncapture(sub)
	}
	if re.Op == syntax.OpCapture && re.Name == "" {
		return re.Sub[0]
	}
	return re
}

// grokExpansion replaces %{NAME} by what it means.
type grokExpansion struct {
	library map[string]string
	out     strings.Builder
	fields  map[string]string    // by the name of their group
	kinds   map[string]fieldType // by the same; a text without one
}

var grokReference = regexp.MustCompile(`%\{([\w-]+)(?::([\w.@-]+)(?::(\w+))?)?\}`)

// expand appends text with all its references replaced; inside are the names
// that are being replaced.
func (x *grokExpansion) expand(text string, inside []string) error {
	last := 0
	for _, m := range grokReference.FindAllStringSubmatchIndex(text, -1) {
		x.out.WriteString(text[last:m[0]])
		last = m[1]
		name := text[m[2]:m[3]]
		meaning, ok := x.library[name]
		switch {
		case !ok:
			return fmt.Errorf("there is no pattern %s", name)
		case slices.Contains(inside, name):
			return fmt.Errorf("the pattern %s uses itself", name)
		}
		open := "(?:"
		if m[4] >= 0 {
			var err error
			if open, err = x.field(text, m); err != nil {
				return err
			}
		}
		x.out.WriteString(open)
		if err := x.expand(meaning, append(inside, name)); err != nil {
			return err
		}
		x.out.WriteByte(')')
		if x.out.Len() > longestGrok {
			return fmt.Errorf("the pattern is longer than %d bytes when all names in it are replaced", longestGrok)
		}
	}
	rest := text[last:]
	x.out.WriteString(rest)
	if i := strings.Index(rest, "%{"); i >= 0 {
		return fmt.Errorf("%q is not like %%{NAME}, %%{NAME:field} or %%{NAME:field:type}", clip([]byte(rest[i:])))
	}
	return nil
}

// field returns the beginning of the group of a field.
func (x *grokExpansion) field(text string, m []int) (string, error) {
	path := text[m[4]:m[5]]
	if x.fields == nil {
		x.fields = map[string]string{}
	}
	id := fmt.Sprintf("grok_%d", len(x.fields))
	x.fields[id] = path
	if m[6] >= 0 {
		kind, ok := grokTypes[text[m[6]:m[7]]]
		if !ok {
			return "", fmt.Errorf("unknown type %q of the field %s: it is one of int, long, float, double, bool, string and auto", text[m[6]:m[7]], path)
		}
		x.kinds[id] = kind
	}
	return "(?P<" + id + ">", nil
}

func (p *Parse) grokParser() (parser, error) {
	list, err := p.compileGrok()
	if err != nil {
		return nil, err
	}
	return func(line []byte, out *fields, a *record.Arena) error {
		for _, g := range list {
			if at := g.re.FindSubmatchIndex(line); at != nil {
				return g.put(line, at, out, a)
			}
		}
		if len(list) == 1 {
			return errors.New("grok: the pattern does not match")
		}
		return fmt.Errorf("grok: none of the %d patterns matches", len(list))
	}, nil
}

// put adds the fields of a match.
func (g *grokPattern) put(line []byte, at []int, out *fields, a *record.Arena) error {
	var few [32]record.Value
	values := few[:0]
	for _, l := range g.leaves {
		var v record.Value
		for i, group := range slices.Backward(l.groups) {
			start, end := at[2*group], at[2*group+1]
			if start < 0 || start == end {
				continue
			}
			var want string
			if v, want = l.kinds[i].convert(line[start:end], a); want != "" {
				return fmt.Errorf("grok: byte %d: field %s should be %s, got %q", start, l.path, want, clip(line[start:end]))
			}
			break
		}
		values = append(values, v)
	}
	for i := range g.tree {
		n := &g.tree[i]
		if n.leaf >= 0 {
			if values[n.leaf].Exists() {
				out.set(&n.name, values[n.leaf])
			}
			continue
		}
		start := len(out.room)
		var some bool
		if out.room, some = n.appendTo(out.room, values); some {
			out.set(&n.name, record.RawJSON(out.room[start:]))
		}
	}
	return nil
}

// appendTo appends an object and reports whether it has any member.
func (n *grokNode) appendTo(dst []byte, values []record.Value) ([]byte, bool) {
	dst = append(dst, '{')
	start := len(dst)
	for i := range n.sub {
		sub := &n.sub[i]
		before := len(dst)
		dst = sub.name.written.AppendTo(dst)
		var some bool
		if sub.leaf < 0 {
			dst, some = sub.appendTo(dst, values)
		} else if some = values[sub.leaf].Exists(); some {
			dst = values[sub.leaf].AppendJSON(dst)
		}
		if !some {
			dst = dst[:before]
			continue
		}
		dst = append(dst, ',')
	}
	if len(dst) == start {
		return dst[:start-1], false
	}
	dst[len(dst)-1] = '}'
	return dst, true
}
