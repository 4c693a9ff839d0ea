package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

func TestOpensAndClosesInOrder(t *testing.T) {
	p := probe(t, "")
	p.in.read = lines(10, 3, false)
	if _, err := run(t, p.Engine); err != nil {
		t.Fatal(err)
	}
	want := []string{"open out", "open stage", "open in", "close in", "close stage", "close out"}
	if !slices.Equal(p.diary, want) {
		t.Errorf("got %v, want %v", p.diary, want)
	}
	p.tidy(t)
}

// TestStartFailure: what was opened before the failure is closed, in reverse
// order, nothing else is, and nothing is read.
func TestStartFailure(t *testing.T) {
	f := func(where string, want ...string) {
		t.Helper()
		p := probe(t, "")
		p.in.read = lines(10, 3, false)
		for _, l := range p.lives() {
			if i := slices.Index([]*life{&p.in.life, &p.stage.life, &p.out.life}, l); []string{"in", "stage", "out"}[i] == where {
				l.open = func(context.Context) error { return errProbe }
			}
		}
		r, err := run(t, p.Engine)
		if !errors.Is(err, errProbe) || !strings.Contains(err.Error(), where+": probed") || r.ExitCode != ExitFailed || r.Outcome != Failed || r.Error != err.Error() {
			t.Errorf("%s: outcome %s, exit code %d, error %v", where, r.Outcome, r.ExitCode, err)
		}
		if !slices.Equal(p.diary, want) || r.Balance.Read != 0 {
			t.Errorf("%s: got %v, read %d; want %v and nothing read", where, p.diary, r.Balance.Read, want)
		}
		p.tidy(t)
	}
	f("out", "open out")
	f("stage", "open out", "open stage", "close out")
	f("in", "open out", "open stage", "open in", "close stage", "close out")
}

func TestCloseErrorFailsTheRun(t *testing.T) {
	p := probe(t, "")
	p.out.closing = func(context.Context) error { return errProbe }
	r, err := run(t, p.Engine)
	if !errors.Is(err, errProbe) || r.ExitCode != ExitFailed || !strings.Contains(err.Error(), "out: close: probed") {
		t.Errorf("exit code %d, error %v", r.ExitCode, err)
	}
	p.tidy(t)
}

// TestHangingClose: a component that does not close in time is left behind.
func TestHangingClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe(t, "shutdown: {timeout: 3s}")
		freed := make(chan struct{})
		p.stage.closing = func(context.Context) error { <-freed; return nil }
		start := time.Now()
		if _, err := run(t, p.Engine); err != nil || time.Since(start) != 3*time.Second {
			t.Errorf("error %v after %v", err, time.Since(start))
		}
		close(freed)
		synctest.Wait()
		p.tidy(t)
	})
}

// TestCancelIsStop: the end of Run's context stops the pipeline at once.
func TestCancelIsStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe(t, "")
		p.in.read = lines(100, 10, true)
		p.out.write = func(ctx context.Context, _ []*pipe.Event) error { <-ctx.Done(); return ctx.Err() }
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		r, err := p.Run(ctx)
		oracle(t, p.Engine, r)
		if err != nil || r.ExitCode != ExitStopped || r.Sources["in"].Returned != 100 || time.Since(start) > 2*time.Second {
			t.Errorf("exit code %d, source %+v, error %v after %v", r.ExitCode, r.Sources["in"], err, time.Since(start))
		}
		p.tidy(t)
	})
}

// TestStopWithNothingInFlight: a stop that leaves nothing behind is a drain.
func TestStopWithNothingInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe(t, "")
		p.in.read = lines(5, 5, true)
		time.AfterFunc(time.Second, p.Stop)
		r, err := run(t, p.Engine)
		if err != nil || r.Outcome != Drained || r.ExitCode != ExitDone || r.Sources["in"].Acked != 5 {
			t.Errorf("outcome %s, exit code %d, source %+v, error %v", r.Outcome, r.ExitCode, r.Sources["in"], err)
		}
	})
}

// TestDrainBeforeRunAndAfter: both are harmless.
func TestDrainBeforeRunAndAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe(t, "")
		p.in.read = lines(5, 5, true)
		p.Drain()
		r, err := run(t, p.Engine)
		if err != nil || r.Outcome != Drained || r.Balance.Read != 0 {
			t.Errorf("outcome %s, balance %+v, error %v", r.Outcome, r.Balance, err)
		}
		p.Drain()
		p.Stop()
		if got := p.Status().Outcome; got != Drained {
			t.Errorf("outcome %s after the end, want drained", got)
		}
	})
}

// TestCommits: positions are saved about once a second and at the end, before
// anything is closed. A save that fails while running is tried again; the last
// one must not fail.
func TestCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe(t, "")
		read := lines(30, 1, false)
		p.in.read = func(ctx context.Context, b *pipe.Batch) error {
			time.Sleep(100 * time.Millisecond)
			return read(ctx, b)
		}
		var saved []int64
		fails := 1
		p.in.commit = func(_ context.Context, marks []pipe.Mark) error {
			if fails--; fails == 0 {
				return errProbe
			}
			for _, m := range marks {
				saved = append(saved, m.Position)
			}
			p.in.note("commit")
			return nil
		}
		if _, err := run(t, p.Engine); err != nil {
			t.Fatal(err)
		}
		if len(saved) < 2 || len(saved) > 4 || saved[len(saved)-1] != 30 || !slices.IsSorted(saved) {
			t.Errorf("saved %v, want about once a second of three, and 30 at the end", saved)
		}
		if i := slices.Index(p.diary, "close in"); slices.Index(p.diary[i:], "commit in") >= 0 {
			t.Errorf("committed after closing: %v", p.diary)
		}
	})
}

func TestLastCommitMustNotFail(t *testing.T) {
	p := probe(t, "")
	p.in.read = lines(10, 10, false)
	p.in.commit = func(context.Context, []pipe.Mark) error { return errProbe }
	r, err := run(t, p.Engine)
	if !errors.Is(err, errProbe) || r.ExitCode != ExitFailed || !strings.Contains(err.Error(), "source in: position not saved") {
		t.Errorf("exit code %d, error %v", r.ExitCode, err)
	}
	p.tidy(t)
}

// TestStopWhileOpening: a stop while a component opens is not its failure.
// TestStopWhileOpeningHangs stops a pipeline whose sink ignores its context while
// it opens: the end does not wait for it.
func TestStopWhileOpeningHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe(t, "")
		late := make(chan struct{})
		p.out.open = func(context.Context) error { <-late; return nil }
		time.AfterFunc(time.Second, p.Stop)
		began := time.Now()
		r, err := run(t, p.Engine)
		if took := time.Since(began); err != nil || r.ExitCode == ExitFailed || took > time.Second+stopGrace+closing {
			t.Errorf("over after %v with exit code %d, error %v", took, r.ExitCode, err)
		}
		close(late) // it comes after all, and is closed
		synctest.Wait()
	})
}

func TestStopWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe(t, "")
		p.out.open = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		time.AfterFunc(time.Second, p.Stop)
		r, err := run(t, p.Engine)
		if err != nil || r.ExitCode == ExitFailed {
			t.Errorf("exit code %d, error %v", r.ExitCode, err)
		}
	})
}
