package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
	"github.com/pipectl/pipectl/engine/expr"
)

// parse reads a configuration that a reload can use.
func parse(t testing.TB, yaml string) *config.Pipeline {
	t.Helper()
	cfg, diags := config.Parse([]byte("version: 1\nname: test\n"+yaml), config.Options{File: "test.yaml"})
	if err := diags.Err(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// started runs e in the background; end waits for its receipt.
func started(t testing.TB, e *Engine) (end func() Receipt) {
	t.Helper()
	done := make(chan Receipt, 1)
	go func() {
		r, err := run(t, e)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	synctest.Wait()
	return func() Receipt { return <-done }
}

func reloaded(t testing.TB, e *Engine, yaml string) ReloadReceipt {
	t.Helper()
	r, err := e.Reload(t.Context(), parse(t, yaml), ReloadOptions{})
	if err != nil {
		t.Fatalf("reload: %v", err)
	}
	return r
}

// wantNumbers checks that lines are 0 to n-1, each once, in order.
func wantNumbers(t testing.TB, lines []string, n int) {
	t.Helper()
	if len(lines) != n {
		t.Errorf("%d lines arrived, want %d", len(lines), n)
	}
	for i, l := range lines {
		if l != strconv.Itoa(i) {
			t.Errorf("line %d is %q: lost, repeated or out of order", i, l)
			return
		}
	}
}

// TestReloadDeadSink is the way out of a dead address: the sink hangs with a
// thousand events behind it and is replaced by one that works.
func TestReloadDeadSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const common = "sources: {in: {type: numbers, count: 1100, batch: 10}}\nedges: [{from: in, to: out, buffer: 1000}]\n"
		e := build(t, common+"sinks: {out: {type: memory, hang: 1}}\n")
		end := started(t, e)
		dead := sinkOf(t, e, "out")
		time.Sleep(time.Second)
		began := time.Now()
		r := reloaded(t, e, common+"sinks: {out: {type: memory}}\n")
		if r.Class != diff.Swap || r.Generation != 2 || r.Before != 1 || time.Since(began) > 0 {
			t.Errorf("receipt %+v after %v", r, time.Since(began))
		}
		rec := end()
		wantNumbers(t, sinkOf(t, e, "out").got(), 1100)
		if took := time.Since(began); took > handover {
			t.Errorf("the new sink took over after %v, want within %v", took, handover)
		}
		if !dead.wasClosed() || rec.Sinks["out"].Delivered != 1100 {
			t.Errorf("dead sink closed: %v, delivered %d", dead.wasClosed(), rec.Sinks["out"].Delivered)
		}
	})
}

// TestReloadRetryingSink: a sink that waits for its next attempt is replaced at
// once, and what it has written of a batch is not written again.
func TestReloadRetryingSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const common = "sources: {in: {type: numbers, count: 100, batch: 10}}\nedges: [in -> out]\n"
		e := build(t, common+"sinks: {out: {type: memory, fail: 1000, class: retryable, retry: {initial: 1h, max: 1h}}}\n")
		end := started(t, e)
		began := time.Now()
		reloaded(t, e, common+"sinks: {out: {type: memory}}\n")
		end()
		wantNumbers(t, sinkOf(t, e, "out").got(), 100)
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// TestReloadSinkSettings changes what the engine adds to a sink: the sink stays.
func TestReloadSinkSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const common = "sources: {in: {type: numbers, count: 100, batch: 10}}\nedges: [in -> out]\n"
		e := build(t, common+"sinks: {out: {type: memory, fail: 1, class: retryable, retry: {initial: 1h, max: 1h}}}\n")
		end := started(t, e)
		before := sinkOf(t, e, "out")
		began := time.Now()
		r := reloaded(t, e, common+"sinks: {out: {type: memory, fail: 1, class: retryable, retry: {initial: 1ms, max: 1ms}, batch: {events: 5, interval: 0s}}}\n")
		end()
		if after := sinkOf(t, e, "out"); after != before || r.Class != diff.Live {
			t.Errorf("the sink was replaced, class %s", r.Class)
		}
		wantNumbers(t, before.got(), 100)
		if slices.Max(before.sizes) > 5 || time.Since(began) > time.Second {
			t.Errorf("batches of %v after %v", before.sizes, time.Since(began))
		}
	})
}

