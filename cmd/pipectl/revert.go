package main

import "github.com/spf13/cobra"

const revertLong = `Go back to the configuration before the last change. It comes into force as a new
generation; revert again and the change is back.`

func newRevertCommand(std streams) *cobra.Command {
	var a asker
	cmd := &cobra.Command{
		Use:     "revert",
		Short:   "Take back the last change of a running pipeline",
		Long:    revertLong,
		Example: "  pipectl revert",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.change(cmd, std, revertCall(), trial{}, "")
		},
	}
	a.flags(cmd)
	return cmd
}
