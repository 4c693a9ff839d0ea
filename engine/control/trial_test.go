package control

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/diff"
)

// try runs a test with a controller in a bubble of its own time.
func try(t *testing.T, f func(t *testing.T, d *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, base)
		defer d.Close()
		f(t, d)
	})
}

// patch makes the edge keep->out drop-oldest and demands that it is on trial.
func (d *desk) patch(o Change) Outcome {
	d.t.Helper()
	o.Who = "ada"
	out, err := d.PatchEdge(d.t.Context(), "keep->out", []byte(toOldest), o)
	d.wants(out, err, Applied, 2)
	if trial := d.Last().Trial; trial == nil || trial.Generation != 2 || trial.Who != "ada" {
		d.t.Errorf("trial: got %+v", trial)
	}
	return out
}

// after waits and demands the generation and the policy then.
func (d *desk) after(wait time.Duration, generation uint64, policy string) {
	d.t.Helper()
	time.Sleep(wait)
	synctest.Wait()
	if got := d.fake.Status().Generation; got != generation {
		d.t.Errorf("generation %d, want %d; log:\n%s", got, generation, d.log)
	}
	d.policy("keep->out", policy)
}

func (d *desk) logs(text string) {
	d.t.Helper()
	if !strings.Contains(d.log.String(), text) {
		d.t.Errorf("log lacks %s:\n%s", text, d.log)
	}
}

func TestUnconfirmedChangeIsTakenBack(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		start := time.Now()
		out := d.patch(Change{ConfirmWithin: time.Minute})
		if out.Reverts == nil || !out.Reverts.Equal(start.Add(time.Minute)) || out.GuardUntil != nil {
			t.Errorf("reverts at %v", out.Reverts)
		}
		d.after(time.Minute-1, 2, "drop-oldest")
		d.after(1, 3, "block")
		d.logs(`level=WARN msg=reload result=reverted generation=3 who="confirm window" class=live`)
		d.logs(`revert_of=2 why="not confirmed within 1m0s"`)
		h := d.History()
		if e := h[1]; e.RevertedBy != "confirm window" || e.RevertedWhy != "not confirmed within 1m0s" || h[2].RevertOf != 2 {
			t.Errorf("history: got %+v", h)
		}
		if last := d.Last(); !last.Success || last.Generation != 3 || last.Trial != nil {
			t.Errorf("last: got %+v", last)
		}
		d.after(time.Hour, 3, "block")
	})
}

func TestConfirmedChangeStays(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		d.patch(Change{ConfirmWithin: time.Minute})
		time.Sleep(time.Minute - 1)
		wrong := func(generation uint64, want string) {
			t.Helper()
			if err := d.Confirm(t.Context(), generation, "bob"); !errors.Is(err, ErrConflict) || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}
		wrong(1, "generation 2 waits for confirmation, not 1")
		if err := d.Confirm(t.Context(), 2, "bob"); err != nil {
			t.Error(err)
		}
		wrong(2, "no change waits for confirmation")
		d.after(time.Hour, 2, "drop-oldest")
		d.logs(`msg="reload confirmed" generation=2 who=bob`)
		if got := d.History()[1].ConfirmedBy; got != "bob" || d.Last().Trial != nil {
			t.Errorf("confirmed by %q, last %+v", got, d.Last())
		}
	})
}

func TestOneTrialAtATime(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		d.patch(Change{ConfirmWithin: time.Minute})
		want := "generation 2 by ada is on trial until 00:01:00: confirm or revert it first"
		_, patched := d.PatchEdge(t.Context(), "in->keep", []byte(toOldest), Change{})
		_, applied := d.Apply(t.Context(), []byte(base), Change{})
		_, reloaded := d.Reload(t.Context(), "SIGHUP")
		for _, err := range []error{patched, applied, reloaded} {
			if !errors.Is(err, ErrConflict) || !isBusy(err) || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}
		out, err := d.Apply(t.Context(), []byte(base), Change{DryRun: true})
		d.wants(out, err, DryRun, 2)
		out, err = d.Revert(t.Context(), "bob")
		d.wants(out, err, Applied, 3)
		d.after(time.Hour, 3, "block")
		out, err = d.PatchEdge(t.Context(), "in->keep", []byte(toOldest), Change{})
		d.wants(out, err, Applied, 4)
	})
}

