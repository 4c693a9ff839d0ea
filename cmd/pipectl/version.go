package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func newVersionCommand(std streams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit it was built from and the Go version",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(std.Out, versionText())
			return err
		},
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s: takes no arguments, got %q", cmd.Name(), args[0])
	}
	return nil
}

// atMostOne demands no argument or one, which is what.
func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef("%s: takes %s, got %d: %s", cmd.Name(), what, len(args), strings.Join(args, " "))
		}
		return nil
	}
}

// versionText reads what the Go tool wrote into the binary.
func versionText() string {
	info, _ := debug.ReadBuildInfo()
	return describeBuild(info)
}

func describeBuild(info *debug.BuildInfo) string {
	version, commit, when, modified := "(devel)", "", "", false
	if info != nil {
		if v := info.Main.Version; v != "" {
			version = v
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				commit = s.Value
			case "vcs.time":
				when = s.Value
			case "vcs.modified":
				modified = s.Value == "true"
			}
		}
	}
	parts := []string{"pipectl " + version}
	if commit != "" {
		parts = append(parts, "commit "+commit[:min(12, len(commit))])
	}
	if when != "" {
		parts = append(parts, when)
	}
	if modified {
		parts = append(parts, "with local changes")
	}
	return fmt.Sprintf("%s, %s %s/%s", strings.Join(parts, ", "), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
