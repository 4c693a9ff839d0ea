// Package stages holds the stages that come with pipectl, one component to a
// file: what turns events into events between sources and sinks.
package stages

import (
	"fmt"

	"github.com/pipectl/pipectl/engine/pipe"
)

// poison marks err as the failure of one event that will never succeed.
func poison(err error) error { return pipe.Classed(pipe.Poison, err) }

// fieldError points at a field of a component; hint says what to write instead.
func fieldError(field, hint, format string, args ...any) error {
	return &pipe.FieldError{Field: field, Err: fmt.Errorf(format, args...), Hint: hint}
}
