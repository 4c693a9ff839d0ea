package stages

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterStage("chaos", func() pipe.Stage { return &Chaos{FailClass: string(pipe.Poison)} })
}

// Chaos is a stage that goes wrong on purpose, to see what a pipeline does about
// it: it fails, delays, hangs and panics for a share of the events and hands on
// the others unchanged. It is for tests; it loses nothing by itself.
//
// Each event meets at most one misfortune, so the shares add up to at most 1. With
// a seed the same events meet the same in every run, as long as they come in the
// same order.
//
// Example:
//
//	type: chaos
//	fail: 0.01
//	delay: 0.05
//	delay_for: 200ms
//	seed: 7
type Chaos struct {
	// Fail is the share of events that fail, 0 to 1. They leave through the failed
	// port with fail_class.
	Fail float64 `yaml:"fail" min:"0" max:"1"`

	// FailClass is the class of these failures, poison by default. fatal ends the
	// pipeline.
	FailClass string `yaml:"fail_class" enum:"retryable,throttled,permanent,poison,fatal"`

	// Delay is the share of events that are held up for delay_for, 0 to 1. The
	// events behind them wait too.
	Delay float64 `yaml:"delay" min:"0" max:"1"`

	// DelayFor is how long a delayed event takes.
	DelayFor pipe.Duration `yaml:"delay_for"`

	// Hang is the share of events at which the stage stops working until its call
	// is cancelled, by a timeout, a reload or the end, 0 to 1.
	Hang float64 `yaml:"hang" min:"0" max:"1"`

	// Deaf makes a hanging call ignore that it is cancelled, as code does that
	// waits without a context: only a timeout of the stage gets its events back.
	// It hangs for hang_for, which is then required.
	Deaf bool `yaml:"deaf"`

	// HangFor ends a hang by itself. 0, the default, means never.
	HangFor pipe.Duration `yaml:"hang_for"`

	// Panic is the share of events at which the stage panics, 0 to 1. The events
	// of the same call that it has not handed on fail with it.
	Panic float64 `yaml:"panic" min:"0" max:"1"`

	// Seed makes the choice the same in every run. 0, the default, makes it
	// different each time.
	Seed uint64 `yaml:"seed"`

	seen atomic.Uint64 // events so far
	base uint64
}

// errChaos is the failure that chaos makes.
var errChaos = errors.New("chaos: this event was chosen to fail")

// Validate checks that the shares fit together.
func (c *Chaos) Validate() error {
	var errs []error
	if sum := c.Fail + c.Delay + c.Hang + c.Panic; sum > 1 {
		errs = append(errs, fieldError("fail", "an event meets one misfortune at most", "the shares fail, delay, hang and panic add up to %v, above 1", sum))
	}
	if c.Delay > 0 && c.DelayFor <= 0 {
		errs = append(errs, fieldError("delay_for", "such as 200ms", "is required with delay"))
	}
	if c.Deaf && c.HangFor <= 0 {
		errs = append(errs, fieldError("hang_for", "such as 30s", "is required with deaf: nothing else ends such a hang"))
	}
	return errors.Join(errs...)
}

// Open begins to count.
func (c *Chaos) Open(context.Context, pipe.Env) error {
	if c.base = c.Seed; c.base == 0 {
		c.base = rand.Uint64()
	}
	return nil
}

// Process decides about each event by its number.
func (c *Chaos) Process(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		at := rand.New(rand.NewPCG(c.base, c.seen.Add(1))).Float64()
		var err error
		switch {
		case at < c.Fail:
			out.Fail(e, pipe.Classed(pipe.Class(c.FailClass), errChaos))
			continue
		case at < c.Fail+c.Panic:
			panic("chaos: this event was chosen to panic")
		case at < c.Fail+c.Panic+c.Delay:
			err = sleep(ctx, c.DelayFor.D())
		case at < c.Fail+c.Panic+c.Delay+c.Hang:
			err = c.hang(ctx)
		}
		if err != nil {
			return err
		}
		out.Emit(e)
	}
	return nil
}

// hang waits for the end of the call, or of the hang.
func (c *Chaos) hang(ctx context.Context) error {
	if c.Deaf {
		ctx = context.WithoutCancel(ctx)
	}
	if c.HangFor > 0 {
		return sleep(ctx, c.HangFor.D())
	}
	<-ctx.Done()
	return fmt.Errorf("chaos: hung: %w", ctx.Err())
}

// sleep waits for span, or for the end of ctx.
func sleep(ctx context.Context, span time.Duration) error {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
