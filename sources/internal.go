package sources

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSource("internal", func() pipe.Source {
		return &Internal{Interval: pipe.Duration(10 * time.Second), LogLevel: "warn", MaxPending: 1000,
			Include: []string{insidePipeline, insideSources, insideStages, insideEdges, insideSinks, insideChanges}}
	})
}

// The values of include.
const (
	insidePipeline = "pipeline"
	insideSources  = "sources"
	insideStages   = "stages"
	insideEdges    = "edges"
	insideSinks    = "sinks"
	insideChanges  = "changes"
	insideLogs     = "logs"
)

// Internal makes events of the pipeline itself: its figures at an interval, what
// has changed since, and what it logs.
//
// It can lose events: the figures of a moment are not kept. While it is not read,
// looks are left out and never made up for; counters go on, so that the next look
// has all of them. The first look is made at the start, the last one when the
// pipeline drains. The receipt is made after that and is no event.
//
// Figures have the field kind (pipeline, source, stage, edge or sink), name, time,
// pipeline, and the fields that `pipectl status --json` shows for it. A change has
// kind change and the field change: reloaded (from, to), state (from, to), dropped
// (edge, reason, events), outage (node, on), breaker (node, from, to) or stall (on).
// Changes are found by comparing two looks: what was there and over in between
// shows only in the counters. A message has kind log, level, message, node and its
// values below fields.
//
// It never feeds on itself: changes of edges and nodes that its own events reach,
// and what these nodes log, are left out. Whoever wants to hear of a sink's
// failures must not send this source's events there. Figures have no such limit,
// for there are as many whatever the pipeline does.
//
// The source does not end by itself, so that the pipeline does not either.
//
// Example:
//
//	type: internal
//	interval: 5s
//	include: [edges, sinks, changes]
type Internal struct {
	// Interval is the time between two looks, 100ms or more; 10s by default.
	Interval pipe.Duration `yaml:"interval" above:"0s"`

	// Include lists what becomes events: pipeline (balance and memory), sources,
	// stages, edges, sinks, changes, logs. All but logs by default.
	Include []string `yaml:"include"`

	// LogLevel is the lowest level of messages: debug, info, warn (the default) or
	// error. What pipectl itself does not log, by its --log-level, is no event either.
	LogLevel string `yaml:"log_level" enum:"debug,info,warn,error"`

	// MaxPending is how many messages wait to be read, 1 to 100,000; 1,000 by default.
	// When there are more, the newest are lost, and an event of kind log_lost says how
	// many.
	MaxPending int `yaml:"max_pending" min:"1" max:"100000"`

	inside pipe.Inside // another one in tests
	node   string
	idle   *pipe.Clock
	stop   func()
	logs   logQueue
	last   *look // nil before the first
	due    time.Time
	place  int64 // position of the last event
	closed bool
	drawn  bool // the last look, that of a drain, was made
}

// Validate checks the fields.
func (s *Internal) Validate() error {
	var errs []error
	if d := s.Interval.D(); d < 100*time.Millisecond {
		errs = append(errs, pipe.Fieldf("interval", "must be at least 100ms, got %v", d))
	}
	if len(s.Include) == 0 {
		errs = append(errs, pipe.Fieldf("include", "must name at least one thing, or there are no events"))
	}
	all := []string{insidePipeline, insideSources, insideStages, insideEdges, insideSinks, insideChanges, insideLogs}
	for i, name := range s.Include {
		if !slices.Contains(all, name) {
			errs = append(errs, pipe.Fieldf(fmt.Sprintf("include[%d]", i), "%q is not one of %s", name, strings.Join(all, ", ")))
		}
	}
	if err := new(slog.Level).UnmarshalText([]byte(s.LogLevel)); err != nil {
		errs = append(errs, pipe.Fieldf("log_level", "%q is not one of debug, info, warn, error", s.LogLevel))
	}
	return errors.Join(errs...)
}

// Traits implements pipe.Traiter.
func (s *Internal) Traits() pipe.Traits {
	return pipe.Traits{Why: "the figures of a moment are not kept"}
}

// Open begins to listen to the log, if that is included.
func (s *Internal) Open(_ context.Context, env pipe.Env) error {
	if s.inside == nil {
		s.inside = env.Inside
	}
	if s.inside == nil {
		return errors.New("there is no pipeline to look into")
	}
	s.node, s.idle, s.due = env.Node, idle(env), time.Now()
	s.logs.wake = make(chan struct{}, 1)
	if s.includes(insideLogs) {
		s.logs.most = s.MaxPending
		if err := s.logs.level.UnmarshalText([]byte(s.LogLevel)); err != nil {
			return err
		}
		s.stop = s.inside.Follow(s.logs.put)
	}
	return nil
}

func (s *Internal) includes(what string) bool { return slices.Contains(s.Include, what) }

// Read waits for the next look, or for a message.
func (s *Internal) Read(ctx context.Context, b *pipe.Batch) error {
	if s.closed {
		return os.ErrClosed
	}
	for ctx.Err() == nil {
		if err := s.messages(b); err != nil || b.Len() > 0 {
			return err
		}
		if wait := time.Until(s.due); wait > 0 {
			s.sleep(ctx, wait)
			continue
		}
		s.due = time.Now().Add(s.Interval.D())
		if err := s.figures(b); err != nil || b.Len() > 0 {
			return err
		}
	}
	if !s.drawn {
		s.drawn = true
		if err := errors.Join(s.messages(b), s.figures(b)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// sleep waits for a message too, where there are any.
func (s *Internal) sleep(ctx context.Context, d time.Duration) {
	defer s.idle.Leave(s.idle.Enter())
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.logs.wake:
	case <-ctx.Done():
	}
}

// Close stops listening.
func (s *Internal) Close(context.Context) error {
	s.closed = true
	if s.stop != nil {
		s.stop()
	}
	return nil
}
