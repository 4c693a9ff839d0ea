package main

import (
	"github.com/spf13/cobra"
)

const configLong = `Print the configuration in force: with all defaults, with every change that was
made since the start, and with secrets as ***.`

func newConfigCommand(std streams) *cobra.Command {
	var a asker
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Print the configuration in force of a running pipeline",
		Long:    configLong,
		Example: "  pipectl config\n  pipectl config > now.yaml && pipectl diff pipeline.yaml now.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := a.connection.open()
			if err != nil {
				return err
			}
			yaml, err := k.config(cmd.Context())
			if err != nil {
				return a.fail(std, "", err)
			}
			_, err = std.Out.Write(yaml)
			return err
		},
	}
	a.connection.flags(cmd)
	return cmd
}
