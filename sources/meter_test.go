package sources

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// metered returns an environment with a meter.
func metered() (pipe.Env, *pipe.Meter) {
	env := pipetest.Env()
	env.Meter = &pipe.Meter{}
	return env, env.Meter
}

// wants compares what a meter counted: idle and throttled time.
func wants(t *testing.T, m *pipe.Meter, idle, throttled time.Duration) {
	t.Helper()
	if m.Idle.Total() != idle || m.Throttled.Total() != throttled || m.External.Total() != 0 {
		t.Errorf("got idle %v, throttled %v, external %v; want %v, %v, 0s",
			m.Idle.Total(), m.Throttled.Total(), m.External.Total(), idle, throttled)
	}
}

// read calls Read once, for no longer than d.
func read(t *testing.T, src pipe.Source, d time.Duration) (events int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var b pipe.Batch
	l := pipe.NewLedger(pipe.Window{}, nil)
	b.Reset(l, "in", 1)
	err = src.Read(ctx, &b)
	all, _, g := b.Take(time.Now())
	l.Count(g)
	pipe.SettleEmpty(g)
	pipe.Settle(all, pipe.Delivered)
	return len(all), err
}

func TestFileIsIdleWhileNothingComes(t *testing.T) {
	follow(t, nil, []string{"a"}, func(x *tailing) {
		x.write("a", "1\n")
		env, m := metered()
		if err := x.f.Open(t.Context(), env); err != nil {
			t.Fatal(err)
		}
		defer x.f.Close(t.Context())
		if n, err := read(x.t, x.f, time.Minute); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		wants(t, m, 0, 0)
		if n, _ := read(x.t, x.f, 90*time.Second); n != 0 {
			t.Errorf("read %d events of nothing", n)
		}
		wants(t, m, 90*time.Second, 0)
		time.Sleep(time.Minute) // the pipeline is full: nobody reads
		wants(t, m, 90*time.Second, 0)
	})
}

func TestStdinIsIdleWhileNothingComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		s := newStdin(r)
		env, m := metered()
		if err := s.Open(t.Context(), env); err != nil {
			t.Fatal(err)
		}
		defer s.Close(t.Context())
		go func() {
			time.Sleep(20 * time.Second)
			io.WriteString(w, "line\n")
			io.WriteString(w, "other\n")
			w.Close()
		}()
		if n, err := read(t, s, time.Minute); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		wants(t, m, 20*time.Second, 0)
		time.Sleep(time.Minute) // the pipeline is full: nobody reads
		if n, _ := read(t, s, time.Minute); n != 1 {
			t.Fatalf("read %d events", n)
		}
		wants(t, m, 20*time.Second, 0)
	})
}

func TestGenerateIsThrottledByItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Generate{}
		if err := g.Rate.UnmarshalText([]byte("1/s")); err != nil {
			t.Fatal(err)
		}
		env, m := metered()
		if err := g.Open(t.Context(), env); err != nil {
			t.Fatal(err)
		}
		for i, want := range []time.Duration{0, time.Second, 2 * time.Second} {
			if n, err := read(t, g, time.Minute); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			if got := m.Throttled.Total(); got < want || got > want+time.Microsecond {
				t.Errorf("event %d: throttled for %v, want %v", i, got, want)
			}
		}
		before := m.Throttled.Total()
		if _, err := read(t, g, time.Second/2); err != context.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
		wants(t, m, 0, before+time.Second/2)
	})
}

func TestHTTPServerIsIdleWithoutRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, nil)
		var m pipe.Meter
		r.src.idle = idle(pipe.Env{Meter: &m})
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		if _, err := r.read(ctx); err != context.DeadlineExceeded {
			t.Fatal(err)
		}
		wants(t, &m, 40*time.Second, 0)
		answer := r.postLater(`{"n":1}`)
		synctest.Wait()
		time.Sleep(time.Second) // the pipeline is full: nobody reads
		events, err := r.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pipe.Settle(events, pipe.Delivered)
		r.want(<-answer, 200, "1")
		wants(t, &m, 40*time.Second, 0)
	})
}
