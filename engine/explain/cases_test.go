package explain

import (
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine"
)

// TestCases are situations that a rule of thumb gets wrong.
func TestCases(t *testing.T) {
	f := func(what, text, limiting, cause, form string, say ...string) {
		t.Helper()
		r := watch(newSim(1, text))
		all := strings.Join(r.Sentences, "\n")
		t.Logf("%s:\n%s", what, all)
		got := ""
		if len(r.Bottlenecks) > 0 {
			got = r.Bottlenecks[0].Form
		}
		if r.Limiting != limiting || r.Cause != cause || got != form {
			t.Errorf("%s: got %q, %s, %s; want %q, %s, %s\n%s", what, r.Limiting, r.Cause, got, limiting, cause, form, all)
		}
		for _, s := range say {
			if !strings.Contains(all, s) {
				t.Errorf("%s: want %q in\n%s", what, s, all)
			}
		}
	}
	f("four workers that are still too few", `
source in take 1ms
stage a take 40ms workers 4 jitter 0.5
sink out take 5ms
in -> a
a -> out`, "a", CauseBusy, FormPressure, "4 workers, 40 ms an event", "source in waits 90 %")
	f("enough workers: the sink is next", `
source in take 1ms
stage a take 40ms workers 16 jitter 0.5
sink out take 5ms as external
in -> a
a -> out`, "out", CauseExternal, FormPressure, "the next one is stage a")
	f("one slow branch of three", `
source in take 1ms
sink x take 2ms as external
sink y take 10ms as external
sink z take 1ms
in -> x
in -> y
in -> z`, "y", CauseExternal, FormPressure, "pipectl edge set 'in->y' --policy drop-oldest")
	f("one slow branch that drops", `
source in take 2ms
sink x take 1ms
sink slow take 10ms as external
in -> x
in -> slow 64 drop-oldest`, "slow", CauseExternal, FormLoss, "drops the other 400 (80 %)")
	f("a slow branch that drops beside a slower one that does not", `
source in take 1ms
sink x take 5ms
sink slow take 10ms as external
in -> x
in -> slow 64 drop-newest`, "x", CauseBusy, FormPressure, "Also: sink slow takes 100 of 200 events/s", "source in would read about 1,000 events/s, 5 times as many")
	f("a dropping edge before a chain whose end is slow", `
source in take 2ms
stage a take 1ms
sink out take 10ms as external
in -> a 64 drop-oldest
a -> out`, "out", CauseExternal, FormLoss, "Edge in->a (drop-oldest) drops 400 of 500 events/s (80 %), since sink out behind it takes no more")
	f("two sources, one of them slow by itself", `
source fast take 1ms
source slow take 1ms every 100ms pace idle
stage m take 5ms
sink out take 1ms
fast -> m
slow -> m
m -> out`, "m", CauseBusy, FormPressure, "source fast waits", "Nothing holds back source slow (10 events/s)")
	f("two sources with a limit each", `
source one take 1ms
source two take 1ms
sink x take 5ms
sink y take 20ms as external
one -> x
two -> y`, "y", CauseExternal, FormPressure, "Also: sink x is busy", "no other node is in the way: source two would read about 1,000")
	f("a source with a rate of its own", `
source in take 1us every 10ms
stage a take 1ms
sink out take 2ms
in -> a
a -> out`, "in", CauseThrottled, FormSource, "keeps to a rate of its own, 100 events/s", "If more came, sink out would limit first")
	f("a source that reads all there is", `
source in take 1us every 10ms pace idle
stage a take 1ms
sink out take 2ms
in -> a
a -> out`, "in", CauseSource, FormSource, "reads all there is, 100 events/s")
	f("a source that is busy", `
source in take 10ms
stage a take 1ms
sink out take 2ms
in -> a
a -> out`, "in", CauseBusy, FormSource, "5 times as many")
	f("a rate of its own, met in spite of a tiny buffer behind it", `
source in take 1us
stage pace take 1ms every 1ms as throttled
stage a take 0.83ms jitter 0.9
sink out take 0.1ms
in -> pace
pace -> a 1
a -> out`, "pace", CauseThrottled, FormPressure)
	f("a throttle", `
source in take 1ms
stage t take 20ms as throttled
sink out take 2ms
in -> t
t -> out`, "t", CauseThrottled, FormPressure, "is held to its rate 100 % of the time", "raise its rate")
	f("a window that is smaller than the buffers", `
source in take 1ms window 20
stage a take 1ms
sink out take 10ms as external
in -> a
a -> out`, "out", CauseExternal, FormPressure, "max_in_flight of 20 events is used up, and 20 events are at sink out")
	f("a window that is too small for the latency", `
source in take 0.1ms window 4
stage a take 0.1ms
sink out take 100ms workers 16 as external
in -> a
a -> out`, "in", CauseWindow, FormWindow, "no node is at its limit; 4 events are at sink out", "raise max_in_flight of in")
	f("nothing to do", `
source in take 1ms every 100000000ms pace idle
sink out take 2ms
in -> out`, "", CauseIdle, FormSource, "Nothing to do: source in waits for input, and 0 events are in flight.")
	f("a route with one slow case", `
source in take 1ms
stage r take 0.1ms route yes
sink x take 3ms
sink y take 30ms as external
in -> r
r -> x
r -> y`, "y", CauseExternal, FormPressure)
	f("a route with two slow cases", `
source in take 1ms
stage r take 0.1ms route yes
sink x take 20ms jitter 0.9
sink y take 26ms as external jitter 0.9
in -> r
r -> x 2
r -> y 2`, "y", CauseExternal, FormPressure, "edge r->y (block, 2 events) is full")
	f("a filter before a slow sink", `
source in take 0.1ms
stage few take 1ms keep 0.1
sink out take 20ms as external
in -> few
few -> out`, "out", CauseExternal, FormPressure, "the next one is stage few, at about 1,0")
}

