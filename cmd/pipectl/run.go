package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/check"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/spf13/cobra"
)

const runLong = `Run a pipeline until its sources end or a signal comes.

On a terminal a line per edge shows what happens; otherwise progress is logged to
standard error. At the end a receipt says what became of every event. Standard
output belongs to the data.`

type runOptions struct {
	file      string
	set       []string
	receipt   string
	logFormat string
	logLevel  string
	noLive    bool
}

func newRunCommand(std streams) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Run a pipeline",
		Long:  runLong,
		Example: `  pipectl run pipeline.yaml
  pipectl run pipeline.yaml --set 'sources.in.paths[0]=today.log' --receipt receipt.json
  pipectl run pipeline.yaml --set 'edges.keep->out.buffer=64' --log-format json`,
		Args:              oneFile,
		ValidArgsFunction: completeYAML,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file = args[0]
			return runRun(cmd.Context(), std, o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.set, "set", nil, "change a value of the file, `PATH=VALUE`; may be repeated")
	f.StringVar(&o.receipt, "receipt", "", "write the receipt as JSON to `FILE`; - is standard output")
	f.StringVar(&o.logFormat, "log-format", "text", "log `FORMAT`: text or json")
	f.StringVar(&o.logLevel, "log-level", "info", "lowest `LEVEL` that is logged: debug, info, warn or error")
	f.BoolVar(&o.noLive, "no-live", false, "log progress also on a terminal")
	offer(cmd, "log-format", logFormats...)
	offer(cmd, "log-level", logLevels...)
	return cmd
}

func (o *runOptions) validate() error {
	if err := oneOf("log-format", o.logFormat, logFormats...); err != nil {
		return err
	}
	if err := oneOf("log-level", o.logLevel, logLevels...); err != nil {
		return err
	}
	return checkReceiptPath(o.receipt)
}

func runRun(ctx context.Context, std streams, o runOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	p, err := loadPipeline(std, o.file, o.set)
	if err != nil {
		return err
	}
	report := check.Analyze(p)
	if err := report.Findings.WriteText(std.Err); err != nil {
		return err
	}
	if report.Findings.HasErrors() {
		return usagef("%s is not valid: %s", o.file, tally(report.Findings))
	}
	tuneMemory(int64(p.Limits.Memory))
	d := newDisplay(std, p, o)
	e, err := engine.New(p, engine.Options{Log: d.log})
	if err != nil {
		return &exitError{engine.ExitUsage, err}
	}
	unwatch := watchSignals(e, d.log, std.Err, p.Shutdown.Timeout.D())
	d.start(e.Status)
	receipt, err := e.Run(ctx)
	d.end(receipt)
	unwatch()
	writeReceipt(std.Err, receipt)
	if o.receipt != "" {
		err = errors.Join(err, saveReceipt(o.receipt, std.Out, receipt))
	}
	switch {
	case err != nil:
		return &exitError{engine.ExitFailed, err}
	case receipt.ExitCode != 0:
		return &exitError{code: receipt.ExitCode}
	}
	return nil
}

// loadPipeline reads a file and prints what is wrong with it.
func loadPipeline(std streams, file string, set []string) (*config.Pipeline, error) {
	p, found := config.Load(file, config.Options{Set: set})
	if err := found.WriteText(std.Err); err != nil {
		return nil, err
	}
	if found.HasErrors() {
		return nil, usagef("%s is not valid: %s", file, tally(found))
	}
	return p, nil
}

// tally says how many errors and warnings there are.
func tally(found config.Diagnostics) string {
	errs, warnings := countBySeverity(found)
	switch {
	case warnings == 0:
		return plural(errs, "error")
	case errs == 0:
		return plural(warnings, "warning")
	}
	return fmt.Sprintf("%s and %s", plural(errs, "error"), plural(warnings, "warning"))
}

func countBySeverity(found config.Diagnostics) (errs, warnings int64) {
	for _, d := range found {
		if d.Severity == config.Error {
			errs++
		} else {
			warnings++
		}
	}
	return errs, warnings
}
