package stages

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func chaos(t *testing.T, c *Chaos) *Chaos {
	t.Helper()
	if c.FailClass == "" {
		c.FailClass = string(pipe.Poison)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := c.Open(t.Context(), pipe.Env{}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestChaosFailsItsShare(t *testing.T) {
	const n = 20_000
	fails := func(seed uint64) []string {
		out := pipe.NewOut(1)
		in := events(t, n)
		number := map[*pipe.Event]string{}
		for i, e := range in {
			number[e] = strconv.Itoa(i)
		}
		if err := chaos(t, &Chaos{Fail: 0.1, FailClass: "throttled", Seed: seed}).Process(t.Context(), in, out); err != nil {
			t.Fatal(err)
		}
		failed := out.Failed()
		if share := float64(len(failed)) / n; math.Abs(share-0.1) > 5*math.Sqrt(0.1*0.9/n) {
			t.Errorf("seed %d: %v of the events failed, want 0.1", seed, share)
		}
		var list []string
		for _, f := range failed {
			list = append(list, number[f.Event])
			if pipe.ClassOf(f.Err, "") != pipe.Throttled {
				t.Fatalf("class %q", pipe.ClassOf(f.Err, ""))
			}
		}
		if len(list)+len(out.Port(0)) != n {
			t.Errorf("%d failed, %d went on, of %d", len(list), len(out.Port(0)), n)
		}
		return list
	}
	a, b, c := fails(7), fails(7), fails(8)
	same(t, "the same seed", a, b)
	if slices.Equal(a, c) {
		t.Error("another seed chooses the same events")
	}
}

func TestChaosDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := chaos(t, &Chaos{Delay: 0.2, DelayFor: pipe.Duration(time.Second), Seed: 1})
		took := process(t, c, events(t, 1000), 100)
		if took < 150*time.Second || took > 250*time.Second || took%time.Second != 0 {
			t.Errorf("1000 events took %v, want about 200s", took)
		}
	})
}

func TestChaosHangs(t *testing.T) {
	f := func(c *Chaos, want time.Duration, wantErr error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			err := chaos(t, c).Process(ctx, events(t, 1), pipe.NewOut(1))
			if took := time.Since(start); took != want || !errors.Is(err, wantErr) {
				t.Errorf("%+v: %v after %v, want %v after %v", c.Hang, err, took, wantErr, want)
			}
		})
	}
	f(&Chaos{Hang: 1}, time.Minute, context.DeadlineExceeded)
	f(&Chaos{Hang: 1, HangFor: pipe.Duration(time.Second)}, time.Second, nil)
	f(&Chaos{Hang: 1, Deaf: true, HangFor: pipe.Duration(time.Hour)}, time.Hour, nil)
}

func TestChaosPanics(t *testing.T) {
	out := pipe.NewOut(1)
	defer func() {
		if recover() == nil || len(out.Port(0)) == 0 || len(out.Port(0)) > 200 {
			t.Errorf("%d events went on before the panic", len(out.Port(0)))
		}
	}()
	chaos(t, &Chaos{Panic: 0.05, Seed: 3}).Process(t.Context(), events(t, 1000), out)
}

func TestChaosValidate(t *testing.T) {
	refuses(t, &Chaos{Fail: 0.6, Panic: 0.5}, "fail", "add up to 1.1")
	refuses(t, &Chaos{Delay: 0.1}, "delay_for", "required")
	refuses(t, &Chaos{Hang: 0.1, Deaf: true}, "hang_for", "required")
}

func TestChaosConforms(t *testing.T) {
	pipetest.Stage(t, func() pipe.Stage {
		return &Chaos{Delay: 0.3, DelayFor: pipe.Duration(time.Microsecond), Seed: 1}
	}, `{"n":1}`, "a line", `{"n":2}`)
}
