package guard

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Grace is how long a call may go on after its time limit before it is left
// behind.
const Grace = time.Second

// calls are the calls of one sink that are going on, those that were left behind
// included: never more than the sink bears. All guards of the sink share them.
type calls struct {
	slots chan struct{} // one for each call
	stray atomic.Int64  // calls that were left behind and have not come back
	pages sync.Pool     // *page, of calls that are over
}

// page is what a call that may be left behind gets: events of its own, since the
// others go on meanwhile.
type page struct {
	events []pipe.Event
	in     []*pipe.Event
}

func newCalls(s pipe.Sink, atATime int) *calls {
	bears := max(1, atATime)
	if c, ok := s.(pipe.Concurrent); ok {
		bears = max(bears, c.MaxConcurrent())
	}
	return &calls{slots: make(chan struct{}, bears), pages: sync.Pool{New: func() any { return &page{} }}}
}

// enter waits until the sink bears another call. That is at once unless calls
// hang that were left behind.
func (c *calls) enter(ctx context.Context) error {
	select {
	case c.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d of its calls ignore their time limit and still hang: %w", c.stray.Load(), ctx.Err())
	}
}

func (c *calls) leave() { <-c.slots }

// copy makes a page of events.
func (c *calls) copy(in []*pipe.Event) *page {
	p := c.pages.Get().(*page)
	p.events, p.in = p.events[:0], p.in[:0]
	for _, e := range in {
		p.events = append(p.events, *e)
	}
	for i := range p.events {
		p.in = append(p.in, &p.events[i])
	}
	return p
}

// giveBack takes the page of a call that is over.
func (c *calls) giveBack(p *page) {
	clear(p.events)
	clear(p.in)
	c.pages.Put(p)
}

// Panic is a panic of a sink that was called in a goroutine of its own.
type Panic struct {
	Value any
	Stack []byte // where it happened
}

// String is what the sink has panicked with.
func (p *Panic) String() string { return fmt.Sprint(p.Value) }

// outcome is how a call has ended.
type outcome struct {
	err   error
	panic *Panic
}

// unlimited calls the sink and waits as long as it takes.
func (w *write) unlimited(ctx context.Context) error {
	if w.call != nil {
		return w.call(ctx, w.in)
	}
	if err := w.calls.enter(ctx); err != nil {
		return err
	}
	defer w.calls.leave()
	return w.inner.Write(ctx, w.in)
}

// bounded calls the sink with a context that ends at end. A call that ignores it is
// left behind after a grace: it keeps copies of its events, whose memory is not
// used again, and what it returns is nobody's any more.
func (w *write) bounded(ctx context.Context, end time.Time) error {
	if w.call != nil {
		return w.call(ctx, w.in)
	}
	if err := w.calls.enter(ctx); err != nil {
		return err
	}
	c, page, done := w.calls, w.calls.copy(w.in), make(chan outcome, 1)
	var over atomic.Int32 // who is first: 1 the call, 2 we
	go func() {
		defer func() {
			if !over.CompareAndSwap(0, 1) {
				c.stray.Add(-1)
				c.leave()
				w.back()
			}
		}()
		done <- call(ctx, w.inner, page.in)
	}()
	patience := time.NewTimer(time.Until(end) + Grace)
	defer patience.Stop()
	select {
	case x := <-done:
		return w.settled(x, page)
	case <-patience.C:
	}
	c.stray.Add(1)
	if !over.CompareAndSwap(0, 2) {
		c.stray.Add(-1)
		return w.settled(<-done, page)
	}
	pipe.Pin(w.in)
	if err := w.left(); err != nil {
		return err
	}
	return fmt.Errorf("it ignores its time limit and is left behind: %w", context.DeadlineExceeded)
}

// settled ends a call that has come back in time.
func (w *write) settled(x outcome, p *page) error {
	w.calls.giveBack(p)
	w.calls.leave()
	if x.panic != nil {
		panic(x.panic)
	}
	return x.err
}

// call calls the sink and catches its panic.
func call(ctx context.Context, s pipe.Sink, in []*pipe.Event) (x outcome) {
	defer func() {
		if r := recover(); r != nil {
			x.panic = &Panic{Value: r, Stack: debug.Stack()}
		}
	}()
	return outcome{err: s.Write(ctx, in)}
}
