package control

import (
	"context"
	"fmt"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/expr"
)

// How often a guard is evaluated, and how often a change is tried to be taken
// back when that fails.
const (
	guardEvery  = time.Second
	revertEvery = 5 * time.Second
)

// Who changes the pipeline when nobody asked for it at that moment.
const (
	whoStart   = "start"
	whoGuard   = "guard"
	whoConfirm = "confirm window"
)

// Trial is a change that is in force and may be taken back by itself.
type Trial struct {
	Generation uint64     `json:"generation"`
	Who        string     `json:"who"`
	ConfirmBy  *time.Time `json:"confirm_by,omitempty"` // taken back then, unless confirmed
	Guard      string     `json:"guard,omitempty"`      // taken back when it is false
	GuardUntil *time.Time `json:"guard_until,omitempty"`
}

// trial is a Trial and what it takes to judge it.
type trial struct {
	Trial
	guard   *expr.Guard
	base    engine.Status // when it began
	began   time.Time
	within  time.Duration // to be confirmed
	settled chan struct{} // closed when it is no trial any more

	reverting bool // guarded by Controller.mu
}

// until is when the trial is over.
func (t *trial) until() time.Time {
	if t.ConfirmBy != nil {
		return *t.ConfirmBy
	}
	return *t.GuardUntil
}

// begin puts a change that has been made on trial, if its conditions ask for
// it. The caller holds c.mu.
func (c *Controller) begin(o Change, base engine.Status, guard *expr.Guard, out *Outcome) {
	if o.ConfirmWithin == 0 && guard == nil || c.life.Err() != nil {
		return
	}
	t := &trial{Trial: Trial{Generation: out.Generation, Who: o.Who}, guard: guard, base: base,
		began: time.Now(), within: o.ConfirmWithin, settled: make(chan struct{})}
	if o.ConfirmWithin > 0 {
		at := t.began.Add(o.ConfirmWithin)
		t.ConfirmBy = &at
	}
	if guard != nil {
		d := o.GuardFor
		if d == 0 {
			d = defaultGuardFor
		}
		at := t.began.Add(d)
		t.Guard, t.GuardUntil = guard.Source(), &at
	}
	out.Reverts, out.GuardUntil = t.ConfirmBy, t.GuardUntil
	c.trial = t
	c.trials.Go(func() { c.attend(t) })
}

// attend ends a trial: it is settled, it has passed, or it is taken back.
func (c *Controller) attend(t *trial) {
	who, why := c.judge(t)
	for why != "" && !c.takeBack(t, who, why) {
		select {
		case <-time.After(revertEvery):
		case <-t.settled:
			return
		case <-c.life.Done():
			return
		}
	}
}

// judge waits until the trial is over; why is empty unless the change must be
// taken back.
func (c *Controller) judge(t *trial) (who, why string) {
	var expired, looks <-chan time.Time
	if t.ConfirmBy != nil {
		timer := time.NewTimer(time.Until(*t.ConfirmBy))
		defer timer.Stop()
		expired = timer.C
	}
	if t.guard != nil {
		ticker := time.NewTicker(guardEvery)
		defer ticker.Stop()
		looks = ticker.C
	}
	for {
		select {
		case <-t.settled:
			return "", ""
		case <-c.life.Done():
			return "", ""
		case <-expired:
			return whoConfirm, fmt.Sprintf("not confirmed within %v", t.within)
		case now := <-looks:
			if why := c.look(t); why != "" {
				return whoGuard, why
			}
			if now.Before(*t.GuardUntil) {
				continue
			}
			c.log.Info("guard held", "generation", t.Generation, "guard", t.Guard, "for", t.GuardUntil.Sub(t.began))
			if looks = nil; expired == nil {
				c.settle(t)
				return "", ""
			}
		}
	}
}

