package engine

import (
	"context"
	"errors"
	"math"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/guard"
	"github.com/pipectl/pipectl/engine/pipe"
)

// guardCalls gives j the guards of a stage that calls out. They go on with what
// those before know if the stage is the same. The timeout stays with the call
// itself, which is left behind if it ignores it.
func (s *stageNode) guardCalls(j *stageJob, c *config.Node) {
	o := guard.Options{Log: s.log, Record: &s.calls, Meter: &s.meter}
	if now := s.doing.Load(); now != nil && now.stage == j.stage {
		o.Predecessor = now.guard
	}
	set := guards(c)
	set.Timeout = 0
	set.Concurrency = guard.Concurrency{Max: s.cfg.Workers + c.MaxStuck + 1} // as many as there are, those left behind included
	set.Batch = guard.Batch{Events: j.batch, Bytes: math.MaxInt64}
	j.guard = guard.New(nil, set, o)
	if r := c.RateLimit; r != nil && r.Rate > 0 {
		burst := r.Burst
		if burst == 0 {
			burst = int(min(float64(r.Rate), maxBatch))
		}
		j.batch = max(1, min(j.batch, burst))
	}
}

// gone reports whether the stage or its guards are not the worker's any more.
func (w *worker) gone() bool { return w.job.over() || w.guard != nil && w.guard.Released() }

// ask calls the stage: once, or, if it calls out, as often as its guards say.
// What they give up has failed then; the error is about what is not decided.
func (w *worker) ask(in []*pipe.Event) (err error, panicked bool) {
	if w.guard == nil {
		return w.call(w.job.ctx, in)
	}
	var last error
	attempts, err := w.guard.Call(w.job.ctx, in, func(ctx context.Context, in []*pipe.Event) error {
		switch last, panicked = w.call(ctx, in); {
		case last == errLate:
			return pipe.Classed(pipe.Permanent, last) // another worker has the events
		case last != nil && pipe.ClassOf(last, "") == "":
			last = pipe.Classed(pipe.Retryable, last)
		}
		return w.undecided(in, last)
	})
	if last == errLate {
		return errLate, false
	}
	w.attempts = max(w.attempts, attempts)
	var part *pipe.PartialError
	if !errors.As(err, &part) {
		return err, panicked
	}
	err = nil
	for _, it := range part.Items {
		if stopped := errors.Is(it.Err, guard.ErrReleased) || w.job.over(); stopped || panicked && errors.Is(it.Err, last) {
			err = it.Err // stopping is not failing, and which one has panicked is not known: it stays undecided
			continue
		}
		w.out.Fail(in[it.Index], it.Err)
	}
	return err, panicked
}

// undecided says of the error of a call which events it is about: those that the
// stage has not decided about. All others are done with.
func (w *worker) undecided(in []*pipe.Event, err error) error {
	if err == nil {
		return nil
	}
	var part pipe.PartialError
	for i := range in {
		if len(w.out.Undecided(nil, in[i:i+1])) > 0 {
			part.Items = append(part.Items, pipe.ItemError{Index: i, Err: err})
		}
	}
	switch len(part.Items) {
	case 0:
		return nil
	case len(in):
		return err
	}
	return &part
}

// CallStatus is what the guards of a stage that calls out are doing.
type CallStatus struct {
	Requests    map[string]int64 `json:"requests,omitempty"` // attempts that are over, by result: ok or an error class
	Retries     int64            `json:"retries"`
	Failing     bool             `json:"failing,omitempty"` // the last attempt failed and is being repeated
	RetryBudget float64          `json:"retry_budget"`      // part of the burst of retries that is left, 0 to 1
	Breaker     *BreakerStatus   `json:"breaker,omitempty"` // nil when the stage has none
}

// callStatus fills in what the guards of the stage say.
func (s *stageNode) callStatus(st *StageStatus) {
	g := s.doing.Load().guard
	if g == nil {
		return
	}
	if st.RateLimit == 0 {
		st.RateLimit = g.RateLimit()
	}
	st.Calls = &CallStatus{Requests: s.calls.Results(), Retries: s.calls.Retries(), Failing: s.calls.Failing(),
		RetryBudget: g.Budget(), Breaker: breakerStatus(g, &s.calls)}
}
