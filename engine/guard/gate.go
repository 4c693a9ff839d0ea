package guard

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Concurrency bounds how many attempts a sink makes at a time.
type Concurrency struct {
	Max      int  // at least 1; 0 = 1
	Adaptive bool // the limit follows what the far side bears, between Min and Max
	Min      int  // at least 1; 0 = 1
}

// gate lets so many attempts through at a time; the others wait in line. A place
// that becomes free is handed to the first in line.
type gate struct {
	mu     sync.Mutex // guards what follows
	set    Concurrency
	limit  int // now
	inside int
	line   []*place
	climb  climb
}

// place is a place in line and then inside.
type place struct {
	came  chan struct{} // one slot; nil if it came at once
	epoch uint64        // in which it came, 0 if it is not to be measured
}

func newGate(set Concurrency) *gate {
	set.Max = max(1, set.Max)
	set.Min = min(max(1, set.Min), set.Max)
	g := &gate{set: set, limit: set.Max}
	if set.Adaptive {
		g.limit, g.climb.top = set.Min, set.Min
	}
	return g
}

// inherit goes on with what another gate has found out.
func (g *gate) inherit(old *gate) {
	old.mu.Lock()
	limit, climb, adaptive := old.limit, old.climb, old.set.Adaptive
	old.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.set.Adaptive && adaptive {
		g.climb = climb
		g.climb.begin()
		g.bound(limit)
	}
}

func (g *gate) allowed() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limit
}

// enter takes a place, or one in line.
func (g *gate) enter() *place {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside < g.limit {
		return g.take(&place{})
	}
	p := &place{came: make(chan struct{}, 1)}
	g.line = append(g.line, p)
	g.climb.reached = true
	return p
}

func (g *gate) take(p *place) *place {
	if g.inside++; g.inside >= g.limit {
		g.climb.reached = true
	}
	if g.set.Adaptive {
		p.epoch = g.climb.enlist(g.limit)
	}
	return p
}

// withdraw gives up a place in line, also when it has just come.
func (g *gate) withdraw(p *place) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.line, p); i >= 0 {
		g.line = slices.Delete(g.line, i, i+1)
		return
	}
	g.free(p, 0, neither)
}

// call hands free places to those in line.
func (g *gate) call() {
	for len(g.line) > 0 && g.inside < g.limit {
		p := g.line[0]
		g.line = slices.Delete(g.line, 0, 1)
		g.take(p).came <- struct{}{}
	}
}

// leave gives a place back after an attempt that took so long.
func (g *gate) leave(p *place, took time.Duration, v verdict) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free(p, took, v)
}

func (g *gate) free(p *place, took time.Duration, v verdict) {
	g.inside--
	if p.epoch != 0 && p.epoch == g.climb.epoch {
		g.bound(g.climb.next(took, v))
	}
	g.call()
}

// bound sets the limit within its bounds.
func (g *gate) bound(limit int) {
	g.climb.top = min(max(g.climb.top, g.set.Min), g.set.Max)
	g.limit = min(max(limit, g.set.Min), g.set.Max)
}

// awaitGate waits for a place.
func (w *write) awaitGate(ctx context.Context) (p *place, err error) {
	if p = w.gate.enter(); p.came == nil {
		return p, nil
	}
	if err = w.wait(ctx, p.came, never); err != nil {
		w.gate.withdraw(p)
	}
	return p, err
}
