package main

import (
	"errors"
	"strconv"

	"github.com/spf13/cobra"
)

func newConfirmCommand(std streams) *cobra.Command {
	var a asker
	cmd := &cobra.Command{
		Use:   "confirm [GENERATION]",
		Short: "Keep a change that was made with --confirm-within",
		Long: `Keep a change that was made with --confirm-within, before it is taken back. Without
a number it is the change that waits for it.`,
		Example: "  pipectl apply pipeline.yaml --confirm-within 60s\n  pipectl confirm",
		Args:    atMostOne("the number of one generation"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runConfirm(cmd, std, a, args)
		},
	}
	a.flags(cmd)
	return cmd
}

func runConfirm(cmd *cobra.Command, std streams, a asker, args []string) error {
	k, err := a.open()
	if err != nil {
		return err
	}
	var generation uint64
	if len(args) > 0 {
		if generation, err = strconv.ParseUint(args[0], 10, 64); err != nil {
			return usagef("confirm: %q is not the number of a generation", args[0])
		}
	} else {
		s, _, err := k.status(cmd.Context())
		if err != nil {
			return a.fail(std, "", err)
		}
		t := s.trial()
		if t == nil {
			return errors.New("no change is on trial: there is nothing to confirm")
		}
		generation = t.Generation
	}
	answer, err := k.confirm(cmd.Context(), generation)
	if err != nil {
		return a.fail(std, "", err)
	}
	if a.format == "json" {
		return writeJSON(std.Out, answer)
	}
	return say(std.Out, "generation %d is confirmed", generation)
}
