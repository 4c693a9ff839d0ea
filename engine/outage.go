package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/guard"
	"github.com/pipectl/pipectl/engine/pipe"
)

// outage tells an outage from bad events: a few dead letters are events that
// nobody can handle, many are a node that cannot work. While there is an outage
// no dead letters are made; what fails is held back and tried again.
type outage struct {
	log *slog.Logger

	mu    sync.Mutex // guards what follows
	slots [outageSlots]outageSlot
	since time.Time // when it began; zero when there is none
}

// outageSlots is in how many parts the window is counted: it is exact to that part.
const outageSlots = 12

type outageSlot struct {
	at          int64 // number of the slot since the epoch
	all, letter int64 // events decided about, and those given up among them
}

// holdBack reports whether events that were given up must not become dead
// letters now, done being those of the same write that went well. When they may,
// it counts them.
func (o *outage) holdBack(s config.DeadLetters, now time.Time, done, given int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	length := max(1, s.Window.D()/outageSlots)
	slot := &o.slots[now.UnixNano()/int64(length)%outageSlots]
	if at := now.UnixNano() / int64(length); slot.at != at {
		*slot = outageSlot{at: at}
	}
	slot.all += int64(done)
	switch {
	case s.MaxRatio >= 1:
		o.end(now)
	case o.active():
		if done == 0 || float64(given) > s.MaxRatio*float64(done+given) {
			return true
		}
		o.end(now)
	case given > 0:
		all, letters := o.sum(slot.at)
		all, letters = all+int64(given), letters+int64(given)
		if all >= int64(s.MinEvents) && float64(letters) > s.MaxRatio*float64(all) {
			o.begin(now, letters, all, s)
			return true
		}
	}
	slot.all += int64(given)
	slot.letter += int64(given)
	return false
}

// sum adds up the slots of the window that ends with the one at last.
func (o *outage) sum(last int64) (all, letters int64) {
	for _, s := range o.slots {
		if s.at > last-outageSlots && s.at <= last {
			all, letters = all+s.all, letters+s.letter
		}
	}
	return all, letters
}

func (o *outage) active() bool { return !o.since.IsZero() }

func (o *outage) begin(now time.Time, letters, all int64, s config.DeadLetters) {
	o.since = now
	o.log.Warn("so many events fail that it is an outage: no more dead letters, what fails is held back and tried again",
		"failed", letters, "of", all, "within", s.Window, "dead_letters.max_ratio", s.MaxRatio)
}

func (o *outage) end(now time.Time) {
	if o.active() {
		o.log.Info("the outage is over, what fails becomes a dead letter again", "after", now.Sub(o.since).Round(time.Millisecond))
		o.since = time.Time{}
	}
}

// on reports whether there is an outage.
func (o *outage) on() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.active()
}

// deliver writes in. What the guard gives up although it may work later is held
// back during an outage, and written again after a pause.
func (w *writer) deliver(ctx context.Context, in []*pipe.Event) (attempts int, err error) {
	attempts, err = w.guard.Write(ctx, in)
	if !w.failed.connected() {
		return attempts, err
	}
	var b heldBatch // made when something is held back
	given, done := judge(len(in), err)
	for n := 2; ctx.Err() == nil && w.outage.holdBack(w.letters, time.Now(), done, len(given)) && len(given) > 0; n++ {
		if b.errs == nil {
			b.begin(in, err)
		}
		again := make([]*pipe.Event, len(given))
		for i, at := range given {
			again[i] = in[b.open[at]]
		}
		b.narrow(given)
		more, e := 0, w.guard.Hold(ctx, b.errs[b.open[0]], n)
		if e == nil {
			more, e = w.guard.Write(ctx, again)
		}
		attempts += more
		b.enter(e)
		given, done = judge(len(again), e)
	}
	if b.errs != nil {
		err = b.result()
	}
	return attempts, err
}

// judge sorts the events of a write by how it has ended: given are those that were
// given up although they may be written later, and done is how many the far side
// has decided about. A stop and a reload decide about none.
func judge(events int, err error) (given []int, done int) {
	if err == nil {
		return nil, events
	}
	for i, e := range each(events, err) {
		class := pipe.ClassOf(e, pipe.Retryable)
		switch {
		case errors.Is(e, guard.ErrReleased), errors.Is(e, context.Canceled):
		case e != nil && (class == pipe.Retryable || class == pipe.Throttled):
			given = append(given, i)
		default:
			done++
		}
	}
	return given, done
}

