package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/pipectl/pipectl/engine/check"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/spf13/cobra"
)

const validateLong = `Check pipeline files without running them: every mistake of every file with its
place, then what a valid file promises: the guarantee of each path from a source
to a sink, which sinks can stop what, and the worst-case memory.

A folder means the .yaml and .yml files in it and below, - is standard input.
Nothing is connected to, opened or written; only the files and those they name
with ${file:} are read.`

var validateFormats = []string{"text", "json"}

type validateOptions struct {
	args    []string
	format  string
	strict  bool
	require string
}

func newValidateCommand(std streams) *cobra.Command {
	var o validateOptions
	cmd := &cobra.Command{
		Use:   "validate FILE|DIR|PATTERN|-...",
		Short: "Check pipeline files and say what they promise",
		Long:  validateLong,
		Example: `  pipectl validate pipeline.yaml
  pipectl validate --strict --require at-least-once pipelines/
  pipectl validate --format json 'teams/**/*.yaml'`,
		ValidArgsFunction: completeYAML,
		RunE: func(_ *cobra.Command, args []string) error {
			o.args = args
			return runValidate(std, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", "text", "output `FORMAT`: text or json")
	f.BoolVar(&o.strict, "strict", false, "warnings are errors")
	f.StringVar(&o.require, "require", "", "demand a `LEVEL` of every path: "+strings.Join(levelNames(), ", "))
	offer(cmd, "format", validateFormats...)
	offer(cmd, "require", levelNames()...)
	return cmd
}

func levelNames() []string {
	var names []string
	for _, l := range check.Levels() {
		names = append(names, string(l))
	}
	return names
}

func (o *validateOptions) validate() error {
	if len(o.args) == 0 {
		return usagef("validate: name the files to check, such as: pipectl validate pipeline.yaml")
	}
	if o.require != "" {
		if err := oneOf("require", o.require, levelNames()...); err != nil {
			return err
		}
	}
	return oneOf("format", o.format, validateFormats...)
}

// verdict is what was found about one file. Its JSON names are stable.
type verdict struct {
	File        string             `json:"file"`
	OK          bool               `json:"ok"`
	Diagnostics config.Diagnostics `json:"diagnostics"`
	*check.Report
	Findings *struct{} `json:"findings,omitempty"` // they are among Diagnostics
}

func runValidate(std streams, o validateOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	files, err := pipelineFiles(o.args)
	if err != nil {
		return err
	}
	verdicts := make([]verdict, len(files))
	bad := 0
	for i, f := range files {
		if verdicts[i], err = o.judge(std.In, f); err != nil {
			return err
		}
		if !verdicts[i].OK {
			bad++
		}
	}
	write := map[string]func(io.Writer, []verdict) error{"text": writeVerdicts, "json": encodeVerdicts}
	if err := write[o.format](std.Out, verdicts); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	switch {
	case bad == 0:
		return nil
	case len(files) > 1:
		return usagef("%d of %d files are not valid", bad, len(files))
	}
	v := verdicts[0]
	if !v.Diagnostics.HasErrors() {
		return usagef("%s is not valid: %s, and --strict allows none", v.File, tally(v.Diagnostics))
	}
	return usagef("%s is not valid: %s", v.File, tally(v.Diagnostics))
}

// judge examines one file.
func (o *validateOptions) judge(in io.Reader, file string) (verdict, error) {
	v := verdict{File: file}
	var p *config.Pipeline
	if file == "-" {
		v.File = "stdin"
		data, err := io.ReadAll(io.LimitReader(in, config.MaxFileBytes+1))
		if err != nil {
			return v, fmt.Errorf("standard input: %w", err)
		}
		p, v.Diagnostics = config.Parse(data, config.Options{File: v.File})
	} else {
		p, v.Diagnostics = config.Load(file, config.Options{})
	}
	if p != nil {
		v.Report = check.Analyze(p)
		v.Diagnostics = append(v.Diagnostics, v.Report.Findings...)
		if o.require != "" {
			v.Diagnostics = append(v.Diagnostics, v.Report.Require(check.Level(o.require))...)
		}
		v.Diagnostics.Sort()
	}
	v.OK = !v.Diagnostics.HasErrors() && (!o.strict || len(v.Diagnostics) == 0)
	return v, nil
}
