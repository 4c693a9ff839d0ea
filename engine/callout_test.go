package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/diff"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterStage("ask", func() pipe.Stage { return &ask{} })
}

// ask is a stage that calls out: for each event it asks somebody, who answers as
// told.
type ask struct {
	Max int `yaml:"max"` // events at a time

	mu     sync.Mutex                                 // guards what follows
	answer func(ctx context.Context, event int) error // nil: all is well
	asked  map[int]int                                // how often, by event
	at     []time.Time                                // of each Process
}

func (*ask) CallsOut()       {}
func (a *ask) MaxBatch() int { return max(1, a.Max) }

func (a *ask) calls() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.at)
}

func (a *ask) Process(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
	a.mu.Lock()
	answer := a.answer
	a.at = append(a.at, time.Now())
	a.mu.Unlock()
	for _, e := range in {
		a.mu.Lock()
		if a.asked == nil {
			a.asked = map[int]int{}
		}
		a.asked[number(e)]++
		a.mu.Unlock()
		if answer != nil {
			if err := answer(ctx, number(e)); err != nil {
				return err
			}
		}
		out.Emit(e)
	}
	return nil
}

var errAway = errors.New("nobody answers")

const asking = `
sources: {in: {type: numbers, count: 20, batch: 20}}
stages: {ask: {type: ask, %s}}
sinks: {out: {type: memory}, dead: {type: memory}}
edges: [in -> ask -> out, ask.failed -> dead]
`

// askOf returns the stage, told how to answer.
func askOf(e *Engine, answer func(ctx context.Context, event int) error) *ask {
	for _, n := range e.graph.stages {
		if a, ok := n.component().(*ask); ok {
			a.answer = answer
			return a
		}
	}
	panic("no such stage")
}

// away answers nobody for a time.
func away(d time.Duration) func(context.Context, int) error {
	start := time.Now()
	return func(context.Context, int) error {
		if time.Since(start) < d {
			return errAway
		}
		return nil
	}
}

const steadily = "retry: {initial: 1s, max: 1s, jitter: 0}"

// TestCallerIsRetried: until it works, which is throttled time, and nothing fails.
func TestCallerIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, fmt.Sprintf(asking, steadily))
		askOf(e, away(10*time.Second))
		start := time.Now()
		r, err := run(t, e)
		st := e.Status().Stages["ask"]
		if err != nil || r.Balance.Delivered != 20 || st.Failed != 0 || time.Since(start) != 10*time.Second {
			t.Errorf("error %v, %+v, %d failed, after %v", err, r.Balance, st.Failed, time.Since(start))
		}
		if c := st.Calls; c.Retries != 10 || c.Failing || c.Requests["retryable"] != 10 || c.RetryBudget == 0 || st.Time.Throttled != 10 {
			t.Errorf("%+v, throttled for %v s", c, st.Time.Throttled)
		}
		wantNumbers(t, sinkOf(t, e, "out").got(), 20)
	})
}

// TestCallerIsAskedOnce: what it has decided about is not asked again when the
// rest is, nor when it panics.
func TestCallerIsAskedOnce(t *testing.T) {
	f := func(what string, fail func() error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := build(t, fmt.Sprintf(asking, "max: 10, "+steadily))
			failed := false
			a := askOf(e, func(_ context.Context, n int) error {
				if n == 5 && !failed {
					failed = true
					return fail()
				}
				return nil
			})
			if _, err := run(t, e); err != nil {
				t.Fatal(err)
			}
			for n, times := range a.asked {
				if n != 5 && times != 1 || n == 5 && times != 2 {
					t.Errorf("%s: event %d was asked about %d times", what, n, times)
				}
			}
			wantNumbers(t, sinkOf(t, e, "out").got(), 20)
		})
	}
	f("error", func() error { return errAway })
	f("panic", func() error { panic("boom") })
}

// TestCallerGivesUp: by attempts and by age; the class decides, and the dead letter
// tells the attempts.
func TestCallerGivesUp(t *testing.T) {
	f := func(keys string, err error, attempts int, took time.Duration, class pipe.Class, says string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := build(t, fmt.Sprintf(asking, keys))
			a := askOf(e, func(_ context.Context, n int) error {
				if n == 19 {
					return err
				}
				return nil
			})
			start := time.Now()
			r, runErr := run(t, e)
			if runErr != nil || r.Balance.Delivered != 19 || r.Balance.DeadLettered != 1 || a.asked[19] != attempts || time.Since(start) != took {
				t.Errorf("%s: error %v, %+v, %d attempts, after %v", keys, runErr, r.Balance, a.asked[19], time.Since(start))
			}
			if got := sinkOf(t, e, "dead").got(); len(got) != 1 || !strings.Contains(got[0], says) || !strings.Contains(got[0], fmt.Sprintf(`"class":%q`, class)) || !strings.Contains(got[0], fmt.Sprintf(`"attempts":%d`, attempts)) {
				t.Errorf("%s: dead letters %v", keys, got)
			}
		})
	}
	f("retry: {max_attempts: 3, initial: 1s, max: 1s, jitter: 0}", errAway, 3, 2*time.Second, pipe.Retryable, "gave up after 3 attempts")
	f(steadily+", deadline: 5s", errAway, 5, 5*time.Second, pipe.Permanent, "not written within deadline 5s")
	f(steadily, pipe.Classed(pipe.Poison, errAway), 1, 0, pipe.Poison, "nobody answers")
}

