package record

import (
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	f := func(s, want string, steps int) {
		t.Helper()
		p, err := ParsePath(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			return
		}
		if p.String() != want || len(p.steps) != steps || p.IsTop() != (steps == 1) {
			t.Errorf("%s: got %s with %d steps, want %s with %d", s, p, len(p.steps), want, steps)
		}
		again, err := ParsePath(p.String())
		if err != nil || again.String() != p.String() {
			t.Errorf("%s is read back as %v, %v", p, again, err)
		}
	}
	f("a", "a", 1)
	f("http.status", "http.status", 2)
	f("tags[0]", "tags[0]", 2)
	f(`a["odd key"].b`, `a["odd key"].b`, 3)
	f(`a['odd "key"'][2][3].b`, `a["odd \"key\""][2][3].b`, 5)
	f(`["@timestamp"]`, `@timestamp`, 1)
	f(`user-agent.$x.é_1`, `user-agent.$x.é_1`, 3)
	f(`[""]`, `[""]`, 1)
	f(`a["b.c"]`, `a["b.c"]`, 2)
	f(`a["\u0041\n"]`, `a["A\n"]`, 2)
	f(`["a"]["b"]`, `a.b`, 2)
	f(`1.2`, `1.2`, 2)

	bad := func(s, want string) {
		t.Helper()
		if _, err := ParsePath(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", s, err, want)
		}
	}
	bad("", "it is empty")
	bad(".a", "a name is missing at the start")
	bad("a.", `a name is missing after "a."`)
	bad("a..b", `a name is missing after "a."`)
	bad("a b", `a name with " " in it is written ["like this"]`)
	bad(" a", `a name with " " in it`)
	bad(`a"b`, `a name with "\"" in it`)
	bad("a]", `a name with "]" in it`)
	bad("[0]", "it must start with a name")
	bad("a[", "a ] is missing")
	bad("a[0", "a ] is missing")
	bad("a[-1]", "[-1] must be an index from 0")
	bad("a[x]", "[x] must be an index from 0")
	bad("a[]", "[] must be an index from 0")
	bad("a[99999999999]", "must be an index")
	bad(`a["b`, "not closed")
	bad(`a["b\q"]`, "not valid")
	bad(`a['b`, "not closed")
	bad(`a["b"`, "a ] is missing")
	bad(`a[0]b`, `a dot is missing before "b"`)
}

func TestNewPath(t *testing.T) {
	p := NewPath("http", "odd key", "")
	if got, want := p.String(), `http["odd key"][""]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := p.Root(), "http"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
