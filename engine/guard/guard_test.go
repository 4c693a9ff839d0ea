package guard

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// script is a sink that answers as told and notes when it was called with what.
type script struct {
	answers []func(ctx context.Context, in []*pipe.Event) error
	at      []time.Time
	sizes   []int
}

func (s *script) Write(ctx context.Context, in []*pipe.Event) error {
	i := min(len(s.at), len(s.answers)-1)
	s.at, s.sizes = append(s.at, time.Now()), append(s.sizes, len(in))
	return s.answers[i](ctx, in)
}

func ok(context.Context, []*pipe.Event) error { return nil }

func fails(err error) func(context.Context, []*pipe.Event) error {
	return func(context.Context, []*pipe.Event) error { return err }
}

var quiet = slog.New(slog.DiscardHandler)

func batch(n int) []*pipe.Event {
	b := make([]*pipe.Event, n)
	for i := range b {
		b[i] = &pipe.Event{}
	}
	return b
}

func TestRetriesUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := fails(errors.New("connection refused"))
		s := &script{answers: []func(context.Context, []*pipe.Event) error{down, down, down, ok}}
		g := New(s, Settings{Retry: Retry{Initial: time.Second, Max: 3 * time.Second}}, Options{Log: quiet})
		attempts, err := g.Write(t.Context(), batch(2))
		if err != nil || attempts != 4 || g.record.Retries() != 3 || g.record.Failing() {
			t.Fatalf("attempts %d, retries %d, failing %v, error %v", attempts, g.record.Retries(), g.record.Failing(), err)
		}
		for i, want := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second} { // doubled, then capped
			if got := s.at[i+1].Sub(s.at[i]); got != want {
				t.Errorf("wait %d: got %v, want %v", i+1, got, want)
			}
		}
	})
}

func TestClassesThatAreNotRetried(t *testing.T) {
	for _, class := range []pipe.Class{pipe.Permanent, pipe.Poison, pipe.Fatal} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			s := &script{answers: []func(context.Context, []*pipe.Event) error{fails(pipe.Classed(class, errors.New("no")))}}
			attempts, err := New(s, Settings{Retry: DefaultRetry}, Options{Log: quiet}).Write(ctx, batch(1))
			if err == nil || attempts != 1 || pipe.ClassOf(err, "") != class {
				t.Errorf("%s: %d attempts, error %v", class, attempts, err)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	f := func(r Retry, wantAttempts int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			s := &script{answers: []func(context.Context, []*pipe.Event) error{fails(errors.New("down"))}}
			attempts, err := New(s, Settings{Retry: r}, Options{Log: quiet}).Write(t.Context(), batch(1))
			if err == nil || attempts != wantAttempts || strings.Contains(err.Error(), "gave up after") != (attempts > 1) {
				t.Errorf("%+v: %d attempts, want %d (error %v)", r, attempts, wantAttempts, err)
			}
		})
	}
	f(Retry{Initial: time.Second, Max: time.Second, MaxAttempts: 5}, 5)
	f(Retry{Initial: time.Second, Max: time.Second, MaxElapsed: 3500 * time.Millisecond}, 4)
	f(Retry{Initial: time.Second, Max: time.Second, MaxAttempts: 1}, 1)
}

// TestRetryAfter: the far side's wish is a floor, the configured maximum a cap.
func TestRetryAfter(t *testing.T) {
	f := func(after, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			s := &script{answers: []func(context.Context, []*pipe.Event) error{
				fails(&pipe.Error{Class: pipe.Throttled, Err: errors.New("503"), RetryAfter: after}), ok}}
			if _, err := New(s, Settings{Retry: Retry{Initial: time.Second, Max: 20 * time.Second}}, Options{Log: quiet}).Write(t.Context(), batch(1)); err != nil {
				t.Fatal(err)
			}
			if got := s.at[1].Sub(s.at[0]); got != want {
				t.Errorf("retry after %v: waited %v, want %v", after, got, want)
			}
		})
	}
	f(7*time.Second, 7*time.Second)
	f(time.Second/2, time.Second)
	f(time.Hour, 20*time.Second)
	f(-time.Hour, time.Second)
	f(0, time.Second)
}

// TestPartial: only what may succeed is written again, what cannot is named by
// its place in the caller's batch.
func TestPartial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		poison := pipe.Classed(pipe.Poison, errors.New("bad event"))
		s := &script{answers: []func(context.Context, []*pipe.Event) error{
			fails(&pipe.PartialError{Items: []pipe.ItemError{{Index: 1, Err: poison}, {Index: 2, Err: errors.New("busy")}, {Index: 4, Err: errors.New("busy")}}}),
			fails(&pipe.PartialError{Items: []pipe.ItemError{{Index: 1, Err: poison}}}),
		}}
		_, err := New(s, Settings{Retry: DefaultRetry}, Options{Log: quiet}).Write(t.Context(), batch(5))
		var part *pipe.PartialError
		if !errors.As(err, &part) || len(part.Items) != 2 || part.Items[0].Index != 1 || part.Items[1].Index != 4 {
			t.Fatalf("got %v (%+v), want events 1 and 4 to have failed", err, part)
		}
		if len(s.sizes) != 2 || s.sizes[1] != 2 {
			t.Errorf("batches of %v, want the second to hold the two busy events", s.sizes)
		}
	})
}

func TestTimeoutIsPerAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context, _ []*pipe.Event) error { <-ctx.Done(); return ctx.Err() }
		s := &script{answers: []func(context.Context, []*pipe.Event) error{hang, hang, ok}}
		start := time.Now()
		if _, err := New(s, Settings{Timeout: 2 * time.Second, Retry: Retry{Initial: time.Second, Max: time.Second}}, Options{Log: quiet}).Write(t.Context(), batch(1)); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got != 6*time.Second {
			t.Errorf("took %v, want two timeouts of 2s and two waits of 1s", got)
		}
	})
}

func TestStopInterruptsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []func(context.Context, []*pipe.Event) error{fails(errors.New("down"))}}
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		start := time.Now()
		_, err := New(s, Settings{Retry: Retry{Initial: time.Hour, Max: time.Hour}}, Options{Log: quiet}).Write(ctx, batch(1))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 90*time.Second {
			t.Errorf("returned %v after %v, want the context's error after 90s", err, time.Since(start))
		}
	})
}

// TestJitterIsFull: waits are uniform over 0..bound: their mean is half of it
// and every tenth of the range is met about as often (chi-square, 9 degrees of
// freedom, p = 0.001 at 27.88).
func TestJitterIsFull(t *testing.T) {
	g := New(&script{}, Settings{Retry: Retry{Initial: time.Second, Max: time.Second, Jitter: 1}}, Options{Log: quiet})
	n := 20000.0
	if torture {
		n = 2e6
	}
	var bins [10]float64
	for range int(n) {
		w, again := g.set.Retry.next(errors.New("down"), 1)
		if !again || w < 0 || w >= time.Second {
			t.Fatalf("wait %v, again %v", w, again)
		}
		bins[w*10/time.Second]++
	}
	chi := 0.0
	for _, b := range bins {
		chi += math.Pow(b-n/10, 2) / (n / 10)
	}
	t.Logf("chi-square %.1f of %.0f waits", chi, n)
	if chi > 27.88 {
		t.Errorf("chi-square %.1f over %v: not uniform", chi, bins)
	}
}
