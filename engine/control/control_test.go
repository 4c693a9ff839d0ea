package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
)

const toOldest = `{"policy": "drop-oldest", "buffer": 4096}`

func isBusy(err error) bool {
	var r *engine.RefusedError
	return errors.As(err, &r) && r.Busy
}

func TestPatchEdge(t *testing.T) {
	d := newDesk(t, base)
	defer d.Close()
	out, err := d.PatchEdge(t.Context(), "keep->out", []byte(toOldest), Change{Who: "ada"})
	d.wants(out, err, Applied, 2)
	d.policy("keep->out", "drop-oldest")
	if g := out.Guarantees; len(g) != 1 || !g[0].Weaker || g[0].Sink != "out" || len(out.Changes) != 1 || len(out.Changes[0].Guarantees) != 1 {
		t.Errorf("guarantees %+v, changes %+v", g, out.Changes)
	}
	if out.Before != 1 || out.Class != diff.Live || out.Who != "ada" || out.Reverts != nil || out.MemoryBefore == 0 {
		t.Errorf("got %+v", out)
	}
	if got := d.Last(); !got.Success || got.Generation != 2 || got.Who != "ada" || got.Trial != nil {
		t.Errorf("last: got %+v", got)
	}
	h := d.History()
	if len(h) != 2 || h[0].Who != "start" || h[1].Generation != 2 || h[1].Who != "ada" || len(h[1].Changes) != 1 {
		t.Errorf("history: got %+v", h)
	}
	want := `level=INFO msg=reload result=applied generation=2 who=ada class=live ` +
		`changes="[edge keep->out: block, 1024 events, 16MiB -> drop-oldest, 4096 events, 16MiB (7 queued, 1 blocked)]" ` +
		"carried_over=7 blocked_producers=1 paused_us=12\n"
	if got := d.log.String(); got != want {
		t.Errorf("log: got %s, want %s", got, want)
	}
}

func TestSameContentIsUnchanged(t *testing.T) {
	d := newDesk(t, base)
	defer d.Close()
	out, err := d.PatchEdge(t.Context(), "keep->out", []byte(`{"policy": "block"}`), Change{ConfirmWithin: time.Minute})
	d.wants(out, err, Unchanged, 1)
	out, err = d.Reload(t.Context(), "SIGHUP")
	d.wants(out, err, Unchanged, 1)
	out, err = d.Apply(t.Context(), []byte("# reformatted\n"+base), Change{Guard: "p95 < 1"})
	d.wants(out, err, Unchanged, 1)
	if d.Last().Trial != nil || len(d.History()) != 1 || out.Reverts != nil {
		t.Errorf("what did not change is on trial: %+v", d.Last())
	}
	if _, err := d.Revert(t.Context(), "ada"); !errors.Is(err, ErrConflict) {
		t.Errorf("got %v, want nothing to revert", err)
	}
}

// Warnings are those that the running configuration does not have already.
func TestWarnings(t *testing.T) {
	old := strings.Replace(base, "type: stdout", "type: stdout, timeout: 1h", 1)
	d := newDesk(t, old)
	defer d.Close()
	out, err := d.Apply(t.Context(), []byte(strings.Replace(old, "timeout: 1h", "timeout: 1h, retry: {max_elapsed: 2h}", 1)), Change{})
	d.wants(out, err, Applied, 2)
	if len(out.Warnings) != 1 || out.Warnings[0].Code != "retry-outlasts-shutdown" {
		t.Errorf("got %v", out.Warnings)
	}
}

// The JSON of an outcome is one flat object.
func TestOutcomeJSON(t *testing.T) {
	d := newDesk(t, base)
	defer d.Close()
	out, err := d.PatchEdge(t.Context(), "keep->out", []byte(toOldest), Change{Who: "ada", ConfirmWithin: time.Minute})
	d.wants(out, err, Applied, 2)
	data, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"result": "applied", "generation": "2", "before": "1", "who": "ada", "class": "live"} {
		if got := fmt.Sprint(m[key]); got != want {
			t.Errorf("%s: got %s, want %s", key, got, want)
		}
	}
	for _, key := range []string{"reverts", "memory_before", "memory_after", "guarantees", "edges", "changes", "paused_us", "at"} {
		if m[key] == nil {
			t.Errorf("no %s in %s", key, data)
		}
	}
}

