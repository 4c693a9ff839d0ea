package expr_test

import (
	"testing"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// access is an event of the usual size, about 260 bytes.
const access = `{"ts":"2026-11-21T07:12:44.120Z","level":"info","host":"web-17","method":"GET","path":"/api/v1/items/8812",` +
	`"status":200,"bytes":51234,"ms":12.75,"message":"request handled without a hitch","http":{"version":"1.1","tls":true},` +
	`"client":{"ip":"10.1.2.3","port":4711},"agent":"Mozilla/5.0 (X11; Linux x86_64) Firefox/132.0","ok":true}`

var conditions = []struct{ name, source string }{
	{"status_or_bytes", `status >= 500 || bytes > 1_000_000`},
	{"level_equals", `level == "error"`},
	{"path_and_method", `path startsWith "/api" and not (method in ["GET","HEAD"])`},
	{"message_contains", `message contains "timeout"`},
	{"nested_flag", `http.tls and client.port > 1024`},
	{"mixed", `status >= 500 && len(message) > 20`},
}

func BenchmarkCondition(b *testing.B) {
	e := event(b, access)
	for _, c := range conditions {
		p := boolean(b, c.source)
		b.Run("closure/"+c.name, func(b *testing.B) { measure(b, e, p.Eval) })
		b.Run("vm/"+c.name, func(b *testing.B) { measure(b, e, p.EvalVM) })
	}
}

func measure(b *testing.B, e *pipe.Event, eval func(*pipe.Event) (bool, error)) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := eval(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValue(b *testing.B) {
	e := event(b, access)
	for _, c := range []struct{ name, source string }{
		{"divide", `bytes / 1048576.0`}, {"field", `http`}, {"constant", `"web"`}, {"concat", `host + ":" + level`},
	} {
		v := value(b, c.source)
		run := func(eval func(*pipe.Event, *record.Arena) (record.Value, error)) func(*testing.B) {
			return func(b *testing.B) {
				b.ReportAllocs()
				var a record.Arena
				for b.Loop() {
					if _, err := eval(e, &a); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
		b.Run("closure/"+c.name, run(v.Eval))
		b.Run("vm/"+c.name, run(v.EvalVM))
	}
}

func BenchmarkTemplate(b *testing.B) {
	for _, source := range []string{`seq`, `"web"`, `rand_int(200, 599)`, `pick(["GET", "POST"])`, `now()`, `uuid()`, `format("user-%d", seq)`} {
		v := template(b, source)
		b.Run(source, func(b *testing.B) {
			b.ReportAllocs()
			var a record.Arena
			g := expr.NewGenEnv(1)
			for b.Loop() {
				if _, err := v.Eval(g, &a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		boolean(b, `path startsWith "/api" and not (method in ["GET","HEAD"])`)
	}
}

// TestConditionsDoNotAllocate holds what the benchmarks report.
func TestConditionsDoNotAllocate(t *testing.T) {
	e := event(t, access)
	f := func(source string) {
		t.Helper()
		p := boolean(t, source)
		if n := testing.AllocsPerRun(100, func() { p.Eval(e) }); n != 0 || !p.HasClosure() {
			t.Errorf("%s: %v allocations, closure %v", source, n, p.HasClosure())
		}
	}
	for _, c := range conditions {
		f(c.source)
	}
	f(`ok`)
	f(`not ok and nope == nil`)
	f(`meta("topic") == "web" and meta("topic") startsWith "w"`)
	f(`meta("topic") in ["web", "db"]`)
	f(`meta("none") == nil`)
	f(`status in [200, 204] and status in 200..299`)
	f(`bytes > status * 2`)
	f(`path matches "^/api/v[0-9]+"`)
	f(`ms >= 12.5 and ms < 13`)
	f(`level == method or "info" == level`)
	f(`level in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "info"]`)
	f(`400 <= status < 500`)
	f(`nope > 5 or nope < 1.5 or nope contains "x" or nope in [1, 2] or nope`)
}
