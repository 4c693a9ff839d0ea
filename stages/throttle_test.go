package stages

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// within reports times that are more than 1 % off.
func within(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if math.Abs(float64(got-want)) > 0.01*float64(want) {
		t.Errorf("%s took %v, want %v within 1 %%", what, got, want)
	}
}

func events(t testing.TB, n int) []*pipe.Event {
	t.Helper()
	f, err := pipetest.NewFeed(slices.Repeat([]string{"a line"}, n)...)
	if err != nil {
		t.Fatal(err)
	}
	return f.Events
}

// process gives the events to a stage one by one, as an edge with one event at
// a time would, and returns how long that took.
func process(t testing.TB, s pipe.Stage, in []*pipe.Event, size int) time.Duration {
	t.Helper()
	start := time.Now()
	for chunk := range slices.Chunk(in, size) {
		out := pipe.NewOut(1)
		if err := s.Process(t.Context(), chunk, out); err != nil {
			t.Fatal(err)
		}
		if len(out.Port(0)) != len(chunk) {
			t.Fatalf("%d of %d events came out", len(out.Port(0)), len(chunk))
		}
	}
	return time.Since(start)
}

func opened(t testing.TB, s *Throttle) *Throttle {
	t.Helper()
	if err := errors.Join(s.Validate(), s.Open(t.Context(), pipe.Env{})); err != nil {
		t.Fatal(err)
	}
	return s
}

// The first events of a full burst are free, each other one takes exactly its
// time; a clock that is not advanced after a wait would take half of it.
func TestThrottleKeepsTheRate(t *testing.T) {
	f := func(rate float64, burst, n, size int, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			s := opened(t, &Throttle{Rate: pipe.Rate(rate), Burst: burst})
			within(t, "the run", process(t, s, events(t, n), size), want)
		})
	}
	f(100, 1, 1000, 1, 9990*time.Millisecond)
	f(100, 0, 1000, 1, 9990*time.Millisecond)
	f(100, 10, 1010, 1, 10*time.Second)
	f(100, 10, 1010, 10, 10*time.Second)
	f(100, 10, 1010, 7, 10*time.Second)
	f(1000, 0, 10010, 10, 10*time.Second) // by default what comes in 10 ms
	f(0.5, 1, 11, 1, 20*time.Second)
}

func TestThrottleWorkersShareTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := opened(t, &Throttle{Rate: 100, Burst: 1})
		start := time.Now()
		var wg sync.WaitGroup
		for range 4 {
			in := events(t, 250)
			wg.Go(func() { process(t, s, in, 1) })
		}
		wg.Wait()
		within(t, "four workers", time.Since(start), 9990*time.Millisecond)
	})
}

func TestThrottleRefillsNoMoreThanABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := opened(t, &Throttle{Rate: 10, Burst: 5})
		process(t, s, events(t, 5), 5)
		time.Sleep(time.Hour)
		if got := process(t, s, events(t, 5), 5); got != 0 {
			t.Errorf("a burst after a quiet time took %v", got)
		}
		within(t, "the event after it", process(t, s, events(t, 1), 1), 100*time.Millisecond)
	})
}

func TestThrottleIsCancelled(t *testing.T) {
	f := func(timeout time.Duration, cancel bool, want error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			s := opened(t, &Throttle{Rate: 1, Burst: 1})
			ctx, stop := context.WithCancel(t.Context())
			if !cancel {
				ctx, stop = context.WithTimeout(t.Context(), timeout)
			}
			defer stop()
			time.AfterFunc(timeout, stop)
			out, in := pipe.NewOut(1), events(t, 3)
			start := time.Now()
			if err := s.Process(ctx, in, out); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			if got := time.Since(start); got > timeout {
				t.Errorf("returned after %v", got)
			}
			if len(out.Port(0)) != 1 || len(out.Undecided(nil, in)) != 2 {
				t.Errorf("%d events went on", len(out.Port(0)))
			}
		})
	}
	f(500*time.Millisecond, true, context.Canceled)
	f(500*time.Millisecond, false, context.DeadlineExceeded)
}

func TestThrottleValidate(t *testing.T) {
	refuses(t, &Throttle{}, "rate", "above 0")
	refuses(t, &Throttle{Rate: 1, Burst: -1}, "burst", "at least 0")
	f := func(rate float64, burst, want int) {
		t.Helper()
		if got := (&Throttle{Rate: pipe.Rate(rate), Burst: burst}).MaxBatch(); got != want {
			t.Errorf("%v/s, burst %d: got %d, want %d", rate, burst, got, want)
		}
	}
	f(0.1, 0, 1)
	f(100, 0, 1)
	f(5000, 0, 50)
	f(5000, 3, 3)
	f(1e300, 0, 1<<20)
}

func TestThrottleConforms(t *testing.T) {
	pipetest.Stage(t, func() pipe.Stage { return &Throttle{Rate: 100, Burst: 2} }, `{"n":1}`, "a line")
}