// refused demands a refusal that changed nothing.
func (d *desk) refused(err error, want string) {
	d.t.Helper()
	var r *engine.RefusedError
	if !errors.As(err, &r) {
		d.t.Errorf("got %v, want a refusal: %s", err, want)
		return
	}
	got := r.Reason
	for _, found := range r.Diagnostics {
		if found.Severity == config.Error {
			got += " | " + found.Error() + " (" + found.Hint + ")"
		}
	}
	if got != want {
		d.t.Errorf("got %s, want %s", got, want)
	}
	if d.fake.reloads != 0 || d.fake.Status().Generation != 1 {
		d.t.Errorf("the engine was reloaded %d times", d.fake.reloads)
	}
}

func TestRefusals(t *testing.T) {
	d := newDesk(t, base)
	defer d.Close()
	patch := func(id, body, want string) {
		t.Helper()
		_, err := d.PatchEdge(t.Context(), id, []byte(body), Change{Who: "ada"})
		d.refused(err, want)
	}
	patch("keep->out", `{"policy": "drop-oldst"}`,
		`the settings are not valid: 1 error | edge keep->out:1:12: error: policy: unknown policy "drop-oldst" (did you mean "drop-oldest"?)`)
	patch("keep->ot", `{}`, `there is no edge "keep->ot", did you mean "keep->out"?`)
	patch("nothing", `{}`, `there is no edge "nothing"; edges: in->keep, keep->out`)
	apply := func(yaml, want string, o Change) {
		t.Helper()
		_, err := d.Apply(t.Context(), []byte(yaml), o)
		d.refused(err, want)
	}
	apply(strings.Replace(base, "stdout", "stdoot", 1),
		`the configuration is not valid: 1 error | request:6:21: error: sink out: unknown sink type "stdoot" (did you mean "stdout"?)`, Change{})
	apply(base+"limits: {memory: 1MiB}\n",
		`the configuration is not valid: 1 error | request:8:18: error: edges and windows can hold 32MiB, more than limits.memory of 1MiB; the largest: edge in->keep 16MiB, edge keep->out 16MiB (lower buffer.bytes there or in defaults.edge, or raise limits.memory)`, Change{})
	apply(strings.Replace(base, "name: web", "name: other", 1), "the change needs a restart", Change{})
	apply(base, "confirm within: must be 0s to 24h0m0s, got -1s", Change{ConfirmWithin: -time.Second})
	apply(base, "guard for: must be 0s to 24h0m0s, got 25h0m0s", Change{GuardFor: 25 * time.Hour})
	apply(base, `the guard is not valid: there is no figure edges["keep->ot"].dropped_rate | `+
		`guard:1:31: error: there is no figure edges["keep->ot"].dropped_rate (did you mean edges["keep->out"].dropped_rate?)`,
		Change{Guard: `p95 < 1 and edges["keep->ot"].dropped_rate == 0`})
	d.file = "version: 2\n"
	_, err := d.Reload(t.Context(), "SIGHUP")
	if err == nil || !strings.HasPrefix(err.Error(), "pipeline.yaml is not valid") {
		t.Errorf("got %v", err)
	}
	last := d.Last()
	if last.Success || last.Who != "SIGHUP" || last.Generation != 1 || !strings.Contains(last.Error, "web.yaml:1:") {
		t.Errorf("last: got %+v", last)
	}
	if got := d.log.String(); strings.Count(got, "result=refused generation=1") != 10 || !strings.Contains(got, "edge keep->out:1:12: error") {
		t.Errorf("log: got %s", got)
	}
}

