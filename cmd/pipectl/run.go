package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/check"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/trace"
	"github.com/spf13/cobra"
)

const runLong = `Run a pipeline until its sources end or a signal comes.

On a terminal a line per edge shows what happens; otherwise progress is logged to
standard error. At the end a receipt says what became of every event. Standard
output belongs to the data.

With --admin a live page shows the pressure and changes it; see also pipectl top,
why, tap, edge and apply. SIGHUP reads the file again, --watch whenever it changes:
a running pipeline takes over what it can, and refuses the rest whole.`

type runOptions struct {
	file      string
	set       []string
	admin     string
	watch     bool
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
  pipectl run pipeline.yaml --admin 127.0.0.1:9464 --watch
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
	f.StringVar(&o.admin, "admin", "", "serve the live page, metrics and changes at `ADDR`, such as "+defaultAdmin+", whatever the file says; off for none")
	f.BoolVar(&o.watch, "watch", false, "reload the file when it changes")
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
	if err := checkAdminAddress(o.admin); err != nil {
		return err
	}
	return checkReceiptPath(o.receipt)
}

func runRun(ctx context.Context, std streams, o runOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	ignoreHangups()
	var files *fileWatch
	var cannotWatch error
	if o.watch { // from before the file is read
		files, cannotWatch = newFileWatch(o.file)
	}
	p, err := loadPipeline(std, o.file, o.set)
	if err != nil {
		return err
	}
	if cannotWatch != nil {
		return usagef("--watch: %w", cannotWatch)
	}
	withAdmin(p, o.admin)
	report := check.Analyze(p)
	if err := report.Findings.WriteText(std.Err); err != nil {
		return err
	}
	if report.Findings.HasErrors() {
		return usagef("%s is not valid: %s", o.file, tally(report.Findings))
	}
	return runPipeline(ctx, std, o, p, files)
}

// runPipeline runs a valid pipeline, with all that stands beside it: signals, the
// admin endpoint, the watch over its file unless files is nil, and the display.
func runPipeline(ctx context.Context, std streams, o runOptions, p *config.Pipeline, files *fileWatch) error {
	d := newDisplay(std, p, o)
	tracer, err := trace.New(p.Tracing, trace.Options{Pipeline: p.Name, Version: versionText(), Log: d.log, Redact: p.Redact})
	if err != nil {
		return &exitError{engine.ExitUsage, err}
	}
	e, err := engine.New(p, engine.Options{Log: d.log, Observer: tracer.Observer(), Memory: tuneMemory(d.log)})
	if err != nil {
		return &exitError{engine.ExitUsage, err}
	}
	c := newController(e, o, d.log)
	end, err := startAdmin(p, e, c, d.log)
	if err != nil {
		return err
	}
	stopSignals := watchSignals(e, d.log, std.Err, p.Shutdown.Timeout.D())
	stopReloads := watchReloads(c, files, d.log)
	d.announce(end)
	d.start(e.Status)
	receipt, err := e.Run(ctx)
	stopReloads()
	c.Close()
	end.close()
	tracer.Close(context.WithoutCancel(ctx))
	d.end(receipt)
	stopSignals()
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

// watchReloads reloads on SIGHUP and, unless files is nil, when the file changes,
// until the returned function is called.
func watchReloads(r reloader, files *fileWatch, log *slog.Logger) (stop func()) {
	stopHangups, stopFiles := watchHangups(r), func() {}
	if files != nil {
		stopFiles = files.start(log, r)
	}
	return func() {
		stopFiles()
		stopHangups()
	}
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
