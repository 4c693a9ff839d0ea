package stages

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

func init() { pipe.RegisterStage("delay", func() pipe.Stage { return &Delay{} }) }

// Delay spends a fixed time on each event, one after the other, and hands it on
// unchanged: a slow stage, to see how a pipeline behaves around one. With
// workers: N it spends the time on N events at once.
//
//	stages:
//	  slow: {type: delay, for: 5ms}
//
// Example:
//
//	type: delay
//	for: 2ms
type Delay struct {
	// For is the time that one event takes, 50us or more being exact on average:
	// what a timer oversleeps is taken off the next events. Time without events
	// is not made up for.
	For pipe.Duration `yaml:"for" required:"true" above:"0s"`

	overslept atomic.Int64 // ns that waits took too long, not yet taken off
}

// maxOverslept bounds what a stalled machine may take off later events.
const maxOverslept = 100 * time.Millisecond

// Validate checks the time.
func (d *Delay) Validate() error {
	if d.For <= 0 {
		return fieldError("for", "such as 5ms", "must be above 0")
	}
	return nil
}

// MaxBatch returns how many events take about a millisecond, so that neither
// timers nor hand-overs weigh on the short times.
func (d *Delay) MaxBatch() int { return max(1, min(256, int(time.Millisecond/max(1, d.For.D())))) }

// Lasts returns how long a call takes: one event, when it takes long at all.
func (d *Delay) Lasts() time.Duration { return max(time.Millisecond, d.For.D()) }

// Process takes its time and hands the events on.
func (d *Delay) Process(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
	for len(in) > 0 {
		n := min(len(in), d.MaxBatch())
		if err := d.spend(ctx, time.Duration(n)*d.For.D()); err != nil {
			return err
		}
		for _, e := range in[:n] {
			out.Emit(e)
		}
		in = in[n:]
	}
	return nil
}

// spend waits for span, less what earlier waits took too long.
func (d *Delay) spend(ctx context.Context, span time.Duration) error {
	span -= min(time.Duration(d.overslept.Swap(0)), maxOverslept)
	if span <= 0 {
		d.overslept.Add(int64(-span))
		return ctx.Err()
	}
	start := time.Now()
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	d.overslept.Add(int64(time.Since(start) - span))
	return nil
}