// What does not speak of a configuration does not count as its failure.
func TestUnknownEdgeIsNoFailedReload(t *testing.T) {
	d := newDesk(t, base)
	defer d.Close()
	if _, err := d.PatchEdge(t.Context(), "nothing", nil, Change{}); !errors.Is(err, ErrUnknownEdge) || !d.Last().Success {
		t.Errorf("got %v, last %+v", err, d.Last())
	}
}

func TestPatchEdgesIsAllOrNothing(t *testing.T) {
	d := newDesk(t, base)
	defer d.Close()
	_, err := d.PatchEdges(t.Context(), map[string]json.RawMessage{
		"keep->out": []byte(`{"buffer": "many"}`), "in->keep": []byte(`{"buffer": 0, "policy": "x"}`)}, Change{})
	d.refused(err, "the settings are not valid: 3 errors | edge in->keep:1:12: error: buffer: must be at least 1, got 0 (every edge needs room for an event) | "+
		`edge in->keep:1:25: error: policy: unknown policy "x" (policies: block, drop-newest, drop-oldest, drop-random, sample) | edge keep->out:1:12: error: buffer: expected a number of events or a mapping, got "many" ()`)
	_, err = d.PatchEdges(t.Context(), map[string]json.RawMessage{"keep->out": []byte(toOldest), "in->keep": []byte(`{"buffer": 0}`)}, Change{})
	d.refused(err, "the settings are not valid: 1 error | edge in->keep:1:12: error: buffer: must be at least 1, got 0 (every edge needs room for an event)")
	out, err := d.PatchEdges(t.Context(), map[string]json.RawMessage{"keep->out": []byte(toOldest), "in->keep": []byte(toOldest)}, Change{})
	d.wants(out, err, Applied, 2)
	d.policy("keep->out", "drop-oldest")
	d.policy("in->keep", "drop-oldest")
}

func TestDryRunChangesNothing(t *testing.T) {
	d := newDesk(t, base)
	defer d.Close()
	out, err := d.PatchEdge(t.Context(), "keep->out", []byte(toOldest), Change{DryRun: true, ConfirmWithin: time.Minute, Guard: "p95 < 1"})
	d.wants(out, err, DryRun, 1)
	if d.fake.dry != 1 || len(out.Changes) != 1 || out.Reverts != nil || len(d.History()) != 1 {
		t.Errorf("got %+v", out)
	}
	_, err = d.Apply(t.Context(), []byte("version: 2"), Change{DryRun: true})
	if err == nil || !d.Last().Success || strings.Contains(d.log.String(), "level=INFO") || strings.Contains(d.log.String(), "level=WARN") {
		t.Errorf("error %v, last %+v, log %s", err, d.Last(), d.log)
	}
}

func TestOnlyARunningPipelineIsChanged(t *testing.T) {
	d := newDesk(t, base)
	defer d.Close()
	for _, s := range []engine.State{engine.Starting, engine.Draining, engine.Stopping, engine.Drained, engine.Failed} {
		d.fake.set(func() { d.fake.status.Outcome = s })
		want := fmt.Sprintf("the pipeline is %s: it can be changed only while it is running", s)
		_, patched := d.PatchEdge(t.Context(), "keep->out", []byte(toOldest), Change{})
		_, reloaded := d.Reload(t.Context(), "SIGHUP")
		_, reverted := d.Revert(t.Context(), "ada")
		for _, err := range []error{patched, reloaded, reverted} {
			if d.refused(err, want); !errors.Is(err, ErrConflict) {
				t.Errorf("%s: %v is no conflict", s, err)
			}
			if passes := s == engine.Starting; isBusy(err) != passes {
				t.Errorf("%s: busy is %v", s, !passes)
			}
		}
	}
	if !d.Last().Success {
		t.Errorf("last: got %+v", d.Last())
	}
}

