// Package pipetest holds the conformance suites that every component runs. Each
// check quotes the contract it checks; see package pipe.
package pipetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Stage checks that a stage keeps the contract of pipe.Stage and of the optional
// interfaces it has. fresh makes the stage as the configuration would; samples
// are inputs it is made for, each an object when it begins with {, else a line.
// Strange inputs are added. The stage runs on the clock of testing/synctest, so
// waiting costs no time.
func Stage(t *testing.T, fresh func() pipe.Stage, samples ...string) {
	t.Helper()
	for _, c := range stageChecks {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := c.run(fresh, samples); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

type stageCheck struct {
	name string
	run  func(fresh func() pipe.Stage, samples []string) error
}

var stageChecks = []stageCheck{
	{"decides each event once, in order", checkDecisions},
	{"bears strange events", checkStrange},
	{"does not depend on batches", checkBatches},
	{"leaves copies alone", checkCopies},
	{"bears workers", checkWorkers},
	{"returns when cancelled", checkCancel},
	{"bears an empty batch", checkEmpty},
	{"holds within its bounds", checkHolder},
	{"declares its ports and pace", checkDeclared},
}

// strange are inputs that no stage may stumble over.
func strange() []string {
	return []string{
		"", " ", "\t \r", "\x00\xff\xfe", `\`, `"`, `"\"`, "=", ",", "[", "a=\"b",
		`{}`, `{"":""}`, `{"message":null}`, `{"message":{"x":[1,{}]}}`, `{"message":-1.5e300}`,
		`{"message":123456789012345678901234567890}`, `{"a.b":1,"a":{"b":[]},"tags":[]}`,
		`{ "message" : "caf\u00e9 \ud83d\ude00 \u0000 \" \\ \/ \n" , "\u0061" : true }`,
		`{"deep":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`,
	}
}

// Every event given to Process needs exactly one decision. Events keep their
// order. A failed event leaves as it came. Nothing that was sent may change.
func checkDecisions(fresh func() pipe.Stage, samples []string) error {
	if len(samples) == 0 {
		return errors.New("the suite needs at least one sample")
	}
	many := slices.Concat(samples, samples, samples)
	r, err := RunStage(fresh(), many...)
	if err != nil {
		return err
	}
	return checkBalance(r, len(many))
}

func checkBalance(r StageResult, in int) error {
	emitted := 0
	for _, events := range r.Emitted {
		emitted += len(events)
		for _, text := range events {
			if strings.HasPrefix(text, "{") && !json.Valid([]byte(text)) {
				return fmt.Errorf("emitted an object that is not JSON: %s", short(text))
			}
		}
	}
	c := r.Counts
	got := emitted + len(r.Filtered) + len(r.Failed)
	if want := in + int(c.Created-c.Merged); got != want {
		return fmt.Errorf("%d events in, %d created, %d merged, but %d emitted, %d filtered, %d failed",
			in, c.Created, c.Merged, emitted, len(r.Filtered), len(r.Failed))
	}
	return nil
}

// Strange input may fail, event by event; it must not end the stage.
func checkStrange(fresh func() pipe.Stage, samples []string) error {
	mixed := slices.Concat(strange(), huge())
	for i, s := range samples {
		mixed = slices.Insert(mixed, min(i*3, len(mixed)), s)
	}
	r, err := RunStage(fresh(), mixed...)
	if err != nil {
		return err
	}
	return checkBalance(r, len(mixed))
}

// huge are inputs larger than any buffer.
func huge() []string {
	return []string{strings.Repeat("x", 1<<18), `{"message":"` + strings.Repeat(`\"`, 1<<17) + `"}`}
}

// A batch is only how events travel: it never changes results.
func checkBatches(fresh func() pipe.Stage, samples []string) error {
	many := slices.Concat(samples, strange(), samples)
	var results []StageResult
	for _, n := range []int{1, 3, len(many)} {
		f, err := NewFeed(many...)
		if err != nil {
			return err
		}
		r, err := openStage(fresh())
		if err == nil {
			err = r.process(context.Background(), f.Events, n)
			err = errors.Join(err, r.finish(), f.Check())
		}
		if err != nil {
			return fmt.Errorf("in batches of %d: %w", n, err)
		}
		results = append(results, r.result)
	}
	return errors.Join(
		sameResult("batches change the result: in threes", results[1], results[0]),
		sameResult("batches change the result: all at once", results[2], results[0]),
	)
}

// sameResult reports the first difference between two results.
func sameResult(what string, got, want StageResult) error {
	if got.Counts != want.Counts {
		return fmt.Errorf("%s: counts %+v, want %+v", what, got.Counts, want.Counts)
	}
	exits := map[string][2][]string{"filtered": {got.Filtered, want.Filtered}, "failed": {got.Failed, want.Failed}}
	for _, ports := range []map[string][]string{got.Emitted, want.Emitted} {
		for port := range ports {
			exits["port "+port] = [2][]string{got.Emitted[port], want.Emitted[port]}
		}
	}
	for exit, pair := range exits {
		got, want := pair[0], pair[1]
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) {
				return fmt.Errorf("%s: %s: %d events, want %d", what, exit, len(got), len(want))
			}
			if got[i] != want[i] {
				return fmt.Errorf("%s: %s: event %d is %s, want %s", what, exit, i, short(got[i]), short(want[i]))
			}
		}
	}
	return nil
}

// Fan-out shares the bytes of an event between its copies: two stages edit
// theirs at the same time, and a third copy must stay as it was.
func checkCopies(fresh func() pipe.Stage, samples []string) error {
	f, err := NewFeed(slices.Concat(samples, strange())...)
	if err != nil {
		return err
	}
	var branches [3][]*pipe.Event
	var before []string
	for _, e := range f.Events {
		before = append(before, render(e))
		for i := range branches {
			branches[i] = append(branches[i], pipe.Fork(e))
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, len(branches))
	for i := range branches[1:] {
		wg.Go(func() {
			r, err := openStage(fresh())
			if err == nil {
				err = r.process(context.Background(), branches[i], len(before))
				err = errors.Join(err, r.finish())
			}
			errs[i] = err
		})
	}
	wg.Wait()
	for i, e := range f.Events {
		if now := render(e); now != before[i] {
			errs = append(errs, fmt.Errorf("a copy on another branch changed: %s was %s", short(now), short(before[i])))
		}
	}
	pipe.Settle(branches[2], pipe.Delivered)
	pipe.Settle(f.Events, pipe.Delivered)
	return errors.Join(append(errs, f.Check())...)
}

// With workers above 1 Process is called from several goroutines at once.
// A Holder is never called concurrently.
func checkWorkers(fresh func() pipe.Stage, samples []string) error {
	s := fresh()
	if _, ok := s.(pipe.Holder); ok {
		return nil
	}
	open, err := openStage(s)
	if err != nil {
		return err
	}
	const workers, rounds = 4, 8
	runs, errs := make([]*stageRun, workers), make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		runs[w] = open.fork()
		wg.Go(func() { errs[w] = workRounds(runs[w], samples, rounds) })
	}
	wg.Wait()
	errs = append(errs, open.finish())
	for _, r := range runs[1:] {
		errs = append(errs, sameResult("another worker with the same events", r.result, runs[0].result))
	}
	return errors.Join(errs...)
}

func workRounds(r *stageRun, samples []string, rounds int) error {
	var errs []error
	for range rounds {
		f, err := NewFeed(samples...)
		if err != nil {
			return err
		}
		clear(r.last)
		errs = append(errs, r.process(context.Background(), f.Events, len(f.Events)), r.unchanged(), f.Check())
	}
	return errors.Join(errs...)
}

// Process must return soon after ctx is done; what it has decided until then
// counts, the rest is the engine's.
func checkCancel(fresh func() pipe.Stage, samples []string) error {
	const grace = 100 * time.Millisecond
	for _, after := range []time.Duration{0, time.Nanosecond, time.Millisecond} {
		f, err := NewFeed(slices.Repeat(samples, 200)...)
		if err != nil {
			return err
		}
		r, err := openStage(fresh())
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), after)
		start := time.Now()
		processErr := r.stage.Process(ctx, f.Events, r.out)
		cancel()
		if late := time.Since(start) - after; late > grace {
			return fmt.Errorf("process returned %v after its context was done", late)
		}
		left := r.out.Undecided(nil, f.Events)
		if len(left) > 0 && processErr == nil {
			return fmt.Errorf("process left %d events without a decision and gave no error", len(left))
		}
		if len(left) > 0 && !errors.Is(processErr, context.Canceled) && !errors.Is(processErr, context.DeadlineExceeded) {
			return fmt.Errorf("process was cancelled but says: %w", processErr)
		}
		r.origin = originals(f)
		r.out.FailUndecided(f.Events, context.Canceled)
		if err := errors.Join(r.take(), r.finish(), f.Check()); err != nil {
			return err
		}
	}
	return nil
}

