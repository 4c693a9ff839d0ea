package guard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// TestDeadline: what is too old is never written, the rest of the batch is.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{}
		g := guarding(f, Settings{Deadline: time.Minute})
		attempts, err := g.Write(t.Context(), aged(0, time.Minute, 59*time.Second, time.Hour))
		if got := fmt.Sprint(lost(t, err)); got != "[1 3]" || attempts != 1 || f.sizes[0] != 2 {
			t.Fatalf("lost %s after %d attempts, wrote %v", got, attempts, f.sizes)
		}
		var part *pipe.PartialError
		errors.As(err, &part)
		if text := part.Items[0].Err.Error(); !strings.Contains(text, "deadline 1m0s") || pipe.ClassOf(part.Items[0].Err, "") != pipe.Permanent {
			t.Errorf("the error is %q", text)
		}
	})
}

// TestDeadlineWhileItWaits: an event leaves at its deadline, wherever it waits
// and whatever the wait is for; younger ones wait on.
func TestDeadlineWhileItWaits(t *testing.T) {
	f := func(what string, set Settings, down time.Duration, spend int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			s := &far{}
			s.answer = func(context.Context, []*pipe.Event) error {
				if time.Since(start) < down {
					return errDown
				}
				return nil
			}
			set.Deadline = 10 * time.Second
			g := guarding(s, set)
			if spend > 0 {
				confirmed(t, g, spend)
			}
			_, err := g.Write(t.Context(), aged(6*time.Second, 9*time.Second, 0))
			if got, took := fmt.Sprint(lost(t, err)), time.Since(start); got != "[1 0]" || took < 5*time.Second || took >= 10*time.Second {
				t.Errorf("%s: lost %s in %v, want events 1 and 0 lost and the last one written before 10s", what, got, took)
			}
			if s.sizes[len(s.sizes)-1] != 1 {
				t.Errorf("%s: batches of %v, want the last to hold one event", what, s.sizes)
			}
		})
	}
	f("retry", Settings{Retry: steady(7 * time.Second)}, 5*time.Second, 0)
	f("breaker", Settings{Retry: steady(time.Millisecond), Breaker: &Breaker{Ratio: .5, Window: time.Second, MinRequests: 1, Wait: 5 * time.Second, MaxWait: 6 * time.Second,
		Fraction: .05, Probe: time.Second, MinHalfOpen: time.Second, Successes: 1, Ramp: time.Second}}, time.Second, 0)
	f("rate", Settings{Rate: Rate{Events: .5, Burst: 3}, Retry: steady(time.Second)}, 0, 3)
	f("budget", Settings{Retry: Retry{Initial: 1, Max: 1, Budget: Budget{Ratio: .1, Burst: 10}}}, 5*time.Second, 0)
}

// TestDeadlineEndsAHang: an attempt ends when none of its events is worth it.
func TestDeadlineEndsAHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		g := guarding(&far{answer: func(ctx context.Context, _ []*pipe.Event) error { <-ctx.Done(); return ctx.Err() }},
			Settings{Deadline: 10 * time.Second, Timeout: time.Minute, Retry: steady(time.Second)})
		_, err := g.Write(t.Context(), aged(6*time.Second, 2*time.Second))
		if got := fmt.Sprint(lost(t, err)); got != "[0 1]" || time.Since(start) != 8*time.Second {
			t.Errorf("lost %s after %v, want both after 8s", got, time.Since(start))
		}
	})
}

// TestNoDeadline: events without a time of their own, and sinks without a
// deadline, know none.
func TestNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if _, err := guarding(&far{}, Settings{Deadline: time.Second}).Write(t.Context(), batch(2)); err != nil {
			t.Error(err)
		}
		if _, err := guarding(&far{}, Settings{}).Write(t.Context(), aged(1000*time.Hour)); err != nil {
			t.Error(err)
		}
	})
}