// TestReloadStage replaces a stage between two events: nobody notices but those
// that come after.
func TestReloadStage(t *testing.T) {
	f := func(options string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			yaml := func(do string) string {
				return fmt.Sprintf("sources: {in: {type: numbers, count: 1000, batch: 10, pause: 1ms}}\nstages: {s: {type: script, do: '%s'%s}}\nsinks: {out: {type: memory}}\nedges: [in -> s -> out]\n", do, options)
			}
			e := build(t, yaml("pass"))
			end := started(t, e)
			time.Sleep(50*time.Millisecond + time.Microsecond)
			reloaded(t, e, yaml("drop:1"))
			synctest.Wait()
			time.Sleep(20 * time.Millisecond)
			reloaded(t, e, yaml("pass"))
			rec := end()
			lines := sinkOf(t, e, "out").got()
			if len(lines) != 800 || lines[499] != "499" || lines[500] != "700" || rec.Stages["s"].Filtered != 200 {
				t.Errorf("%s: %d lines, filtered %d, around the change %v", options, len(lines), rec.Stages["s"].Filtered, lines[495:505])
			}
		})
	}
	f("")
	f(", workers: 4")
	f(", workers: 4, ordered: false")
}

// TestReloadStuckStage replaces a stage that hangs in an event: the next one
// decides about it and about all behind it.
func TestReloadStuckStage(t *testing.T) {
	f := func(options string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			yaml := func(do string) string {
				return fmt.Sprintf("sources: {in: {type: numbers, count: 100, batch: 10}}\nstages: {s: {type: script, do: '%s'%s}}\nsinks: {out: {type: memory}}\nedges: [in -> s -> out]\n", do, options)
			}
			e := build(t, yaml("hang:7")) // 0, 7, 14, …
			end := started(t, e)
			time.Sleep(time.Second)
			reloaded(t, e, yaml("pass"))
			end()
			wantNumbers(t, sinkOf(t, e, "out").got(), 100)
		})
	}
	f("")
	f(", workers: 3")
}

// TestReloadHolder: a stage that keeps events gives them up before it goes.
func TestReloadHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		yaml := func(stage string) string {
			return "sources: {in: {type: numbers, count: 1, endless: true}}\nstages: {s: {type: " + stage + "}}\nsinks: {out: {type: memory}}\nedges: [in -> s -> out]\n"
		}
		e := build(t, yaml("pairs"))
		end := started(t, e)
		reloaded(t, e, yaml("script"))
		synctest.Wait()
		if got := sinkOf(t, e, "out").got(); !slices.Equal(got, []string{"1 events"}) {
			t.Errorf("got %v at once, want what was held", got)
		}
		e.Drain()
		end()
	})
}

// TestReloadBranches adds and removes branches, in the middle too.
func TestReloadBranches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const head = "sources: {in: {type: numbers, count: 10000, batch: 10, pause: 1ms}}\n"
		e := build(t, head+"sinks: {out: {type: memory}}\nedges: [in -> out]\n")
		end := started(t, e)
		out := sinkOf(t, e, "out")
		step := func(yaml string) ReloadReceipt {
			t.Helper()
			time.Sleep(50*time.Millisecond + time.Microsecond)
			r := reloaded(t, e, head+yaml)
			time.Sleep(50 * time.Millisecond)
			return r
		}
		step("sinks: {out: {type: memory}, too: {type: memory}}\nedges: [in -> out, in -> too]\n")
		too := sinkOf(t, e, "too")
		step("stages: {s: {type: script}}\nsinks: {out: {type: memory}}\nedges: [in -> s -> out]\n")
		if n := len(too.got()); n != 1000 || !too.wasClosed() {
			t.Errorf("the branch got %d events while it was there, want 1000; closed: %v", n, too.wasClosed())
		}
		step("stages: {s: {type: cases}}\nsinks: {out: {type: memory}}\nedges: [{from: s.even, to: out}, {from: s.odd, to: out}, in -> s]\n")
		r := step("stages: {s: {type: script}, r: {type: script}}\nsinks: {out: {type: memory}}\nedges: [in -> r -> s -> out]\n")
		if r.Generation != 5 || e.Generation() != 5 {
			t.Errorf("generation %d, want 5", r.Generation)
		}
		rec := end()
		if lines := len(out.got()); rec.Balance.Error != 0 || rec.Balance.Dropped+rec.Balance.Returned+rec.Balance.Failed != 0 || int64(lines) != rec.Sinks["out"].Delivered {
			t.Errorf("%d lines, balance %+v", lines, rec.Balance)
		}
		seen := map[string]bool{}
		for _, l := range out.got() {
			seen[l] = true
		}
		if len(seen) != 10000 {
			t.Errorf("%d different events arrived, want all 10000", len(seen))
		}
		if len(e.leaving) != 0 {
			t.Errorf("%d departures are not over", len(e.leaving))
		}
	})
}

