package stages

import (
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func condition(t testing.TB, source string) (b expr.Bool) {
	t.Helper()
	if err := b.UnmarshalText([]byte(source)); err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return b
}

func value(t testing.TB, source string) (v expr.Value) {
	t.Helper()
	if err := v.UnmarshalText([]byte(source)); err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return v
}

// run runs a stage over the samples, checking its contract.
func run(t testing.TB, s pipe.Stage, samples ...string) pipetest.StageResult {
	t.Helper()
	r, err := pipetest.RunStage(s, samples...)
	if err != nil {
		t.Fatalf("%q: %v", samples, err)
	}
	return r
}

// same compares what came out with what should have.
func same(t testing.TB, what string, got, want []string) {
	t.Helper()
	if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// fails checks that one event failed as poison with an error that says want.
func fails(t testing.TB, r pipetest.StageResult, want string) {
	t.Helper()
	if len(r.Errors) != 1 {
		t.Fatalf("%d events failed, want 1: %v", len(r.Errors), r)
	}
	if got := r.Errors[0].Error(); !strings.Contains(got, want) {
		t.Errorf("error %q, want %q in it", got, want)
	}
	if class := pipe.ClassOf(r.Errors[0], ""); class != pipe.Poison {
		t.Errorf("class %q, want %q", class, pipe.Poison)
	}
}

// refuses checks that Validate points at field and says want.
func refuses(t testing.TB, s pipe.Validator, field, want string) {
	t.Helper()
	err := s.Validate()
	var at *pipe.FieldError
	if !errors.As(err, &at) || at.Field != field || !strings.Contains(at.Err.Error()+"; "+at.Hint, want) {
		t.Errorf("%+v: got %v, want field %s and %q", s, err, field, want)
	}
}

func TestRegisteredWithDefaults(t *testing.T) {
	for _, typ := range []string{"batch", "delay", "filter", "map", "parse", "route", "throttle"} {
		c, ok := pipe.Lookup(pipe.KindStage, typ)
		if !ok {
			t.Errorf("no stage %s", typ)
			continue
		}
		if _, ok := c.New().(pipe.Stage); !ok {
			t.Errorf("%s does not make a stage", typ)
		}
		if _, ok := c.New().(pipe.Validator); !ok {
			t.Errorf("%s has no Validate", typ)
		}
	}
}

var openEnv = pipe.Env{Node: "stage", Pipeline: "test", Log: slog.New(slog.DiscardHandler), MaxEventBytes: 8 << 20}
