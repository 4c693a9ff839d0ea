package edge

import "time"

// waiter is a goroutine that waits for its edge or inbox. Its fields belong to
// the lock of the list it is in, except that its goroutine alone receives from
// ch and uses timer.
//
// woken means that a token is in ch or was just taken out of it. A waiter is
// sent to only when it is not woken, so a send never blocks and no waiter is
// woken twice.
type waiter struct {
	ch         chan struct{}
	prev, next *waiter
	woken      bool
	left       int   // events that a producer has still to hand over
	start      int64 // when it began to wait
	since      int64 // when its last turn ended, or start
	timer      *time.Timer
}

func (w *waiter) wake() {
	if !w.woken {
		w.woken = true
		w.ch <- struct{}{}
	}
}

// cause is why a wait ended.
type cause uint8

const (
	called cause = iota // somebody woke the waiter
	cancelled
	rang // the timer
)

// wait is called without the lock.
func (w *waiter) wait(done <-chan struct{}, timer <-chan time.Time) cause {
	select {
	case <-w.ch:
		return called
	case <-done:
		return cancelled
	case <-timer:
		return rang
	}
}

// rise is called with the lock after every wait.
func (w *waiter) rise(c cause) {
	if c == called {
		w.woken = false
	}
	w.calm()
}

// calm takes back a token that came too late.
func (w *waiter) calm() {
	if w.woken {
		<-w.ch
		w.woken = false
	}
}

// arm returns a channel that delivers after d, or nil when d is never.
func (w *waiter) arm(d time.Duration) <-chan time.Time {
	switch {
	case d == never:
		return nil
	case w.timer == nil:
		w.timer = time.NewTimer(d)
	default:
		w.timer.Reset(d)
	}
	return w.timer.C
}

func (w *waiter) disarm() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

const never = time.Duration(1<<63 - 1)

// waitlist is a FIFO list of waiters and the account of their time. Whoever
// leaves it must then wake its new head if there is something to have.
type waitlist struct {
	head, tail *waiter
	n          int
	free       *waiter // of this list alone: a channel may not cross synctest bubbles

	starts int64 // sum of start of those who wait
	ended  int64 // sum of the waits that are over
	busy   int64 // how long the list was not empty, without the running stretch
	began  int64 // when the running stretch began
}

// join appends a waiter.
func (l *waitlist) join(now int64) *waiter {
	w := l.free
	if w == nil {
		w = &waiter{ch: make(chan struct{}, 1)}
	} else {
		l.free = w.next
	}
	w.start, w.since = now, now
	if l.n == 0 {
		l.began = now
	}
	l.n++
	l.starts += now
	l.link(w)
	return w
}

// leave removes w and returns how long it waited.
func (l *waitlist) leave(w *waiter, now int64) time.Duration {
	l.unlink(w)
	w.calm()
	l.n--
	l.starts -= w.start
	l.ended += now - w.start
	if l.n == 0 {
		l.busy += now - l.began
	}
	w.next, l.free = l.free, w
	return time.Duration(now - w.start)
}

// rotate moves w, which had its turn, to the back.
func (l *waitlist) rotate(w *waiter, now int64) {
	w.since = now
	l.unlink(w)
	l.link(w)
}

func (l *waitlist) link(w *waiter) {
	w.prev, w.next = l.tail, nil
	if l.tail == nil {
		l.head = w
	} else {
		l.tail.next = w
	}
	l.tail = w
}

func (l *waitlist) unlink(w *waiter) {
	if w.prev == nil {
		l.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
}

func (l *waitlist) wakeAll() {
	for w := l.head; w != nil; w = w.next {
		w.wake()
	}
}

// smallest returns the smallest batch that is waiting: how many events a turn
// has when producers are served strictly in order.
func (l *waitlist) smallest() int {
	n := l.head.left
	for w := l.head.next; w != nil && n > 1; w = w.next {
		n = min(n, w.left)
	}
	return n
}

// total returns the time waited by all, waits in progress included.
func (l *waitlist) total(now int64) time.Duration {
	return time.Duration(l.ended + int64(l.n)*now - l.starts)
}

// occupied returns how long there was at least one waiter.
func (l *waitlist) occupied(now int64) time.Duration {
	if l.n == 0 {
		return time.Duration(l.busy)
	}
	return time.Duration(l.busy + now - l.began)
}
