package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/dlq"
	"github.com/pipectl/pipectl/engine/pipe"
)

const dlqReplayLong = `Take the events out of dead letters, each exactly as it was before the node where it
failed, with its metadata and its id, and send them on their way again.

With --pipeline they go through the pipeline of a file: its sources are replaced by
the dead letters, each enters at the node where it failed, or at --to NODE, and
what cannot be reached from there is left out. The running pipeline is not touched
and may go on meanwhile; a file that a sink writes is appended to, whatever its mode.
With --url each event is the body of one request to an http_server source.

What was replayed is remembered in FILE.done, next to each file, and not replayed
again, unless --again says so. A letter counts as replayed once its event was
delivered or filtered, or has become a new dead letter; what failed or was dropped
on the way stays. Letters that come meanwhile wait for the next replay. A process
that is killed repeats at most what it has done in the last second.

The first signal drains, as with pipectl run. The exit code is 0 when all chosen
letters were replayed, 1 when some stay or it failed, 2 for wrong usage and 3 when it
was stopped before it was drained.`

type dlqReplayOptions struct {
	run      runOptions // of which set, receipt, logFormat, logLevel and noLive count
	files    []string
	where    letterFilter
	pipeline string
	to       string
	url      string
	token    string
	rate     string
	limit    int64
	again    bool
	dryRun   bool
}

func newDLQReplayCommand(std streams) *cobra.Command {
	var o dlqReplayOptions
	cmd := &cobra.Command{
		Use:   "replay FILE... --pipeline PIPELINE|--url URL",
		Short: "Send the events of dead letters on their way again",
		Long:  dlqReplayLong,
		Example: `  pipectl dlq replay bad.ndjson --pipeline shop.yaml --dry-run
  pipectl dlq replay bad.ndjson --pipeline shop.yaml --where 'node == "es"' --rate 500/s
  pipectl dlq replay 'bad*.ndjson*' --pipeline shop.yaml --to shape --limit 10
  pipectl dlq replay bad.ndjson --url http://127.0.0.1:8080/events`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.files, err = letterFiles(cmd, args); err != nil {
				return err
			}
			return runDLQReplay(cmd.Context(), std, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.pipeline, "pipeline", "", "the `FILE` of the pipeline that the events go through")
	f.StringVar(&o.to, "to", "", "let all events enter at this `NODE`, a stage or a sink")
	f.StringVar(&o.url, "url", "", "send the events to this `URL` of an http_server source instead")
	f.StringVar(&o.token, "token", "", "the `TOKEN` of that source")
	o.where.flag(cmd)
	f.StringVar(&o.rate, "rate", "", "replay at most so many letters, such as 500/s; by default as fast as the pipeline takes them")
	f.Int64Var(&o.limit, "limit", 0, "replay the first `N` letters only")
	f.BoolVar(&o.again, "again", false, "also those that were replayed before")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be replayed, and replay nothing")
	f.StringArrayVar(&o.run.set, "set", nil, "change a value of the pipeline, `PATH=VALUE`; may be repeated")
	f.StringVar(&o.run.receipt, "receipt", "", "write the receipt as JSON to `FILE`; - is standard output")
	f.StringVar(&o.run.logFormat, "log-format", "text", "log `FORMAT`: text or json")
	f.StringVar(&o.run.logLevel, "log-level", "info", "lowest `LEVEL` that is logged: debug, info, warn or error")
	f.BoolVar(&o.run.noLive, "no-live", false, "log progress also on a terminal")
	offer(cmd, "log-format", logFormats...)
	offer(cmd, "log-level", logLevels...)
	return cmd
}

func (o *dlqReplayOptions) validate() error {
	switch {
	case o.pipeline == "" && o.url == "":
		return usagef("say where the events go: --pipeline FILE, or --url of a running http_server source")
	case o.pipeline != "" && o.url != "":
		return usagef("--pipeline and --url are two ways: give one of them")
	case o.to != "" && o.url != "":
		return usagef("--to: names a node of --pipeline; with --url the events enter at that source")
	case len(o.run.set) > 0 && o.url != "":
		return usagef("--set: changes a value of --pipeline, but there is none")
	case o.token != "" && o.url == "":
		return usagef("--token: goes with --url")
	case o.limit < 0:
		return usagef("--limit: must be above 0, got %d", o.limit)
	}
	return o.run.validate()
}

// validateWay checks where the events go, p being the pipeline if there is one:
// also when no letter is left to be replayed.
func (o *dlqReplayOptions) validateWay(p *config.Pipeline) error {
	if o.to != "" {
		if err := mayEnter(p, o.to); err != nil {
			return usagef("--to: %w", err)
		}
	}
	if o.url != "" {
		if err := urlSink(o.url, o.token).Validate(); err != nil {
			return usagef("--url: %w", err)
		}
	}
	return nil
}

// limiter returns what --rate allows, nil for no limit: bursts of a twentieth of a
// second.
func (o *dlqReplayOptions) limiter() (*rate.Limiter, error) {
	if o.rate == "" {
		return nil, nil
	}
	var r pipe.Rate
	if err := r.UnmarshalText([]byte(o.rate)); err != nil {
		return nil, usagef("--rate: %w", err)
	}
	if r <= 0 {
		return nil, usagef("--rate: must be above 0, got %s", o.rate)
	}
	return rate.NewLimiter(rate.Limit(r), int(min(256, max(1, math.Round(float64(r)/20))))), nil
}

func runDLQReplay(ctx context.Context, std streams, o dlqReplayOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	pace, err := o.limiter()
	if err != nil {
		return err
	}
	where, err := o.where.compile()
	if err != nil {
		return err
	}
	var p *config.Pipeline
	if o.pipeline != "" {
		if p, err = loadPipeline(std, o.pipeline, o.run.set); err != nil {
			return err
		}
	}
	if err := o.validateWay(p); err != nil {
		return err
	}
	chosen, err := dlq.Select(o.files, dlq.Choice{Where: where, Again: o.again, Limit: o.limit}, !o.dryRun)
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("%w", err)
	} else if err != nil {
		return err
	}
	defer chosen.Close()
	tellChoice(std.Err, chosen, o.files)
	if chosen.Chosen == 0 {
		return errors.Join(chosen.Truncated...)
	}
	var way *replayWay
	if p == nil {
		way, err = wayToURL(chosen, o.url, o.token, pace)
	} else {
		way, err = wayThrough(p, chosen, o.to, pace)
	}
	if err != nil {
		return err
	}
	if o.dryRun {
		return tellWay(std.Out, way)
	}
	for _, note := range way.notes {
		fmt.Fprintln(std.Err, note)
	}
	return replay(ctx, std, o, way.pipeline, chosen)
}