// originals returns what the events of f looked like, by position.
func originals(f *Feed) map[int64]string {
	m := map[int64]string{}
	fresh, err := NewFeed(f.before...)
	if err != nil {
		return m
	}
	for _, e := range fresh.Events {
		m[e.Position()] = render(e)
	}
	return m
}

// An empty batch is no reason to fail or to make something up.
func checkEmpty(fresh func() pipe.Stage, _ []string) error {
	r, err := openStage(fresh())
	if err != nil {
		return err
	}
	if err := r.stage.Process(context.Background(), nil, r.out); err != nil {
		return fmt.Errorf("process: %w", err)
	}
	if err := errors.Join(r.take(), r.finish()); err != nil {
		return err
	}
	return checkBalance(r.result, 0)
}

// A Holder never holds more than Capacity, and gives up at its Deadline what it
// said it would.
func checkHolder(fresh func() pipe.Stage, samples []string) error {
	s := fresh()
	h, ok := s.(pipe.Holder)
	if !ok {
		return nil
	}
	f, err := NewFeed(slices.Repeat(samples, 20)...)
	if err != nil {
		return err
	}
	r, err := openStage(s)
	if err != nil {
		return err
	}
	for i, e := range f.Events {
		if err := r.process(context.Background(), []*pipe.Event{e}, 1); err != nil {
			return err
		}
		if n := r.held(); n > int64(h.Capacity()) {
			return fmt.Errorf("holds %d events, more than its capacity of %d", n, h.Capacity())
		}
		if i%5 == 4 {
			if err := checkDeadline(r, h); err != nil {
				return err
			}
		}
	}
	return errors.Join(r.finish(), f.Check())
}

