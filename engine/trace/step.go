package trace

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/pipectl/pipectl/engine/pipe"
)

// step is one call of a node with events of which some are traced. Events that
// come with the same traceparent, as those of one request do, share a span.
type step struct {
	*Tracer
	node   string
	kind   pipe.Kind
	began  time.Time
	events []*pipe.Event
	spans  []*span
	open   map[string]*span // by the traceparent that its events came with
}

type span struct {
	oteltrace.Span
	parent   string // the traceparent that its events came with, "" for a new trace
	own      string // the one that they go on with
	id       string // of its first event
	origin   string
	events   int
	filtered int
	failed   int
	taken    int   // away: by a stop or a reload
	err      error // the first failure
}

// Step implements pipe.Observer.
func (t *Tracer) Step(node string, kind pipe.Kind, events []*pipe.Event) (done func(*pipe.Out, error)) {
	var s *step
	for _, e := range events {
		parent, traced := e.Meta(pipe.TraceParent)
		if traced && s != nil && s.join(e, parent) {
			continue
		}
		var c pipe.TraceContext
		if traced {
			c, traced = pipe.ParseTraceParent(parent)
		}
		if traced && !c.Sampled || !traced && !t.begins(kind) {
			continue
		}
		if s == nil {
			s = &step{Tracer: t, node: node, kind: kind, began: time.Now(), events: events}
			if kind == pipe.KindSource {
				s.began = e.Time()
			}
		}
		if !traced {
			parent = ""
		}
		s.enter(e, parent, c)
	}
	if s == nil {
		return nil
	}
	return s.done
}

// begins decides whether an event without a trace gets one.
func (t *Tracer) begins(kind pipe.Kind) bool {
	return t.ratio > 0 && kind == pipe.KindSource && rand.Float64() < t.ratio
}

// join adds e to the span of its traceparent, if there is one.
func (s *step) join(e *pipe.Event, parent string) bool {
	sp := s.spans[len(s.spans)-1]
	if sp.parent != parent {
		if sp = s.open[parent]; sp == nil {
			return false
		}
	}
	sp.events++
	e.SetMeta(pipe.TraceParent, sp.own)
	return true
}

// enter opens a span with e. parent is "" for the first one of a trace.
func (s *step) enter(e *pipe.Event, parent string, c pipe.TraceContext) {
	kind := oteltrace.SpanKindInternal
	switch s.kind {
	case pipe.KindSource:
		kind = oteltrace.SpanKindConsumer
	case pipe.KindSink:
		kind = oteltrace.SpanKindProducer
	}
	sp := &span{parent: parent, id: e.ID(), origin: e.Origin(), events: 1}
	_, sp.Span = s.tracer.Start(parentContext(e, parent, c), s.node,
		oteltrace.WithSpanKind(kind), oteltrace.WithTimestamp(s.began),
		oteltrace.WithAttributes(s.pipeline, attribute.String("pipectl.node", s.node), attribute.String("pipectl.kind", string(s.kind))))
	if left, ok := s.handed.when(c.Span); ok {
		sp.SetAttributes(attribute.Float64("pipectl.edge_wait_seconds", s.began.Sub(left).Seconds()))
	}
	own := sp.SpanContext()
	sp.own = pipe.TraceContext{Trace: own.TraceID(), Span: own.SpanID(), Sampled: true}.String()
	e.SetMeta(pipe.TraceParent, sp.own)
	s.spans = append(s.spans, sp)
	if parent != "" {
		if s.open == nil {
			s.open = map[string]*span{}
		}
		s.open[parent] = sp
	}
}

// parentContext carries the trace context of e to the library.
func parentContext(e *pipe.Event, parent string, c pipe.TraceContext) context.Context {
	if parent == "" {
		return context.Background()
	}
	sc := oteltrace.SpanContextConfig{TraceID: c.Trace, SpanID: c.Span, TraceFlags: oteltrace.FlagsSampled, Remote: true}
	if text, ok := e.Meta(pipe.TraceState); ok {
		if state, err := oteltrace.ParseTraceState(text); err == nil { // else it is as if there was none
			sc.TraceState = state
		}
	}
	return oteltrace.ContextWithRemoteSpanContext(context.Background(), oteltrace.NewSpanContext(sc))
}

// done ends the spans.
func (s *step) done(out *pipe.Out, err error) {
	ended := time.Now()
	s.outcomes(out, err)
	for _, sp := range s.spans {
		sp.SetAttributes(attribute.Int("pipectl.events", sp.events))
		if sp.events == 1 {
			sp.SetAttributes(attribute.String("pipectl.event_id", sp.id), attribute.String("pipectl.origin", sp.origin))
		}
		if sp.filtered > 0 {
			sp.SetAttributes(attribute.Int("pipectl.filtered", sp.filtered))
		}
		if sp.taken > 0 {
			sp.SetAttributes(attribute.Int("pipectl.taken_away", sp.taken))
		}
		if sp.failed > 0 {
			sp.SetAttributes(attribute.Int("pipectl.failed", sp.failed))
			sp.SetStatus(codes.Error, s.redact(sp.err.Error()))
		}
		s.handed.note(sp.SpanContext().SpanID(), ended)
		sp.End(oteltrace.WithTimestamp(ended))
	}
}

// outcomes counts what was filtered, what failed and what was taken away.
func (s *step) outcomes(out *pipe.Out, err error) {
	if err == nil && (out == nil || len(out.Filtered())+len(out.Failed()) == 0) {
		return
	}
	own := make(map[string]*span, len(s.spans))
	for _, sp := range s.spans {
		own[sp.own] = sp
	}
	of := func(e *pipe.Event) *span {
		traceparent, _ := e.Meta(pipe.TraceParent)
		return own[traceparent]
	}
	if out != nil {
		for _, e := range out.Filtered() {
			if sp := of(e); sp != nil {
				sp.filtered++
			}
		}
	}
	for _, f := range s.failures(out, err) {
		sp := of(f.Event)
		switch {
		case sp == nil:
		case errors.Is(f.Err, context.Canceled):
			sp.taken++
		default:
			sp.failed++
			if sp.err == nil {
				sp.err = f.Err
			}
		}
	}
}

// failures returns what failed: of a stage, what it said so of and what it did not
// come to; of a sink, the parts of its error or everything.
func (s *step) failures(out *pipe.Out, err error) (list []pipe.Failure) {
	var part *pipe.PartialError
	rest := s.events
	switch {
	case out != nil:
		list = slices.Clone(out.Failed())
		rest = out.Undecided(nil, s.events)
	case errors.As(err, &part):
		for _, item := range part.Items {
			list = append(list, pipe.Failure{Event: s.events[item.Index], Err: item.Err})
		}
		return list
	}
	if err != nil {
		for _, e := range rest {
			list = append(list, pipe.Failure{Event: e, Err: err})
		}
	}
	return list
}
