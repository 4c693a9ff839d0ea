package stages

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterStage("dedupe", func() pipe.Stage {
		return &Dedupe{Window: pipe.Duration(5 * time.Minute), MaxKeys: 100_000}
	})
}

// Dedupe hands on the first event of each key and ends those that follow it
// within a window: they count as filtered.
//
// What it cannot do, and what to know about each:
//
//   - It does not learn what becomes of the first event. If that one fails later
//     on, or an edge drops it, the events that follow within the window are ended
//     all the same. The event itself is let through again when its source reads
//     it anew, which is known by its position: a file, a dead letter that is
//     replayed, a broker with offsets. A client that sends a refused request
//     again makes a new event, with no position to know it by: it is ended, and
//     the client is told that all is well. Where that must not happen, let the
//     destination deduplicate (the http sink sends an idempotency key).
//   - It remembers nothing over a restart or a reload that changes it. What was
//     not settled comes again and goes on again.
//   - It remembers at most max_keys keys. At the limit the oldest is forgotten
//     before its time, so that a duplicate may go on; a first event is never
//     ended for it. A warning in the log says so, once until it is over.
//
// Several workers share the keys. Which of two events that arrive at the same
// moment comes first is then a matter of chance.
//
// Example:
//
//	type: dedupe
//	key: request_id
//	window: 10m
type Dedupe struct {
	// Key is what duplicates have in common: a field, or an expression such as
	// 'user + ":" + string(day)'. Text and numbers are compared as they are
	// written: 7 and "7" are one key. An event without a key (nil) goes on; one for
	// which it cannot be evaluated fails.
	Key expr.Value `yaml:"key" required:"true"`

	// Window is how long a key is remembered, counted from when its first event
	// got here, 5m by default. Duplicates do not prolong it.
	Window pipe.Duration `yaml:"window" above:"0s"`

	// MaxKeys is how many keys are remembered, 1 to 10,000,000; 100,000 by
	// default. One needs about 120 bytes, however long it is: instead of the key
	// a fingerprint of 128 bits is kept.
	MaxKeys int `yaml:"max_keys" min:"1" max:"10000000"`

	log   *slog.Logger
	seeds [2]maphash.Seed

	mu      sync.Mutex // guards what follows
	seen    map[fingerprint]uint64
	ring    []sighting // by number, modulo its length
	oldest  uint64     // number of the oldest that is remembered
	next    uint64     // number of the next
	evicts  bool       // the limit has forgotten a key before its time
	evicted time.Time  // when it last did
}

// fingerprint stands for a key.
type fingerprint [2]uint64

// sighting is the first event of a key.
type sighting struct {
	key  fingerprint
	id   uint64    // of the event
	read time.Time // when its source read it
	at   time.Time // when it got here
}

// Validate checks the limits.
func (d *Dedupe) Validate() error {
	var errs []error
	if d.Key.IsZero() {
		errs = append(errs, fieldError("key", "name the field that duplicates share, such as request_id", "is required"))
	}
	if d.Window <= 0 {
		errs = append(errs, fieldError("window", "such as 10m", "must be above 0"))
	}
	if d.MaxKeys < 1 || d.MaxKeys > 10_000_000 {
		errs = append(errs, fieldError("max_keys", "", "must be 1 to 10000000, got %d", d.MaxKeys))
	}
	return errors.Join(errs...)
}

// Open begins with no keys.
func (d *Dedupe) Open(_ context.Context, env pipe.Env) error {
	d.log = env.Log
	d.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	d.seen = map[fingerprint]uint64{}
	d.ring, d.oldest, d.next, d.evicts = make([]sighting, min(d.MaxKeys, 1024)), 0, 0, false
	return nil
}

// Process ends the events whose key was seen.
func (d *Dedupe) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	now := time.Now()
	scratch := out.Scratch()
	for _, e := range in {
		v, err := d.Key.Eval(e, &out.Arena)
		if err != nil {
			out.Fail(e, poison(fmt.Errorf("key: %w", err)))
			continue
		}
		key, ok := v.Key(scratch)
		if !ok || d.first(sighting{d.print(key), pipe.HashKey(e.ID()), e.Time(), now}) {
			out.Emit(e)
		} else {
			out.Filter(e)
		}
	}
	out.KeepScratch(scratch)
	return nil
}

func (d *Dedupe) print(key []byte) fingerprint {
	return fingerprint{maphash.Bytes(d.seeds[0], key), maphash.Bytes(d.seeds[1], key)}
}

// first reports whether s is the first of its key, or that one read again, and
// remembers it.
func (d *Dedupe) first(s sighting) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.oldest < d.next && s.at.Sub(d.at(d.oldest).at) >= d.Window.D() {
		d.forget()
	}
	if n, ok := d.seen[s.key]; ok {
		was := d.at(n)
		if again := was.id == s.id && !was.read.Equal(s.read); !again {
			return false
		}
		was.read = s.read
		return true
	}
	if d.next-d.oldest == uint64(d.MaxKeys) {
		d.limit(s.at)
		d.forget()
	}
	d.remember(s)
	return true
}

func (d *Dedupe) at(n uint64) *sighting { return &d.ring[n%uint64(len(d.ring))] }

func (d *Dedupe) remember(s sighting) {
	if d.next-d.oldest == uint64(len(d.ring)) {
		larger := make([]sighting, min(d.MaxKeys, 2*len(d.ring)))
		for n := d.oldest; n < d.next; n++ {
			larger[n%uint64(len(larger))] = *d.at(n)
		}
		d.ring = larger
	}
	*d.at(d.next) = s
	d.seen[s.key] = d.next
	d.next++
}

func (d *Dedupe) forget() {
	delete(d.seen, d.at(d.oldest).key)
	d.oldest++
}

// limit tells about a key that is forgotten before its time, unless it was told
// within the last window.
func (d *Dedupe) limit(now time.Time) {
	if !d.evicts || now.Sub(d.evicted) >= d.Window.D() {
		d.log.Warn("more keys than max_keys within the window: the oldest are forgotten, and duplicates of them go on",
			"max_keys", d.MaxKeys, "window", d.Window.D(), "remembered", now.Sub(d.at(d.oldest).at))
	}
	d.evicts, d.evicted = true, now
}
