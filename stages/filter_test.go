package stages

import (
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func TestFilter(t *testing.T) {
	in := []string{`{"status":500}`, `{"status": 200}`, `{"bytes":7}`, `{"status":"x"}`, "a line"}
	r := run(t, &Filter{Where: condition(t, "status >= 500 || bytes == 7")}, in...)
	same(t, "emitted", r.Emitted[""], []string{`{"status":500}`, `{"bytes":7}`})
	same(t, "filtered", r.Filtered, []string{`{"status": 200}`, "a line"})
	same(t, "failed", r.Failed, []string{`{"status":"x"}`})
	fails(t, r, "where: ")

	r = run(t, &Filter{Where: condition(t, `message contains "err"`)}, "no", "an error")
	same(t, "lines", r.Emitted[""], []string{"an error"})
	refuses(t, &Filter{}, "where", "required")
}

func TestFilterConforms(t *testing.T) {
	pipetest.Stage(t, func() pipe.Stage { return &Filter{Where: condition(t, "n % 2 == 1")} },
		`{"n":1}`, `{"n":2}`, `{"n":"three"}`, `{}`, "a line")
}
