package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

// TestDeadLetterHidesSecrets: neither what the configuration calls a secret nor
// the credentials of an address get into a dead letter.
func TestDeadLetterHidesSecrets(t *testing.T) {
	t.Setenv("SHOP_PASSWORD", "hunter2")
	e := build(t, `
description: "${SHOP_PASSWORD}"
sources: {in: {type: probe}}
stages: {a: {type: probe}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> a -> out, a.failed -> dead]
`)
	part[*probeSource](t, e, "in").read = lines(1, 1, false)
	part[*probeStage](t, e, "a").process = func(context.Context, []*pipe.Event, *pipe.Out) error {
		return errors.New("amqp://me:gu3st@mq:5672/ refuses hunter2")
	}
	_, err := run(t, e)
	if dead := sinkOf(t, e, "dead").got(); err != nil || len(dead) != 1 || !strings.Contains(dead[0], `"error":"amqp://***@mq:5672/ refuses ***"`) {
		t.Errorf("error %v, dead letters %q", err, dead)
	}
}

// TestOutageWindow decides by the figures alone.
func TestOutageWindow(t *testing.T) {
	const yes, no = true, false
	now := time.Unix(1000, 0)
	s := config.DeadLetters{MaxRatio: .1, Window: pipe.Duration(time.Minute), MinEvents: 100}
	var text bytes.Buffer
	o := &outage{log: slog.New(slog.NewTextHandler(&text, nil))}
	f := func(after time.Duration, done, given int, want bool) {
		t.Helper()
		now = now.Add(after)
		if got := o.holdBack(s, now, done, given); got != want || o.on() != want {
			t.Errorf("%v: %d went well, %d were given up: got %v, on %v, want %v", now.UTC(), done, given, got, o.on(), want)
		}
	}
	f(0, 0, 99, no)               // too few to say
	f(time.Second, 0, 1, yes)     // 100 of 100
	f(time.Second, 0, 1, yes)     //
	f(time.Hour, 0, 1, yes)       // time alone does not make it better
	f(time.Second, 0, 0, yes)     // nor does a write that was taken away
	f(time.Second, 1, 1, yes)     // nor one that half goes well
	f(time.Second, 9, 1, no)      // a tenth is bad events
	f(time.Second, 0, 50, no)     // few again
	f(time.Second, 1000, 0, no)   //
	f(time.Second, 0, 50, no)     // 101 of 1111
	f(time.Second, 0, 50, yes)    // 151 of 1161
	f(time.Second, 1, 0, no)      //
	f(2*time.Minute, 0, 99, no)   // what was long ago does not count
	f(59*time.Second, 891, 0, no) //
	f(0, 0, 1, yes)               // the letters of 59 seconds ago do
	f(time.Second, 10, 0, no)     //
	f(70*time.Second, 899, 0, no) //
	f(0, 0, 99, no)               // 99 of 998
	s.MaxRatio = 1
	f(time.Second, 0, 1000, no)
	s.MaxRatio = .1
	f(time.Second, 0, 1000, yes)
	s.MaxRatio = 1 // switched off while there is one
	f(time.Second, 0, 1000, no)
	if logs := text.String(); strings.Count(logs, "it is an outage") != 4 || strings.Count(logs, "outage is over") != 4 {
		t.Errorf("logs:\n%s", logs)
	}
}

const outageHead = `
sources: {in: {type: numbers, count: 1000, batch: 50}}
`

func outagePipe(sink string) string {
	return outageHead + `
sinks: {out: {type: memory, ` + sink + `, batch: {events: 50, interval: 0s}}, dead: {type: memory}}
edges: [in -> out, {from: out.failed, to: dead, policy: block}]
`
}

