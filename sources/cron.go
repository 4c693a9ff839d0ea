package sources

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/adhocore/gronx"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterSource("cron", func() pipe.Source {
		return &Cron{Timezone: "UTC", Missed: cronSkip, Overlap: cronAllow}
	})
}

// The values of missed and overlap.
const (
	cronSkip  = "skip"
	cronOnce  = "once"
	cronAllow = "allow"
)

// Cron makes an event at the times of a schedule: to ask somebody, to flush
// something, to say that the pipeline is alive.
//
// It can lose events: what is in flight when the process dies, and the times at which
// pipectl does not run, are not made up for. A time is missed when the event could not
// be made within a second, because the pipeline was full or the machine asleep; missed
// says what happens then. When clocks go forward, times within the missing hour are
// left out; when they go back, times of the hour that comes twice happen once. A clock
// that is set back repeats nothing: the source waits until it is past the last time.
//
// Metadata of an event is scheduled, its time in RFC 3339, and missed, how many times
// before it were missed, when there were some. Its identity follows from its time.
//
// Example:
//
//	type: cron
//	schedule: "30 7 * * MON-FRI"
//	timezone: Europe/Berlin
//	event: {job: '"report"'}
type Cron struct {
	// Schedule is when: minute, hour, day of the month, month and day of the week, as
	// cron has them: "*/5 * * * *". With six fields the first one is the second: "*/10 *
	// * * * *". @hourly, @daily, @weekly, @monthly and @yearly are short for some. When
	// both days are given, either of them will do.
	Schedule string `yaml:"schedule" required:"true"`

	// Timezone is where the schedule's clock hangs, such as Europe/Berlin or Local; UTC
	// by default.
	Timezone string `yaml:"timezone"`

	// Event are the fields of an event, by path, with an expression for each, which
	// knows what those of the generate source know: seq (0 for the first event), now(),
	// uuid() and so on. Without it an event has seq and time, which is when it was due.
	Event pipe.OrderedMap[expr.Template] `yaml:"event"`

	// Missed says what happens to times that were missed: skip (the default) leaves
	// them out, once makes one event for all of them, late.
	Missed string `yaml:"missed" enum:"skip,once"`

	// Overlap says what happens when the event before is still in flight: allow (the
	// default) makes the next one all the same, skip leaves that time out.
	Overlap string `yaml:"overlap" enum:"allow,skip"`

	// AtStart makes an event at once, when the pipeline starts, besides those of the
	// schedule.
	AtStart bool `yaml:"at_start"`

	generate Generate                           // makes the bodies
	after    func(time.Time) (time.Time, error) // the next time; another one in tests
	due      time.Time
	missed   int64
	inFlight atomic.Int64
	log      *slog.Logger
	idle     *pipe.Clock
	closed   bool
	seq      int64
}

// cronLate is how late an event may be before its time counts as missed.
const cronLate = time.Second

// cronLook is the longest wait between two looks at the clock, which may be set.
const cronLook = 10 * time.Second

// Validate checks the fields.
func (s *Cron) Validate() error {
	var errs []error
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil {
		errs = append(errs, pipe.Fieldf("timezone", "%q is not a time zone: write such as Europe/Berlin, UTC or Local", s.Timezone))
		zone = time.UTC
	}
	if !gronx.IsValid(s.Schedule) {
		errs = append(errs, pipe.Fieldf("schedule", "%q is not a schedule: write minute, hour, day, month and weekday, such as \"*/5 * * * *\"", s.Schedule))
	} else if _, err := next(s.Schedule, time.Date(2026, 1, 1, 0, 0, 0, 0, zone)); err != nil {
		errs = append(errs, pipe.Fieldf("schedule", "%q never comes", s.Schedule))
	}
	g := Generate{Event: s.Event}
	return errors.Join(append(errs, g.Validate())...)
}

// next is the first time of the schedule after t, in t's zone. The library is asked
// for clock times, in UTC where every one is there once: one that the zone does not
// have, since its clocks go forward, is left out, and of those that come twice only
// the first counts.
func next(schedule string, t time.Time) (time.Time, error) {
	clock := time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
	for range 10_000 { // more than the seconds of an hour
		var err error
		if clock, err = gronx.NextTickAfter(schedule, clock, false); err != nil {
			return clock, err
		}
		if at, exists := first(clock, t.Location()); exists && at.After(t) {
			return at, nil
		}
	}
	return t, errors.New("no such time")
}

