package stages

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func TestDelayTakesItsTime(t *testing.T) {
	f := func(each time.Duration, n, size int, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			within(t, "the run", process(t, &Delay{For: pipe.Duration(each)}, events(t, n), size), want)
		})
	}
	f(5*time.Millisecond, 100, 1, 500*time.Millisecond)
	f(5*time.Millisecond, 100, 10, 500*time.Millisecond)
	f(50*time.Microsecond, 10_000, 20, 500*time.Millisecond)
	f(time.Nanosecond, 1000, 256, time.Microsecond)
	f(time.Hour, 3, 1, 3*time.Hour)
}

func TestDelayForgetsQuietTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Delay{For: pipe.Duration(time.Second)}
		process(t, d, events(t, 1), 1)
		time.Sleep(time.Hour)
		within(t, "five events after an hour", process(t, d, events(t, 5), 1), 5*time.Second)
	})
}

// A timer of a real machine fires late. What it oversleeps is taken off what
// follows, and no more than maxOverslept of it.
func TestDelayMakesUpForLateTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Delay{For: pipe.Duration(time.Millisecond)}
		d.overslept.Store(int64(5500 * time.Microsecond))
		within(t, "ten events", process(t, d, events(t, 10), 1), 4500*time.Microsecond)
		d.overslept.Store(int64(time.Hour))
		within(t, "after a stall", process(t, d, events(t, 200), 1), 100*time.Millisecond)
	})
}

func TestDelayWorkersAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Delay{For: pipe.Duration(10 * time.Millisecond)}
		start := time.Now()
		var wg sync.WaitGroup
		for range 4 {
			in := events(t, 25)
			wg.Go(func() { process(t, d, in, 1) })
		}
		wg.Wait()
		within(t, "four workers", time.Since(start), 250*time.Millisecond)
	})
}

func TestDelayIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Millisecond)
		defer cancel()
		out, in := pipe.NewOut(1), events(t, 5)
		start := time.Now()
		err := (&Delay{For: pipe.Duration(10 * time.Millisecond)}).Process(ctx, in, out)
		if !errors.Is(err, context.DeadlineExceeded) || len(out.Port(0)) != 2 || time.Since(start) != 25*time.Millisecond {
			t.Errorf("after %v %d events went on, error %v", time.Since(start), len(out.Port(0)), err)
		}
	})
}

// The one test on the real clock: shorter times than timers can keep are kept on
// average. The best of several runs counts, because the machine may be busy.
func TestDelayOnTheRealClock(t *testing.T) {
	const n, each = 1000, 50 * time.Microsecond
	best := time.Hour
	for range 20 {
		got := process(t, &Delay{For: pipe.Duration(each)}, events(t, n), 1)
		if got < n*each*98/100 {
			t.Fatalf("%d events of %v took only %v", n, each, got)
		}
		if best = min(best, got); best < n*each*11/10 {
			return
		}
	}
	t.Errorf("%d events of %v took %v at best", n, each, best)
}

func TestDelayValidate(t *testing.T) {
	refuses(t, &Delay{}, "for", "above 0")
	f := func(each time.Duration, want int) {
		t.Helper()
		if got := (&Delay{For: pipe.Duration(each)}).MaxBatch(); got != want {
			t.Errorf("%v: got %d, want %d", each, got, want)
		}
	}
	f(0, 256)
	f(time.Microsecond, 256)
	f(50*time.Microsecond, 20)
	f(time.Second, 1)
}

func TestDelayConforms(t *testing.T) {
	pipetest.Stage(t, func() pipe.Stage { return &Delay{For: pipe.Duration(300 * time.Microsecond)} }, `{"n":1}`, "a line")
}
