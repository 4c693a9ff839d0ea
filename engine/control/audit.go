package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
)

// most is how many edges or mistakes one line of the log names.
const most = 20

// record keeps what came of a change and writes its line into the log.
func (c *Controller) record(p proposal, out Outcome, err error) {
	if err != nil {
		c.recordRefusal(p.Who, p.DryRun, err)
		return
	}
	if p.DryRun {
		c.log.Debug("reload", c.attributes(out, DryRun)...)
		return
	}
	c.setLast(Last{Success: true, At: out.At, Generation: out.Generation, Who: p.Who})
	attrs := c.attributes(out, out.Result)
	if out.Reverts != nil {
		attrs = append(attrs, "confirm_by", out.Reverts.Format(time.RFC3339))
	}
	if out.GuardUntil != nil {
		attrs = append(attrs, "guard", p.Guard, "guard_until", out.GuardUntil.Format(time.RFC3339))
	}
	c.log.Info("reload", attrs...)
}

func (c *Controller) recordRevert(u undo, out Outcome, who, why string, err error) {
	if err != nil {
		c.recordRefusal(who, false, fmt.Errorf("cannot take generation %d back (%s): %w", u.generation, why, err))
		return
	}
	c.setLast(Last{Success: true, At: out.At, Generation: out.Generation, Who: who})
	attrs := append(c.attributes(out, "reverted"), "revert_of", u.generation, "why", why)
	c.log.Warn("reload", attrs...)
}

// recordRefusal writes the line of a change that was not made.
func (c *Controller) recordRefusal(who string, dryRun bool, err error) {
	generation := c.engine.Status().Generation
	text := summary(err)
	level := slog.LevelWarn
	if dryRun {
		level = slog.LevelDebug
	} else if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrUnknownEdge) {
		c.setLast(Last{At: time.Now(), Generation: generation, Who: who, Error: text})
	}
	attrs := []any{"result", "refused", "generation", generation, "who", who, "error", text}
	if found := places(err); len(found) > 1 { // error has the first
		attrs = append(attrs, "mistakes", found)
	}
	c.log.Log(context.Background(), level, "reload", attrs...)
}

func (c *Controller) setLast(l Last) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = l
}

// attributes of a change that was made, or could be.
func (c *Controller) attributes(out Outcome, result string) []any {
	attrs := []any{"result", result, "generation", out.Generation, "who", out.Who, "class", out.Class}
	if result == Unchanged {
		return attrs
	}
	carried, blocked := int64(0), 0
	for _, e := range out.Edges {
		carried += e.CarriedOver
		blocked += e.BlockedProducers
	}
	return append(attrs, "changes", c.changes(out), "carried_over", carried, "blocked_producers", blocked, "paused_us", out.PausedUS)
}

// changes says in a few words each what changed: edges with their settings
// before and after, the rest by name.
func (c *Controller) changes(out Outcome) []string {
	var lines []string
	add := func(format string, args ...any) {
		lines = append(lines, c.engine.Config().Redact(fmt.Sprintf(format, args...)))
	}
	for _, e := range out.Edges {
		switch {
		case e.BeforeText == "":
			add("edge %s %s: %s", e.Edge, e.Action, e.AfterText)
		case e.AfterText == "":
			add("edge %s %s: %s", e.Edge, e.Action, e.BeforeText)
		default:
			add("edge %s: %s -> %s (%d queued, %d blocked)", e.Edge, e.BeforeText, e.AfterText, e.CarriedOver, e.BlockedProducers)
		}
	}
	for _, ch := range out.Changes {
		if ch.Part != diff.PartEdge {
			add("%s %s", strings.TrimSpace(ch.Part+" "+ch.Name), ch.Action)
		}
	}
	return shorten(lines)
}

// summary is an error in one line.
func summary(err error) string {
	if found := places(err); len(found) > 0 {
		return err.Error() + ": " + found[0]
	}
	return err.Error()
}

// places are the errors among an error's diagnostics: file:line:col and what.
func places(err error) []string {
	var refused *engine.RefusedError
	if !errors.As(err, &refused) {
		return nil
	}
	var lines []string
	for _, d := range refused.Diagnostics {
		if d.Severity == config.Error {
			lines = append(lines, d.Error())
		}
	}
	return shorten(lines)
}

func shorten(lines []string) []string {
	if more := len(lines) - most; more > 0 {
		return append(lines[:most:most], fmt.Sprintf("and %d more", more))
	}
	return lines
}
