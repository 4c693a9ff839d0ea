package sinks

import (
	"context"

	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSink("discard", func() pipe.Sink { return &Discard{} })
}

// Discard confirms every event and keeps none. It is for measuring a pipeline
// without its sink, and for output that is wanted nowhere.
//
// Example:
//
//	type: discard
type Discard struct{}

// Write confirms.
func (*Discard) Write(ctx context.Context, _ []*pipe.Event) error { return ctx.Err() }

// MaxConcurrent returns a bound that is never reached.
func (*Discard) MaxConcurrent() int { return 1 << 20 }
