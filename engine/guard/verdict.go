package guard

import (
	"context"
	"errors"

	"github.com/pipectl/pipectl/engine/pipe"
)

// verdict is what an attempt says about the far side.
type verdict uint8

const (
	neither verdict = iota // nothing: it was cancelled, or never reached the far side
	good                   // it took something
	bad                    // it did not answer, or asked to wait
)

// judge judges an attempt with so many events. What a stop or a reload has
// cancelled says nothing about the far side, nor does an event that cannot be
// encoded or is refused for what it is.
func judge(ctx context.Context, err error, events int) verdict {
	if err == nil {
		return good
	}
	var part *pipe.PartialError
	switch {
	case ctx.Err() != nil, errors.Is(err, context.Canceled):
		return neither
	case errors.As(err, &part):
		if len(part.Items) < events {
			return good
		}
		for _, it := range part.Items {
			if pressure(it.Err) {
				return bad
			}
		}
		return neither
	case pressure(err):
		return bad
	}
	return neither
}

// pressure reports whether err is that of a far side that cannot take more now.
func pressure(err error) bool {
	class := pipe.ClassOf(err, pipe.Retryable)
	return class == pipe.Retryable || class == pipe.Throttled
}
