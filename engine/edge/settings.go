package edge

import (
	"fmt"
	"math"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Policy says what happens to an event that does not fit.
type Policy string

// The policies. Fail is only for Settings.Then.
const (
	Block      Policy = "block"       // the producer waits its turn
	DropOldest Policy = "drop-oldest" // evicts from the head until the event fits
	DropNewest Policy = "drop-newest" // drops the offered event
	DropRandom Policy = "drop-random" // drops a uniformly chosen one of queued and offered
	Sample     Policy = "sample"      // keeps every offered event with a probability that falls with the load
	Fail       Policy = "fail"        // Send returns ErrFailed
)

// OnDrop says what the source of a dropped event is told.
type OnDrop string

// The ways to settle a dropped event. The empty value means Ack.
const (
	Ack  OnDrop = "ack"  // the source may forget it: the operator chose loss
	Nack OnDrop = "nack" // the source redelivers it, or answers 503
)

// OnShrink says what happens to queued events that a new, smaller bound has no
// room for.
type OnShrink string

// The ways to shrink. The empty value means Keep.
const (
	Keep  OnShrink = "keep"  // they stay; nothing new is admitted until there is room
	Evict OnShrink = "evict" // the oldest are dropped at once, as Resized
)

// Settings are everything about an edge that can change while it runs.
type Settings struct {
	// Events is the most events the edge holds, at least 1.
	Events int
	// Bytes bounds the accounted size of the queued events together; 0 means no
	// bound. An event larger than Bytes is admitted alone, into an empty edge.
	Bytes int64
	// Age drops events that were read longer ago than this, when they are taken
	// and when the edge is full; 0 means never.
	Age time.Duration
	// Policy is what happens to an event that does not fit.
	Policy Policy

	// Timeout ends a wait under Block; 0 means never. Then is what happens to the
	// event: DropNewest, DropOldest or Fail.
	Timeout time.Duration
	Then    Policy

	// Base and Min are Sample's rates, 0 < Min <= Base <= 1, and Threshold, from 0
	// to below 1, is the load from which the rate falls from Base towards Min.
	// Min equal to Base makes a fixed rate.
	Base, Min, Threshold float64
	// Key makes Sample consistent: events whose keys are equal share one fate on
	// every machine. It returns pipe.HashKey of the event's key, or false when the
	// event has none and is sampled at random. It is called without any lock held,
	// from many goroutines at once, and must not panic. nil means no keys.
	Key func(*pipe.Event) (uint64, bool)

	OnDrop   OnDrop
	OnShrink OnShrink
	// Priority ranks the edges of one Inbox; higher comes first.
	Priority int
	// Seed makes DropRandom and Sample repeatable; 0 means a seed of its own,
	// which Stats tells.
	Seed uint64
}

// Validate reports the first setting that is out of range. New and Apply panic
// with settings that Validate refuses.
func (s *Settings) Validate() error {
	switch {
	case s.Events < 1:
		return fmt.Errorf("events: must be at least 1, got %d", s.Events)
	case s.Bytes < 0:
		return fmt.Errorf("bytes: must not be negative, got %d", s.Bytes)
	case s.Age < 0:
		return fmt.Errorf("age: must not be negative, got %v", s.Age)
	case s.Timeout < 0:
		return fmt.Errorf("timeout: must not be negative, got %v", s.Timeout)
	case s.OnDrop != "" && s.OnDrop != Ack && s.OnDrop != Nack:
		return fmt.Errorf("on_drop: must be ack or nack, got %q", s.OnDrop)
	case s.OnShrink != "" && s.OnShrink != Keep && s.OnShrink != Evict:
		return fmt.Errorf("on_shrink: must be keep or evict, got %q", s.OnShrink)
	}
	return s.validatePolicy()
}

func (s *Settings) validatePolicy() error {
	switch s.Policy {
	case DropOldest, DropNewest, DropRandom:
		return nil
	case Block:
		if s.Timeout > 0 && s.Then != DropNewest && s.Then != DropOldest && s.Then != Fail {
			return fmt.Errorf("then: must be drop-newest, drop-oldest or fail, got %q", s.Then)
		}
		return nil
	case Sample:
		switch {
		case !(s.Base > 0 && s.Base <= 1):
			return fmt.Errorf("base_rate: must be above 0 and at most 1, got %v", s.Base)
		case !(s.Min > 0 && s.Min <= s.Base):
			return fmt.Errorf("min_rate: must be above 0 and at most base_rate, got %v", s.Min)
		case !(s.Threshold >= 0 && s.Threshold < 1):
			return fmt.Errorf("threshold: must be at least 0 and below 1, got %v", s.Threshold)
		}
		return nil
	}
	return fmt.Errorf("policy: must be block, drop-oldest, drop-newest, drop-random or sample, got %q", s.Policy)
}

// rules are settings in the form that the hot path reads.
type rules struct {
	Settings
	limit   int64        // Bytes, or the largest number when there is no bound
	outcome pipe.Outcome // of dropped events

	// A batch that leaves the edge within these is admitted whole, whatever the
	// policy. -1 when there is no such batch.
	freeEvents int
	freeBytes  int64
}

func compile(s Settings) rules {
	if err := s.Validate(); err != nil {
		panic("BUG: edge settings were not validated: " + err.Error())
	}
	r := rules{Settings: s, limit: s.Bytes, outcome: pipe.Dropped}
	if s.Bytes == 0 {
		r.limit = math.MaxInt64
	}
	if s.OnDrop == Nack {
		r.outcome = pipe.Refused
	}
	r.freeEvents, r.freeBytes = s.Events, r.limit
	if s.Policy == Sample {
		r.freeEvents, r.freeBytes = -1, -1
		if s.Base == 1 { // below the threshold everything is kept
			r.freeEvents = int(s.Threshold * float64(s.Events))
			r.freeBytes = math.MaxInt64
			if s.Bytes > 0 {
				r.freeBytes = int64(s.Threshold * float64(s.Bytes))
			}
		}
	}
	return r
}
