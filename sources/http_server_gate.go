package sources

import (
	"container/list"
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// turn is the gate's answer to a request that asks for room.
type turn uint8

const (
	turnCame   turn = iota // it holds a place until leave
	turnNoRoom             // nobody may wait any more
	turnLate               // it did not come in time
	turnLeft               // the client went away before it came
	turnShut               // the source takes no more requests
)

// gate bounds how many requests hold a body. Others wait in line, first come,
// first served, with their body unread; the line is bounded too. A place that
// becomes free is handed to the first in line, never put up for grabs.
type gate struct {
	limit int // requests that may be inside
	room  int // requests that may wait

	mu     sync.Mutex // guards what follows
	inside int
	peak   int       // most requests inside at once
	line   list.List // of chan turn, one slot each
	closed bool
	pace   drainPace
}

// enter asks for a place and waits for it no longer than patience. After
// turnCame, and only then, the caller owes a leave.
func (g *gate) enter(ctx context.Context, patience time.Duration) turn {
	now, called, place := g.knock()
	if called == nil {
		return now
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	why := turnLate
	select {
	case t := <-called:
		return t
	case <-timer.C:
	case <-ctx.Done():
		why = turnLeft
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case t := <-called: // it came at the last moment, and the place is ours
		return t
	default:
	}
	g.line.Remove(place)
	return why
}

// knock answers at once, or puts the caller in line to be called.
func (g *gate) knock() (now turn, called chan turn, place *list.Element) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return turnShut, nil, nil
	case g.inside < g.limit: // then nobody is in line
		g.inside++
		g.peak = max(g.peak, g.inside)
		if g.inside == g.limit {
			g.pace.fill(time.Now())
		}
		return turnCame, nil, nil
	case g.line.Len() >= g.room:
		return turnNoRoom, nil, nil
	}
	called = make(chan turn, 1)
	return 0, called, g.line.PushBack(called)
}

// leave gives a place back.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.pace.left(now)
	if first := g.line.Front(); first != nil {
		g.line.Remove(first)
		first.Value.(chan turn) <- turnCame
		return
	}
	if g.inside == g.limit {
		g.pace.ease(now)
	}
	g.inside--
}

// shut lets nobody in any more and sends away who waits.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for e := g.line.Front(); e != nil; e = g.line.Front() {
		g.line.Remove(e)
		e.Value.(chan turn) <- turnShut
	}
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// load returns how many requests are inside and in line now, and the most that
// were inside at once.
func (g *gate) load() (inside, waiting, peak int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside, g.line.Len(), g.peak
}

// The bounds of Retry-After.
const (
	soonestRetry = time.Second
	latestRetry  = 5 * time.Minute
)

// retryAfter returns how long it takes until all requests that are ahead now
// have left, at the measured pace. While nothing leaves it is as long as that
// has lasted, at least fallback.
func (g *gate) retryAfter(fallback time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	wait := max(fallback, g.pace.stuck(now))
	if rate := g.pace.rate(now); rate > 0 {
		wait = time.Duration(min(float64(g.inside+g.line.Len())/rate, latestRetry.Seconds()) * float64(time.Second))
	}
	return min(max(wait, soonestRetry), latestRetry)
}

// retrySeconds spreads a wait by 5 % either way, so that clients refused
// together do not come back together, and rounds it to whole seconds.
func retrySeconds(d time.Duration) int {
	spread := d.Seconds() * (0.95 + 0.1*rand.Float64())
	return max(1, int(spread+rand.Float64()))
}
