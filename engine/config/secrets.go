package config

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/pipectl/pipectl/engine/near"
)

// hidden stands for a secret wherever text is printed.
const hidden = "***"

// minSecret is the length below which a value is too common to be replaced
// wherever it occurs: it would garble what is printed and hide nothing.
const minSecret = 4

// secrets remembers the values that must never be printed. The zero value is
// ready for use.
type secrets struct {
	values map[string]bool
	sorted []string // the values, the longest first; nil when there are new ones
}

// add remembers a value and the ways in which it is commonly written.
func (s *secrets) add(value string) {
	if value == "" || s.values[value] {
		return
	}
	if s.values == nil {
		s.values = map[string]bool{}
	}
	s.sorted = nil
	inJSON, _ := json.Marshal(value) // a string always marshals
	for _, v := range []string{
		value, strings.TrimSpace(value), oneLine(value), trimQuotes(strconv.Quote(value)), trimQuotes(string(inJSON)),
		url.QueryEscape(value), url.PathEscape(value),
	} {
		if v != "" {
			s.values[v] = true
		}
	}
}

func trimQuotes(s string) string { return strings.TrimSuffix(strings.TrimPrefix(s, `"`), `"`) }

func (s *secrets) clone() secrets { return secrets{maps.Clone(s.values), s.sorted} }

// seal makes redact safe for concurrent use, until the next add.
func (s *secrets) seal() {
	if s.sorted == nil {
		s.sorted = slices.SortedFunc(maps.Keys(s.values), func(a, b string) int {
			return cmp.Or(len(b)-len(a), strings.Compare(a, b))
		})
	}
}

// redact returns text with every secret of minSecret bytes or more replaced.
func (s *secrets) redact(text string) string { return s.replace(text, minSecret) }

// redactAll returns text with every secret replaced, however short.
func (s *secrets) redactAll(text string) string { return s.replace(text, 1) }

// replace does it one by one: a strings.Replacer takes minutes to prepare for a
// long value that repeats itself.
func (s *secrets) replace(text string, shortest int) string {
	if len(s.values) == 0 {
		return text
	}
	s.seal()
	for _, v := range s.sorted {
		if len(v) >= shortest {
			text = strings.ReplaceAll(text, v, hidden)
		}
	}
	return text
}

// Words that make the name of a variable or of a key sound like a secret.
var (
	secretWords = []string{"password", "passwd", "passphrase", "secret", "token", "credential", "apikey", "privatekey", "accesskey", "authorization"}
	secretParts = []string{"key", "pass", "pwd", "pw", "auth", "dsn", "pat"}
)

// secretVariable reports whether an environment variable of that name holds a
// secret, as far as names tell: DB_PASSWORD, API_KEY, GITHUB_PAT.
func secretVariable(name string) bool {
	parts := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '_' || r == '-' || r == '.' })
	return slices.ContainsFunc(parts, func(p string) bool { return slices.Contains(secretParts, p) }) || secretKey(name)
}

// secretKey reports whether a YAML key of that name holds a secret. A plain
// "key" does not: it is an expression in many places.
func secretKey(name string) bool {
	plain := near.Plain(name)
	return slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(plain, w) })
}
