package pipetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// SinkCase describes a sink to the suite.
type SinkCase struct {
	// New returns a sink with a fresh destination, configured to write each event
	// as a line of text. The suite opens and closes it.
	New func(t *testing.T) pipe.Sink

	// Written returns the lines at the sink's destination now. Nil when nobody can
	// look there: then the suite cannot check what arrived.
	Written func(t *testing.T, s pipe.Sink) []string

	// Hang makes the destination accept nothing more until release is called. Nil
	// when that cannot happen.
	Hang func(t *testing.T, s pipe.Sink) (release func())

	// Break makes the destination fail until mend is called. Nil when it cannot.
	Break func(t *testing.T, s pipe.Sink) (mend func())

	// TakesBack says that nothing of a batch that failed is left behind, so that
	// after a retry everything is there once.
	TakesBack bool

	// Poison returns an event that the sink cannot write, ever. Nil when there is
	// none.
	Poison func() record.Body
}

// Sink checks a sink against the contract in engine/pipe/component.go:
//
//	Write returns nil once every event of in is safely where it belongs.
//	A *PartialError names the events that failed.
//	Any other error means that none counts as written.
//	It must not keep in or the bytes of its events.
//	It must return soon after ctx is done.
//	Calls do not overlap unless the sink is a Concurrent.
func Sink(t *testing.T, c SinkCase) {
	t.Helper()
	for _, check := range sinkChecks {
		t.Run(check.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after the cleanups of New
			for _, err := range check.run(t, c) {
				t.Error(err)
			}
		})
	}
}

// sinkCheck is one part of the suite.
type sinkCheck struct {
	name string
	f    func(*sinkRun)
}

var sinkChecks = []sinkCheck{
	{"opens_and_closes", func(r *sinkRun) { r.close(); r.want() }},
	{"empty_batch", (*sinkRun).emptyBatch},
	{"nil_means_it_is_there", (*sinkRun).confirms},
	{"keeps_nothing", (*sinkRun).keepsNothing},
	{"large_events", (*sinkRun).largeEvents},
	{"cancelled_before", (*sinkRun).cancelledBefore},
	{"cancelled_while_it_hangs", (*sinkRun).cancelledWhile},
	{"broken_and_mended", (*sinkRun).brokenAndMended},
	{"partial_errors", (*sinkRun).poisoned},
	{"concurrent", (*sinkRun).concurrent},
}

// run returns what the check found.
func (k sinkCheck) run(t *testing.T, c SinkCase) []error {
	r := &sinkRun{t: t, c: c, rng: rand.New(rand.NewPCG(1, 2)), ledger: pipe.NewLedger(pipe.Window{}, nil)}
	r.sink = c.New(t)
	r.guard(func() {
		r.open()
		k.f(r)
	})
	r.guard(r.close)
	if tally := r.ledger.Tally(); tally.OpenEvents != 0 || tally.Read != tally.Acked+tally.Nacked+tally.Returned {
		r.errorf("the account does not balance: %+v", tally)
	}
	return r.errs
}

func (r *sinkRun) emptyBatch() {
	if _, err := r.write(r.t.Context(), nil); err != nil {
		r.errorf("empty batch: %v", err)
	}
	r.must(r.texts(1, 10))
	if _, err := r.write(r.t.Context(), nil); err != nil {
		r.errorf("empty batch: %v", err)
	}
	r.close()
	r.want()
}

func (r *sinkRun) confirms() {
	for _, n := range []int{1, 2, 63, 256, 1, r.rng.IntN(300) + 1} {
		r.must(r.texts(n, 200))
		r.want() // before Close
	}
}

func (r *sinkRun) keepsNothing() {
	for range 20 {
		r.must(r.texts(r.rng.IntN(50)+1, 300))
	}
	r.close()
	r.want()
}

func (r *sinkRun) largeEvents() {
	r.must(r.texts(3, 1<<20))
	r.must(r.texts(1, 0))
	r.close()
	r.want()
}

func (r *sinkRun) cancelledBefore() {
	ctx, cancel := context.WithCancel(r.t.Context())
	cancel()
	lines := r.texts(5, 50)
	began := time.Now()
	r.write(ctx, lines)
	if d := time.Since(began); d > patience {
		r.errorf("a cancelled Write took %v", d)
	}
	more := r.texts(5, 50)
	r.must(more)
	r.close()
	r.wantAtLeast(slices.Concat(lines, more), false)
}

func (r *sinkRun) cancelledWhile() {
	if r.c.Hang == nil {
		return
	}
	release := r.c.Hang(r.t, r.sink)
	defer release()
	lines := r.texts(40, 1<<16) // more than pipes and sockets buffer
	ctx, cancel := context.WithTimeout(r.t.Context(), 50*time.Millisecond)
	defer cancel()
	var failed []int
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		failed, err = r.write(ctx, lines)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		release()
		<-done
		r.fatalf("a Write whose destination hung did not return within %v after its context ended", patience)
	}
	if err == nil {
		r.fatalf("nil from a Write whose destination took nothing")
	}
	release()
	again := make([]string, len(failed))
	for i, at := range failed {
		again[i] = lines[at]
	}
	r.must(again)
	r.close()
	r.wantAtLeast(lines, false)
}

func (r *sinkRun) brokenAndMended() {
	if r.c.Break == nil {
		return
	}
	before := r.texts(3, 100)
	r.must(before)
	mend := r.c.Break(r.t, r.sink)
	defer mend()
	lines := r.texts(50, 200)
	failed, err := r.write(r.t.Context(), lines)
	if err == nil {
		r.fatalf("nil from a Write whose destination is broken")
	}
	if class := pipe.ClassOf(err, ""); class == "" && !errors.As(err, new(*pipe.PartialError)) {
		r.errorf("the error has no class: %v", err)
	}
	mend()
	again := make([]string, len(failed))
	for i, at := range failed {
		again[i] = lines[at]
	}
	r.must(again)
	r.close()
	r.wantAtLeast(slices.Concat(before, lines), r.c.TakesBack)
}

func (r *sinkRun) poisoned() {
	if r.c.Poison == nil {
		return
	}
	lines := r.texts(20, 50)
	bad := []int{0, 7, 8, 19}
	in, _ := r.events(lines)
	for _, i := range bad {
		in[i].Body = r.c.Poison()
	}
	given := slices.Clone(in)
	err := r.sink.Write(r.t.Context(), in)
	if failed := r.settle(given, err); !slices.Equal(failed, bad) {
		r.errorf("got failures at %v, want at %v (%v)", failed, bad, err)
	}
	for i, line := range lines {
		if !slices.Contains(bad, i) {
			r.sent = append(r.sent, line)
		}
	}
	r.close()
	r.want()
}

func (r *sinkRun) concurrent() {
	c, ok := r.sink.(pipe.Concurrent)
	if !ok {
		return
	}
	if c.MaxConcurrent() < 1 {
		r.fatalf("MaxConcurrent is %d, must be at least 1", c.MaxConcurrent())
	}
	var all []string
	var writers sync.WaitGroup
	for range min(8, c.MaxConcurrent()) {
		batches := [][]string{r.texts(20, 100), r.texts(1, 100), r.texts(30, 100)}
		all = append(all, slices.Concat(batches...)...)
		writers.Go(func() {
			for _, lines := range batches {
				if _, err := r.write(r.t.Context(), lines); err != nil {
					r.errorf("concurrent write: %v", err)
				}
			}
		})
	}
	writers.Wait()
	r.close()
	r.wantAtLeast(all, true)
}
