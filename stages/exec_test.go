//go:build unix

package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func execStage(t *testing.T, script string) *Exec {
	t.Helper()
	x := &Exec{Command: []string{"sh", "-c", script}}
	if err := errors.Join(x.Validate(), x.Open(t.Context(), pipe.Env{MaxEventBytes: 1 << 20})); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close(context.Background()) })
	return x
}

// ask gives samples to x and returns what became of them.
func ask(t *testing.T, x *Exec, samples ...string) (emitted, failed []string, filtered int) {
	t.Helper()
	feed, err := pipetest.NewFeed(samples...)
	if err != nil {
		t.Fatal(err)
	}
	out := pipe.NewOut(1)
	if err := x.Process(t.Context(), feed.Events, out); err != nil {
		t.Fatal(err)
	}
	for _, e := range out.Port(0) {
		emitted = append(emitted, string(e.Body.AppendJSON(nil)))
	}
	for _, f := range out.Failed() {
		failed = append(failed, f.Err.Error())
	}
	if !out.Complete(len(samples)) {
		t.Error("not every event has exactly one decision")
	}
	return emitted, failed, len(out.Filtered())
}

func TestExecAnswers(t *testing.T) {
	x := execStage(t, `while read -r line; do
		case "$line" in
		*drop*) echo null;;
		*bad*) echo '"not \"this\" one"';;
		*two*) echo '[{"part":1}, {"part":2}]';;
		*none*) echo '[]';;
		*) echo "{\"was\":$line}";;
		esac
	done`)
	emitted, failed, filtered := ask(t, x, `{"a":1}`, "a line", `{"drop":1}`, `{"bad":1}`, `{"two":1}`, `{"none":1}`)
	same(t, "emitted", emitted, []string{`{"was":{"a":1}}`, `{"was":{"message":"a line"}}`, `{"part":1}`, `{"part":2}`})
	same(t, "failed", failed, []string{`refused: not "this" one`})
	if filtered != 2 {
		t.Errorf("%d filtered, want 2", filtered)
	}
}

// TestExecManyEvents sends far more than the pipes hold in one call.
func TestExecManyEvents(t *testing.T) {
	x := execStage(t, "cat")
	var samples []string
	for i := range 5000 {
		samples = append(samples, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, strings.Repeat("x", 200)))
	}
	emitted, _, _ := ask(t, x, samples...)
	if !slices.Equal(emitted, samples) {
		t.Errorf("%d of %d came back, or in another order", len(emitted), len(samples))
	}
}

// TestExecCommandEnds kills the command at an event: the events before it count,
// it fails when that happens twice, and the others are asked about again.
func TestExecCommandEnds(t *testing.T) {
	x := execStage(t, `while read -r line; do case "$line" in *crash*) exit 9;; esac; echo "$line"; done`)
	emitted, failed, _ := ask(t, x, `{"n":1}`, `{"crash":1}`, `{"n":2}`, `{"crash":2}`)
	same(t, "emitted", emitted, []string{`{"n":1}`, `{"n":2}`})
	same(t, "failed", failed, slices.Repeat([]string{"the command gave no answer twice: command sh: exit status 9"}, 2))

	garbage := execStage(t, `while read -r line; do echo 17; done`)
	if _, failed, _ := ask(t, garbage, `{"n":1}`); len(failed) != 1 || !strings.Contains(failed[0], `no object, list of objects, null or text: "17"`) {
		t.Errorf("an answer that is none: %q", failed)
	}
	long := execStage(t, `read -r line; yes | tr -d '\n'`)
	if _, failed, _ := ask(t, long, `{"n":1}`); len(failed) != 1 || !strings.Contains(failed[0], "longer than limits.max_event_bytes") {
		t.Errorf("an answer without an end: %q", failed)
	}
}

// TestExecHangs ends a command that does not answer with the call, and asks a new
// one afterwards.
func TestExecHangs(t *testing.T) {
	x := execStage(t, `read -r line; case "$line" in *hang*) sleep 1000;; esac; echo "$line"; cat`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	feed, err := pipetest.NewFeed(`{"hang":1}`)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := x.Process(ctx, feed.Events, pipe.NewOut(1)); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 3*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	emitted, _, _ := ask(t, x, `{"n":1}`)
	same(t, "afterwards", emitted, []string{`{"n":1}`})
}

func TestExecOpenAndValidate(t *testing.T) {
	refuses(t, &Exec{}, "command", "must name a program")
	err := (&Exec{Command: []string{"no-such-program"}}).Open(t.Context(), pipe.Env{})
	if err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("a missing program: %v", err)
	}
}

func BenchmarkExec(b *testing.B) {
	x := &Exec{Command: []string{"cat"}}
	if err := x.Open(b.Context(), pipe.Env{MaxEventBytes: 1 << 20}); err != nil {
		b.Fatal(err)
	}
	defer x.Close(context.Background())
	feed, err := pipetest.NewFeed(slices.Repeat([]string{`{"time":"2026-01-01T00:00:00Z","status":200,"path":"/index.html","bytes":5120}`}, 256)...)
	if err != nil {
		b.Fatal(err)
	}
	out := pipe.NewOut(1)
	for b.Loop() {
		out.Reset()
		if err := x.Process(b.Context(), feed.Events, out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*256), "ns/event")
}

func TestExecConforms(t *testing.T) {
	pipetest.Stage(t, func() pipe.Stage { return &Exec{Command: []string{"cat"}} }, `{"n":1}`, "a line")
}