// TestReloadRemoveDeadBranch frees a pipeline that a dead branch has stopped:
// what the branch holds is returned when its time is over.
func TestReloadRemoveDeadBranch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const head = "shutdown: {timeout: 3s}\nsources: {in: {type: numbers, count: 1000, batch: 10}}\n"
		e := build(t, head+"sinks: {out: {type: memory}, dead: {type: memory, hang: 1}}\nedges: [in -> out, {from: in, to: dead, buffer: 20}]\n")
		done := make(chan Receipt)
		go func() {
			r, _ := run(t, e)
			done <- r
		}()
		time.Sleep(time.Second)
		r := reloaded(t, e, head+"sinks: {out: {type: memory}}\nedges: [in -> out]\n")
		if len(r.Edges) != 1 || r.Edges[0].Action != diff.Removed || r.Edges[0].CarriedOver == 0 {
			t.Errorf("receipt %+v", r.Edges)
		}
		synctest.Wait()
		if n := len(sinkOf(t, e, "out").got()); n != 1000 {
			t.Errorf("%d events went on, want all 1000 at once", n)
		}
		began := time.Now()
		rec := <-done
		if rec.Balance.Returned == 0 || rec.Balance.Delivered != 1000 || rec.ExitCode != ExitStopped {
			t.Errorf("exit %d, balance %+v", rec.ExitCode, rec.Balance)
		}
		if took := time.Since(began); took > 3*time.Second+stopGrace+closing {
			t.Errorf("the branch took %v to end", took)
		}
	})
}

// TestReloadSources adds a source and takes one out.
func TestReloadSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tail = "sinks: {out: {type: memory}}\n"
		a, b := "a: {type: numbers, count: 100, endless: true}", "b: {type: numbers, count: 50, endless: true}"
		e := build(t, "sources: {"+a+"}\n"+tail+"edges: [a -> out]\n")
		end := started(t, e)
		reloaded(t, e, "sources: {"+a+", "+b+"}\n"+tail+"edges: [a -> out, b -> out]\n")
		time.Sleep(time.Second)
		old := e.graph.byName["a"].(*sourceNode).src.(*numbers)
		reloaded(t, e, "sources: {"+b+"}\n"+tail+"edges: [b -> out]\n")
		time.Sleep(2 * time.Second)
		old.mu.Lock()
		drained := old.drained
		old.mu.Unlock()
		if !drained || old.mark() != 100 {
			t.Errorf("source a: drained %v, committed %d of 100", drained, old.mark())
		}
		e.Drain()
		if rec := end(); rec.Balance.Read != 150 || rec.Balance.Delivered != 150 || rec.Sources["b"].Acked != 50 {
			t.Errorf("balance %+v", rec.Balance)
		}
	})
}