// first is when the clocks of a place show this time for the first time.
func first(clock time.Time, zone *time.Location) (at time.Time, exists bool) {
	at = time.Date(clock.Year(), clock.Month(), clock.Day(), clock.Hour(), clock.Minute(), clock.Second(), 0, zone)
	shown := clock.Format(time.DateTime)
	if at.Format(time.DateTime) != shown {
		return at, false
	}
	for _, back := range []time.Duration{30 * time.Minute, time.Hour} { // by half an hour in one place
		if before := at.Add(-back); before.Format(time.DateTime) == shown {
			return before, true
		}
	}
	return at, true
}

// Traits implements pipe.Traiter.
func (s *Cron) Traits() pipe.Traits {
	return pipe.Traits{Why: "a time that has passed does not come again"}
}

// Open finds the first time.
func (s *Cron) Open(ctx context.Context, env pipe.Env) error {
	s.log, s.idle = env.Log, idle(env)
	s.generate = Generate{Event: s.Event, Seed: uint64(time.Now().UnixNano()) | 1}
	if err := s.generate.Open(ctx, env); err != nil {
		return err
	}
	if s.after == nil {
		zone, err := time.LoadLocation(s.Timezone)
		if err != nil {
			return fmt.Errorf("timezone: %w", err)
		}
		s.after = func(t time.Time) (time.Time, error) { return next(s.Schedule, t.In(zone)) }
	}
	now := time.Now()
	if s.AtStart {
		s.due = now
		return nil
	}
	var err error
	if s.due, err = s.after(now); err != nil {
		return fmt.Errorf("schedule: %q never comes again", s.Schedule)
	}
	s.log.Info("first event", "at", s.due)
	return nil
}

// Read waits for the next time.
func (s *Cron) Read(ctx context.Context, b *pipe.Batch) error {
	for {
		if s.closed {
			return os.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		now := time.Now().Round(0) // as people's clocks have it
		if wait := s.due.Round(0).Sub(now); wait > 0 {
			s.sleep(ctx, min(wait, cronLook))
			continue
		}
		at, late, err := s.take(now)
		if err != nil {
			return err
		}
		if late && s.Missed == cronSkip {
			continue
		}
		if s.Overlap == cronSkip && s.inFlight.Load() > 0 {
			s.missed++
			continue
		}
		return s.make(b, at)
	}
}

// take returns the last time that is due, and goes on to the next one. The times
// before it are missed, and so is it when it is late.
func (s *Cron) take(now time.Time) (at time.Time, late bool, err error) {
	for {
		at = s.due
		if s.due, err = s.after(at); err != nil {
			return at, false, fmt.Errorf("schedule: %q never comes again", s.Schedule)
		}
		if s.due.After(now) {
			break
		}
		s.missed++
	}
	if late = now.Sub(at) > cronLate; late {
		s.missed++
		s.log.Warn("times were missed", "missed", s.missed, "last", at, "missed_policy", s.Missed)
	}
	return at, late, nil
}

// make appends the event of that time.
func (s *Cron) make(b *pipe.Batch, at time.Time) error {
	s.generate.env.Seq = s.seq
	var body record.Body
	if len(s.Event) == 0 {
		body = record.NewObject(&b.Arena, 2)
		body.Add(&b.Arena, "seq", record.Int(s.seq, &b.Arena))
		body.Add(&b.Arena, "time", record.Str(at.Format(time.RFC3339)))
	} else {
		var err error
		if body, err = s.generate.body(&b.Arena); err != nil {
			return err
		}
	}
	if size := body.Size(); size > s.generate.maxEvent {
		return fmt.Errorf("event: event %d is larger than limits.max_event_bytes (%s)", s.seq, pipe.Size(s.generate.maxEvent))
	}
	s.seq++
	b.SetMeta("scheduled", at.Format(time.RFC3339))
	if s.missed > 0 {
		b.SetMeta("missed", strconv.FormatInt(s.missed, 10))
		s.missed = 0
	}
	s.inFlight.Add(1)
	b.Each(s)
	b.Add(body, at.UnixNano())
	return nil
}

// Settled notes that an event is no longer in flight. It implements pipe.Settler.
func (s *Cron) Settled(any, pipe.Outcome) { s.inFlight.Add(-1) }

func (s *Cron) sleep(ctx context.Context, d time.Duration) {
	defer s.idle.Leave(s.idle.Enter())
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Close ends it.
func (s *Cron) Close(context.Context) error {
	s.closed = true
	return nil
}
