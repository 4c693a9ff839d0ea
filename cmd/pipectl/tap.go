package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/spf13/cobra"
)

const tapLong = `Show a sample of the events that are offered to an edge of a running pipeline, one
line each on standard output: the time, how old the event is, where it comes
from, and the event. The pipeline never waits for a tap; what a tap skips is
counted and said on standard error. It ends with --count, --for or Ctrl-C.

keep/out is another way to write the edge keep->out, which needs no quotes.`

type tapOptions struct {
	asker
	edge  string
	where string
	rate  float64
	count int64
	last  time.Duration
}

func newTapCommand(std streams) *cobra.Command {
	var o tapOptions
	cmd := &cobra.Command{
		Use:   "tap EDGE",
		Short: "Show events that pass an edge of a running pipeline",
		Long:  tapLong,
		Example: `  pipectl tap keep/out
  pipectl tap keep/out --where 'status >= 500' --rate 5 --count 20
  pipectl tap 'parse.failed->bad' --for 10s --format json | jq .event`,
		Args:              oneEdge,
		ValidArgsFunction: completeEdges(&o.connection, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.edge = edgeID(args[0])
			return runTap(cmd.Context(), std, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.where, "where", "", "only events for which this `EXPRESSION` is true, as in a filter")
	f.Float64Var(&o.rate, "rate", 10, "events per second at most, up to 1000")
	f.Int64Var(&o.count, "count", 0, "end after `N` events")
	f.DurationVar(&o.last, "for", 0, "end after this `TIME`")
	o.flags(cmd)
	return cmd
}

// oneEdge demands exactly one EDGE.
func oneEdge(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usagef("%s: name the edge, such as: %s keep/out", cmd.Name(), cmd.CommandPath())
	case 1:
		return checkEdgeName(cmd.Name(), args[0])
	}
	return usagef("%s: takes one edge, got %d: %s", cmd.Name(), len(args), strings.Join(args, " "))
}

func (o *tapOptions) validate() error {
	switch {
	case o.rate <= 0:
		return usagef("--rate: must be above 0, got %v", o.rate)
	case o.count < 0:
		return usagef("--count: must be above 0, got %d", o.count)
	case o.last < 0:
		return usagef("--for: must be above 0, got %s", tidy(o.last))
	}
	return nil
}

func runTap(ctx context.Context, std streams, o tapOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	k, err := o.open()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if o.last > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.last)
		defer cancel()
	}
	c := get("api", "v1", "edges", o.edge, "tap")
	c.query = url.Values{"rate": {strconv.FormatFloat(o.rate, 'g', -1, 64)}}
	if o.where != "" {
		c.query.Set("where", o.where)
	}
	p := &tapPrinter{std: std, o: o}
	err = k.stream(ctx, c, p.take)
	p.end()
	return endOfStream(ctx, std, k, err)
}

// tapPrinter prints what a tap sends.
type tapPrinter struct {
	std    streams
	o      tapOptions
	shown  int64
	counts engine.TapCounts
	heard  int  // counts that came; one a second
	began  bool // something came
}

// tapNews is after how many seconds a tap says what it has not shown.
const tapNews = 5

func (p *tapPrinter) take(m push) error {
	p.began = true
	switch m.event {
	case "sample":
		if p.enough() {
			return nil
		}
		var e engine.TapEvent
		if err := json.Unmarshal(m.data, &e); err != nil {
			return fmt.Errorf("a sample is not what pipectl sends: %w", err)
		}
		p.shown++
		return p.print(e, m.data)
	case "counts":
		if err := json.Unmarshal(m.data, &p.counts); err != nil {
			return fmt.Errorf("counts are not what pipectl sends: %w", err)
		}
		if p.enough() { // the figures that say what was skipped
			return errEnough
		}
		if p.heard++; p.heard%tapNews == 0 {
			p.news()
		}
	}
	return m.ended()
}

// enough reports whether all that was asked for has been shown.
func (p *tapPrinter) enough() bool { return p.o.count > 0 && p.shown >= p.o.count }

func (p *tapPrinter) print(e engine.TapEvent, data []byte) error {
	line := string(plainJSON(data))
	if p.o.format == "text" {
		line = tapLine(e)
	}
	_, err := io.WriteString(p.std.Out, line+"\n")
	return err
}

// tapLine is an event as one line: when, how old, from where, what.
func tapLine(e engine.TapEvent) string {
	text := string(e.Event)
	if len(e.Event) == 0 {
		text = printable(e.Text)
	}
	if e.Truncated {
		text += fmt.Sprintf("… (%s in all)", bytesText(int64(e.Size)))
	}
	age := time.Duration(e.AgeMS) * time.Millisecond
	parts := []string{e.Time.Local().Format("15:04:05.000"), padLeft(span(age), 6)}
	if e.Origin != "" {
		parts = append(parts, printable(e.Origin))
	}
	return strings.Join(append(parts, text), "  ")
}

// news says what was seen and not shown.
func (p *tapPrinter) news() {
	c := p.counts
	if late := p.shown - c.Shown; late > 0 { // shown since it was counted
		c.Seen += late
	} else { // sent, and not shown any more
		c.Skipped -= late
	}
	c.Shown = p.shown
	if c.Seen == 0 {
		fmt.Fprintf(p.std.Err, "no event has come to %s yet\n", p.o.edge)
		return
	}
	n := notes{commas(c.Shown) + " shown"}
	n.count(c.Filtered, "filtered out")
	if c.Skipped > 0 {
		n = append(n, fmt.Sprintf("%s skipped (--rate %v)", commas(c.Skipped), p.o.rate))
	}
	fmt.Fprintf(p.std.Err, "%s seen: %s\n", plural(c.Seen, "event"), n)
}

// end says the sum of it, unless the tap never began.
func (p *tapPrinter) end() {
	if p.began {
		p.news()
	}
}
