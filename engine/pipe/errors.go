package pipe

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Class says what can be done about an error.
type Class string

// The classes. An error without one is Retryable when it comes from a sink or a Caller, and
// Permanent when it comes from a stage that is no Caller.
const (
	Retryable Class = "retryable" // timeouts, connections, 5xx: try again
	Throttled Class = "throttled" // the far side asks to wait
	Permanent Class = "permanent" // will never succeed for these events
	Poison    Class = "poison"    // one event that cannot be handled
	Fatal     Class = "fatal"     // configuration or credentials: stop
)

// Error is an error with a class.
type Error struct {
	Class      Class
	Err        error
	RetryAfter time.Duration // for Throttled; 0 when the far side did not say
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Classed wraps err with a class; nil stays nil.
func Classed(c Class, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Class: c, Err: err}
}

// ClassOf returns the class of err, or fallback when it has none.
func ClassOf(err error, fallback Class) Class {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Class
	case errors.Is(err, context.DeadlineExceeded):
		return Retryable
	}
	return fallback
}

// ItemError is the failure of one event of a batch.
type ItemError struct {
	Index int
	Err   error
}

// PartialError is returned by Sink.Write when some events failed; all others
// count as delivered. Items are in order of Index.
type PartialError struct{ Items []ItemError }

func (e *PartialError) Error() string {
	if len(e.Items) == 0 {
		return "no event failed"
	}
	return fmt.Sprintf("%d of the events failed, first: %v", len(e.Items), e.Items[0].Err)
}

// FieldError points at a field of a component's YAML, by its path below the
// node: "paths[0]", "cases.big". Hint may say what to write instead.
type FieldError struct {
	Field string
	Err   error
	Hint  string
}

func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Err.Error()
	}
	return e.Field + ": " + e.Err.Error()
}
func (e *FieldError) Unwrap() error { return e.Err }

// Fieldf makes a *FieldError.
func Fieldf(field, format string, args ...any) error {
	return &FieldError{Field: field, Err: fmt.Errorf(format, args...)}
}

// OffsetError is an error inside a text value, such as an expression: Offset is
// the byte in the value where the mistake is.
type OffsetError struct {
	Offset int
	Err    error
	Hint   string
}

func (e *OffsetError) Error() string { return e.Err.Error() }
func (e *OffsetError) Unwrap() error { return e.Err }
