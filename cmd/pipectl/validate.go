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

A folder means the .yaml and .yml files in it and below, - is standard input. Of a
Markdown page (.md) the fenced blocks marked yaml that hold a pipeline are checked.
Nothing is connected to, opened or written; only the files and those they name
with ${file:} are read.`

// verdictWriters are the formats of what validate says.
var verdictWriters = []struct {
	format string
	write  func(io.Writer, []verdict) error
}{
	{"text", writeVerdicts}, {"json", encodeVerdicts}, {"github", writeAnnotations}, {"sarif", encodeSARIF}, {"junit", encodeJUnit},
}

func validateFormats() []string {
	var names []string
	for _, w := range verdictWriters {
		names = append(names, w.format)
	}
	return names
}

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
  pipectl validate --format github 'teams/**/*.yaml'
  pipectl validate README.md docs/*.md`,
		ValidArgsFunction: completeYAML,
		RunE: func(_ *cobra.Command, args []string) error {
			o.args = args
			return runValidate(std, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", "text", "output `FORMAT`: "+strings.Join(validateFormats(), ", "))
	f.BoolVar(&o.strict, "strict", false, "warnings are errors")
	f.StringVar(&o.require, "require", "", "demand a `LEVEL` of every path: "+strings.Join(levelNames(), ", "))
	offer(cmd, "format", validateFormats()...)
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
	return oneOf("format", o.format, validateFormats()...)
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
	var verdicts []verdict
	for _, f := range files {
		more, err := o.judge(std.In, f)
		if err != nil {
			return err
		}
		verdicts = append(verdicts, more...)
	}
	if len(verdicts) == 0 {
		return usagef("no pipeline in %s: in a page it is a block that begins with ```yaml and has edges", strings.Join(files, ", "))
	}
	bad := 0
	for _, v := range verdicts {
		if !v.OK {
			bad++
		}
	}
	for _, w := range verdictWriters {
		if w.format == o.format {
			err = w.write(std.Out, verdicts)
		}
	}
	if err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	switch {
	case bad == 0:
		return nil
	case len(verdicts) > 1:
		return usagef("%d of %d pipelines are not valid", bad, len(verdicts))
	}
	v := verdicts[0]
	if !v.Diagnostics.HasErrors() {
		return usagef("%s is not valid: %s, and --strict allows none", v.File, tally(v.Diagnostics))
	}
	return usagef("%s is not valid: %s", v.File, tally(v.Diagnostics))
}

// judge examines one file, or all pipelines of a page.
func (o *validateOptions) judge(in io.Reader, file string) ([]verdict, error) {
	switch {
	case isMarkdown(file):
		data, err := readPipelineFile(in, file)
		if err != nil {
			return nil, err
		}
		var all []verdict
		for _, f := range fences(string(data)) {
			p, found := config.Parse([]byte(f.padded()), config.Options{File: file})
			f.shift(found)
			all = append(all, o.verdict(fmt.Sprintf("%s:%d", file, f.line), p, found))
		}
		return all, nil
	case file == "-":
		data, err := readPipelineFile(in, file)
		if err != nil {
			return nil, err
		}
		p, found := config.Parse(data, config.Options{File: displayName(file)})
		return []verdict{o.verdict(displayName(file), p, found)}, nil
	}
	p, found := config.Load(file, config.Options{})
	return []verdict{o.verdict(file, p, found)}, nil
}

// verdict is what is to be said of a pipeline, nil when it cannot be read.
func (o *validateOptions) verdict(name string, p *config.Pipeline, found config.Diagnostics) verdict {
	v := verdict{File: name, Diagnostics: found}
	if p != nil {
		v.Report = check.Analyze(p)
		v.Diagnostics = append(v.Diagnostics, v.Report.Findings...)
		if o.require != "" {
			v.Diagnostics = append(v.Diagnostics, v.Report.Require(check.Level(o.require))...)
		}
		v.Diagnostics.Sort()
	}
	v.OK = !v.Diagnostics.HasErrors() && (!o.strict || len(v.Diagnostics) == 0)
	return v
}