func TestNoFileToReload(t *testing.T) {
	d := newDesk(t, base)
	defer d.Close()
	d.o.Load = nil
	_, err := d.Reload(t.Context(), "SIGHUP")
	d.refused(err, "there is no file to reload: the pipeline was read from standard input")
	if !strings.Contains(d.log.String(), "level=WARN msg=reload result=refused generation=1 who=SIGHUP") || !d.Last().Success {
		t.Errorf("log %s, last %+v", d.log, d.Last())
	}
}

// A value that came from a secret is in no log line and in no refusal.
func TestSecretsAreNotLogged(t *testing.T) {
	t.Setenv("HC_SECRET", "hunter22")
	d := newDesk(t, base)
	defer d.Close()
	secret := strings.Replace(base, "keep -> out]", `{from: keep, to: out, policy: {type: sample, key: '"${HC_SECRET}"'}}]`, 1)
	out, err := d.Apply(t.Context(), []byte(secret), Change{Who: "ada"})
	d.wants(out, err, Applied, 2)
	d.fake.set(func() { d.fake.refuse = &engine.RefusedError{Reason: "sink out: cannot log in with hunter22"} })
	_, err = d.Apply(t.Context(), []byte(strings.Replace(secret, "10/s", "11/s", 1)), Change{Who: "ada"})
	if err == nil || err.Error() != "sink out: cannot log in with ***" {
		t.Errorf("got %v", err)
	}
	if got := d.log.String(); strings.Contains(got, "hunter22") || !strings.Contains(got, "***") {
		t.Errorf("log: %s", got)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	d := newDesk(t, base)
	defer d.Close()
	for i := range 25 {
		out, err := d.PatchEdge(t.Context(), "keep->out", fmt.Appendf(nil, `{"buffer": %d}`, i+1), Change{Who: "ada"})
		d.wants(out, err, Applied, uint64(i+2))
	}
	h := d.History()
	if len(h) != 10 || h[0].Generation != 17 || h[9].Generation != 26 {
		t.Errorf("got %d entries, %d to %d", len(h), h[0].Generation, h[len(h)-1].Generation)
	}
	for i := range 10 {
		out, err := d.Revert(t.Context(), "ada")
		d.wants(out, err, Applied, uint64(i+27))
	}
	if _, err := d.Revert(t.Context(), "ada"); !errors.Is(err, ErrConflict) || err.Error() != "there is no change to take back" {
		t.Errorf("the eleventh: %v", err)
	}
	if got := d.fake.Config().Edge("keep->out").Buffer.Events; got != 15 {
		t.Errorf("buffer of %d, want that before the last ten", got)
	}
}

// Each revert goes one change further back; a new change after it is taken back first.
func TestRevert(t *testing.T) {
	d := newDesk(t, base)
	defer d.Close()
	size := func(n int) {
		t.Helper()
		if _, err := d.PatchEdge(t.Context(), "keep->out", fmt.Appendf(nil, `{"buffer": %d}`, n), Change{Who: "ada"}); err != nil {
			t.Error(err)
		}
	}
	back := func(want int, generation, of uint64) {
		t.Helper()
		out, err := d.Revert(t.Context(), "bob")
		d.wants(out, err, Applied, generation)
		if got := d.fake.Config().Edge("keep->out").Buffer.Events; got != want {
			t.Errorf("buffer of %d, want %d", got, want)
		}
		h := d.History()
		if e := h[len(h)-1]; e.RevertOf != of || e.Who != "bob" {
			t.Errorf("entry %+v, want one that takes %d back", e, of)
		}
		if i := slices.IndexFunc(h, func(e Entry) bool { return e.Generation == of }); h[i].RevertedBy != "bob" || h[i].RevertedWhy != "asked for" {
			t.Errorf("entry %+v is not marked", h[i])
		}
	}
	size(1)
	size(2)
	back(1, 4, 3)
	size(9)
	back(1, 6, 5)
	back(1024, 7, 2)
	if _, err := d.Revert(t.Context(), "bob"); !errors.Is(err, ErrConflict) {
		t.Errorf("got %v, want nothing to take back", err)
	}
}
