package main

import (
	"strings"

	"github.com/spf13/cobra"
)

const completionLong = `Print a script that makes your shell complete pipectl's commands, flags and
pipeline files. Load it once, in the start-up file of your shell:

  bash        source <(pipectl completion bash)
  zsh         source <(pipectl completion zsh)
  fish        pipectl completion fish | source
  powershell  pipectl completion powershell | Out-String | Invoke-Expression`

func newCompletionCommand(std streams) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:                   "completion bash|zsh|fish|powershell",
		Short:                 "Print a completion script for a shell",
		Long:                  completionLong,
		ValidArgs:             shells,
		DisableFlagsInUseLine: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("completion: name one shell: %s", strings.Join(shells, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(std.Out, true)
			case "zsh":
				return root.GenZshCompletion(std.Out)
			case "fish":
				return root.GenFishCompletion(std.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(std.Out)
			}
			return usagef("completion: unknown shell %q; shells: %s", args[0], strings.Join(shells, ", "))
		},
	}
}
