package mutant

import (
	"errors"
	"os/exec"
	"testing"
)

func TestApply(t *testing.T) {
	f := func(old, new, want, wantErr string) {
		t.Helper()
		got, err := Mutant{File: "x.go", Old: old, New: new}.apply("a b b c")
		if got != want || err == nil != (wantErr == "") || err != nil && err.Error() != wantErr {
			t.Errorf("%q to %q: got %q, %v; want %q, %s", old, new, got, err, want, wantErr)
		}
	}
	f("a", "", " b b c", "")
	f("a b", "x", "x b c", "")
	f("b", "x", "", "its old text occurs 2 times in x.go; it must occur once, and the new text must differ")
	f("d", "x", "", "its old text occurs 0 times in x.go; it must occur once, and the new text must differ")
	f("c", "c", "", "its old text occurs 1 times in x.go; it must occur once, and the new text must differ")
}

func TestVerdict(t *testing.T) {
	failed := error(&exec.ExitError{})
	f := func(out string, err error, want, wantErr string) {
		t.Helper()
		got, e := verdict(out, err)
		if got != want || e == nil != (wantErr == "") || e != nil && e.Error() != wantErr {
			t.Errorf("%q, %v: got %q, %v; want %q, %s", out, err, got, e, want, wantErr)
		}
	}
	f("--- FAIL: TestA (0.00s)\n    a_test.go:1: no\nFAIL\n", failed, "TestA", "")
	f("=== RUN\n    --- FAIL: TestA/b (0.00s)\n", failed, "TestA/b", "")
	f("panic: test timed out after 30s\n\tTestA (30s)\n", failed, "a hang", "")
	f("panic: BUG: second outcome\n", failed, "a panic", "")
	f("fatal error: all goroutines are asleep - deadlock!\n", failed, "a panic", "")
	f("ok  \tx\t0.1s\n", nil, "", "the mutant survived")
	f("ok  \tx\t0.1s [no tests to run]\n", nil, "", "the mutant names no test")
	f("./x.go:1:1: syntax error\nFAIL\tx [build failed]\n", failed, "", "the mutant does not compile")
	f("FAIL\n", failed, "", "the tests failed without saying which")
	f("", errors.New("no go command"), "", "no go command")
}
