package main

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/admin"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/explain"
)

func TestStatusOfARunningPipeline(t *testing.T) {
	t.Parallel()
	r := runLive(t, slowYAML, admin.Options{})
	out, _ := r.pipectl(0, "status")
	has(t, out, "slow: running for ", ", generation 1\n", "\nSOURCE ", "\nSTAGE ", "\nEDGE ", "\nSINK ", "\nin->crawl ", "\nbalance: read ")
	out, _ = r.pipectl(0, "status", "--format", "json")
	var s liveStatus
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.Pipeline != "slow" || s.Edges["in->crawl"].Capacity != 64 {
		t.Errorf("%v: %+v in:\n%s", err, s.Status, out)
	}
}

func TestWhyOfARunningPipeline(t *testing.T) {
	t.Parallel()
	r := runLive(t, slowYAML, admin.Options{})
	r.await("the source has waited", func(s engine.Status) bool { return s.Edges["in->crawl"].PressedSeconds > 1 })
	out, _ := r.pipectl(0, "why", "--window", "1s")
	has(t, out, "crawl", "\nThe last ", "COULD DO")
	if !regexp.MustCompile(`(?m)^crawl .* limits$`).MatchString(out) {
		t.Errorf("crawl is not marked:\n%s", out)
	}
	out, _ = r.pipectl(0, "why", "--window", "1s", "--format", "json")
	var report explain.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Limiting != "crawl" {
		t.Errorf("%v: %s", err, out)
	}
	_, errs := r.pipectl(2, "why", "--window", "0s")
	has(t, errs, "pipectl: --window: must be above 0, got 0s\n")
}

func TestEdgeSetChangesARunningPipeline(t *testing.T) {
	t.Parallel()
	r := runLive(t, slowYAML, admin.Options{})
	r.await("the edge is full", func(s engine.Status) bool { return s.Edges["in->crawl"].Queued == 64 })
	out, _ := r.pipectl(0, "edge", "set", "in->crawl", "--policy", "drop-oldest", "--buffer", "32")
	has(t, out, "edge in->crawl: block, 64 events, 16MiB\n", "→ drop-oldest, 32 events, 16MiB\n", " queued events kept",
		"generation 2 is in force (was 1), a live change, paused for ")
	r.await("the edge drops", func(s engine.Status) bool { return s.Edges["in->crawl"].Dropped["oldest"] > 0 })

	out, _ = r.pipectl(0, "edge", "set", "in->crawl", "policy=drop-oldest")
	has(t, out, "nothing to change: generation 2 is in force already\n")
	out, _ = r.pipectl(0, "edge", "set", "in->crawl", "--timeout", "5s", "--dry-run")
	has(t, out, "→ block", "5s", "dry run, nothing was changed: this is a live change to generation 2\n")
	if got := r.engine.Status().Edges["in->crawl"].Policy; got != "drop-oldest" {
		t.Errorf("a dry run changed the policy to %s", got)
	}

	out, _ = r.pipectl(0, "edge", "set", "crawl->out", "in->crawl", "buffer=100", "--format", "json")
	var o control.Outcome
	if err := json.Unmarshal([]byte(out), &o); err != nil || o.Generation != 3 || len(o.Edges) != 2 {
		t.Errorf("%v: two edges at once: %s", err, out)
	}
}