const noDrops = `edges["keep->out"].dropped_rate == 0 && sinks.out.failed_rate == 0`

// drops makes the fake's edge drop.
func (d *desk) drops(events int64) {
	d.fake.set(func() {
		d.fake.status.Edges = map[string]engine.EdgeStatus{"keep->out": {Dropped: map[string]int64{"oldest": events}}}
	})
}

func TestGuardTakesAChangeBack(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		d.drops(50) // before the change: they do not count
		start := time.Now()
		out := d.patch(Change{Guard: noDrops})
		if out.Reverts != nil || !out.GuardUntil.Equal(start.Add(2*time.Minute)) {
			t.Errorf("reverts %v, guard until %v", out.Reverts, out.GuardUntil)
		}
		d.after(10*time.Second+time.Millisecond, 2, "drop-oldest")
		d.drops(72)
		d.after(time.Second, 3, "block")
		d.logs(`who=guard class=live`)
		d.logs(`why="guard is false: edges[\"keep->out\"].dropped_rate == 0 && sinks.out.failed_rate == 0; ` +
			`edges[\"keep->out\"].dropped_rate is 2; sinks.out.failed_rate is 0"`)
		if e := d.History()[1]; e.RevertedBy != "guard" || !strings.HasPrefix(e.RevertedWhy, "guard is false: ") {
			t.Errorf("got %+v", e)
		}
	})
}

func TestGuardThatHolds(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		d.patch(Change{Guard: `edges["keep->out"].dropped_rate == 0`, GuardFor: 30 * time.Second})
		d.after(30*time.Second-1, 2, "drop-oldest")
		if d.Last().Trial == nil {
			t.Error("the trial ended early")
		}
		d.after(time.Second, 2, "drop-oldest")
		d.logs(`msg="guard held" generation=2`)
		d.logs("for=30s")
		d.drops(1000)
		d.after(time.Hour, 2, "drop-oldest")
		if d.Last().Trial != nil {
			t.Errorf("still on trial: %+v", d.Last().Trial)
		}
	})
}

// A guard that held does not confirm; one that fails does not wait for the window.
func TestGuardAndConfirm(t *testing.T) {
	guard := `edges["keep->out"].dropped_rate == 0`
	try(t, func(t *testing.T, d *desk) {
		d.patch(Change{Guard: guard, GuardFor: 10 * time.Second, ConfirmWithin: time.Minute})
		d.after(time.Minute-1, 2, "drop-oldest")
		d.logs("guard held")
		d.after(1, 3, "block")
		d.logs("not confirmed within 1m0s")
	})
	try(t, func(t *testing.T, d *desk) {
		d.patch(Change{Guard: guard, ConfirmWithin: time.Minute})
		d.drops(1)
		d.after(time.Second, 3, "block")
		d.after(time.Hour, 3, "block")
	})
	try(t, func(t *testing.T, d *desk) {
		d.patch(Change{Guard: guard, ConfirmWithin: time.Minute})
		if err := d.Confirm(t.Context(), 2, "bob"); err != nil {
			t.Error(err)
		}
		d.drops(1)
		d.after(time.Hour, 2, "drop-oldest")
	})
}

// A guard that cannot be evaluated protects nobody.
func TestGuardThatFails(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		d.patch(Change{Guard: `1 % int(edges["keep->out"].queued + 1) == 0`})
		d.fake.set(func() {
			d.fake.status.Edges = map[string]engine.EdgeStatus{"keep->out": {Queued: -1}}
		})
		d.after(time.Second, 3, "block")
		d.logs("guard failed: ")
	})
}

