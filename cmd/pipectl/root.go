package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/near"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const rootLong = `Pipectl runs data pipelines declared in one YAML file: sources, stages, sinks
and the edges between them. Every edge is a bounded buffer with a policy of its
own; when it is full, pressure travels back to the sources.

Exit codes:
  0    done: everything that was read has ended
  1    failed while running
  2    invalid configuration or usage
  3    stopped before it was drained; the receipt says what was left
  130  forced by a third signal

The first SIGINT or SIGTERM drains a running pipeline, the second stops it, the
third ends the process at once.`

func newRootCommand(std streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "pipectl",
		Short:         "Run data pipelines with back pressure",
		Long:          rootLong,
		Example:       "  pipectl run pipeline.yaml\n  pipectl validate --require at-least-once pipelines/",
		Version:       versionText(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(std.In)
	root.SetOut(std.Out)
	root.SetErr(std.Err)
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(newHelpCommand())
	root.AddGroup(&cobra.Group{ID: groupFiles, Title: "Pipeline files:"}, &cobra.Group{ID: groupRunning, Title: "A running pipeline:"})
	addTo(root, groupFiles,
		newRunCommand(std),
		newValidateCommand(std),
		newGraphCommand(std),
		newDiffCommand(std),
		newExportCommand(std),
		newSchemaCommand(std),
		newFmtCommand(std),
		newInitCommand(std),
		newExplainCommand(std),
		newComponentsCommand(std),
		newDLQCommand(std),
	)
	addTo(root, groupRunning,
		newStatusCommand(std),
		newTopCommand(std),
		newTapCommand(std),
		newWhyCommand(std),
		newEdgeCommand(std),
		newApplyCommand(std),
		newReloadCommand(std),
		newConfigCommand(std),
		newConfirmCommand(std),
		newRevertCommand(std),
	)
	root.AddCommand(newVersionCommand(std), newCompletionCommand(std))
	return root
}

// The groups of commands that help shows.
const (
	groupFiles   = "files"
	groupRunning = "running"
)

func addTo(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Print help about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(cmd.Root(), args)
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// exitError is an error with an exit code. Without Err nothing is printed: what
// there was to say has been said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usagef is a mistake in the command line or in the configuration.
func usagef(format string, args ...any) error {
	return &exitError{engine.ExitUsage, fmt.Errorf(format, args...)}
}

// unknownCommand is what root does with a word that is no command.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	slices.Sort(names)
	if meant := near.Word(args[0], names); meant != "" {
		return usagef("unknown command %q, did you mean %q?", args[0], meant)
	}
	return usagef("unknown command %q; commands: %s", args[0], strings.Join(names, ", "))
}

// flagError makes the flag library's errors usage errors, with a suggestion for
// a misspelled flag.
func flagError(cmd *cobra.Command, err error) error {
	see := fmt.Sprintf("; see %s --help", cmd.CommandPath())
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if meant := near.Word(unknown.GetSpecifiedName(), names); meant != "" {
			see = fmt.Sprintf(", did you mean --%s?", meant)
		}
	}
	return usagef("%w%s", err, see)
}

// oneFile demands exactly one FILE.
func oneFile(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usagef("%s: name the pipeline file, such as: %s pipeline.yaml", cmd.Name(), cmd.CommandPath())
	case 1:
		return nil
	}
	return usagef("%s: takes one file, got %d: %s", cmd.Name(), len(args), strings.Join(args, " "))
}

// completeYAML makes shells offer pipeline files.
func completeYAML(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// oneOf checks the value of a flag that takes one of a few words.
func oneOf(flag, value string, words ...string) error {
	return oneOfWords("--"+flag, value, words)
}

// oneOfWords checks the value of what takes one of a few words.
func oneOfWords(what, value string, words []string) error {
	if slices.Contains(words, value) {
		return nil
	}
	hint := "; one of: " + strings.Join(words, ", ")
	if meant := near.Word(value, words); meant != "" {
		hint = fmt.Sprintf(", did you mean %q?", meant)
	}
	return usagef("%s: unknown value %q%s", what, value, hint)
}

// offer makes shells complete the words of a flag.
func offer(cmd *cobra.Command, flag string, words ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic("BUG: " + err.Error())
	}
}
