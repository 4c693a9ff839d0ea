package stages

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

func TestThrottleCountsItsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m pipe.Meter
		s := &Throttle{Rate: 1, Burst: 2}
		if err := s.Open(t.Context(), pipe.Env{Meter: &m}); err != nil {
			t.Fatal(err)
		}
		f := func(n int, want time.Duration) {
			t.Helper()
			process(t, s, events(t, n), 1)
			if got := m.Throttled.Total(); got < want-time.Microsecond || got > want+time.Microsecond || m.Throttled.Waiting() != 0 {
				t.Errorf("throttled for %v, %d waits go on; want %v and none", got, m.Throttled.Waiting(), want)
			}
		}
		f(2, 0) // the burst
		f(3, 3*time.Second)
		time.Sleep(time.Minute)
		f(2, 3*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if err := s.Process(ctx, events(t, 1), pipe.NewOut(1)); err == nil {
			t.Error("a wait beyond the timeout succeeded")
		}
		time.Sleep(time.Minute)
		if err := s.Process(ctx, events(t, 1), pipe.NewOut(1)); err == nil {
			t.Error("events go on after the end")
		}
		if n := m.Throttled.Waiting(); n != 0 || m.Idle.Total()+m.External.Total() != 0 {
			t.Errorf("%d waits go on, idle %v, external %v", n, m.Idle.Total(), m.External.Total())
		}
	})
}
