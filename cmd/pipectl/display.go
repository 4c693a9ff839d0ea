package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"golang.org/x/term"
)

var (
	logFormats = []string{"text", "json"}
	logLevels  = []string{"debug", "info", "warn", "error"}
)

// How often the picture is drawn and progress is logged.
const (
	drawEvery     = 125 * time.Millisecond
	progressEvery = 10 * time.Second
)

// display shows a running pipeline on standard error: as a picture on a
// terminal, as log lines otherwise.
type display struct {
	log  *slog.Logger
	live *liveView // nil when progress is logged
	stop chan struct{}
	done chan struct{}
}

func newDisplay(std streams, p *config.Pipeline, o runOptions) *display {
	d := &display{stop: make(chan struct{}), done: make(chan struct{})}
	out := std.Err
	if f, ok := std.Err.(*os.File); ok && !o.noLive && isLiveTerminal(f) && !sharesTerminal(std, p) {
		d.live = &liveView{out: f, color: os.Getenv("NO_COLOR") == "", size: func() (int, int) { return terminalSize(f) }}
		out = d.live
	}
	d.log = newLogger(out, o, d.live != nil)
	if d.live == nil {
		d.log = d.log.With("pipeline", p.Name)
	}
	return d
}

// newLogger makes the logger of a run. Beside the live view a line says the time
// of day only: who watches knows the date.
func newLogger(w io.Writer, o runOptions, live bool) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		panic("BUG: " + err.Error())
	}
	options := &slog.HandlerOptions{Level: level}
	if o.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	if live {
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05"))
			}
			return a
		}
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// isLiveTerminal reports whether a picture can be drawn in place on f.
func isLiveTerminal(f *os.File) bool {
	kind := os.Getenv("TERM")
	return term.IsTerminal(int(f.Fd())) && kind != "dumb" && kind != ""
}

// terminalSize returns the size of the terminal, or the usual one when it does
// not say.
func terminalSize(f *os.File) (width, height int) {
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// sharesTerminal reports whether the pipeline itself writes to or reads from a
// terminal: data and picture would tear each other.
func sharesTerminal(std streams, p *config.Pipeline) bool {
	for _, n := range p.Sinks {
		if n.Type == "stdout" && isTerminal(std.Out) {
			return true
		}
	}
	for _, n := range p.Sources {
		if n.Type == "stdin" && isTerminal(std.In) {
			return true
		}
	}
	return false
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// start begins to show status until end.
func (d *display) start(status func() engine.Status) {
	every, show := drawEvery, func(s engine.Status) { d.live.draw(s) }
	if d.live == nil {
		d.log.Info("pipeline starts")
		every, show = progressEvery, d.logProgress()
	}
	go func() {
		defer close(d.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				show(status())
			case <-d.stop:
				return
			}
		}
	}()
}

// end takes the picture away, for the receipt to take its place.
func (d *display) end(r engine.Receipt) {
	close(d.stop)
	<-d.done
	if d.live != nil {
		d.live.close()
		return
	}
	level := map[int]slog.Level{engine.ExitFailed: slog.LevelError, engine.ExitStopped: slog.LevelWarn}[r.ExitCode]
	b := r.Balance
	args := []any{"outcome", r.Outcome, "exit_code", r.ExitCode, "seconds", round(r.Seconds, 1000),
		"read", b.Read, "delivered", b.Delivered}
	for _, c := range []struct {
		name string
		n    int64
	}{{"filtered", b.Filtered}, {"dropped", b.Dropped}, {"dead_lettered", b.DeadLettered}, {"failed", b.Failed}, {"returned", b.Returned}} {
		if c.n > 0 {
			args = append(args, c.name, c.n)
		}
	}
	if r.Error != "" {
		args = append(args, "error", r.Error)
	}
	d.log.Log(context.Background(), level, "pipeline ended", args...)
}

// maxLoggedEdges bounds a progress line.
const maxLoggedEdges = 8

// logProgress returns a function that logs one line of progress: the figures of
// the pipeline, and those of the edges that have something to say.
func (d *display) logProgress() func(engine.Status) {
	var last engine.Status
	return func(s engine.Status) {
		w := window{before: last, now: s}
		last = s
		args := []any{"state", s.Outcome, "seconds", round(s.Seconds, 10), "read", s.Balance.Read,
			"read_per_second", round(w.readRate(), 10), "in_flight", s.Balance.InFlight}
		if s.Balance.Dropped > 0 {
			args = append(args, "dropped", s.Balance.Dropped)
		}
		if done, finite := progressOf(s); finite {
			args = append(args, "percent", round(done*100, 10))
		}
		d.log.Info("progress", append(args, edgeAttrs(w)...)...)
	}
}

func edgeAttrs(w window) []any {
	var notable []edgeFigures
	for _, e := range w.edges() {
		if e.fill >= 0.5 || e.blocked >= 0.1 || e.dropRate > 0 {
			notable = append(notable, e)
		}
	}
	shown, _ := busiest(notable, maxLoggedEdges)
	var groups []any
	for _, e := range shown {
		args := []any{"queued", e.status.Queued, "capacity", e.status.Capacity,
			"per_second", round(e.rate, 10), "blocked", round(e.blocked, 100)}
		if e.dropped > 0 {
			args = append(args, "dropped", e.dropped, "dropped_per_second", round(e.dropRate, 10))
		}
		groups = append(groups, slog.Group(e.id, args...))
	}
	var trouble []string
	for _, name := range w.now.SinkNames {
		if w.now.Sinks[name].Failing {
			trouble = append(trouble, name)
		}
	}
	var args []any
	if len(groups) > 0 {
		args = append(args, slog.Group("edges", groups...))
	}
	if len(trouble) > 0 {
		args = append(args, "failing_sinks", strings.Join(trouble, ","))
	}
	return args
}

// round keeps 1/per of precision.
func round(f, per float64) float64 { return float64(int64(f*per+0.5)) / per }
