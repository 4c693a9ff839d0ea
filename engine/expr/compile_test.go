package expr_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

func TestCompileErrors(t *testing.T) {
	f := func(source string, offset int, message, hint string) {
		t.Helper()
		var v expr.Bool
		err := v.UnmarshalText([]byte(source))
		var at *pipe.OffsetError
		if !errors.As(err, &at) {
			t.Errorf("%s: got %v, want an error with an offset", source, err)
			return
		}
		if at.Offset != offset || at.Error() != message || at.Hint != hint {
			t.Errorf("%s: got %d %q hint %q, want %d %q hint %q", source, at.Offset, at.Error(), at.Hint, offset, message, hint)
		}
	}
	f(``, 0, "the expression is empty", "")
	f(`status >`, 7, "the expression ends too early", "")
	f(`status == == 5`, 10, `unexpected "=="`, "")
	f(`(status > 5`, 10, "the expression ends too early", "")
	f(`status > 5)`, 10, `unexpected ")"`, "")
	f(`lenn(tags) > 5`, 0, "unknown function lenn", `did you mean "len"?`)
	f(`"é" == "é" and metta("x") == 1`, 17, "unknown function metta", `did you mean "meta"?`)
	f(`wibble(1)`, 0, "unknown function wibble", "")
	f(`meta() == 1`, 0, `wrong number of arguments: write meta("key")`, "")
	f(`"a" < 1`, 4, "invalid operation: < (mismatched types string and int)", "")
	f(`status + 1`, 7, "the expression must be true or false, but it gives a number or a string", "")
	f(`status * 1`, 7, "the expression must be true or false, but it gives a number", "")
	f(`"text"`, 0, "the expression must be true or false, but it gives string", "")
	f(`len(tags)`, 0, "the expression must be true or false, but it gives int", "")
	f(`5`, 0, "the expression must be true or false, but it gives int", "")
	f(`[ok]`, 0, "the expression must be true or false, but it gives array", "")
	f(`nil`, 0, "the expression must be true or false, but it gives nil", "")
	f(`path matches "["`, 5, "error parsing regexp: missing closing ]: `[`", "")
	f(`level == "error`, 15, "literal not terminated", "")
	f(`status = 5`, 7, `unexpected "="`, "write == to compare")
	f(`ok AND off`, 3, `unexpected "AND"`, "write and in small letters, or &&")
	f(`upper(1) == "A"`, 6, "cannot use int as argument (type string) to call upper", "")
	f(`http.foo() == 1`, 5, "unknown function: fields have no methods", "")
	f(`1 % 0 == 1`, 2, "integer divide by zero", "")
	f(`status > 99999999999999999999`, 28, "invalid integer literal: value out of range", "")
	f(`(level ?? 1).Foo() == 1`, 13, "only times and durations have methods, such as now().Year()", "")
	f(`now().Foo() == 1`, 6, "type time has no method Foo", "")
}

func TestCompileLimits(t *testing.T) {
	f := func(name, source, want string) {
		t.Helper()
		var v expr.Value
		if err := v.UnmarshalText([]byte(source)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	f("too long", strings.Repeat("a", 70_000), "the expression has 70000 bytes, more than 65536")
	f("too many parts", strings.Repeat("a+", 20_000)+"a", "exceeds maximum allowed nodes")
	f("deep", strings.Repeat("(", 60_000), "ends too early")
	f("deep list", strings.Repeat("[", 60_000), "ends too early")
	f("deep not", strings.Repeat("!", 60_000), "ends too early")
	value(t, strings.Repeat("(", 30_000)+"a"+strings.Repeat(")", 30_000))
	value(t, strings.Repeat("-", 9_000)+"a")
}

func TestRoots(t *testing.T) {
	f := func(source string, want ...string) {
		t.Helper()
		if got := value(t, source).Roots(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %q, want %q", source, got, want)
		}
	}
	f(`http.status > 5 and http.x == tags[0]`, "http", "tags")
	f(`let a = b; a + c`, "b", "c")
	f(`any(items, .price > limit)`, "items", "limit")
	f(`len($env) > 1 or a`, "$env", "a")
	f(`$env["user agent"].x`, "user agent")
	f(`1 + 1`)
	f(`meta("x")`)
}
