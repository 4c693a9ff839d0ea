package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/control"
)

// stopper is the part of an engine that signals act on.
type stopper interface {
	Drain()
	Stop()
}

// sameSignal is how soon a signal that comes again counts as the one before:
// timeout(1) and some process managers signal a process and then its group, so
// that it gets every signal twice.
const sameSignal = 25 * time.Millisecond

// watchSignals lets SIGINT and SIGTERM drain e, then stop it, then end the
// process. Once the returned function is called, because e has ended, the first
// two do nothing: what is left is to write the receipt, and no signal is to change
// the exit code. SIGPIPE is left to the writers: a closed standard output is an
// error of the sink, not a silent end.
func watchSignals(e stopper, log *slog.Logger, errs io.Writer, timeout time.Duration) (over func()) {
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	var ended atomic.Bool
	go func() { // until the process ends
		var c signalCounter
		for s := range signals {
			n := c.count(s, time.Now())
			if ended.Load() && n < 3 {
				continue
			}
			onSignal(n, s, e, log, errs, timeout)
		}
	}()
	return func() { ended.Store(true) }
}

// signalCounter numbers signals.
type signalCounter struct {
	last os.Signal
	at   time.Time
	n    int
}

// count returns the number of a signal, or 0 when it is the last one again.
func (c *signalCounter) count(s os.Signal, now time.Time) int {
	if s == c.last && now.Sub(c.at) < sameSignal {
		return 0
	}
	c.last, c.at = s, now
	c.n++
	return c.n
}

func onSignal(number int, s os.Signal, e stopper, log *slog.Logger, errs io.Writer, timeout time.Duration) {
	switch number {
	case 0:
	case 1:
		e.Drain()
		log.Info("draining; a second signal stops at once", "signal", s.String(), "timeout", timeout)
	case 2:
		e.Stop()
		log.Warn("stopping; a third signal ends the process", "signal", s.String())
	default:
		force(errs)
	}
}

// force ends the process at once, whatever hangs, standard error included.
func force(errs io.Writer) {
	time.AfterFunc(100*time.Millisecond, func() { os.Exit(engine.ExitForced) })
	fmt.Fprintln(errs, "pipectl: forced to end by a third signal, there is no receipt")
	os.Exit(engine.ExitForced)
}

// reloader is the part of a controller that signals and files act on. It keeps
// record of every reload, so that callers need not look at the outcome.
type reloader interface {
	Reload(ctx context.Context, who string) (control.Outcome, error)
}

// ignoreHangups keeps SIGHUP from ending the process. Call it before the
// pipeline is read, until watchHangups makes a reload of the signal.
func ignoreHangups() { signal.Ignore(syscall.SIGHUP) }

// watchHangups lets SIGHUP reload the pipeline's file, until the returned
// function is called; from then on it does nothing. Signals that come during a
// reload make one more. They do not hold up the signals that end the process.
func watchHangups(r reloader) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-hangups:
				if ctx.Err() == nil {
					r.Reload(ctx, "SIGHUP")
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		ignoreHangups()
		cancel()
		<-ended
	}
}
