package main

import (
	"fmt"
	"io"
	"time"

	"github.com/pipectl/pipectl/engine/explain"
	"github.com/spf13/cobra"
)

const whyLong = `Say in sentences what limits a running pipeline: which node, because of what, whom
it holds back, and what would limit next if it did not. The table says how the
workers of each node spent their time:

  busy       working
  external   a sink waited for the far side
  throttled  waited because of a rate limit, a retry's pause or a Retry-After
  blocked    waited for room in an edge, or for earlier events to be settled
  idle       had nothing to do`

type whyOptions struct {
	asker
	window time.Duration
}

func newWhyCommand(std streams) *cobra.Command {
	var o whyOptions
	cmd := &cobra.Command{
		Use:     "why",
		Short:   "Say what limits a running pipeline",
		Long:    whyLong,
		Example: "  pipectl why\n  pipectl why --window 5m --format json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runWhy(cmd, std, o)
		},
	}
	cmd.Flags().DurationVar(&o.window, "window", 30*time.Second, "look at the last `TIME`, at most 10m")
	o.flags(cmd)
	return cmd
}

func runWhy(cmd *cobra.Command, std streams, o whyOptions) error {
	if o.window <= 0 {
		return usagef("--window: must be above 0, got %s", tidy(o.window))
	}
	k, err := o.open()
	if err != nil {
		return err
	}
	r, answer, err := k.why(cmd.Context(), o.window)
	if err != nil {
		return o.fail(std, "", err)
	}
	if o.format == "json" {
		return writeJSON(std.Out, answer)
	}
	writeWhy(std.Out, r)
	return nil
}

// writeWhy writes a report for people.
func writeWhy(w io.Writer, r explain.Report) {
	for _, s := range r.Sentences {
		fmt.Fprintln(w, printable(s))
	}
	if len(r.Nodes) == 0 {
		return
	}
	fmt.Fprintf(w, "\nThe last %s:\n", coarse(seconds(r.WindowSeconds)))
	t := table{}
	t.add("NODE", "BUSY", "EXTERNAL", "THROTTLED", "BLOCKED", "IDLE", "RATE", "COULD DO", "")
	for _, n := range r.Nodes {
		mark := ""
		if n.Name == r.Limiting {
			mark = "limits"
		}
		capacity := "-"
		if n.Capacity > 0 {
			capacity = short(n.Capacity) + "/s"
		}
		t.add(n.Name, share(n.Busy), share(n.External), share(n.Throttled), share(n.Blocked), share(n.Idle),
			short(n.Rate)+"/s", capacity, mark)
	}
	t.writeTo(w)
}

// share renders a part of the time.
func share(f float64) string { return fmt.Sprintf("%.0f%%", f*100) }