// TestCallerBreaker: it opens for all workers together.
func TestCallerBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, fmt.Sprintf(asking, "workers: 4, "+steadily+", breaker: {min_requests: 4, wait: 30s, max_wait: 30s, half_open: {min_time: 1s, ramp: 1s, successes: 1}}"))
		a := askOf(e, away(10*time.Second))
		end := started(t, e)
		time.Sleep(20 * time.Second)
		if st := e.Status().Stages["ask"].Calls; st.Breaker.State != "open" || st.Breaker.Opened != 1 || a.calls() != 4 {
			t.Errorf("%+v after %d calls", st.Breaker, a.calls())
		}
		time.Sleep(time.Minute)
		end()
		wantNumbers(t, sinkOf(t, e, "out").got(), 20)
	})
}

// TestCallerWorkers call side by side.
func TestCallerWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, fmt.Sprintf(asking, "workers: 5"))
		askOf(e, func(context.Context, int) error { time.Sleep(time.Second); return nil })
		start := time.Now()
		run(t, e)
		if took := time.Since(start); took != 4*time.Second {
			t.Errorf("20 calls of 1s by 5 workers took %v", took)
		}
	})
}

// TestCallerRate: calls, not events that come, are what it limits.
func TestCallerRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, fmt.Sprintf(asking, "max: 100, rate_limit: {rate: 2/s, burst: 1}"))
		a := askOf(e, nil)
		start := time.Now()
		run(t, e)
		if took := time.Since(start); took != 9500*time.Millisecond || a.calls() != 20 {
			t.Errorf("20 events at 2/s took %v in %d calls", took, a.calls())
		}
		if got := e.Status().Stages["ask"].RateLimit; got != 2 {
			t.Errorf("a rate limit of %v", got)
		}
	})
}

// TestCallerTimeout is for one attempt, and a call that heeds it is repeated.
func TestCallerTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, fmt.Sprintf(asking, "timeout: 2s, "+steadily))
		hung := 0
		askOf(e, func(ctx context.Context, n int) error {
			if n == 3 && hung < 2 {
				hung++
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		start := time.Now()
		run(t, e)
		if took := time.Since(start); took != 6*time.Second {
			t.Errorf("took %v, want two timeouts of 2s and two waits of 1s", took)
		}
		wantNumbers(t, sinkOf(t, e, "out").got(), 20)
	})
}

// TestCallerStops: a stop ends its waits, and what it has not decided is returned.
func TestCallerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, "shutdown: {timeout: 3s}\n"+fmt.Sprintf(asking, "retry: {initial: 1h, max: 1h}"))
		askOf(e, away(1000*time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		r, _ := e.Run(ctx)
		oracle(t, e, r)
		if took := time.Since(start); took > 5*time.Second || r.Balance.Returned == 0 || r.Balance.Failed+r.Balance.DeadLettered != 0 {
			t.Errorf("%+v after %v", r.Balance, took)
		}
	})
}

// TestReloadCaller: new settings of its guards are in force at once, and know what
// those before knew; the stage stays.
func TestReloadCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := build(t, fmt.Sprintf(asking, "retry: {initial: 100ms, max: 1h, jitter: 0, budget: {burst: 10}}"))
		a := askOf(e, away(3200*time.Millisecond))
		end := started(t, e)
		time.Sleep(3500 * time.Millisecond) // the next attempt would be after 6.3s
		before := e.Status().Stages["ask"].Calls.RetryBudget
		start := time.Now()
		r := reloaded(t, e, fmt.Sprintf(asking, "retry: {initial: 1s, max: 1s, budget: {burst: 10}}, deadline: 1h"))
		time.Sleep(time.Second / 10)
		if got := e.Status().Stages["ask"].Calls; r.Class != diff.Live || askOf(e, a.answer) != a || before > .7 || got.RetryBudget < before || got.RetryBudget > before+.25 {
			t.Errorf("class %s, budget %v, then %v", r.Class, before, got.RetryBudget)
		}
		end()
		if took := time.Since(start); took > time.Second {
			t.Errorf("it waited %v for the old settings", took)
		}
		wantNumbers(t, sinkOf(t, e, "out").got(), 20)
	})
}