// TestOutageIsHeldBack: a sink that is down for longer than its retries costs a few
// dead letters, not all events.
func TestOutageIsHeldBack(t *testing.T) {
	f := func(sink string, delivered, dead int64) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := build(t, outagePipe(sink))
			r, err := run(t, e)
			if err != nil || r.Balance.Delivered != delivered || r.Balance.DeadLettered != dead || r.Sinks["out"].Outage {
				t.Errorf("%s: error %v, balance %+v, want %d delivered and %d dead letters", sink, err, r.Balance, delivered, dead)
			}
		})
	}
	f("fail: 30, class: retryable, retry: {max_attempts: 1}", 950, 50)
	f("fail: 30, class: throttled, retry: {max_attempts: 3}", 950, 50)
	f("fail: 30, class: retryable, retry: {max_elapsed: 1ms}", 950, 50)
	f("fail: 30, class: permanent", 0, 1000)
	f("fail: 15, class: permanent", 250, 750)
	f("fail: 15, class: retryable, retry: {max_attempts: 1}, dead_letters: {max_ratio: 1}", 250, 750)
	f("fail: 15, class: retryable, retry: {max_attempts: 1}, dead_letters: {min_events: 501}", 500, 500)
	f("fail: 15, class: retryable, retry: {max_attempts: 1}, dead_letters: {max_ratio: 0.9, min_events: 10}", 1000, 0)
	f("fail: 15, class: retryable, retry: {max_attempts: 1}, breaker: {when_open: failed, min_requests: 1000}", 250, 750)
	f("fail: 15, class: retryable, retry: {max_attempts: 1}, breaker: {when_open: failed, min_requests: 1000}, dead_letters: {max_ratio: 0.1}", 950, 50)
	f("fail: 30, class: retryable", 1000, 0)
}

// TestOutageOfAPart: of a sink that cannot write some events, these alone are
// tried again, and what can never be written becomes a dead letter at once.
func TestOutageOfAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 1000, batch: 100}}
sinks: {out: {type: probe, retry: {max_attempts: 1}, batch: {events: 100, interval: 0s}}, dead: {type: memory}}
edges: [in -> out, {from: out.failed, to: dead, policy: block}]
`)
		start := time.Now()
		written := map[int]int{}
		part[*probeSink](t, e, "out").write = func(_ context.Context, in []*pipe.Event) error {
			var p pipe.PartialError
			for i, ev := range in {
				switch n := number(ev); {
				case n%100 == 7:
					p.Items = append(p.Items, pipe.ItemError{Index: i, Err: pipe.Classed(pipe.Poison, errProbe)})
				case n%2 == 0 && time.Since(start) < time.Minute:
					p.Items = append(p.Items, pipe.ItemError{Index: i, Err: errProbe})
				default:
					written[n]++
				}
			}
			if len(p.Items) > 0 {
				return &p
			}
			return nil
		}
		r, err := run(t, e)
		if err != nil || r.Balance.Delivered != 990 || r.Balance.DeadLettered != 10 {
			t.Errorf("error %v, balance %+v", err, r.Balance)
		}
		for n, times := range written {
			if times != 1 {
				t.Errorf("event %d was written %d times", n, times)
			}
		}
	})
}

// TestStopDuringOutage: what is held back at a stop is returned.
func TestStopDuringOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, outagePipe("fail: 100000, class: retryable, retry: {max_attempts: 1}")+"shutdown: {timeout: 10s}\n")
		time.AfterFunc(time.Minute, func() {
			if s := e.Status(); !s.Sinks["out"].Outage || s.Sinks["dead"].Outage || s.Balance.DeadLettered != 50 || s.Sinks["out"].Time.Throttled < 50 {
				t.Errorf("status %+v", s.Sinks["out"])
			}
			e.Drain()
		})
		start := time.Now()
		r, err := run(t, e)
		if took := time.Since(start); took > 71*time.Second {
			t.Errorf("took %v", took)
		}
		if err != nil || r.ExitCode != ExitStopped || r.Balance.DeadLettered != 50 || r.Balance.Returned != 950 {
			t.Errorf("error %v, exit code %d, balance %+v", err, r.ExitCode, r.Balance)
		}
	})
}

// TestReloadDuringOutage: the limit can be changed while events are held back.
func TestReloadDuringOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, outagePipe("fail: 100000, class: retryable, retry: {max_attempts: 1}"))
		end := started(t, e)
		time.Sleep(time.Minute)
		if n := e.Status().Balance.DeadLettered; n != 50 {
			t.Errorf("%d dead letters during the outage", n)
		}
		reloaded(t, e, outagePipe("fail: 100000, class: retryable, retry: {max_attempts: 1}, dead_letters: {max_ratio: 1}"))
		start := time.Now()
		if r := end(); r.Balance.DeadLettered != 1000 || time.Since(start) > time.Second {
			t.Errorf("balance %+v after %v", r.Balance, time.Since(start))
		}
	})
}

// TestOutageOfAStage: only a stage that says so is held back. What fails is tried
// again, by the stage that is there then.
func TestOutageOfAStage(t *testing.T) {
	const yaml = `