// each returns the error of each event of a write.
func each(events int, err error) []error {
	errs := make([]error, events)
	var part *pipe.PartialError
	if errors.As(err, &part) {
		for _, it := range part.Items {
			errs[it.Index] = it.Err
		}
		return errs
	}
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// heldBatch is a batch of which a part was held back.
type heldBatch struct {
	errs []error // how the last write of each has ended
	open []int   // those that are written now
}

func (b *heldBatch) begin(in []*pipe.Event, err error) {
	b.errs, b.open = each(len(in), err), make([]int, len(in))
	for i := range b.open {
		b.open[i] = i
	}
}

// narrow leaves those to be written that are at these places.
func (b *heldBatch) narrow(places []int) {
	open := make([]int, len(places))
	for i, at := range places {
		open[i] = b.open[at]
	}
	b.open = open
}

// enter notes how the write of what is open has ended.
func (b *heldBatch) enter(err error) {
	for i, e := range each(len(b.open), err) {
		b.errs[b.open[i]] = e
	}
}

// result is what one write of the whole batch would have returned.
func (b *heldBatch) result() error {
	var part pipe.PartialError
	for i, err := range b.errs {
		if err != nil {
			part.Items = append(part.Items, pipe.ItemError{Index: i, Err: err})
		}
	}
	if len(part.Items) == 0 {
		return nil
	}
	return &part
}

// holdBack returns the failures of a step that become dead letters. During an
// outage it holds back what failed, and lets the stage try it again after a pause:
// what goes well then is handed on.
func (w *worker) holdBack(failed []pipe.Failure) []pipe.Failure {
	if w.letters.MaxRatio >= 1 && !w.outage.on() || !w.failed.connected() {
		return failed
	}
	out, job := w.out, w.stageJob
	defer func() {
		if w.stageJob == job {
			w.out = out // of another job it has its own
		}
	}()
	failed = slices.Clone(failed) // the Out that they are in may be used meanwhile
	done := int(w.out.Counts().Decided) - len(failed)
	for n := 0; w.outage.holdBack(w.letters, time.Now(), done, len(failed)) && len(failed) > 0; n++ {
		held, ok := w.hold(failed, n)
		if !ok {
			return nil
		}
		w.out = pipe.NewOut(len(w.to))
		w.hand.take(held)
		if err := w.process(held); !w.hand.give() {
			return nil
		} else if err != nil && w.takenAway() {
			w.failAgain(failed)
		}
		w.complete(held)
		w.dispatch()
		failed = w.out.Failed()
		done = int(w.out.Counts().Decided) - len(failed)
	}
	return failed
}

// hold keeps what failed in hand for the pause before the n-th try. ok is false
// when it is settled: the worker was given up, or work is being stopped.
func (w *worker) hold(failed []pipe.Failure, n int) (held []*pipe.Event, ok bool) {
	for _, f := range failed {
		held = append(held, f.Event)
	}
	w.hand.take(held)
	stopped := w.pause(min(longestHold, firstHold<<min(n, 16)))
	if !w.hand.give() {
		return nil, false
	}
	if stopped || !w.renew() {
		w.settleReturned(held)
		return nil, false
	}
	return held, true
}

// failAgain fails what a reload has kept the stage from deciding about, for the
// reason that it had before.
func (w *worker) failAgain(failed []pipe.Failure) {
	for _, f := range failed {
		if one := []*pipe.Event{f.Event}; len(w.out.Undecided(nil, one)) > 0 {
			w.out.Fail(f.Event, f.Err)
		}
	}
}

// How long a stage waits before it tries again what was held back.
const (
	firstHold   = 250 * time.Millisecond
	longestHold = 30 * time.Second
	lookAgain   = 100 * time.Millisecond // for another job
)

// pause waits, but not longer than until the node gets another job. It reports
// whether work is being stopped.
func (w *worker) pause(d time.Duration) (stopped bool) {
	defer w.meter.Throttled.Leave(w.meter.Throttled.Enter())
	end := time.NewTimer(d)
	defer end.Stop()
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for w.doing.Load() == w.stageJob {
		select {
		case <-look.C:
		case <-end.C:
			return false
		case <-w.working.Done():
			return true
		}
	}
	return false
}
