package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// scan reads the numbers of an event like 12.3.
func scan(e *pipe.Event, message, i *int) (int, error) {
	return fmt.Sscanf(string(e.Body.AppendText(nil)), "%d.%d", message, i)
}

// TestStageTimeout: each event has the whole timeout, and one that takes longer
// fails alone.
func TestStageTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 40, batch: 40}}
stages: {a: {type: script, do: 'hang:10', wait: 60ms, timeout: 100ms}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> a -> out, a.failed -> dead]
`)
		start := time.Now()
		r, err := run(t, e)
		dead := sinkOf(t, e, "dead").got()
		if err != nil || len(dead) != 4 || r.Balance.Delivered != 36 || !strings.Contains(dead[0], `"class":"retryable"`) || !strings.Contains(dead[0], "deadline exceeded") {
			t.Errorf("error %v, balance %+v, dead letters %v", err, r.Balance, dead)
		}
		if took, want := time.Since(start), 36*60*time.Millisecond+4*100*time.Millisecond; took != want {
			t.Errorf("took %v, want %v", took, want)
		}
	})
}

// TestBadInputStops: input that cannot be decoded ends the pipeline, says where
// it was, and is not committed past.
func TestBadInputStops(t *testing.T) {
	e := build(t, `
sources: {in: {type: numbers, count: 100, batch: 4, bad: 30}}
sinks: {out: {type: memory}}
edges: [in -> out]
`)
	r, err := run(t, e)
	var failed *NodeError
	if !errors.As(err, &failed) || failed.Node != "in" || failed.Origin != "numbers:30" || !strings.Contains(err.Error(), "not a number") || !strings.Contains(err.Error(), "in.failed") {
		t.Errorf("error %v", err)
	}
	if mark := e.graph.sources[0].src.(*numbers).mark(); mark != 29 || r.ExitCode != ExitFailed || r.Sources["in"].Failed != 1 {
		t.Errorf("committed %d, exit code %d, source %+v; want 29, 1 and one failed", mark, r.ExitCode, r.Sources["in"])
	}
}

func TestBadInputIsDropped(t *testing.T) {
	e := build(t, `
sources: {in: {type: numbers, count: 100, bad: 10, on_error: drop}}
sinks: {out: {type: memory}}
edges: [in -> out]
`)
	r, err := run(t, e)
	if mark := e.graph.sources[0].src.(*numbers).mark(); err != nil || mark != 100 || r.Balance.Failed != 10 || r.Balance.Delivered != 90 || r.Sources["in"].Acked != 100 {
		t.Errorf("error %v, committed %d, balance %+v, source %+v", err, mark, r.Balance, r.Sources["in"])
	}
}

// TestFatalStops: a fatal error ends the pipeline even if a failed port is
// there, and what it concerns goes back to the source.
func TestFatalStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: probe}}
stages: {a: {type: probe}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> a -> out, a.failed -> dead]
`)
		part[*probeSource](t, e, "in").read = lines(100, 10, true)
		part[*probeStage](t, e, "a").process = func(context.Context, []*pipe.Event, *pipe.Out) error {
			return pipe.Classed(pipe.Fatal, errProbe)
		}
		r, err := run(t, e)
		if !errors.Is(err, errProbe) || r.ExitCode != ExitFailed || strings.Contains(err.Error(), "on_error") {
			t.Errorf("exit code %d, error %v, want no advice about on_error", r.ExitCode, err)
		}
		if r.Balance.DeadLettered != 0 || r.Balance.Returned != r.Balance.Read || r.Sources["in"].Returned != r.Balance.Read || r.Balance.Read == 0 {
			t.Errorf("balance %+v, source %+v; want all returned", r.Balance, r.Sources["in"])
		}
	})
}

// TestSinkRefusals: a sink that refuses some events confirms the others.
func TestSinkRefusals(t *testing.T) {
	e := build(t, `
sources: {in: {type: numbers, count: 100, batch: 100}}
sinks: {out: {type: memory, partial: 7, on_error: drop}}
edges: [in -> out]
`)
	r, err := run(t, e)
	want := slices.DeleteFunc(upTo(100), func(s string) bool { var n int; fmt.Sscan(s, &n); return n%7 == 0 })
	if got := sinkOf(t, e, "out").got(); err != nil || !slices.Equal(got, want) || r.Balance.Delivered != 85 || r.Balance.Failed != 15 {
		t.Errorf("error %v, balance %+v, got %v", err, r.Balance, got)
	}
}

// TestDeadLetterKeepsTheEvent: a dead letter holds the event as it came to the
// node that failed, text as text and objects as objects, and where it is from.
func TestDeadLetterKeepsTheEvent(t *testing.T) {
	f := func(event, want string) {
		t.Helper()
		e := build(t, `
sources: {in: {type: probe}}
stages: {a: {type: probe}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> a -> out, a.failed -> dead]
`)
		id, over := "", false
		part[*probeSource](t, e, "in").read = func(_ context.Context, b *pipe.Batch) error {
			if over {
				return io.EOF
			}
			body := record.FromText([]byte(event))
			if strings.HasPrefix(event, "{") {
				var err error
				if body, err = record.FromJSON([]byte(event), &b.Arena); err != nil {
					return err
				}
			}
			b.From("file", 7)
			b.Add(body, 12).SetMeta("k", "v")
			over = true
			return nil
		}
		part[*probeStage](t, e, "a").process = func(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
			for _, ev := range in {
				id = ev.ID()
				out.Fail(ev, pipe.Classed(pipe.Poison, errProbe))
			}
			return nil
		}
		if _, err := run(t, e); err != nil {
			t.Fatal(err)
		}
		var got map[string]json.RawMessage
		if dead := sinkOf(t, e, "dead").got(); len(dead) != 1 || json.Unmarshal([]byte(dead[0]), &got) != nil {
			t.Fatalf("%s: dead letters %v", event, dead)
		}
		for key, want := range map[string]string{"error": `"probed"`, "class": `"poison"`, "node": `"a"`, "attempts": "1", "id": `"` + id + `"`, "origin": `"file:7"`,
			"source": `"in"`, "position": "12", "generation": "1", "metadata": `{"k":"v"}`, "event": want} {
			if string(got[key]) != want {
				t.Errorf("%s: %s is %s, want %s", event, key, got[key], want)
			}
		}
		if when, err := time.Parse(`"`+time.RFC3339Nano+`"`, string(got["time"])); err != nil || len(got) != 13 || time.Since(when) > time.Minute {
			t.Errorf("%s: %d fields, time %s", event, len(got), got["time"])
		} else if first, err := time.Parse(`"`+time.RFC3339Nano+`"`, string(got["first_time"])); err != nil || first.After(when) || when.Sub(first) > time.Minute {
			t.Errorf("%s: read at %s, given up at %s", event, got["first_time"], got["time"])
		}
	}
	f("a line", `"a line"`)
	f(`{"a": 1.50, "b":[ ]}`, `{"a": 1.50, "b":[ ]}`)
}