func checkDeadline(r *stageRun, h pipe.Holder) error {
	due := h.Deadline()
	if due.IsZero() {
		return nil
	}
	held := r.held()
	if err := r.flush(false); err != nil {
		return err
	}
	if r.held() != held && time.Now().Before(due) {
		return errors.New("flush gave up events before the deadline")
	}
	time.Sleep(time.Until(due))
	if err := r.flush(false); err != nil {
		return err
	}
	if next := h.Deadline(); !next.IsZero() && !next.After(due) {
		return fmt.Errorf("flush at the deadline %v did nothing about it: the next is %v", due, next)
	}
	return nil
}

// Ports have names of their own, and a Paced takes at least one event.
func checkDeclared(fresh func() pipe.Stage, _ []string) error {
	r, err := openStage(fresh())
	if err != nil {
		return err
	}
	sorted := slices.Sorted(slices.Values(r.ports))
	if len(sorted) == 0 || slices.Contains(sorted, "failed") || len(slices.Compact(sorted)) != len(r.ports) {
		return fmt.Errorf("ports %q: want at least one, none named failed, no name twice", r.ports)
	}
	if p, ok := r.stage.(pipe.Paced); ok && p.MaxBatch() < 1 {
		return fmt.Errorf("takes at most %d events at once, which is none", p.MaxBatch())
	}
	if h, ok := r.stage.(pipe.Holder); ok && h.Capacity() < 1 {
		return fmt.Errorf("has a capacity of %d events", h.Capacity())
	}
	return r.finish()
}