// TestReloadRefused: a reload that cannot be done changes nothing.
func TestReloadRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const head = "sources: {in: {type: numbers, count: 10, endless: true}}\n"
		e := build(t, head+"sinks: {out: {type: memory}}\nedges: [in -> out]\n")
		if _, err := e.Reload(t.Context(), parse(t, head+"sinks: {out: {type: memory, wait: 1s}}\nedges: [in -> out]\n"), ReloadOptions{}); err == nil {
			t.Error("a pipeline that does not run was changed")
		}
		end := started(t, e)
		f := func(yaml, want string) {
			t.Helper()
			before, cfg := e.graph, e.Config()
			r, err := e.Reload(t.Context(), parse(t, yaml), ReloadOptions{})
			var refused *RefusedError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want it to say %q", err, want)
			}
			if e.graph != before || e.Config() != cfg || e.Generation() != 1 || r.Generation != 1 {
				t.Error("something has changed")
			}
		}
		f("sources: {in: {type: numbers, count: 11, endless: true}}\nsinks: {out: {type: memory}}\nedges: [in -> out]\n", "source in cannot be changed")
		f(head+"stages: {x: {type: script, workers: 1}}\nsinks: {out: {type: memory}, bad: {type: broken}}\nedges: [in -> out, in -> x -> bad]\n", "no such disk")
		f(head+"sinks: {out: {type: broken, slow: true}}\nedges: [in -> out]\n", "did not open within 5s")
		r, err := e.Reload(t.Context(), parse(t, head+"sinks: {out: {type: memory, wait: 1s}, x: {type: memory}}\nedges: [{from: in, to: out, buffer: 7}, in -> x]\n"), ReloadOptions{DryRun: true})
		if err != nil || r.Class != diff.Swap || len(r.Edges) != 2 || r.Edges[0].AfterText != "block, 7 events, 16MiB" || e.Generation() != 1 {
			t.Errorf("dry run: %+v, %v", r, err)
		}
		r, err = e.Reload(t.Context(), parse(t, head+"sinks: {out: {type: memory}}\nedges: [in -> out]\n"), ReloadOptions{})
		if err != nil || r.Generation != 1 || len(r.Changes) != 0 {
			t.Errorf("the same again: %+v, %v", r, err)
		}
		e.Drain()
		end()
		f(head+"sinks: {out: {type: memory, wait: 1s}}\nedges: [in -> out]\n", "only a running one can be changed")
	})
}

// TestReloadThousandEdges changes every edge of a large pipeline whose sinks all
// hang.
func TestReloadThousandEdges(t *testing.T) {
	const n = 1000
	yaml := func(policy string) string {
		var b strings.Builder
		b.WriteString("sources: {in: {type: numbers, count: 300, batch: 100, endless: true}}\nsinks:\n")
		for i := range n {
			fmt.Fprintf(&b, "  s%d: {type: memory, hang: 1}\n", i)
		}
		fmt.Fprintf(&b, "edges:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - {from: in, to: s%d, buffer: 8, policy: %s}\n", i, policy)
		}
		return b.String()
	}
	e := build(t, yaml("block"))
	done := make(chan Receipt)
	go func() {
		r, _ := e.Run(t.Context())
		done <- r
	}()
	for e.Status().Edges["in->s999"].BlockedProducers == 0 && e.Status().Edges["in->s0"].BlockedProducers == 0 {
		time.Sleep(time.Millisecond)
	}
	next := parse(t, yaml("drop-oldest"))
	r, err := e.Reload(t.Context(), next, ReloadOptions{})
	if err != nil || len(r.Edges) != n || r.PausedUS > 100_000 && !raced {
		t.Errorf("%d edges in %d µs, want below 100 ms; %v", len(r.Edges), r.PausedUS, err)
	}
	t.Logf("the commit of %d edges took %d µs", n, r.PausedUS)
	for e.Status().Sources["in"].Read < 300 {
		time.Sleep(time.Millisecond)
	}
	e.Stop()
	<-done
}

