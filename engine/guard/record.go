package guard

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Results of an attempt besides the error classes.
const (
	ResultOK        = "ok"
	ResultPartial   = "partial"   // some events of the batch failed
	ResultCancelled = "cancelled" // a stop or a reload ended it: neither success nor failure
)

// Bounds are the upper bounds of the buckets of Record's histogram, in seconds.
var Bounds = [...]float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 2.5, 5, 10, 30, 60}

// Record is the account of a sink's attempts. It outlives the guards of one node.
type Record struct {
	retries atomic.Int64
	opened  atomic.Int64
	failing atomic.Bool

	mu      sync.Mutex // guards what follows
	results map[string]int64
	buckets [len(Bounds) + 1]int64
	sum     time.Duration
}

// Retries returns how many attempts were repeats.
func (r *Record) Retries() int64 { return r.retries.Load() }

// Opened returns how often the breaker has opened.
func (r *Record) Opened() int64 { return r.opened.Load() }

// Failing reports whether the last attempt failed and is being repeated.
func (r *Record) Failing() bool { return r.failing.Load() }

// Results returns how many attempts are over, by result: ResultOK,
// ResultPartial, ResultCancelled or an error class.
func (r *Record) Results() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := make(map[string]int64, len(r.results))
	for k, n := range r.results {
		m[k] = n
	}
	return m
}

// Seconds returns how many attempts took how long, by Bounds, not cumulative,
// and the sum in seconds.
func (r *Record) Seconds() (buckets []int64, sum float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]int64(nil), r.buckets[:]...), r.sum.Seconds()
}

func (r *Record) add(d time.Duration, err error) {
	i := 0
	for s := d.Seconds(); i < len(Bounds) && s > Bounds[i]; i++ {
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.results == nil {
		r.results = map[string]int64{}
	}
	r.results[result(err)]++
	r.buckets[i]++
	r.sum += d
}

func result(err error) string {
	var part *pipe.PartialError
	switch {
	case err == nil:
		return ResultOK
	case errors.As(err, &part):
		return ResultPartial
	case errors.Is(err, context.Canceled):
		return ResultCancelled
	}
	return string(pipe.ClassOf(err, pipe.Retryable))
}
