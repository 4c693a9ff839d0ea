package engine

import (
	"context"
	"sync"
)

// turnstile lets several workers process batches at once and hand their results
// on in the order in which the batches were received. At most one batch per
// worker is out of order, so nothing grows.
type turnstile struct {
	door chan struct{} // holds a token while somebody receives

	mu     sync.Mutex // guards what follows
	issued uint64     // turns given out
	now    uint64     // the turn that may hand on
	wait   map[uint64]chan struct{}
}

func newTurnstile() *turnstile {
	return &turnstile{door: make(chan struct{}, 1), now: 1, wait: map[uint64]chan struct{}{}}
}

// tryEnter is enter for when nobody else receives.
func (t *turnstile) tryEnter() bool {
	select {
	case t.door <- struct{}{}:
		return true
	default:
		return false
	}
}

// enter waits until the caller may receive. It is false when ctx ended first.
func (t *turnstile) enter(ctx context.Context) bool {
	select {
	case t.door <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// leave lets the next worker receive, and gives the caller its turn if it got
// something.
func (t *turnstile) leave(got bool) (turn uint64) {
	if got {
		t.mu.Lock()
		t.issued++
		turn = t.issued
		t.mu.Unlock()
	}
	<-t.door
	return turn
}

// await waits for the caller's turn. It is false when ctx ended first; the line
// is broken then, and nobody waits in it any more.
func (t *turnstile) await(ctx context.Context, turn uint64) bool {
	t.mu.Lock()
	if t.now == turn {
		t.mu.Unlock()
		return true
	}
	c := make(chan struct{})
	t.wait[turn] = c
	t.mu.Unlock()
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *turnstile) isNow(turn uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now == turn
}

// next ends the caller's turn.
func (t *turnstile) next() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now++
	if c := t.wait[t.now]; c != nil {
		delete(t.wait, t.now)
		close(c)
	}
}