// look says why the guard of a trial does not hold, "" if it does. The figures
// of a pipeline that has ended say nothing.
func (c *Controller) look(t *trial) string {
	now := c.engine.Status()
	if now.Outcome != engine.Running {
		return ""
	}
	figures := measure(t.base, now, time.Since(t.began), readBy(t.guard))
	ok, err := t.guard.Eval(figures)
	switch {
	case err != nil:
		return "guard failed: " + err.Error()
	case !ok:
		return "guard is false: " + spell(t.guard, figures)
	}
	return ""
}

// settle makes a change stay; it reports false if it is no trial any more.
func (c *Controller) settle(t *trial) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trial != t || t.reverting {
		return false
	}
	c.trial = nil
	close(t.settled)
	return true
}

// Confirm makes the change of that generation stay, whatever its guard says.
func (c *Controller) Confirm(_ context.Context, generation uint64, who string) error {
	c.mu.Lock()
	t := c.trial
	c.mu.Unlock()
	switch {
	case t == nil:
		return conflict("no change waits for confirmation")
	case t.Generation != generation:
		return conflict(fmt.Sprintf("generation %d waits for confirmation, not %d", t.Generation, generation))
	case !c.settle(t):
		return conflict(fmt.Sprintf("generation %d is being taken back", generation))
	}
	c.amend(generation, func(e *Entry) { e.ConfirmedBy = who })
	c.log.Info("reload confirmed", "generation", generation, "who", who)
	return nil
}

// takeBack takes a change on trial back; false means try again.
func (c *Controller) takeBack(t *trial, who, why string) (done bool) {
	select {
	case c.turn <- struct{}{}:
		defer c.release()
	case <-t.settled:
		return true
	case <-c.life.Done():
		return true
	}
	c.mu.Lock()
	stale := c.trial != t
	c.mu.Unlock()
	if stale {
		return true
	}
	if c.running() != nil {
		return c.settle(t) // it is ending, and begins with its file
	}
	ctx, cancel := context.WithTimeout(c.life, reloadLimit)
	defer cancel()
	_, err := c.revert(ctx, who, why)
	return err == nil
}

// Revert puts the configuration before the last change in force again, as a
// new generation. Once more goes back one change further, at most ten.
func (c *Controller) Revert(ctx context.Context, who string) (Outcome, error) {
	if err := c.take(ctx); err != nil {
		return Outcome{}, err
	}
	defer c.release()
	return c.revert(ctx, who, "asked for")
}

// undo is a change that can be taken back.
type undo struct {
	generation uint64 // that it made
	before     *config.Pipeline
}

// revert takes back the last change that is not taken back yet. The caller has
// its turn.
func (c *Controller) revert(ctx context.Context, who, why string) (Outcome, error) {
	u, t, err := c.beginRevert()
	var out Outcome
	if err == nil {
		out, err = c.putBack(ctx, u, who)
		c.endRevert(t, u, &out, err == nil, why)
	}
	c.recordRevert(u, out, who, why, err)
	return out, err
}

func (c *Controller) beginRevert() (undo, *trial, error) {
	if err := c.running(); err != nil {
		return undo{}, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.undo) == 0 {
		return undo{}, nil, conflict("there is no change to take back")
	}
	if c.trial != nil {
		c.trial.reverting = true
	}
	return c.undo[len(c.undo)-1], c.trial, nil
}

func (c *Controller) endRevert(t *trial, u undo, out *Outcome, ok bool, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t != nil {
		t.reverting = false
	}
	if !ok {
		return
	}
	if t != nil {
		c.trial = nil
		close(t.settled)
	}
	c.undo = c.undo[:len(c.undo)-1]
	for i := range c.past {
		if c.past[i].Generation == u.generation {
			c.past[i].RevertedBy, c.past[i].RevertedWhy = out.Who, why
		}
	}
	c.remember(Entry{Generation: out.Generation, At: out.At, Who: out.Who, Class: out.Class, Changes: out.Changes, RevertOf: u.generation})
}
