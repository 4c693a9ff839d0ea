package main

import (
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func showsBlock(t *testing.T, r ran) {
	e := r.Edges["fast->slow"]
	must(t, r.Balance.Delivered == 300 && r.Balance.Dropped == 0, "nothing is lost", r.Balance)
	must(t, e.BlockedSeconds > 0.1 && e.Peak == 50, "the source waits at a full edge", e)
}

func showsBlockTimeout(t *testing.T, r ran) {
	e := r.Edges["fast->stuck"]
	must(t, e.Dropped["timeout"] > 0 && e.BlockedSeconds > 0.15, "the source waits, and then events are dropped", e)
	must(t, e.Delivered > 0 && e.Offered == e.Delivered+e.Dropped["timeout"], "each is delivered or dropped", e)
}

// showsDropping checks what the dropping policies have in common.
func showsDropping(t *testing.T, r ran, reason, file string) []int {
	t.Helper()
	e := r.Edges["fast->slow"]
	must(t, e.Dropped[reason] > 500 && len(e.Dropped) == 1, "most are dropped, for one reason", e)
	must(t, e.Offered == 2000 && e.Offered == e.Delivered+e.Dropped[reason], "each is delivered or dropped", e)
	must(t, e.Peak == 100 && e.BlockedSeconds == 0, "the edge is full and the source never waits", e)
	got := seqs(t, r, file)
	must(t, int64(len(got)) == e.Delivered && slices.IsSorted(got), "what is left is in order", got)
	return got
}

func showsDropNewest(t *testing.T, r ran) {
	got := showsDropping(t, r, "newest", "policy-drop-newest.ndjson")
	must(t, got[0] == 0 && got[99] == 99, "the first hundred are there", got[:100])
}

func showsDropOldest(t *testing.T, r ran) {
	got := showsDropping(t, r, "oldest", "policy-drop-oldest.ndjson")
	tail := got[len(got)-100:]
	must(t, tail[0] == 1900 && tail[99] == 1999, "the last hundred are there", tail)
}

func showsDropRandom(t *testing.T, r ran) {
	got := showsDropping(t, r, "random", "policy-drop-random.ndjson")
	tail := got[len(got)-100:]
	must(t, tail[0] < 1900 && got[99] > 99, "neither the first nor the last hundred are complete", got)
}

func showsSample(t *testing.T, r ran) {
	e := r.Edges["fast->slow"]
	must(t, e.Dropped["sampled"] > 500 && e.BlockedSeconds == 0, "most are left out and the source never waits", e)
	must(t, e.Delivered >= 50 && e.Offered == e.Delivered+e.Dropped["sampled"]+e.Dropped["newest"], "each is delivered or dropped", e)
	must(t, e.Dropped["sampled"] > 10*e.Dropped["newest"], "sampling keeps the edge from being full", e)
}

// showsSampleKey compares with a run that keeps everything: the seed makes both
// see the same events.
func showsSampleKey(t *testing.T, r ran) {
	kept := perUser(t, r, "kept-users.ndjson")
	must(t, len(kept) > 5 && len(kept) < 40, "about a fifth of 100 users are kept", kept)
	must(t, r.Balance.Dropped > 2500, "most events are left out", r.Balance)

	all := newRig(t, "policy-sample-key.yaml", example{args: []string{"--set", "edges.visits->out.policy=block"}})
	all.run(example{check: func(t *testing.T, everything ran) {
		total := perUser(t, everything, "kept-users.ndjson")
		must(t, len(total) == 100, "there are 100 users", len(total))
		for user, n := range kept {
			must(t, n == total[user], "a kept user has all of its events", user, n, total[user])
		}
	}})(t)
}

func perUser(t *testing.T, r ran, name string) map[float64]int {
	t.Helper()
	count := map[float64]int{}
	for _, e := range r.records(t, name) {
		count[e["user"].(float64)]++
	}
	return count
}

func showsBufferAge(t *testing.T, r ran) {
	e := r.Edges["fast->slow"]
	must(t, e.Dropped["expired"] > 100 && e.Delivered > 10, "what is too old is dropped, the rest is delivered", e)
	must(t, e.Peak < 1000, "the edge is never full", e)
}

func showsBufferBytes(t *testing.T, r ran) {
	e := r.Edges["fast->slow"]
	must(t, e.Dropped["oldest"] > 100, "events are dropped", e)
	must(t, e.Peak <= 64 && e.Capacity == 10000, "64 KiB is room for at most 64 events of 1 KiB", e)
}

func showsPriority(t *testing.T, r ran) {
	alerts, logs := r.Edges["alerts->slow"], r.Edges["logs->slow"]
	must(t, alerts.Delivered > logs.Delivered*3/2, "alerts come first", alerts, logs)
	must(t, logs.Delivered >= 20 && logs.Dropped["oldest"] > 0, "logs get a share", logs)
}

func showsIsolation(t *testing.T, r ran) {
	must(t, r.Sinks["archive"].Delivered == 500, "the archive has everything", r.Sinks["archive"])
	must(t, r.Edges["orders->archive"].BlockedSeconds < 0.2, "the archive's edge never waits for the screen", r.Edges)
	must(t, r.Edges["orders->dead"].Dropped["oldest"] > 400, "the screen misses most", r.Edges["orders->dead"])
}

func showsThrottle(t *testing.T, r ran) {
	must(t, r.Balance.Delivered == 300 && r.Balance.Dropped == 0, "nothing is lost", r.Balance)
	must(t, r.Seconds > 1.4, "300 events at 200/s take 1.45 s after a burst of 10", r.Seconds)
	must(t, r.Edges["in->slowly"].BlockedSeconds > 0.5, "the source is held back", r.Edges["in->slowly"])
}

func showsRoute(t *testing.T, r ran) {
	first := r.Sinks["first_errors"].Delivered + r.Sinks["first_slow"].Delivered + r.Sinks["first_rest"].Delivered
	all := r.Sinks["all_errors"].Delivered + r.Sinks["all_slow"].Delivered
	unrouted := r.Stages["each_of"].Unrouted
	must(t, first == 1000, "with first each event takes one case", first)
	must(t, r.Sinks["all_slow"].Delivered > r.Sinks["first_slow"].Delivered, "with all a slow error is also slow", r.Sinks)
	must(t, r.Sinks["all_errors"].Delivered == r.Sinks["first_errors"].Delivered, "errors are the same", r.Sinks)
	must(t, all > 1000-unrouted && unrouted == r.Sinks["first_rest"].Delivered, "what fits nowhere is counted as unrouted", all, unrouted)
}

func showsQuickstart(t *testing.T, r ran) {
	book, screen, report := r.Edges["shop->bookkeeper"], r.Edges["shop->dashboard"], r.Edges["shop->analyst"]
	must(t, r.Sinks["ledger"].Delivered == r.Balance.Read && book.BlockedSeconds > 0.2, "every order is booked and the shop waits", book)
	must(t, screen.Dropped["oldest"] > 100, "the dashboard skips old orders", screen)
	must(t, report.Dropped["sampled"] > 100 && report.Delivered > 0, "the analyst has a sample", report)
}

// showsCurves checks when the events of each curve came.
func showsCurves(t *testing.T, r ran) {
	start := map[string]time.Time{}
	var burst, sine, ramp [2]int // outside and inside the busy part
	for _, e := range r.records(t, "curves.ndjson") {
		curve := e["curve"].(string)
		at, err := time.Parse(time.RFC3339Nano, e["time"].(string))
		if err != nil {
			t.Fatal(err)
		}
		if start[curve].IsZero() {
			start[curve] = at
		}
		since := at.Sub(start[curve])
		inPeriod := since % time.Second
		switch curve {
		case "burst":
			burst[index(inPeriod >= 800*time.Millisecond)]++
		case "sine":
			sine[index(inPeriod > 250*time.Millisecond && inPeriod < 750*time.Millisecond)]++
		case "ramp":
			ramp[index(since > time.Second)]++
		}
	}
	must(t, burst[1] > burst[0], "most of a burst comes in a fifth of the time", burst)
	must(t, sine[1] > 2*sine[0], "a sine is busy in the middle of its period", sine)
	must(t, ramp[1] > ramp[0], "a ramp is busier at its end", ramp)
}

func index(inside bool) int {
	if inside {
		return 1
	}
	return 0
}

// TestExampleDataIsSmall keeps the repository light.
func TestExampleDataIsSmall(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(exampleDir, "data", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no data: %v", err)
	}
	for _, f := range files {
		must(t, len(readFile(t, f)) < 16<<10, f+" is larger than 16 KiB")
	}
}
