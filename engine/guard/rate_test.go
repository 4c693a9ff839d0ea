package guard

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// TestRateIsExact: over five minutes what is let through is within 1 % of the
// rate, events and bytes, in batches of any size.
func TestRateIsExact(t *testing.T) {
	f := func(set Rate, size, each int, perSecond float64) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			var sent atomic.Int64
			g := guarding(&far{answer: func(_ context.Context, in []*pipe.Event) error {
				sent.Add(int64(len(in) * each))
				return nil
			}}, Settings{Rate: set})
			n, _ := g.Batch()
			in := aged(make([]time.Duration, min(n, size))...)
			minutes := 5
			if torture {
				minutes = 120
			}
			throughout(t, 3, time.Duration(minutes)*time.Minute, func(ctx context.Context) { g.Write(ctx, in) })
			got := float64(sent.Load()) / float64(minutes*60)
			t.Logf("%+v in batches of %d: %.3f a second", set, size, got)
			if math.Abs(got/perSecond-1) > .01 {
				t.Errorf("%+v in batches of %d: %.2f a second, want %.2f", set, size, got, perSecond)
			}
		})
	}
	one := aged(0)[0].Size()
	f(Rate{Events: 100, Burst: 1}, 1, 1, 100)
	f(Rate{Events: 100, Burst: 50}, 7, 1, 100)
	f(Rate{Events: 100}, 100, 1, 100)
	f(Rate{Events: 33.3, Burst: 10}, 100, 1, 33.3)
	f(Rate{Bytes: 100_000, BurstBytes: 5000}, 20, one, 100_000)
	f(Rate{Bytes: 1000, BurstBytes: 10}, 1, one, 1000) // an event is larger than the burst
	f(Rate{Events: 100, Burst: 10, Bytes: int64(10 * one)}, 10, one, float64(10*one))
}

// TestRateBurst: after a quiet time a burst goes at once, and no more.
func TestRateBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guarding(&far{}, Settings{Rate: Rate{Events: 10, Burst: 20}})
		time.Sleep(time.Hour)
		start := time.Now()
		confirmed(t, g, 20)
		if time.Since(start) != 0 {
			t.Errorf("the burst took %v", time.Since(start))
		}
		confirmed(t, g, 20)
		if got := time.Since(start); got != 2*time.Second {
			t.Errorf("the next 20 took %v, want 2s", got)
		}
	})
}

// TestRateCountsRetries: what is sent again counts again.
func TestRateCountsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []answer{fails(errDown), fails(errDown), ok}}
		g := New(s, Settings{Rate: Rate{Events: 1, Burst: 5}, Retry: steady(1), Batch: Batch{Events: 10}}, Options{Log: quiet})
		start := time.Now()
		confirmed(t, g, 5)
		if got := time.Since(start); got != 10*time.Second {
			t.Errorf("three attempts with 5 events at 1/s took %v, want 10s", got)
		}
	})
}

// TestRateGivesBack: what was not waited for to the end is there for others.
func TestRateGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guarding(&far{}, Settings{Rate: Rate{Events: 1, Burst: 10}})
		confirmed(t, g, 10)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.Write(ctx, batch(10)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		start := time.Now()
		confirmed(t, g, 10)
		if got := time.Since(start); got != 9*time.Second {
			t.Errorf("the next 10 took %v, want 9s: the second that has passed counts", got)
		}
	})
}

// TestRateBatch: a write gets no more than may go at once.
func TestRateBatch(t *testing.T) {
	f := func(set Rate, events int, bytes int64) {
		t.Helper()
		gotE, gotB := guarding(&far{}, Settings{Rate: set, Batch: Batch{Events: 1000, Bytes: 1 << 20}}).Batch()
		if gotE != events || gotB != bytes {
			t.Errorf("%+v: %d events, %d bytes, want %d, %d", set, gotE, gotB, events, bytes)
		}
	}
	f(Rate{}, 1000, 1<<20)
	f(Rate{Events: 50}, 50, 1<<20)
	f(Rate{Events: .1}, 1, 1<<20)
	f(Rate{Events: 50, Burst: 7}, 7, 1<<20)
	f(Rate{Bytes: 1000}, 1000, 1000)
	f(Rate{Bytes: 1000, BurstBytes: 1 << 30}, 1000, 1<<20)
}