// While the change cannot be taken back it is tried again, and may be confirmed.
func TestRevertIsTriedAgain(t *testing.T) {
	broken := &engine.RefusedError{Reason: "sink out: cannot be opened"}
	try(t, func(t *testing.T, d *desk) {
		d.patch(Change{ConfirmWithin: time.Minute})
		d.fake.set(func() { d.fake.refuse = broken })
		d.after(time.Minute, 2, "drop-oldest")
		d.logs(`who="confirm window" error="cannot take generation 2 back (not confirmed within 1m0s): sink out: cannot be opened"`)
		if last := d.Last(); last.Success || last.Trial == nil {
			t.Errorf("last: got %+v", last)
		}
		d.after(12*time.Second, 2, "drop-oldest")
		d.fake.set(func() { d.fake.refuse = nil })
		d.after(3*time.Second, 3, "block")
	})
	try(t, func(t *testing.T, d *desk) {
		d.patch(Change{ConfirmWithin: time.Minute})
		d.fake.set(func() { d.fake.refuse = broken })
		d.after(time.Minute+time.Second, 2, "drop-oldest")
		if err := d.Confirm(t.Context(), 2, "bob"); err != nil {
			t.Error(err)
		}
		d.fake.set(func() { d.fake.refuse = nil })
		d.after(time.Hour, 2, "drop-oldest")
	})
}

// A confirmation that comes while the change is being taken back comes too late.
func TestConfirmDuringRevert(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		d.patch(Change{ConfirmWithin: time.Minute})
		hold := make(chan struct{})
		d.fake.set(func() { d.fake.hold = hold })
		d.after(time.Minute, 2, "drop-oldest")
		err := d.Confirm(t.Context(), 2, "bob")
		if !errors.Is(err, ErrConflict) || err.Error() != "generation 2 is being taken back" {
			t.Errorf("got %v", err)
		}
		close(hold)
		d.after(0, 3, "block")
	})
}

// A window that ends while somebody takes the change back does so no second time.
func TestRevertWhileTheTrialWaits(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		if _, err := d.PatchEdge(t.Context(), "in->keep", []byte(toOldest), Change{}); err != nil {
			t.Error(err)
		}
		if _, err := d.PatchEdge(t.Context(), "keep->out", []byte(toOldest), Change{ConfirmWithin: time.Minute}); err != nil {
			t.Error(err)
		}
		hold := make(chan struct{})
		d.fake.set(func() { d.fake.hold = hold })
		go d.Revert(t.Context(), "bob")
		d.after(time.Minute, 3, "drop-oldest") // both have begun
		close(hold)
		d.after(time.Hour, 4, "block")
		d.policy("in->keep", "drop-oldest")
	})
}

// What was confirmed can be taken back all the same.
func TestRevertAfterConfirmTakesTheChangeBack(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		d.patch(Change{ConfirmWithin: time.Minute})
		if err := d.Confirm(t.Context(), 2, "bob"); err != nil {
			t.Error(err)
		}
		out, err := d.Revert(t.Context(), "ada")
		d.wants(out, err, Applied, 3)
		d.policy("keep->out", "block")
	})
}

// A pipeline that ends is not changed any more.
func TestTrialEndsWithThePipeline(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		d.patch(Change{Guard: noDrops, ConfirmWithin: time.Minute})
		d.fake.set(func() { d.fake.status.Outcome = engine.Draining })
		d.after(time.Hour, 2, "drop-oldest")
		if d.Last().Trial != nil {
			t.Errorf("still on trial: %+v", d.Last().Trial)
		}
	})
}

// Close leaves nothing behind, and a change on trial in force. A change after
// it is not on trial.
func TestCloseDuringATrial(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		d.patch(Change{Guard: noDrops, ConfirmWithin: time.Minute})
		d.Close()
		d.Close()
		d.after(time.Hour, 2, "drop-oldest")
	})
	try(t, func(t *testing.T, d *desk) {
		d.patch(Change{ConfirmWithin: time.Minute})
		d.fake.set(func() { d.fake.refuse = errors.New("broken") })
		time.Sleep(time.Minute + time.Second) // it waits to try again
		d.Close()
	})
}

// What is put back has components of its own: those of before belong to the
// engine that ran them.
func TestRevertMakesComponentsAnew(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		was := d.fake.Config()
		out, err := d.Apply(t.Context(), []byte(strings.Replace(base, "seq > 1", "seq > 2", 1)), Change{})
		d.wants(out, err, Applied, 2)
		out, err = d.Revert(t.Context(), "ada")
		d.wants(out, err, Applied, 3)
		now := d.fake.Config()
		if changes := diff.Plan(was, now); len(changes) > 0 {
			t.Errorf("not as before: %+v", changes)
		}
		for _, n := range now.Nodes() {
			if n.Component == was.Node(n.Name).Component {
				t.Errorf("node %s has the component that has run", n.Name)
			}
		}
	})
}
