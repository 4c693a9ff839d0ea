package explain_test

import (
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/explain"
)

// TestSituations are situations in real engines that a rule of thumb gets wrong.
func TestSituations(t *testing.T) {
	f := func(what, yaml, limiting, cause, form string, say ...string) {
		t.Helper()
		if !strings.Contains(yaml, "defaults:") {
			yaml += "\ndefaults: {edge: {buffer: 64}}"
		}
		r := watch(t, yaml, 8)
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
		for _, n := range r.Nodes {
			if sum := n.Active() + n.Idle + n.Blocked; sum != 0 && sum < .999 || sum > 1.001 { // 0: it has ended
				t.Errorf("%s: the shares of %s add up to %.4f", what, n.Name, sum)
			}
		}
	}
	f("workers, ordered", `
sources: {in: {type: work, for: 1ms}}
stages: {a: {type: delay, for: 40ms, workers: 4}}
sinks: {out: {type: work, for: 5ms}}
edges: [in -> a, a -> out]`, "a", explain.CauseBusy, explain.FormPressure, "(4 workers, 40 ms an event)", "next one is sink out, at about 200")
	f("enough workers, ordered", `
sources: {in: {type: work, for: 1ms}}
stages: {a: {type: delay, for: 40ms, workers: 16}}
sinks: {out: {type: work, for: 5ms}}
edges: [in -> a, a -> out]
defaults: {edge: {buffer: 32}}`, "out", explain.CauseExternal, explain.FormPressure)
	f("enough workers, not ordered", `
sources: {in: {type: work, for: 1ms}}
stages: {a: {type: delay, for: 40ms, workers: 16, ordered: false}}
sinks: {out: {type: work, for: 5ms}}
edges: [in -> a, a -> out]
defaults: {edge: {buffer: 32}}`, "out", explain.CauseExternal, explain.FormPressure, "next one is stage a, at about 400")
	f("a sink that writes batches", `
sources: {in: {type: work, for: 1ms}}
sinks: {out: {type: work, for: 1ms, each: 500ms, batch: {events: 100, interval: 10s}}}
edges: [in -> out]
defaults: {edge: {buffer: 32}}`, "out", explain.CauseExternal, explain.FormPressure, "One write takes 600 ms for 100 events")
	f("a sink that waits for its batch", `
sources: {in: {type: generate, rate: 50/s}}
sinks: {out: {type: work, each: 100ms, batch: {events: 1000, interval: 1s}}}
edges: [in -> out]`, "in", explain.CauseThrottled, explain.FormSource, "keeps to a rate of its own")
	f("a batch that the window does not fill", `
sources: {in: {type: work, for: 1ms, max_in_flight: {events: 50}}}
sinks: {out: {type: work, each: 10ms, batch: {events: 1000, interval: 1s}}}
edges: [in -> out]`, "in", explain.CauseWindow, explain.FormWindow, "raise max_in_flight of in", "at sink out")
	f("a batch stage that the window does not fill", `
sources: {in: {type: work, for: 1ms, max_in_flight: {events: 50}}}
stages: {pack: {type: batch, events: 1000, interval: 1s}}
sinks: {out: {type: work, each: 10ms}}
edges: [in -> pack -> out]`, "in", explain.CauseWindow, explain.FormWindow, "at stage pack")
	f("a window that is smaller than the buffers", `
sources: {in: {type: work, for: 1ms, max_in_flight: {events: 100}}}
stages: {a: {type: delay, for: 1ms}}
sinks: {out: {type: work, for: 10ms}}
edges: [in -> a -> out]`, "out", explain.CauseExternal, explain.FormPressure, "max_in_flight of 100 events is used up")
	f("a branch that drops", `
sources: {in: {type: work, for: 1ms}}
sinks: {fast: {type: work, for: 500us}, slow: {type: work, for: 10ms}}
edges: [in -> fast, {from: in, to: slow, policy: drop-oldest}]`, "slow", explain.CauseExternal, explain.FormLoss, "edge in->slow (drop-oldest) drops the other")
	f("a branch that samples", `
sources: {in: {type: work, for: 1ms}}
sinks: {fast: {type: work, for: 500us}, slow: {type: work, for: 10ms}}
edges: [in -> fast, {from: in, to: slow, buffer: 100, policy: {type: sample, min_rate: 0.05, threshold: 0.5}}]`, "slow", explain.CauseExternal, explain.FormLoss)
	f("a branch that is sampled on purpose", `
sources: {in: {type: work, for: 1ms}}
sinks: {fast: {type: work, for: 500us}, few: {type: work, for: 8ms}}
edges: [in -> fast, {from: in, to: few, policy: {type: sample, base_rate: 0.1}}]`, "in", explain.CauseBusy, explain.FormSource)
	f("a timeout and then drops", `
sources: {in: {type: work, for: 1ms}}
sinks: {fast: {type: work, for: 500us}, slow: {type: work, for: 100ms}}
edges: [in -> fast, {from: in, to: slow, buffer: 16, policy: {type: block, timeout: 50ms, then: drop-newest}}]`, "slow", explain.CauseExternal, explain.FormLoss, "edge in->slow (block) drops the other", "events/s would be taken")
	f("a throttle", `
sources: {in: {type: work, for: 1ms}}
stages: {calm: {type: throttle, rate: 100/s}}
sinks: {out: {type: work, for: 2ms}}
edges: [in -> calm -> out]`, "calm", explain.CauseThrottled, explain.FormPressure, "raise its rate", "next one is sink out, at about 500")
	f("a throttle that is met behind a small buffer", `
sources: {in: {type: work, for: 100us}}
stages: {calm: {type: throttle, rate: 1000/s}, a: {type: delay, for: 800us}}
sinks: {out: {type: work, for: 10us}}
edges: [in -> calm, {from: calm, to: a, buffer: 1}, a -> out]`, "calm", explain.CauseThrottled, explain.FormPressure)
	f("a generator with a rate, met behind a small buffer", `
sources: {in: {type: generate, rate: 1000/s}}
stages: {a: {type: delay, for: 800us}}
sinks: {out: {type: discard}}
edges: [{from: in, to: a, buffer: 1}, a -> out]`, "in", explain.CauseThrottled, explain.FormSource)
	f("a generator with a rate that is too much", `
sources: {in: {type: generate, rate: 1000/s}}
stages: {a: {type: delay, for: 2ms}}
sinks: {out: {type: discard}}
edges: [in -> a, a -> out]`, "a", explain.CauseBusy, explain.FormPressure)
	f("a sink that fails and repeats", `
sources: {in: {type: work, for: 1ms}}
sinks: {out: {type: work, broken: true, retry: {initial: 1s, max: 1s}}}
edges: [in -> out]
defaults: {edge: {buffer: 32}}`, "out", explain.CauseThrottled, explain.FormPressure, "pauses between retries", "has finished nothing", "It repeated")
	f("a source that has nothing to read", `
sources: {in: {type: generate, count: 100, rate: 1000/s}, other: {type: generate, rate: 1/h}}
sinks: {out: {type: discard}}
edges: [in -> out, other -> out]`, "", explain.CauseIdle, explain.FormSource, "Nothing to do: source other waits for input, and 0 events are in flight.")
	f("two sources with limits of their own", `
sources: {one: {type: work, for: 1ms}, two: {type: work, for: 1ms}}
sinks: {x: {type: work, for: 5ms}, y: {type: work, for: 20ms}}
edges: [one -> x, two -> y]
defaults: {edge: {buffer: 16}}`, "y", explain.CauseExternal, explain.FormPressure, "Also: sink x")
	f("a fast source beside a slow one", `
sources: {fast: {type: work, for: 1ms}, slow: {type: generate, rate: 10/s}}
stages: {m: {type: delay, for: 5ms}}
sinks: {out: {type: work, for: 1ms}}
edges: [fast -> m, slow -> m, m -> out]
defaults: {edge: {buffer: 16}}`, "m", explain.CauseBusy, explain.FormPressure, "Nothing holds back source slow (")
	f("dead letters that nobody takes quickly", `
sources: {in: {type: work, for: 1ms}}
stages: {p: {type: parse, format: json}}
sinks: {out: {type: discard}, bad: {type: work, for: 20ms}}
edges: [in -> p, p -> out, {from: p.failed, to: bad, buffer: 16}]
defaults: {edge: {buffer: 16}}`, "bad", explain.CauseExternal, explain.FormPressure)
	f("a filter before a slow sink", `
sources: {in: {type: work, for: 100us}}
stages: {few: {type: filter, where: 'message == "0"'}}
sinks: {out: {type: work, for: 20ms}}
edges: [in -> few -> out]
defaults: {edge: {buffer: 16}}`, "out", explain.CauseExternal, explain.FormPressure)
}
