package manual

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/near"
	"github.com/pipectl/pipectl/engine/pipe"
)

// Found is the answer to a question: an entry, and with Path one of its keys.
type Found struct {
	Entry Entry  `json:"entry"`
	Path  string `json:"path,omitempty"` // the key, from the entry on: retry.max
	Field *Field `json:"field,omitempty"`
}

// Find returns what a name means: a component (file), a component of one kind
// (sink.file), what all nodes of a kind have (sink), a policy (drop-oldest), an
// edge, the pipeline, or a key of one of these (sink.retry.max, http.url,
// limits.memory). A name can mean several things. Of none, the error says which
// names are near.
func Find(name string) ([]Found, error) {
	words := strings.Split(name, ".")
	var found []Found
	var wrong error
	for _, e := range entries() {
		rest, ok := cutEntry(words, e)
		if !ok {
			continue
		}
		f, err := field(e, rest)
		if err != nil {
			wrong = err
			continue
		}
		found = append(found, f)
	}
	if len(found) == 0 { // a key of the top level
		if f, err := field(Pipeline(), words); err == nil {
			found = append(found, f)
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case wrong != nil:
		return nil, wrong
	}
	return nil, unknown(words[0])
}

// entries are all entries.
func entries() []Entry {
	all := []Entry{Pipeline(), Edge()}
	for _, kind := range Kinds() {
		all = append(all, Common(kind))
	}
	for _, kind := range Kinds() {
		all = append(all, Components(kind)...)
	}
	return append(all, Policies()...)
}

// cutEntry removes from words those that name e: its type, or its kind and type.
func cutEntry(words []string, e Entry) (rest []string, ok bool) {
	if e.Kind != "" && len(words) > 1 && words[1] == e.Type && (words[0] == e.Kind || words[0] == e.Kind+"s") {
		return words[2:], true
	}
	if words[0] == e.Type || e.Kind == "" && words[0] == e.Type+"s" {
		return words[1:], true
	}
	return nil, false
}

// field finds a key of e, which may be one that all nodes of its kind have.
func field(e Entry, path []string) (Found, error) {
	found := Found{Entry: e, Path: strings.Join(path, ".")}
	fields := e.Fields
	if slices.Contains(Kinds(), pipe.Kind(e.Kind)) {
		fields = slices.Concat(fields, Common(pipe.Kind(e.Kind)).Fields)
	}
	for i, word := range path {
		at := slices.IndexFunc(fields, func(f Field) bool { return f.Name == word })
		if at < 0 {
			where := strings.TrimSpace(e.Kind + " " + e.Type)
			if i > 0 {
				where += ": " + strings.Join(path[:i], ".")
			}
			return found, fmt.Errorf("%s has no key %q%s", where, word, suggest(word, names(fields)))
		}
		found.Field, fields = &fields[at], fields[at].Fields
	}
	return found, nil
}

func names(fields []Field) []string {
	var list []string
	for _, f := range fields {
		list = append(list, f.Name)
	}
	return list
}

// Topics are the names that Find knows, without those of keys.
func Topics() []string {
	var list []string
	for _, e := range entries() {
		if !slices.Contains(list, e.Type) {
			list = append(list, e.Type)
		}
	}
	slices.Sort(list)
	return list
}

func unknown(word string) error {
	return fmt.Errorf("nothing is called %q%s", word, suggest(word, append(Topics(), names(Pipeline().Fields)...)))
}

func suggest(word string, known []string) string {
	if meant := near.Word(word, known); meant != "" {
		return fmt.Sprintf(", did you mean %q?", meant)
	}
	if len(known) == 0 || len(known) > 20 {
		return ""
	}
	return "; there are: " + strings.Join(known, ", ")
}