func TestRefusedChanges(t *testing.T) {
	t.Parallel()
	r := runLive(t, slowYAML, admin.Options{})
	f := func(want string, args ...string) {
		t.Helper()
		out, errs := r.pipectl(2, args...)
		if out != "" {
			t.Errorf("%v wrote to standard output: %s", args, out)
		}
		has(t, errs, want)
	}
	f(`there is no edge "in->craw", did you mean "in->crawl"?`, "edge", "set", "in->craw", "--buffer", "9")
	f(`did you mean "drop-oldest"?`, "edge", "set", "in->crawl", "--policy", "drop-oldst")
	f(`edge in->crawl:1:`, "edge", "set", "in->crawl", "--buffer", "0")
	f(`there is no edge`, "tap", "in->craw")
	f(`where: `, "tap", "in->crawl", "--where", "n >")
	f(`guard`, "edge", "set", "in->crawl", "--buffer", "9", "--guard", "nonsense > 1")

	r.save(strings.Replace(slowYAML, "buffer: 64", "bufer: 64", 1))
	_, errs := r.pipectl(2, "apply", r.file)
	has(t, errs, r.file+":8:", "bufer", "\n    8 |   - {from: in, to: crawl, bufer: 64}\n", "^ did you mean \"buffer\"?", "not valid: 1 error")
	_, errs = r.pipectl(2, "reload")
	has(t, errs, r.file+":8:", "^ did you mean")

	r.save(strings.Replace(slowYAML, "rate: 2000/s", "rate: 3000/s", 1))
	_, errs = r.pipectl(2, "apply", r.file)
	has(t, errs, "source in: changed (restart)\n", "rate: ", " → ")
	out, errs := r.pipectl(2, "apply", r.file, "--format", "json")
	var refused struct{ Error string }
	if err := json.Unmarshal([]byte(out), &refused); err != nil || refused.Error == "" {
		t.Errorf("%v: %s\n%s", err, out, errs)
	}
	if g := r.engine.Status().Generation; g != 1 {
		t.Errorf("generation %d after refused changes only", g)
	}
}

func TestApplyReloadRevert(t *testing.T) {
	t.Parallel()
	r := runLive(t, slowYAML, admin.Options{})
	out, _ := r.pipectl(0, "reload")
	has(t, out, "nothing to change: generation 1 is in force already\n")
	r.save(strings.NewReplacer("buffer: 64", "buffer: 128", "20ms", "1ms").Replace(slowYAML))
	out, _ = r.pipectl(0, "apply", r.file, "--dry-run")
	has(t, out, "edge in->crawl: ", "stage crawl: changed (swap)\n", "  for: 20ms → 1ms\n", "dry run, nothing was changed")
	out, _ = r.pipectl(0, "reload")
	has(t, out, "→ block, 128 events", "stage crawl: changed (swap)\n", "generation 2 is in force (was 1), a swap change")
	out, _ = r.pipectl(0, "config")
	has(t, out, "name: slow\n", "events: 128", "1ms")
	out, _ = r.pipectl(0, "revert")
	has(t, out, "→ block, 64 events", "generation 3 is in force (was 2)")
	_, errs := pipectl(t, 2, "apply", "no such file", "--addr", r.addr)
	has(t, errs, "no such file")
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	r := runLive(t, slowYAML, admin.Options{})
	_, errs := r.pipectl(1, "confirm")
	has(t, errs, "pipectl: no change is on trial: there is nothing to confirm\n")
	out, _ := r.pipectl(0, "edge", "set", "in->crawl", "buffer=9", "--confirm-within", "10m")
	has(t, out, "it is taken back at ", " unless you confirm it: pipectl confirm 2\n")
	_, errs = r.pipectl(1, "edge", "set", "in->crawl", "buffer=10")
	has(t, errs, "generation 2", "confirm or revert it first")
	_, errs = r.pipectl(1, "confirm", "7")
	has(t, errs, "7")
	out, _ = r.pipectl(0, "confirm")
	has(t, out, "generation 2 is confirmed\n")
	out, _ = r.pipectl(0, "edge", "set", "in->crawl", "buffer=10", "--guard", `edges["in->crawl"].dropped_rate == 0`, "--for", "1m")
	has(t, out, `it is taken back if edges["in->crawl"].dropped_rate == 0 becomes false within 1m`)
	out, _ = r.pipectl(0, "revert", "--format", "json")
	has(t, out, `"result": "applied"`)
}

