package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
	"github.com/pipectl/pipectl/engine/expr"
)

// Change says who wants a change, and on which conditions.
type Change struct {
	// Who asks for it, for the log and the history.
	Who string
	// DryRun does everything but the change itself.
	DryRun bool
	// ConfirmWithin takes the change back unless Confirm is called in time. 0,
	// the default, means that it needs no confirmation. At most 24h.
	ConfirmWithin time.Duration
	// Guard takes the change back as soon as it is false: a condition over the
	// figures since the change, evaluated once a second for GuardFor. Empty, the
	// default, means no guard.
	Guard string
	// GuardFor is how long the guard must hold. Default 2m, at most 24h.
	GuardFor time.Duration
}

// Default and bound of a trial.
const (
	defaultGuardFor = 2 * time.Minute
	longestTrial    = 24 * time.Hour
)

// The results of a change.
const (
	Applied   = "applied"   // it is in force
	Unchanged = "unchanged" // it was in force already; the generation stays
	DryRun    = "dry_run"   // it could be made
)

// Outcome says what became of a change.
type Outcome struct {
	engine.ReloadReceipt
	Result string `json:"result"` // applied, unchanged or dry_run
	Who    string `json:"who,omitempty"`
	// Reverts is when the change is taken back unless it is confirmed.
	Reverts *time.Time `json:"reverts,omitempty"`
	// GuardUntil is when the guard has held for long enough.
	GuardUntil *time.Time `json:"guard_until,omitempty"`

	MemoryBefore int64                  `json:"memory_before"` // bytes in the worst case
	MemoryAfter  int64                  `json:"memory_after"`
	Guarantees   []diff.GuaranteeChange `json:"guarantees,omitempty"` // those that differ
	// Warnings are the doubts about the configuration that it did not raise before.
	Warnings config.Diagnostics `json:"warnings,omitempty"`
}

// proposal is a change and where the configuration for it comes from.
type proposal struct {
	Change
	subject string // of "… not valid": "pipeline.yaml is"
	next    func(now *config.Pipeline) (*config.Pipeline, config.Diagnostics, error)
}

// propose waits for its turn and makes a change.
func (c *Controller) propose(ctx context.Context, p proposal) (Outcome, error) {
	if err := c.take(ctx); err != nil {
		return Outcome{}, err
	}
	defer c.release()
	return c.change(ctx, p)
}

// change makes a change and keeps record of it. The caller has its turn.
func (c *Controller) change(ctx context.Context, p proposal) (Outcome, error) {
	out, err := c.attempt(ctx, p)
	c.record(p, out, err)
	return out, err
}

func (c *Controller) attempt(ctx context.Context, p proposal) (Outcome, error) {
	if err := p.Change.check(); err != nil {
		return Outcome{}, err
	}
	if !p.DryRun {
		if err := c.admits(); err != nil {
			return Outcome{}, err
		}
	}
	now := c.engine.Config()
	next, report, err := p.read(now)
	if err != nil {
		return Outcome{}, err
	}
	guard, err := compileGuard(p.Guard, next)
	if err != nil {
		return Outcome{}, err
	}
	receipt, err := c.engine.Reload(ctx, next, engine.ReloadOptions{DryRun: p.DryRun})
	if err != nil {
		return Outcome{}, clean(next, err)
	}
	out := outcome(p.Who, receipt, report)
	switch {
	case p.DryRun:
		out.Result = DryRun
	case receipt.Generation == receipt.Before:
		out.Result = Unchanged
	default:
		c.enter(p.Change, now, &out, guard)
	}
	return out, nil
}

// check refuses conditions that make no sense.
func (o *Change) check() error {
	name, d := "confirm within", o.ConfirmWithin
	if d >= 0 && d <= longestTrial {
		name, d = "guard for", o.GuardFor
	}
	if d >= 0 && d <= longestTrial {
		return nil
	}
	return &engine.RefusedError{Reason: fmt.Sprintf("%s: must be 0s to %v, got %v", name, longestTrial, d)}
}

// admits refuses changes while none can be made.
func (c *Controller) admits() error {
	if err := c.running(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.trial; t != nil {
		return busy(fmt.Sprintf("generation %d by %s is on trial until %s: confirm or revert it first", t.Generation, t.Who, t.until().Format(time.TimeOnly)))
	}
	return nil
}

// running refuses changes of a pipeline that has not begun or is ending.
func (c *Controller) running() error {
	state := c.engine.Status().Outcome
	reason := fmt.Sprintf("the pipeline is %s: it can be changed only while it is running", state)
	switch state {
	case engine.Running:
		return nil
	case engine.Starting:
		return busy(reason)
	}
	return conflict(reason)
}

// outcome is that of a change that has been made.
func outcome(who string, receipt engine.ReloadReceipt, report *diff.Report) Outcome {
	receipt.Changes = report.Changes // they say more
	return Outcome{ReloadReceipt: receipt, Result: Applied, Who: who, MemoryBefore: report.MemoryBefore,
		MemoryAfter: report.MemoryAfter, Guarantees: report.Guarantees, Warnings: report.Findings}
}

// read returns the new configuration and what it means, or what is wrong with it.
func (p *proposal) read(now *config.Pipeline) (*config.Pipeline, *diff.Report, error) {
	next, found, err := p.next(now)
	if err != nil {
		return nil, nil, err
	}
	if found.HasErrors() {
		return nil, nil, p.invalid(found)
	}
	report := diff.Compare(now, next)
	if report.Findings.HasErrors() {
		return nil, nil, p.invalid(report.Findings)
	}
	return next, report, nil
}

func (p *proposal) invalid(found config.Diagnostics) error {
	errs := 0
	for _, d := range found {
		if d.Severity == config.Error {
			errs++
		}
	}
	count := "1 error"
	if errs > 1 {
		count = fmt.Sprintf("%d errors", errs)
	}
	return &engine.RefusedError{Reason: fmt.Sprintf("%s not valid: %s", p.subject, count), Diagnostics: found}
}

// clean removes secrets from why the engine refused a configuration.
func clean(p *config.Pipeline, err error) error {
	var refused *engine.RefusedError
	if errors.As(err, &refused) {
		refused.Reason = p.Redact(refused.Reason)
	}
	return err
}

// compileGuard compiles a guard for the figures that the pipeline will have.
func compileGuard(source string, p *config.Pipeline) (*expr.Guard, error) {
	if source == "" {
		return nil, nil
	}
	g, err := expr.CompileGuard(source, samples(p))
	if err != nil {
		return nil, guardMistake(source, err)
	}
	return g, nil
}