// TestReloadStorm changes a pipeline at random, all the time, while it works:
// policies stay without loss, so everything arrives once and in order.
func TestReloadStorm(t *testing.T) {
	reloads := 400
	if torture {
		reloads = 20_000
	}
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		yaml := func() string {
			stages, edges, last := "", "", "in"
			for i := range rng.IntN(4) {
				name := fmt.Sprintf("s%d", i)
				stages += fmt.Sprintf("  %s: {type: script, do: pass, wait: %dus%s}\n", name, rng.IntN(50), []string{"", ", timeout: 1m"}[rng.IntN(2)])
				edges += fmt.Sprintf("  - {from: %s, to: %s, buffer: %d}\n", last, name, 1+rng.IntN(50))
				last = name
			}
			if stages != "" {
				stages = "stages:\n" + stages
			}
			side := ""
			if rng.IntN(2) == 0 {
				side = fmt.Sprintf("  side: {type: memory, wait: %dms}\n", rng.IntN(3))
				edges += fmt.Sprintf("  - {from: in, to: side, buffer: %d, policy: drop-oldest}\n", 1+rng.IntN(20))
			}
			return "sources: {in: {type: numbers, count: 100000000, batch: 9, pause: 100us}}\n" + stages +
				fmt.Sprintf("sinks:\n  out: {type: collect, wait: %dus}\n%sedges:\n%s  - {from: %s, to: out, buffer: %d}\n", rng.IntN(300), side, edges, last, 1+rng.IntN(50))
		}
		collected.reset()
		e := build(t, yaml())
		end := started(t, e)
		refused := 0
		for range reloads {
			if _, err := e.Reload(t.Context(), parse(t, yaml()), ReloadOptions{}); err != nil {
				refused++
			}
			time.Sleep(time.Duration(rng.IntN(5000)) * time.Microsecond)
			if s := e.Status(); s.Balance.Error != 0 {
				t.Fatalf("balance %+v", s.Balance)
			}
		}
		e.Drain()
		rec := end()
		wantNumbers(t, collected.got(), int(rec.Sources["in"].Read))
		if b := rec.Balance; b.Returned+b.Failed+b.Error+b.InFlight > 0 {
			t.Errorf("balance %+v", b)
		}
		if refused > 0 {
			t.Errorf("%d of %d reloads were refused", refused, reloads)
		}
		t.Logf("%d reloads over %d events, generation %d", reloads, rec.Sources["in"].Read, rec.Generation)
	})
}

// TestReloadBlockedSender takes out an edge while a node still has events for it
// and waits for room in another, after a reload that has changed the same output.
func TestReloadBlockedSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const head = "sources: {in: {type: numbers, count: 200, batch: 50}}\n"
		const slow = "slow: {type: memory, wait: 100ms}"
		e := build(t, head+"sinks: {"+slow+", side: {type: memory, wait: 1s}}\nedges: [{from: in, to: slow, buffer: 5}, {from: in, to: side, buffer: 5}]\n")
		end := started(t, e)
		side := sinkOf(t, e, "side")
		reloaded(t, e, head+"sinks: {"+slow+", side: {type: memory, wait: 1s}, out: {type: memory}}\nedges: [{from: in, to: slow, buffer: 5}, {from: in, to: side, buffer: 5}, in -> out]\n")
		reloaded(t, e, head+"sinks: {"+slow+", out: {type: memory}}\nedges: [{from: in, to: slow, buffer: 5}, in -> out]\n")
		rec := end()
		if b := rec.Balance; b.Returned > 0 || len(side.got()) != 50 {
			t.Errorf("%d of the 50 events for the edge arrived; balance %+v", len(side.got()), b)
		}
		wantNumbers(t, sinkOf(t, e, "slow").got(), 200)
	})
}

// TestReloadNodeSettings changes what the engine adds to nodes.
func TestReloadNodeSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		yaml := func(window int, onError, timeout string) string {
			return fmt.Sprintf(`
sources: {in: {type: numbers, count: 1000, batch: 10, pause: 1ms, max_in_flight: {events: %d}}}
stages: {s: {type: script, do: 'hang:100', on_error: %s, timeout: %s}}
sinks: {out: {type: memory}}
edges: [in -> s -> out]
`, window, onError, timeout)
		}
		e := build(t, yaml(10, "stop", "10m"))
		end := started(t, e)
		time.Sleep(time.Second)
		if s := e.Status(); s.Sources["in"].Read != 10 || !s.Sources["in"].Paused || s.Sources["in"].WindowSeconds < 0.9 {
			t.Errorf("before: %+v", s.Sources["in"])
		}
		r := reloaded(t, e, yaml(500, "drop", "1ms"))
		if r.Class != diff.Live {
			t.Errorf("class %s", r.Class)
		}
		time.Sleep(time.Second)
		if s := e.Status(); s.Sources["in"].Read != 500 || s.Sources["in"].InFlightLimit != 500 {
			t.Errorf("after: read %d", s.Sources["in"].Read)
		}
		time.Sleep(15 * time.Minute) // the call that was going on keeps its timeout
		if rec := end(); rec.Stages["s"].Failed != 10 || rec.Sinks["out"].Delivered != 990 || rec.Balance.Failed != 10 {
			t.Errorf("balance %+v", rec.Balance)
		}
	})
}

