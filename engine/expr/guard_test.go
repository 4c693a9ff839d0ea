package expr_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

// figures are samples of what a guard may read.
func figures() map[string]any {
	return map[string]any{
		"p95":     0.5,
		"seconds": 3.0,
		expr.FigureName("edges", "a->b", "dropped_rate"):    0.0,
		expr.FigureName("edges", "a->b", "rate"):            100.0,
		expr.FigureName("edges", "a->b", "tripped"):         false,
		expr.FigureName("sinks", "out", "failed_rate"):      0.25,
		expr.FigureName("sinks", "my-sink", "failed_rate"):  0.0,
		expr.FigureName("stages", "parse", "busy"):          1.0,
		expr.FigureName("edges", "parse.failed->b", "rate"): 7.0,
	}
}

func TestGuard(t *testing.T) {
	f := func(source string, want bool) {
		t.Helper()
		g, err := expr.CompileGuard(source, figures())
		if err != nil {
			t.Errorf("%s: %v", source, err)
			return
		}
		if got, err := g.Eval(figures()); err != nil || got != want || g.Source() != source {
			t.Errorf("%s: got %v, %v, want %v", source, got, err, want)
		}
	}
	f(`p95 < 1`, true)
	f(`p95 > 1`, false)
	f(`edges["a->b"].dropped_rate == 0 && sinks.out.failed_rate == 0`, false)
	f(`edges["a->b"].dropped_rate == 0 && sinks.out.failed_rate <= 0.25`, true)
	f(`edges['a->b']["rate"] >= 100`, true)
	f(`edges["parse.failed->b"].rate / edges["a->b"].rate < 0.1`, true)
	f(`sinks["my-sink"].failed_rate == 0`, true)
	f(`not edges["a->b"].tripped`, true)
	f(`seconds < 10 or stages.parse.busy < 0.9`, true)
	f(`max(p95, stages.parse.busy) == 1`, true)
}

// What is not there any more is nil, and an ordering comparison with nil is false.
func TestGuardWithoutFigures(t *testing.T) {
	g, err := expr.CompileGuard(`p95 < 1`, figures())
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := g.Eval(map[string]any{}); ok || err != nil {
		t.Errorf("got %v, %v, want false", ok, err)
	}
	if got, want := fmt.Sprint(g.Names()), "[p95]"; got != want {
		t.Errorf("names: got %s, want %s", got, want)
	}
}

func TestGuardErrors(t *testing.T) {
	f := func(source string, offset int, message, hint string) {
		t.Helper()
		_, err := expr.CompileGuard(source, figures())
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
	f(`p95 <`, 4, "the expression ends too early", "")
	f(`p95`, 0, `expected true or false, got float`, "")
	f(`p95 + 1`, 4, "a guard must be true or false, but this gives a number or a string", "")
	f(`p59 < 1`, 0, "there is no figure p59", "did you mean p95?")
	f(`p95 < 1 and edges["a->c"].rate > 0`, 26, `there is no figure edges["a->c"].rate`, `did you mean edges["a->b"].rate?`)
	f(`edges["a->b"].dropped == 0`, 14, `there is no figure edges["a->b"].dropped`, `did you mean edges["a->b"].dropped_rate?`)
	f(`sinks.my-sink.failed_rate == 0`, 6, "there is no figure sinks.my", `a name with a hyphen is written in brackets, as in sinks["my-sink"].failed_rate`)
	f(`edges["a->b"] == nil`, 5, `edges["a->b"] is not a figure but a group of them`, `name one of its figures, such as edges["a->b"].dropped_rate`)
	f(`any(values(edges), .rate > 1)`, 11, "edges is not a figure but a group of them", `name one of its figures, such as edges["a->b"].dropped_rate`)
	f(`$env == nil`, 0, "there is no figure $env", "")
	f(`meta("x") == "y"`, 0, "unknown function meta", "")
	f(`p95 < "1"`, 4, "invalid operation: float < string", "")
	f(`wibble.wobble > 0`, 7, "there is no figure wibble.wobble", "")
}