sources: {in: {type: numbers, count: 500, batch: 50}}
stages: {a: {type: probe%s}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> a -> out, {from: a.failed, to: dead, policy: block}]
`
	f := func(settings string, delivered, dead int64) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := build(t, sprintf(yaml, settings))
			var held atomic.Bool // there can be several workers
			start := time.Now()
			part[*probeStage](t, e, "a").process = func(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
				for _, ev := range in {
					if time.Since(start) < time.Minute && number(ev)%5 != 0 {
						if e.graph.stages[0].outage.on() {
							held.Store(true)
						}
						out.Fail(ev, errProbe)
					} else {
						out.Emit(ev)
					}
				}
				return nil
			}
			r, err := run(t, e)
			if b := r.Balance; err != nil || b.Delivered < delivered || b.DeadLettered > dead || b.Delivered+b.DeadLettered != 500 || held.Load() != (delivered > 100) {
				t.Errorf("%s: error %v, balance %+v, held back %v", settings, err, r.Balance, held.Load())
			}
		})
	}
	f("", 100, 400) // and not more delivered, since nothing is held back
	f(", dead_letters: {min_events: 1}", 100, 400)
	f(", dead_letters: {max_ratio: 0.5, min_events: 120}", 380, 119)           // how many depends on the steps
	f(", workers: 3, dead_letters: {max_ratio: 0.5, min_events: 1}", 250, 250) // of small steps half may be letters
}

// TestStopDuringOutageOfAStage: what is held back is returned.
func TestStopDuringOutageOfAStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 500, batch: 50}}
stages: {a: {type: script, do: "fail:1", dead_letters: {max_ratio: 0.5, min_events: 1}}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> a -> out, {from: a.failed, to: dead, policy: block}]
`)
		time.AfterFunc(time.Minute, e.Stop)
		r, err := run(t, e)
		if err != nil || r.ExitCode != ExitStopped || r.Balance.Returned != r.Balance.Read || r.Balance.Read == 0 {
			t.Errorf("error %v, exit code %d, balance %+v", err, r.ExitCode, r.Balance)
		}
	})
}

// TestReloadDuringOutageOfAStage: the stage that takes its place decides about what
// was held back.
func TestReloadDuringOutageOfAStage(t *testing.T) {
	const yaml = `
sources: {in: {type: numbers, count: 500, batch: 50}}
stages: {a: {type: script, do: "%s", dead_letters: {max_ratio: 0.5, min_events: 1}}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> a -> out, {from: a.failed, to: dead, policy: block}]
`
	synctest.Test(t, func(t *testing.T) {
		e := build(t, sprintf(yaml, "fail:1"))
		end := started(t, e)
		time.Sleep(time.Minute)
		start := time.Now()
		reloaded(t, e, sprintf(yaml, "pass"))
		r := end()
		if wantNumbers(t, sinkOf(t, e, "out").got(), 500); r.Balance.DeadLettered != 0 || time.Since(start) > 2*time.Second {
			t.Errorf("balance %+v after %v", r.Balance, time.Since(start))
		}
	})
}
