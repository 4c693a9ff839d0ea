package main

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const statusLong = `Print the state of a running pipeline: what every source, stage, edge and sink has
done and does now, what limits it, and the account of all events. Rates are those
of the last ten seconds. --format json prints everything that is known.`

// statusWindow is how far back the rates of status look.
const statusWindow = 10 * time.Second

func newStatusCommand(std streams) *cobra.Command {
	var a asker
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Print the state of a running pipeline",
		Long:    statusLong,
		Example: "  pipectl status\n  pipectl status --addr pipes-1:9464 --format json | jq .balance",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStatus(cmd, std, a)
		},
	}
	a.flags(cmd)
	return cmd
}

func runStatus(cmd *cobra.Command, std streams, a asker) error {
	k, err := a.open()
	if err != nil {
		return err
	}
	s, answer, err := k.status(cmd.Context())
	if err != nil {
		return a.fail(std, "", err)
	}
	if a.format == "json" {
		return writeJSON(std.Out, answer)
	}
	past, err := k.history(cmd.Context(), statusWindow)
	if err != nil {
		return a.fail(std, "", err)
	}
	why, _, err := k.why(cmd.Context(), statusWindow)
	if err != nil {
		return a.fail(std, "", err)
	}
	var b strings.Builder
	writeStatus(&b, snapshot{s.Status, past, why})
	_, err = io.WriteString(std.Out, b.String())
	return err
}
