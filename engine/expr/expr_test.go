package expr_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// sample is the event of most tests.
const sample = `{"status":503,"bytes":2097152,"ms":12.5,"level":"error","ok":true,"off":false,"none":null,
"path":"/api/v1/items","method":"GET","message":"upstream timeout \"db\"\n","big":12345678901234567890,
"http":{"status":200,"headers":{"x-id":"a1"}},"tags":["a","b","c"],"items":[{"price":3,"ok":true},{"price":10},{"price":7.5,"ok":false}],
"len":5,"count":"many","user agent":"curl/8","neg":-3,"zero":0,"empty":"","list":[],"obj":{}}`

func event(t testing.TB, body string) *pipe.Event {
	t.Helper()
	e := &pipe.Event{}
	b, err := record.FromJSON([]byte(body), new(record.Arena))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	e.Body = b
	e.SetMeta("topic", "web")
	e.SetMeta("n", "5")
	return e
}

func text(line string) *pipe.Event {
	e := &pipe.Event{}
	e.Body = record.FromText([]byte(line))
	return e
}

func boolean(t testing.TB, source string) *expr.Bool {
	t.Helper()
	var b expr.Bool
	if err := b.UnmarshalText([]byte(source)); err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return &b
}

func value(t testing.TB, source string) *expr.Value {
	t.Helper()
	var v expr.Value
	if err := v.UnmarshalText([]byte(source)); err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return &v
}

// outcome is a result or an error as text, so that both can be compared.
func outcome(x any, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return fmt.Sprint(x)
}

// checkBool evaluates source both ways; both must give want, where an error is
// written "error: " and a part of its text.
func checkBool(t *testing.T, e *pipe.Event, source, want string) {
	t.Helper()
	b := boolean(t, source)
	got := outcome(b.Eval(e))
	if vm := outcome(b.EvalVM(e)); got != vm {
		t.Errorf("%s: closure gives %s, virtual machine %s", source, got, vm)
	}
	if part, ok := strings.CutPrefix(want, "error: "); ok && !(isError(got) && strings.Contains(got, part)) || !ok && got != want {
		t.Errorf("%s: got %s, want %s", source, got, want)
	}
}

func json(v record.Value, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return string(v.AppendJSON(nil))
}

func isError(s string) bool { return strings.HasPrefix(s, "error: ") }

func checkValue(t *testing.T, e *pipe.Event, source, want string) {
	t.Helper()
	v := value(t, source)
	got := json(v.Eval(e, new(record.Arena)))
	vm := json(v.EvalVM(e, new(record.Arena)))
	if isError(got) != isError(vm) || isError(got) && got != vm || !isError(got) && !alike(read(t, got), read(t, vm)) {
		t.Errorf("%s: closure gives %s, virtual machine %s", source, got, vm)
	}
	if part, ok := strings.CutPrefix(want, "error: "); ok && !(isError(got) && strings.Contains(got, part)) || !ok && got != want {
		t.Errorf("%s: got %s, want %s", source, got, want)
	}
}

func TestZeroValues(t *testing.T) {
	e := event(t, sample)
	var none *expr.Bool
	for _, b := range []*expr.Bool{none, {}} {
		if ok, err := b.Eval(e); !ok || err != nil || !b.IsZero() || b.Source() != "" || b.Roots() != nil {
			t.Errorf("a condition that is not there must hold, got %v, %v", ok, err)
		}
	}
	var v expr.Value
	if got := json(v.Eval(e, nil)); got != "null" || !v.IsZero() || v.Source() != "" {
		t.Errorf("got %s, want null", got)
	}
	b := boolean(t, "status  > 5")
	if text, _ := b.MarshalText(); string(text) != "status  > 5" || b.IsZero() {
		t.Errorf("got %s", text)
	}
}

func TestConcurrentUse(t *testing.T) {
	b := boolean(t, `any(items, .price > 9) and message contains "db" and http.status == 200`)
	v := value(t, `upper(level) + "-" + string(status)`)
	e := event(t, sample)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var a record.Arena
			for range 200 {
				if ok, err := b.Eval(e); !ok || err != nil {
					t.Errorf("got %v, %v", ok, err)
				}
				if got := json(v.Eval(e, &a)); got != `"ERROR-503"` {
					t.Errorf("got %s", got)
				}
			}
		})
	}
	wg.Wait()
}
