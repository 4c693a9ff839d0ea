package engine

import (
	"testing"
	"testing/synctest"
	"time"
)

const stuck = `
shutdown: {timeout: 5s}
sources: {in: {type: numbers, count: 100000, batch: 10, replay: %v}}
stages: {a: {type: script}}
sinks: {out: {type: memory, hang: 3, deaf: %v}}
edges: [{from: in, to: a, buffer: 30}, {from: a, to: out, buffer: 30}]
`

func TestDrainDeliversWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 100000, endless: true, batch: 5, pause: 1ms}}
stages: {a: {type: script}}
sinks: {out: {type: memory, wait: 20ms}}
edges: [in -> a -> out]
`)
		time.AfterFunc(100*time.Millisecond, e.Drain)
		r, err := run(t, e)
		if err != nil || r.Outcome != Drained || r.ExitCode != 0 || r.Balance.Delivered != r.Balance.Read || r.Balance.Read == 0 {
			t.Errorf("outcome %s, exit code %d, balance %+v, error %v", r.Outcome, r.ExitCode, r.Balance, err)
		}
		if !e.graph.sources[0].src.(*numbers).drained {
			t.Error("the source was not told to drain")
		}
	})
}

func TestDrainFlushesBatchesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 5, endless: true}}
stages: {two: {type: pairs}}
sinks: {out: {type: memory, batch: {events: 1000, interval: 1h}}}
edges: [in -> two -> out]
`)
		time.AfterFunc(10*time.Second, e.Drain)
		start := time.Now()
		r, _ := run(t, e)
		if took := time.Since(start); took > 10*time.Second+10*time.Millisecond || r.Balance.Delivered != 3 {
			t.Errorf("took %v, balance %+v; want the batch to go at the drain", took, r.Balance)
		}
	})
}

// TestDeadline: a sink that hangs does not outlive the deadline by more than a
// second, whether it listens to its context or not, and nothing is unaccounted.
// A write that comes back after that changes nothing any more.
func TestDeadline(t *testing.T) {
	f := func(replay, deaf bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := build(t, sprintf(stuck, replay, deaf))
			start := time.Now()
			time.AfterFunc(time.Second, e.Drain)
			r, _ := run(t, e)
			took := time.Since(start)
			if took < 6*time.Second || took > 7*time.Second {
				t.Errorf("deaf %v: ended after %v, want 1s + 5s deadline + at most 1s", deaf, took)
			}
			s := r.Sources["in"]
			if r.ExitCode != 3 || r.Outcome != Stopped || r.Balance.Returned == 0 {
				t.Errorf("deaf %v: outcome %s, exit code %d, balance %+v", deaf, r.Outcome, r.ExitCode, r.Balance)
			}
			if s.Returned+s.Lost != r.Balance.Returned {
				t.Errorf("deaf %v: source %+v, balance %+v: want as many returned", deaf, s, r.Balance)
			}
			if replay != (s.Returned > 0) || replay == (s.Lost > 0) {
				t.Errorf("replay %v: source %+v", replay, s)
			}
			close(sinkOf(t, e, "out").free)
			synctest.Wait()
			if late := e.Status(); late.Balance != r.Balance || late.Outcome != Stopped {
				t.Errorf("deaf %v: the late write changed %+v to %+v", deaf, r.Balance, late.Balance)
			}
		})
	}
	for _, deaf := range []bool{false, true} {
		f(false, deaf)
		f(true, deaf)
	}
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, sprintf(stuck, true, false))
		time.AfterFunc(time.Second, e.Drain)
		time.AfterFunc(2*time.Second, e.Stop)
		start := time.Now()
		r, _ := run(t, e)
		if took := time.Since(start); took > 2*time.Second+100*time.Millisecond || r.ExitCode != 3 {
			t.Errorf("ended after %v with exit code %d", took, r.ExitCode)
		}
	})
}
