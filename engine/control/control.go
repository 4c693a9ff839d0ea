// Package control is the one door for every change of a running pipeline: a
// reload of its file, a whole new configuration, other settings of an edge.
//
// Each change goes the same way: read, check, compare with what is in force,
// hand over to the engine, and write one line into the log, whatever came of
// it. Changes are made one after another. A change may be on trial: then it is
// taken back unless somebody confirms it, or as soon as its guard, a condition
// over the pipeline's figures, is false.
package control

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
)

// What a caller may want to tell from other refusals. Such an error is an
// *engine.RefusedError too.
var (
	// ErrConflict is a refusal because of the moment: the pipeline is not
	// running, a change is on trial, or there is nothing to confirm, to revert
	// or to reload. It is Busy when the same may be accepted later.
	ErrConflict = errors.New("not now")
	// ErrUnknownEdge is a refusal because there is no such edge.
	ErrUnknownEdge = errors.New("unknown edge")
)

// Engine is the running pipeline. *engine.Engine is one.
type Engine interface {
	Reload(ctx context.Context, next *config.Pipeline, o engine.ReloadOptions) (engine.ReloadReceipt, error)
	Config() *config.Pipeline
	Status() engine.Status
}

// Options say where configurations come from.
type Options struct {
	// Load reads the pipeline's file again, with the same --set options. It is
	// nil when there is no file, as with standard input.
	Load func() (*config.Pipeline, config.Diagnostics)
	// Parse reads a configuration that Apply was given. It is nil when that is
	// not possible.
	Parse func(yaml []byte) (*config.Pipeline, config.Diagnostics)
	// Log gets one line for every change that was tried. Nil discards.
	Log *slog.Logger
}

// Controller changes one running pipeline. It is safe for concurrent use.
type Controller struct {
	engine Engine
	o      Options
	log    *slog.Logger
	file   string // that the pipeline was started from

	turn   chan struct{}   // holds a value while somebody makes a change
	life   context.Context // ends with Close
	end    context.CancelFunc
	trials sync.WaitGroup

	mu    sync.Mutex // guards what follows
	next  *request   // for the file, waits for its turn
	trial *trial
	undo  []undo // the newest last
	past  []Entry
	last  Last
}

// New returns a controller of e. Close it when the pipeline has ended.
func New(e Engine, o Options) *Controller {
	c := &Controller{engine: e, o: o, log: o.Log, file: e.Config().File, turn: make(chan struct{}, 1)}
	c.life, c.end = context.WithCancel(context.Background())
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.last = Last{Success: true, At: time.Now(), Generation: e.Status().Generation, Who: whoStart}
	c.past = []Entry{{Generation: c.last.Generation, At: c.last.At, Who: whoStart}}
	return c
}

// Close ends the trial of a change, which stays in force, and a reload that is
// being made. It waits until no trial is running any more; call it once the
// pipeline has ended.
func (c *Controller) Close() {
	c.mu.Lock()
	c.end() // under the lock: no trial begins after it
	c.mu.Unlock()
	c.trials.Wait()
}

// take waits for the caller's turn to change the pipeline.
func (c *Controller) take(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Controller) release() { <-c.turn }

// refusal is an *engine.RefusedError that callers can tell from others.
type refusal struct {
	*engine.RefusedError
	kind error
}

func (r *refusal) Unwrap() []error { return []error{r.RefusedError, r.kind} }

// conflict is a refusal because of the moment.
func conflict(reason string) error {
	return &refusal{&engine.RefusedError{Reason: reason}, ErrConflict}
}

// busy is a conflict that passes.
func busy(reason string) error {
	return &refusal{&engine.RefusedError{Reason: reason, Busy: true}, ErrConflict}
}
