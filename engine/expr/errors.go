package expr

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/file"

	"github.com/pipectl/pipectl/engine/pipe"
)

// mistakef is a compile error at a place given in runes, as expr-lang counts.
func mistakef(source string, at file.Location, format string, args ...any) *pipe.OffsetError {
	return &pipe.OffsetError{Offset: byteOffset(source, at.From), Err: fmt.Errorf(format, args...)}
}

// translate makes a *pipe.OffsetError of what expr-lang reports: the message
// without its drawing of the place, in words that users know.
func translate(source string, err error) error {
	var known *pipe.OffsetError
	if errors.As(err, &known) {
		return known
	}
	var fe *file.Error
	if !errors.As(err, &fe) {
		return mistakef(source, file.Location{}, "%s", plain(err.Error()))
	}
	m := mistakef(source, fe.Location, "%s", plain(fe.Message))
	m.Hint = slips[m.Error()]
	return m
}

// slips are hints for what other languages write.
var slips = map[string]string{
	`unexpected "="`:   "write == to compare",
	`unexpected "&"`:   "write and, or &&",
	`unexpected "AND"`: "write and in small letters, or &&",
	`unexpected "OR"`:  "write or in small letters, or ||",
}

func byteOffset(source string, runes int) int {
	for i := range source {
		if runes == 0 {
			return i
		}
		runes--
	}
	return len(source)
}

// wordings turns messages of expr-lang and of Go's run time into plain ones.
// The first that matches is used.
var wordings = []struct {
	find *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`^unexpected token EOF`), "the expression ends too early"},
	{regexp.MustCompile(`^unexpected token \w+\((".*")\)$`), "unexpected $1"},
	{regexp.MustCompile(`^interface conversion: .* is (.+), not (.+)$`), "expected $2, got $1"},
	{regexp.MustCompile(`^runtime error: (.*)$`), "$1"},
	{regexp.MustCompile(`^cannot fetch (.*) from (.*)$`), "$2 has no $1"},
	{regexp.MustCompile(`^reflect: .*`), "a value has the wrong type for this operation"},
	{regexp.MustCompile(`^memory budget exceeded$`), "the expression makes more than 1,000,000 values"},
	{regexp.MustCompile(`^invalid (\w+) literal: strconv.*: (.*)$`), "invalid $1 literal: $2"},
	{regexp.MustCompile(`should has`), "should have"},
}

// typeNames turns Go's names of types into those of the expression language.
var typeNames = regexp.MustCompile(`map\[[^\]]*\](\[\])?(interface \{\}|\w+)|\[[0-9]*\](interface \{\}|[\w.]+)|\*?time\.\w+|func\([^)]*\)( \w+)?|interface \{\}|<nil>|\bu?int(8|16|32|64)\b|\bfloat(32|64)\b|\bunknown\b`)

func typeName(goName string) string {
	switch {
	case strings.HasPrefix(goName, "map["):
		return "map"
	case strings.HasPrefix(goName, "["):
		return "array"
	case strings.HasSuffix(goName, "time.Location"):
		return "timezone"
	case strings.HasPrefix(goName, "time."):
		return strings.ToLower(goName[len("time."):])
	case strings.HasPrefix(goName, "func("):
		return "function"
	case goName == "<nil>":
		return "nil"
	case strings.HasPrefix(goName, "int"), strings.HasPrefix(goName, "uint"):
		if goName != "interface {}" {
			return "int"
		}
	case strings.HasPrefix(goName, "float"):
		return "float"
	}
	return "any value"
}

func plain(msg string) string {
	msg, _, _ = strings.Cut(msg, "\n")
	for _, w := range wordings {
		if w.find.MatchString(msg) {
			msg = w.find.ReplaceAllString(msg, w.with)
			break
		}
	}
	return strings.TrimSpace(typeNames.ReplaceAllStringFunc(msg, typeName))
}

// nameOf is the type of a value, as the function type() of the language says it.
func nameOf(v any) string { return plain(fmt.Sprintf("%T", v)) }

// failure is a run-time error of an expression.
func failure(source string, err error) error {
	msg := err.Error()
	var fe *file.Error
	if errors.As(err, &fe) {
		msg = fe.Message
	}
	return fmt.Errorf("expression %q: %s", shorten(source, 80), shorten(plain(msg), 200))
}

// shorten cuts s to about n bytes for a message.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}
