package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/spf13/cobra"
)

var answerFormats = []string{"text", "json"}

// asker are the options of a command that asks a running pipeline.
type asker struct {
	connection
	format string
}

func (a *asker) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.format, "format", "text", "output `FORMAT`: text or json")
	offer(cmd, "format", answerFormats...)
	a.connection.flags(cmd)
}

// open checks the options and makes the client.
func (a *asker) open() (*client, error) {
	if err := oneOf("format", a.format, answerFormats...); err != nil {
		return nil, err
	}
	return a.connection.open()
}

// trial are the options of a change that can be tried, or taken back.
type trial struct {
	dryRun  bool
	confirm time.Duration
	guard   string
	watch   time.Duration
}

func (o *trial) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would change, and change nothing")
	f.DurationVar(&o.confirm, "confirm-within", 0, "take the change back unless it is confirmed within this `TIME`: pipectl confirm")
	f.StringVar(&o.guard, "guard", "", "take the change back when this `CONDITION` becomes false")
	f.DurationVar(&o.watch, "for", 2*time.Minute, "how long the --guard is watched")
}

func (o *trial) validate(cmd *cobra.Command) error {
	switch set := cmd.Flags().Changed; {
	case set("confirm-within") && o.confirm <= 0:
		return usagef("--confirm-within: must be above 0, got %s", tidy(o.confirm))
	case o.watch <= 0:
		return usagef("--for: must be above 0, got %s", tidy(o.watch))
	case set("for") && o.guard == "":
		return usagef("--for: says how long a --guard is watched, but there is none")
	case o.dryRun && (o.confirm > 0 || o.guard != ""):
		return usagef("--dry-run changes nothing: leave out --confirm-within and --guard")
	}
	return nil
}

func (o *trial) query() url.Values {
	q := url.Values{}
	if o.dryRun {
		q.Set("dry_run", "1")
	}
	if o.confirm > 0 {
		q.Set("confirm_within", o.confirm.String())
	}
	if o.guard != "" {
		q.Set("guard", o.guard)
		q.Set("for", o.watch.String())
	}
	return q
}

// fail is what a command returns of an error of the client.
func (a *asker) fail(std streams, file string, err error) error {
	return failure(std, a.format, file, err)
}

// failure prints what a refusal is about, and makes an error with its exit code.
// file is how the user calls what was sent; empty when nothing was.
func failure(std streams, format, file string, err error) error {
	var r *refusal
	if !errors.As(err, &r) {
		return err
	}
	if format == "json" {
		if err := writeJSON(std.Out, r.answer); err != nil {
			return err
		}
	} else if err := writeRefusal(std.Err, file, r); err != nil {
		return err
	}
	if r.isUsage() {
		return &exitError{engine.ExitUsage, r}
	}
	return &exitError{engine.ExitFailed, r}
}

// change sends a change and prints what came of it.
func (a *asker) change(cmd *cobra.Command, std streams, c call, t trial, file string) error {
	k, err := a.open()
	if err != nil {
		return err
	}
	var o control.Outcome
	answer, err := k.ask(cmd.Context(), c, &o)
	if err != nil {
		return a.fail(std, file, err)
	}
	if a.format == "json" {
		return writeJSON(std.Out, answer)
	}
	if c.method != http.MethodPatch { // a whole configuration: as validate says them
		if err := named(o.Warnings, file).WriteText(std.Err); err != nil {
			return err
		}
	}
	return writeOutcome(std.Out, o, t)
}

// say prints one line.
func say(w io.Writer, format string, args ...any) error {
	_, err := fmt.Fprintf(w, format+"\n", args...)
	return err
}
