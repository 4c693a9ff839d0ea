package guard

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

type answer = func(context.Context, []*pipe.Event) error

// TestManyRetries: after any number of attempts the wait is the maximum.
func TestManyRetries(t *testing.T) {
	g := New(&script{}, Settings{Retry: Retry{Initial: 250 * time.Millisecond, Max: 30 * time.Second}}, Options{Log: quiet})
	for attempts := 10; attempts < 200; attempts++ {
		if wait, again := g.set.Retry.next(errors.New("down"), attempts); !again || wait != 30*time.Second {
			t.Fatalf("attempt %d: waits %v, again %v", attempts, wait, again)
		}
	}
}

// TestPartialGivesUp: when retries of a part end, by a limit or by a stop, what
// was not written is named and what was written is not.
func TestPartialGivesUp(t *testing.T) {
	f := func(r Retry, stop time.Duration, want error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			down := errors.New("busy")
			s := &script{answers: []answer{
				fails(&pipe.PartialError{Items: []pipe.ItemError{{Index: 1, Err: down}, {Index: 3, Err: down}}}),
				fails(&pipe.PartialError{Items: []pipe.ItemError{{Index: 1, Err: down}}}),
				fails(down),
			}}
			ctx, cancel := context.WithTimeout(t.Context(), stop)
			defer cancel()
			_, err := New(s, Settings{Retry: r}, Options{Log: quiet}).Write(ctx, batch(5))
			var part *pipe.PartialError
			if !errors.As(err, &part) || len(part.Items) != 1 || part.Items[0].Index != 3 || want != nil && !errors.Is(part.Items[0].Err, want) {
				t.Errorf("got %v (%+v), want event 3 to have failed", err, part)
			}
		})
	}
	f(Retry{Initial: time.Second, Max: time.Second, MaxAttempts: 4}, time.Hour, nil)
	f(Retry{Initial: time.Second, Max: time.Second, MaxElapsed: 10 * time.Second}, time.Hour, nil)
	f(Retry{Initial: time.Second, Max: time.Second}, 5500*time.Millisecond, context.DeadlineExceeded)
}

// TestTimeoutIsRetryable: whatever a sink makes of the end of its time.
func TestTimeoutIsRetryable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(ctx context.Context, _ []*pipe.Event) error {
			<-ctx.Done()
			return pipe.Classed(pipe.Permanent, errors.New("cut short"))
		}
		s := &script{answers: []answer{slow, ok}}
		if attempts, err := New(s, Settings{Timeout: time.Second, Retry: DefaultRetry}, Options{Log: quiet}).Write(t.Context(), batch(1)); err != nil || attempts != 2 {
			t.Errorf("%d attempts, error %v", attempts, err)
		}
	})
}

// TestStopWins: an error that comes with a stop is the stop's, not the sink's.
func TestStopWins(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &script{answers: []answer{func(context.Context, []*pipe.Event) error {
		cancel()
		return pipe.Classed(pipe.Permanent, errors.New("closed"))
	}}}
	if _, err := New(s, Settings{Retry: DefaultRetry}, Options{Log: quiet}).Write(ctx, batch(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}

// TestFailing: between a failure and the next success a sink counts as failing.
func TestFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []answer{fails(errors.New("down")), ok}}
		g := New(s, Settings{Retry: Retry{Initial: time.Second, Max: time.Second}}, Options{Log: quiet})
		during := make(chan bool, 1)
		time.AfterFunc(time.Second/2, func() { during <- g.record.Failing() })
		if _, err := g.Write(t.Context(), batch(1)); err != nil || !<-during || g.record.Failing() {
			t.Errorf("error %v, or not failing during the wait, or failing after it: %v", err, g.record.Failing())
		}
	})
}