// TestTimes are the moments at which there is little to tell.
func TestTimes(t *testing.T) {
	chain := `
source in take 1ms
sink out take 10ms as external
in -> out 1000`
	f := func(what string, a, b engine.Status, cause, say string) {
		t.Helper()
		r := Why(a, b)
		all := strings.Join(r.Sentences, "\n")
		t.Logf("%s:\n%s", what, all)
		if r.Cause != cause || !strings.Contains(all, say) {
			t.Errorf("%s: got %s, want %s and %q in\n%s", what, r.Cause, cause, say, all)
		}
	}
	s := newSim(1, chain)
	zero := engine.Status{}
	f("just started", zero, s.run(0.3).status(), CauseStarting, "Not enough figures yet: there are 300 ms, and 1 s or more are needed")
	first := s.run(0.7).status()
	f("buffers fill first", zero, first, CauseExternal, "it is full and will make others wait")
	opening := first
	opening.Outcome = engine.Starting
	f("starting", zero, opening, CauseStarting, "nothing to tell yet")
	last := s.run(20).status()
	f("steady", first, last, CauseExternal, "Sink out limits the pipeline")
	last.Outcome = engine.Drained
	f("ended meanwhile", first, last, CauseEnded, "The pipeline has ended (drained); this is about its last 20 s.")
	f("ended before", last, last, CauseEnded, "The pipeline has ended (drained) after 21 s.")
	hung := newSim(1, strings.Replace(chain, "10ms", "1000000ms", 1))
	f("a sink that hangs", hung.run(5).status(), hung.run(30).status(), CauseExternal, "has finished nothing for 30 s")
	early := newSim(1, `
source in take 5ms
stage a take 1ms
sink out take 10ms as external
in -> a 1000
a -> out 4`)
	f("a queue fills before the node that waits", early.run(2).status(), early.run(3).status(), CauseExternal,
		"edge in->a, 100 more each second: in about 5.1 s it is full")
	drain := newSim(1, chain)
	full := drain.run(10).status()
	drain.nodes["in"].window = 1 // reads no more
	later := drain.run(5).status()
	stopped := later.Sources["in"]
	stopped.Time = full.Sources["in"].Time // its worker has gone
	later.Sources["in"], later.Outcome = stopped, engine.Draining
	f("draining", full, later, CauseExternal, "the backlog is gone in about 5")
}
