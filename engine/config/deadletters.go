package config

import (
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// The defaults of dead_letters.
const (
	DefaultLettersRatio  = 0.1 // of sinks; stages have no limit
	DefaultLettersWindow = pipe.Duration(time.Minute)
	DefaultLettersEvents = 100
)

// DeadLetters says from when on failures are an outage rather than bad events.
// While there is one no dead letters are made: what fails is held back, which is
// pressure, and tried again with growing pauses, until it goes well. It concerns
// only nodes whose failed port has an edge.
type DeadLetters struct {
	// MaxRatio is the largest part of the events in Window that may become dead
	// letters, above 0, at most 1; 1 means that there is no limit. Of a sink those
	// events count whose failure may go away and that were given up all the same,
	// because of retry.max_attempts or retry.max_elapsed; what can never be written
	// always becomes a dead letter. Of a stage every failure counts. Default 0.1 for a
	// sink, but 1 if its breaker has when_open: failed, and 1 for a stage: to many
	// stages input that is all bad is nothing unusual.
	MaxRatio float64 `yaml:"max_ratio" above:"0" max:"1"`
	// Window is how far back events count. Default 1m.
	Window pipe.Duration `yaml:"window" min:"1s"`
	// MinEvents is how many events in Window there must be at least. Default 100.
	MinEvents int `yaml:"min_events" min:"1"`
}

// fillDeadLetters sets the defaults of what is zero. It may be called before the
// rest of the node is known, and again.
func (n *Node) fillDeadLetters() {
	d := &n.DeadLetters
	refused := n.Breaker != nil && n.Breaker.WhenOpen == OpenFailed
	switch {
	case n.Kind == pipe.KindStage:
		d.MaxRatio = orDefault(d.MaxRatio, 1)
	case refused && d.MaxRatio == DefaultLettersRatio && !n.IsSet("dead_letters.max_ratio"):
		d.MaxRatio = 1 // dead letters during an outage are what the file asks for
	default:
		d.MaxRatio = orDefault(d.MaxRatio, DefaultLettersRatio)
	}
	d.Window = orDefault(d.Window, DefaultLettersWindow)
	d.MinEvents = orDefault(d.MinEvents, DefaultLettersEvents)
}
