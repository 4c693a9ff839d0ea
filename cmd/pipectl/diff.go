package main

import (
	"fmt"
	"io"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/check"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
	"github.com/spf13/cobra"
)

const diffLong = `Compare two pipeline files by what they mean, not by how they are written, and
say what each change takes:

  live     takes effect at once in the running pipeline
  swap     a node is replaced, added or removed while the pipeline runs
  restart  needs a new process

and what it does to the worst-case memory, to the guarantee of each path, and to
which sinks can stop what. - is standard input, for one of the two.

Both files are read in the environment of this process. Nothing is connected to,
opened or written.`

var diffFormats = []string{"text", "json", "markdown"}

type diffOptions struct {
	old, next string
	set       []string
	format    string
	exitCode  bool
}

func newDiffCommand(std streams) *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Compare two pipeline files: what changes, and what it takes",
		Long:  diffLong,
		Example: `  pipectl diff running.yaml pipeline.yaml
  git show HEAD:pipeline.yaml | pipectl diff - pipeline.yaml --format markdown
  pipectl diff --exit-code old.yaml new.yaml`,
		Args:              twoFiles,
		ValidArgsFunction: completeYAML,
		RunE: func(_ *cobra.Command, args []string) error {
			o.old, o.next = args[0], args[1]
			return runDiff(std, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", "text", "output `FORMAT`: text, json or markdown")
	f.StringArrayVar(&o.set, "set", nil, "change a value of both files, `PATH=VALUE`; may be repeated")
	f.BoolVar(&o.exitCode, "exit-code", false, "exit with 1 when the pipelines differ")
	offer(cmd, "format", diffFormats...)
	return cmd
}

// twoFiles demands OLD and NEW.
func twoFiles(_ *cobra.Command, args []string) error {
	switch {
	case len(args) != 2:
		return usagef("diff: takes two files, got %d, such as: pipectl diff old.yaml new.yaml", len(args))
	case args[0] == "-" && args[1] == "-":
		return usagef("diff: only one of the files can be standard input")
	}
	return nil
}

func runDiff(std streams, o diffOptions) error {
	if err := oneOf("format", o.format, diffFormats...); err != nil {
		return err
	}
	old, err := o.load(std, o.old)
	if err != nil {
		return err
	}
	next, err := o.load(std, o.next)
	if err != nil {
		return err
	}
	if !old.IsSet("name") && !next.IsSet("name") { // two files, one pipeline
		old.Name = next.Name
	}
	if found := check.Analyze(next).Findings; found.HasErrors() {
		if err := found.WriteText(std.Err); err != nil {
			return err
		}
		return usagef("%s is not valid: %s", o.next, tally(found))
	}
	r := diff.Compare(old, next)
	write := map[string]func(*diff.Report, io.Writer) error{
		"text": (*diff.Report).WriteText, "json": encodeDiff, "markdown": (*diff.Report).WriteMarkdown,
	}
	if err := write[o.format](r, std.Out); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	if o.exitCode && len(r.Changes) > 0 {
		return &exitError{code: engine.ExitFailed}
	}
	return nil
}

// load reads one of the files and prints what is wrong with it.
func (o *diffOptions) load(std streams, file string) (*config.Pipeline, error) {
	if file != "-" {
		return loadPipeline(std, file, o.set)
	}
	data, err := readPipelineFile(std.In, file)
	if err != nil {
		return nil, err
	}
	p, found := config.Parse(data, config.Options{File: "stdin", Set: o.set})
	if err := found.WriteText(std.Err); err != nil {
		return nil, err
	}
	if found.HasErrors() {
		return nil, usagef("standard input is not valid: %s", tally(found))
	}
	return p, nil
}

func encodeDiff(r *diff.Report, w io.Writer) error { return encodeJSON(w, r) }
