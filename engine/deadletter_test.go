package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// failing is a pipeline in which every tenth of 100 events becomes a dead letter,
// whose sink has the given options.
func failing(dead string) string {
	return `
shutdown: {timeout: 10s}
sources: {in: {type: numbers, count: 100, batch: 10, replay: true}}
stages: {a: {type: script, do: 'fail:10'}}
sinks: {out: {type: memory}, dead: {` + dead + `}}
edges: [in -> a -> out, {from: a.failed, to: dead, policy: block}]
`
}

// TestDeadLetterIsConfirmedFirst: what failed is not acknowledged to its source
// before its dead letter is written, however long that takes.
func TestDeadLetterIsConfirmedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, failing("type: probe"))
		start, early, refused := time.Now(), int64(0), 0
		part[*probeSink](t, e, "dead").write = func(context.Context, []*pipe.Event) error {
			if time.Since(start) < time.Minute {
				refused++
				early = max(early, e.Status().Sources["in"].Acked)
				return errProbe
			}
			return nil
		}
		r, err := run(t, e)
		if err != nil || r.Balance.Delivered != 90 || r.Balance.DeadLettered != 10 || r.Sources["in"].Acked != 100 {
			t.Errorf("error %v, balance %+v, source %+v", err, r.Balance, r.Sources["in"])
		}
		if refused < 2 || early > 90 {
			t.Errorf("%d events were acknowledged while %d writes of dead letters were refused, want at most the 90 others", early, refused)
		}
	})
}

// TestDeadLettersAreNotDropped: when dead letters cannot be written at all, the
// pipeline ends, and their events stay with the source.
func TestDeadLettersAreNotDropped(t *testing.T) {
	f := func(dead string, outcome State, stop bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := build(t, failing(dead))
			if stop {
				defer time.AfterFunc(time.Minute, e.Stop).Stop()
			}
			r, _ := run(t, e)
			s := r.Sources["in"]
			if r.Outcome != outcome || r.ExitCode == 0 || s.Acked > r.Balance.Delivered+r.Balance.DeadLettered ||
				s.Nacked+s.Returned == 0 || r.Balance.Dropped+r.Balance.Filtered != 0 {
				t.Errorf("%s: outcome %s, source %+v, balance %+v", dead, r.Outcome, s, r.Balance)
			}
		})
	}
	f("type: memory, fail: 1000, class: permanent", Failed, false)
	f("type: memory, fail: 1000, class: fatal", Failed, false)
	f("type: memory, fail: 1000, class: retryable, retry: {max_attempts: 3}", Failed, false)
	f("type: memory, fail: 1000000, class: retryable", Stopped, true)
	f("type: memory, hang: 1", Stopped, true) // one write; others may go well
}