// tellChoice says what was found.
func tellChoice(w io.Writer, s *dlq.Selection, files []string) {
	left := notes{}
	left.count(s.Done, "replayed before")
	left.count(s.Unwanted, "not wanted")
	text := fmt.Sprintf("%s of %s to replay", plural(s.Chosen, "dead letter"), strings.Join(files, ", "))
	if len(left) > 0 {
		text += "; left out: " + left.String()
	}
	fmt.Fprintln(w, printable(text))
	tellBad(w, s.Bad, s.BadLines)
	for _, err := range s.Truncated {
		fmt.Fprintln(w, printable(err.Error()))
	}
}

// tellWay says where the letters would go.
func tellWay(w io.Writer, way *replayWay) error {
	t := table{}
	t.add("FAILED AT", "LETTERS", "ENTER AT")
	for _, e := range way.entries {
		t.add(e.failed, commas(e.letters), e.at)
	}
	t.writeTo(w)
	for _, note := range way.notes {
		fmt.Fprintln(w, note)
	}
	return say(w, "dry run, nothing was replayed")
}

// replay runs the pipeline whose sources are letters.
func replay(ctx context.Context, std streams, o dlqReplayOptions, p *config.Pipeline, chosen *dlq.Selection) error {
	ignoreHangups()
	d := newDisplay(std, p, o.run)
	e, err := engine.New(p, engine.Options{Log: d.log})
	if err != nil {
		return &exitError{engine.ExitUsage, err}
	}
	stopSignals := watchSignals(e, d.log, std.Err, p.Shutdown.Timeout.D())
	stopSaving := saveReplayed(chosen, d.log)
	d.start(e.Status)
	receipt, err := e.Run(ctx)
	stopSaving()
	err = errors.Join(err, chosen.Save())
	d.end(receipt)
	stopSignals()
	writeReceipt(std.Err, receipt)
	if o.run.receipt != "" {
		err = errors.Join(err, saveReceipt(o.run.receipt, std.Out, receipt))
	}
	stay := chosen.Chosen - chosen.Replayed()
	fmt.Fprintln(std.Err, replayedLine(chosen, stay))
	switch {
	case err != nil:
		return &exitError{engine.ExitFailed, err}
	case receipt.ExitCode != 0:
		return &exitError{code: receipt.ExitCode}
	case stay > 0:
		return &exitError{engine.ExitFailed, fmt.Errorf("%s not replayed: try again, or look at what fails with pipectl dlq ls", are(stay, "letter"))}
	}
	return errors.Join(chosen.Truncated...)
}

// replayedLine says what became of the letters.
func replayedLine(s *dlq.Selection, stay int64) string {
	text := fmt.Sprintf("replayed %s of %s", commas(s.Replayed()), plural(s.Chosen, "letter"))
	again := s.Results()[pipe.DeadLettered]
	if again > 0 {
		text += fmt.Sprintf(", %s of which failed again and became new dead letters", commas(again))
	}
	if stay > 0 {
		n, rest := notes{}, stay
		for _, o := range []pipe.Outcome{pipe.Dropped, pipe.Refused, pipe.Discarded, pipe.Failed} {
			n.count(s.Results()[o], map[pipe.Outcome]string{pipe.Dropped: "dropped by an edge", pipe.Refused: "refused by an edge",
				pipe.Discarded: "failed again", pipe.Failed: "failed again, which ended the pipeline"}[o])
			rest -= s.Results()[o]
		}
		n.count(rest, "not reached or not settled")
		text += fmt.Sprintf("; %s: %s", map[bool]string{true: "1 stays", false: commas(stay) + " stay"}[stay == 1], n)
	}
	return text
}

// saveEvery is how often what was replayed is written down.
const saveEvery = time.Second

// saveReplayed writes down what was replayed, until the returned function is called.
func saveReplayed(s *dlq.Selection, log *slog.Logger) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(saveEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := s.Save(); err != nil {
					log.Warn("what was replayed is not saved; it is tried again", "error", err)
				}
			case <-end:
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}
