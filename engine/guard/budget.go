package guard

import (
	"context"
	"sync"
	"time"
)

// Budget bounds the retries of a sink as a whole, however many writers it has:
// many that fail at once must not keep a far side down by trying again. Beyond a
// burst, retries are a part of the writes. So that a sink that is down is still
// tried, the burst also comes back by itself within a minute.
type Budget struct {
	Ratio float64 // retries for each write, 0 to 1
	Burst int     // retries at once, and the fewest in a minute; at least 1
}

// DefaultBudget is what a sink gets that says nothing.
var DefaultBudget = Budget{Ratio: .1, Burst: 100}

// refill is how long an empty budget takes to be full again without any write.
const refill = time.Minute

// budget is a bucket of tokens: a retry takes one, a write adds a part of one.
type budget struct {
	more chan struct{} // one slot: somebody waits and there is a token

	mu      sync.Mutex // guards what follows
	set     Budget
	tokens  float64
	at      time.Time // when tokens was right
	waiting int
}

func newBudget(set Budget) *budget {
	if set.Burst < 1 {
		set = DefaultBudget
	}
	return &budget{set: set, tokens: float64(set.Burst), more: make(chan struct{}, 1)}
}

// inherit takes over what is left of another budget.
func (b *budget) inherit(old *budget) {
	left := old.left(time.Now())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens, b.at = left*float64(b.set.Burst), time.Now()
}

// fill adds what has come back since the last look.
func (b *budget) fill(now time.Time) {
	most := float64(b.set.Burst)
	if d := now.Sub(b.at); !b.at.IsZero() && d > 0 {
		b.tokens += most * float64(d) / float64(refill)
	}
	b.tokens, b.at = min(b.tokens, most), now
}

// left returns the part of the burst that is left.
func (b *budget) left(now time.Time) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	return b.tokens / float64(b.set.Burst)
}

// deposit counts a write.
func (b *budget) deposit() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens += b.set.Ratio // fill bounds it
	if b.waiting > 0 && b.tokens >= 1 {
		b.wake()
	}
}

func (b *budget) wake() {
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// take takes a token for a retry, or says when there will be one at the latest.
func (b *budget) take(now time.Time) (at time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	const enough = 1 - 1e-9 // what rounding may cost
	if b.fill(now); b.tokens >= enough {
		if b.tokens--; b.waiting > 0 && b.tokens >= enough {
			b.wake() // for the next one
		}
		return now, true
	}
	missing := (1 - b.tokens) / float64(b.set.Burst)
	return now.Add(time.Duration(missing*float64(refill)) + 1), false
}

func (b *budget) wait(by int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting += by
}

// awaitBudget waits until the budget has a retry.
func (w *write) awaitBudget(ctx context.Context) error {
	at, ok := w.budget.take(time.Now())
	if ok {
		return nil
	}
	w.budget.wait(1)
	defer w.budget.wait(-1)
	for !ok {
		if err := w.wait(ctx, w.budget.more, at); err != nil {
			return err
		}
		at, ok = w.budget.take(time.Now())
	}
	return nil
}