// TestNodeTimes: the states of a node add up to the time of its workers, and
// say what it waits for.
func TestNodeTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, `
sources: {in: {type: numbers, count: 100, batch: 1, endless: true}}
stages: {work: {type: script, wait: 100ms}, idle: {type: script, workers: 4}}
sinks: {out: {type: memory, wait: 10ms}, bad: {type: memory, fail: 100000, class: retryable, retry: {initial: 1s, max: 1s, jitter: 0}}}
edges: [{from: in, to: work, buffer: 1}, work -> idle -> out, {from: work, to: bad, policy: drop-newest, buffer: 1}]
`)
		done := make(chan Receipt)
		go func() {
			r, _ := e.Run(t.Context())
			done <- r
		}()
		time.Sleep(5 * time.Second)
		s := e.Status()
		f := func(name string, got NodeTime, workers, busy, idle, blocked, throttled, external float64) {
			t.Helper()
			for _, x := range []struct {
				what      string
				got, want float64
			}{{"busy", got.Busy, busy}, {"idle", got.Idle, idle}, {"blocked", got.Blocked, blocked}, {"throttled", got.Throttled, throttled},
				{"external", got.External, external}, {"all", got.Total(), 5 * workers}} {
				if x.got < x.want-0.2 || x.got > x.want+0.2 {
					t.Errorf("%s: %s %.2f s, want %.2f", name, x.what, x.got, x.want)
				}
			}
		}
		f("in", s.Sources["in"].Time, 1, 0, 0, 5, 0, 0)
		f("work", s.Stages["work"].Time, 1, 5, 0, 0, 0, 0)
		f("idle", s.Stages["idle"].Time, 4, 0, 20, 0, 0, 0)
		f("out", s.Sinks["out"].Time, 1, 0, 4.5, 0, 0, 0.5)
		f("bad", s.Sinks["bad"].Time, 1, 0, 0.1, 0, 4.9, 0)
		if p := s.Stages["work"].Processing; p.Count < 49 || p.Count > 50 || p.Quantile(0.5) < 0.05 || p.Quantile(0.5) > 0.5 {
			t.Errorf("processing %+v, median %v", p, p.Quantile(0.5))
		}
		if s.Sinks["out"].Requests["ok"] == 0 || s.Sinks["bad"].Requests["retryable"] < 4 || s.Sinks["out"].EndToEnd.Count != s.Sinks["out"].Delivered {
			t.Errorf("requests %v, %v", s.Sinks["out"].Requests, s.Sinks["bad"].Requests)
		}
		e.Stop()
		<-done
	})
}

// TestTap looks at an edge while events pass.
func TestTap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, "sources: {in: {type: numbers, count: 1000, batch: 10, pause: 10ms}}\nsinks: {out: {type: memory}}\nedges: [in -> out]\n")
		if _, err := e.Tap("nowhere", TapOptions{}); err == nil {
			t.Error("a tap on no edge")
		}
		all, err := e.Tap("in->out", TapOptions{Rate: 10})
		if err != nil {
			t.Fatal(err)
		}
		var where expr.Bool
		if err := where.UnmarshalText([]byte(`message == "500"`)); err != nil {
			t.Fatal(err)
		}
		one, err := e.Tap("in->out", TapOptions{Rate: 10, Where: &where})
		if err != nil {
			t.Fatal(err)
		}
		end := started(t, e)
		end()
		all.Close()
		one.Close()
		one.Close()
		n := 0
		for x := range all.C {
			n++
			if x.Text == "" || x.Origin == "" || x.Truncated {
				t.Errorf("event %+v", x)
			}
		}
		if c := all.Counts(); n < 9 || n > 12 || c.Shown != int64(n) || c.Seen != 1000 || c.Skipped != 1000-int64(n) {
			t.Errorf("%d shown of 1 s at 10/s, %+v", n, c)
		}
		if x := <-one.C; x.Text != "500" {
			t.Errorf("event %+v", x)
		}
		if c := one.Counts(); c.Seen != 1000 || c.Filtered != 999 || c.Shown != 1 {
			t.Errorf("%+v", c)
		}
		if e.graph.links[0].taps.Load() != nil {
			t.Error("a closed tap is still looked through")
		}
	})
}
