package sources

import "github.com/pipectl/pipectl/engine/pipe"

// idle returns the clock of waits for input; nil, which counts nothing, when
// nobody counts.
func idle(env pipe.Env) *pipe.Clock {
	if env.Meter == nil {
		return nil
	}
	return &env.Meter.Idle
}