func TestTapOfARunningPipeline(t *testing.T) {
	t.Parallel()
	r := runLive(t, slowYAML, admin.Options{})
	out, errs := r.pipectl(0, "tap", "in->crawl", "--count", "3", "--rate", "100")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || !regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3}  .*\{"n":\d+\}$`).MatchString(lines[0]) {
		t.Errorf("got %q", out)
	}
	has(t, errs, " seen: ", " shown")
	out, _ = r.pipectl(0, "tap", "in->crawl", "--count", "2", "--where", "n % 2 == 0", "--format", "json")
	for line := range strings.Lines(out) {
		var e engine.TapEvent
		var body struct{ N int }
		if json.Unmarshal([]byte(line), &e) != nil || json.Unmarshal(e.Event, &body) != nil || body.N%2 != 0 {
			t.Errorf("not an even event: %q", line)
		}
	}
	_, errs = r.pipectl(0, "tap", "in->crawl", "--for", "1500ms", "--where", "n < 0")
	has(t, errs, "seen: 0 shown, ", "filtered out\n")
}

func TestTokenOfARunningPipeline(t *testing.T) {
	r := runLive(t, slowYAML, admin.Options{Token: "open sesame"})
	_, errs := r.pipectl(1, "status")
	has(t, errs, r.addr+" wants a token: give it with PIPECTL_TOKEN or --token")
	_, errs = r.pipectl(1, "status", "--token", "wrong")
	has(t, errs, r.addr+" does not accept the token of --token")
	t.Setenv("PIPECTL_TOKEN", "wrong too")
	_, errs = r.pipectl(1, "top")
	has(t, errs, r.addr+" does not accept the token of PIPECTL_TOKEN")
	t.Setenv("PIPECTL_TOKEN", "open sesame")
	r.pipectl(0, "status")
	t.Setenv("PIPECTL_ADDR", r.addr)
	pipectl(t, 0, "status")
}

func TestTopOnPaper(t *testing.T) {
	t.Parallel()
	r := runLive(t, slowYAML, admin.Options{})
	out, _ := r.pipectl(0, "top", "--count", "2")
	if n := strings.Count(out, "\nslow  running "); n != 1 || !strings.HasPrefix(out, "slow  running ") {
		t.Errorf("not two pictures:\n%s", out)
	}
	has(t, out, "\n └─crawl", "\n   └─out")
	hasNot(t, out, "\x1b")
}

// What the form of top asks for reaches the pipeline, and its receipt is shown.
func TestTopChangesARunningPipeline(t *testing.T) {
	r := runLive(t, slowYAML, admin.Options{})
	m := newTestTop(t, r.addr, 9)
	s, _, err := m.k.status(m.ctx)
	if err != nil {
		t.Fatal(err)
	}
	m.Update(statusMsg(s))
	press(m, "end", "home", "down", "enter")
	has(t, screenText(m), "── change in->crawl ─", "‹ block ›", "  events     64\n", "  timeout     as long as it takes\n")
	press(m, "enter")
	has(t, screenText(m), "nothing is different yet")
	press(m, "tab", "x", "enter") // timeout x
	has(t, screenText(m), "policy.timeout")
	press(m, "backspace", "up", "right", "down", "ctrl+u", "9", "6")
	has(t, screenText(m), "▸ events     96  was 64\n", "  policy     drop-oldest  was block\n")
	press(m, "up", "up", "right", "right", "enter")
	has(t, screenText(m), "── done ─", "edge in->crawl: block, 64 events, 16MiB\n", "→ drop-oldest, 96 events, 16MiB", "it is taken back at ")
	if got := r.engine.Status().Edges["in->crawl"]; got.Policy != "drop-oldest" || got.Capacity != 96 {
		t.Errorf("the edge is %+v", got)
	}
	if s, _, err = m.k.status(m.ctx); err != nil {
		t.Fatal(err)
	}
	m.Update(statusMsg(s))
	press(m, "c")
	has(t, screenText(m), "generation 2 is confirmed")
}

func TestTopFollowsTheStream(t *testing.T) {
	t.Parallel()
	r := runLive(t, slowYAML, admin.Options{})
	m := newTestTop(t, r.addr, 9)
	ctx, stop := context.WithCancel(context.Background())
	m.ctx = ctx
	got := make(chan any, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.watch(func(msg tea.Msg) { got <- msg })
	}()
	if s, ok := receive(t, got).(statusMsg); !ok || s.Pipeline != "slow" || s.Why == nil || len(s.EdgeNames) != 2 {
		t.Errorf("got %+v", s)
	}
	r.end()
	for {
		if _, lost := receive(t, got).(lostMsg); lost {
			break
		}
	}
	stop()
	<-done
}

func receive(t *testing.T, c <-chan any) any {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		return nil
	}
}
