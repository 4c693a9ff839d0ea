package edge

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// TestBlockedInProgress checks that a wait counts before it is over.
func TestBlockedInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 2, Policy: Block}, Options{})
		first := sending(t.Context(), q, some(&x, 3))
		time.Sleep(10 * time.Second)
		second := sending(t.Context(), q, some(&x, 1))
		time.Sleep(20 * time.Second)
		s := balanced(t, q)
		if s.Producers != 2 || s.Blocked != 50*time.Second || s.Pressed != 30*time.Second || s.Waits.Count != 0 {
			t.Errorf("while two wait: %d producers, blocked %v, pressed %v, %d waits over", s.Producers, s.Blocked, s.Pressed, s.Waits.Count)
		}
		received(t, q, 2)
		ended(t, first)
		ended(t, second)
		time.Sleep(time.Hour)
		s = balanced(t, q)
		if s.Producers != 0 || s.Blocked != 50*time.Second || s.Pressed != 30*time.Second || s.Waits.Sum != 50*time.Second {
			t.Errorf("later: %d producers, blocked %v, pressed %v, waits %v", s.Producers, s.Blocked, s.Pressed, s.Waits)
		}
	})
}

func TestIdleInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		q := New("q", Settings{Events: 2, Policy: Block}, Options{})
		go q.Recv(t.Context(), make([]*pipe.Event, 1))
		time.Sleep(time.Minute)
		if s := balanced(t, q); s.Idle != time.Minute || s.Receivers != 1 {
			t.Errorf("idle for %v, %d receivers", s.Idle, s.Receivers)
		}
		q.Offer(some(&x, 1))
		synctest.Wait()
		time.Sleep(time.Minute)
		if s := balanced(t, q); s.Idle != time.Minute || s.Receivers != 0 {
			t.Errorf("idle for %v, %d receivers", s.Idle, s.Receivers)
		}
	})
}

// TestWaits checks that every wait is in the histogram, however it ended.
func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		s := Settings{Events: 1, Policy: Block}
		q := New("q", s, Options{})
		q.Offer(some(&x, 1))
		for _, d := range []time.Duration{time.Millisecond, 2 * time.Millisecond, 2 * time.Minute} { // cancelled
			ctx, cancel := context.WithTimeout(t.Context(), d)
			q.Send(ctx, some(&x, 1))
			cancel()
		}
		s.Timeout, s.Then = 5*time.Second, DropNewest
		q.Apply(s, 2)
		q.Send(t.Context(), some(&x, 5)) // timed out, once
		s.Timeout = 0
		q.Apply(s, 3)
		done := sending(t.Context(), q, some(&x, 1))
		time.Sleep(50 * time.Millisecond)
		received(t, q, 1) // served
		ended(t, done)
		done = sending(t.Context(), q, some(&x, 1))
		q.Close() // closed at once
		ended(t, done)
		got := balanced(t, q).Waits
		want := [7]int64{2, 1, 1, 0, 1, 0, 1}
		if got.Buckets != want || got.Count != 6 || got.Sum != 125053*time.Millisecond {
			t.Errorf("waits %+v, want %v", got, want)
		}
	})
}

func TestPeak(t *testing.T) {
	var x ends
	q := New("q", Settings{Events: 100, Policy: Block}, Options{})
	f := func(peak, lifetime int) {
		t.Helper()
		if s := balanced(t, q); s.PeakEvents != peak || s.LifetimePeak != lifetime {
			t.Errorf("got a peak of %d, %d in all; want %d, %d", s.PeakEvents, s.LifetimePeak, peak, lifetime)
		}
	}
	q.Offer(some(&x, 30))
	received(t, q, 20)
	f(30, 30)
	q.ResetPeak()
	f(10, 30)
	q.Offer(some(&x, 5))
	f(15, 30)
	received(t, q, 15)
	f(15, 30)
	q.ResetPeak()
	f(0, 30)
	q.Offer(some(&x, 99))
	f(99, 99)
}

func TestSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x ends
		s := Settings{Events: 8, Bytes: 1000, Policy: Sample, Base: 0.8, Min: 0.2, Threshold: 0.5, Seed: 7}
		q := New("a->b", s, Options{Generation: 3})
		q.Apply(Settings{Events: 8, Policy: Block}, 3)
		q.Offer(some(&x, 3))
		q.Apply(s, 4)
		time.Sleep(time.Second)
		got := balanced(t, q)
		if got.ID != "a->b" || q.ID() != got.ID || got.Generation != 4 || got.Seed != 7 || got.Policy != Sample {
			t.Errorf("got %+v", got)
		}
		if got.CapacityEvents != 8 || got.CapacityBytes != 1000 || got.Queued != (Count{3, 600}) || got.Utilization != 0.6 {
			t.Errorf("got %+v", got)
		}
		if got.OldestAge != time.Second || got.SampleRate != 0.64 {
			t.Errorf("oldest %v, rate %v", got.OldestAge, got.SampleRate)
		}
		if New("c", Settings{Events: 1, Policy: DropRandom}, Options{}).Snapshot().Seed == 0 {
			t.Error("an edge without a seed does not tell its own")
		}
	})
}

// TestBalanceFinds checks that an account that does not add up is noticed.
func TestBalanceFinds(t *testing.T) {
	q := New("q", Settings{Events: 3, Policy: DropOldest}, Options{})
	q.Send(t.Context(), some(&ends{}, 7))
	good := balanced(t, q)
	for i, spoil := range []func(*Stats){
		func(s *Stats) { s.Offered.Events++ },
		func(s *Stats) { s.Offered.Bytes-- },
		func(s *Stats) { s.Refused[Newest].Events++ },
		func(s *Stats) { s.Evicted[Oldest].Events-- },
		func(s *Stats) { s.Evicted[Random].Bytes++ },
		func(s *Stats) { s.Delivered.Events++ },
		func(s *Stats) { s.Queued.Bytes-- },
		func(s *Stats) { s.Returned.Events++ },
	} {
		bad := good
		if spoil(&bad); bad.Balance() == nil {
			t.Errorf("case %d: %+v balances", i, bad)
		}
	}
	if d := good.Dropped(Oldest); d != (Count{4, 800}) || good.DroppedTotal() != d {
		t.Errorf("dropped %+v", d)
	}
}

func TestReasons(t *testing.T) {
	var got []string
	for r := range Reasons + 1 {
		got = append(got, r.String())
	}
	want := []string{"newest", "oldest", "random", "sampled", "timeout", "expired", "oversize", "resized", "unknown"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestValidate(t *testing.T) {
	f := func(want string, change func(*Settings)) {
		t.Helper()
		s := Settings{Events: 1, Policy: Sample, Base: 1, Min: 0.1, Threshold: 0.8}
		change(&s)
		got := ""
		if err := s.Validate(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%+v: got %q, want %q", s, got, want)
		}
		if got == "" {
			return
		}
		defer func() {
			if recover() == nil {
				t.Errorf("New takes %+v", s)
			}
		}()
		New("q", s, Options{})
	}
	f("", func(s *Settings) {})
	f("events: must be at least 1, got 0", func(s *Settings) { s.Events = 0 })
	f("bytes: must not be negative, got -1", func(s *Settings) { s.Bytes = -1 })
	f("age: must not be negative, got -1ns", func(s *Settings) { s.Age = -1 })
	f("timeout: must not be negative, got -1ns", func(s *Settings) { s.Timeout = -1 })
	f("base_rate: must be above 0 and at most 1, got 0", func(s *Settings) { s.Base = 0 })
	f("base_rate: must be above 0 and at most 1, got 1.5", func(s *Settings) { s.Base = 1.5 })
	f("min_rate: must be above 0 and at most base_rate, got 0", func(s *Settings) { s.Min = 0 })
	f("min_rate: must be above 0 and at most base_rate, got 0.5", func(s *Settings) { s.Base, s.Min = 0.4, 0.5 })
	f("threshold: must be at least 0 and below 1, got 1", func(s *Settings) { s.Threshold = 1 })
	f("threshold: must be at least 0 and below 1, got -0.1", func(s *Settings) { s.Threshold = -0.1 })
	f("policy: must be block, drop-oldest, drop-newest, drop-random or sample, got \"fail\"", func(s *Settings) { s.Policy = Fail })
	f("policy: must be block, drop-oldest, drop-newest, drop-random or sample, got \"\"", func(s *Settings) { s.Policy = "" })
	f("then: must be drop-newest, drop-oldest or fail, got \"block\"", func(s *Settings) { s.Policy, s.Timeout, s.Then = Block, 1, Block })
	f("", func(s *Settings) { s.Policy, s.Timeout, s.Then = Block, 1, Fail })
	f("on_drop: must be ack or nack, got \"x\"", func(s *Settings) { s.OnDrop = "x" })
	f("on_shrink: must be keep or evict, got \"x\"", func(s *Settings) { s.OnShrink = "x" })
}
