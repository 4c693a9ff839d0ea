package engine

import (
	"time"

	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/pipe"
)

// Status is the state of a pipeline at one moment. Every view of a pipeline
// (receipt, live view, API, metrics) reads it. Counts are events.
type Status struct {
	Pipeline   string                  `json:"pipeline"`
	Outcome    State                   `json:"outcome"`
	Generation uint64                  `json:"generation"`
	Seconds    float64                 `json:"seconds"`
	Sources    map[string]SourceStatus `json:"sources"`
	Stages     map[string]StageStatus  `json:"stages"`
	Edges      map[string]EdgeStatus   `json:"edges"`
	Sinks      map[string]SinkStatus   `json:"sinks"`
	Balance    Balance                 `json:"balance"`

	// Names in the order of the file, for views that show them in order.
	SourceNames, StageNames, EdgeNames, SinkNames []string `json:"-"`
}

// SourceStatus are the figures of a source.
type SourceStatus struct {
	Read     int64 `json:"read"`
	Acked    int64 `json:"acked"`
	Nacked   int64 `json:"nacked"`
	Returned int64 `json:"returned"` // not decided; the source reads them again after a restart
	Lost     int64 `json:"lost"`     // not decided, and the source cannot read them again
	Failed   int64 `json:"failed,omitempty"`

	InFlight      int64            `json:"in_flight,omitempty"`
	Rejected      map[string]int64 `json:"rejected,omitempty"`
	ProgressDone  int64            `json:"-"`
	ProgressTotal int64            `json:"-"` // 0 when unknown
}

// StageStatus are the figures of a stage.
type StageStatus struct {
	In       int64 `json:"in"`
	Out      int64 `json:"out"` // through the main output or a case, before fan-out
	Filtered int64 `json:"filtered"`
	Unrouted int64 `json:"unrouted,omitempty"` // part of filtered: no case took it
	Failed   int64 `json:"failed"`
	Merged   int64 `json:"merged,omitempty"`
	Panics   int64 `json:"panics,omitempty"`
	Held     int64 `json:"held,omitempty"` // kept by a batch that is being filled

	Errors map[pipe.Class]int64 `json:"errors,omitempty"` // failures by class
}

// EdgeStatus are the figures of an edge.
type EdgeStatus struct {
	Offered        int64            `json:"offered"`
	Admitted       int64            `json:"admitted"`
	Delivered      int64            `json:"delivered"`
	Queued         int64            `json:"queued"`
	Capacity       int64            `json:"capacity"`
	Peak           int64            `json:"peak"`
	Dropped        map[string]int64 `json:"dropped"`
	Returned       int64            `json:"returned,omitempty"`
	Policy         string           `json:"policy"`
	BlockedSeconds float64          `json:"blocked_seconds"`
	SampleRate     float64          `json:"sample_rate,omitempty"`

	Stats edge.Stats `json:"-"`
}

// SinkStatus are the figures of a sink.
type SinkStatus struct {
	In        int64 `json:"in"`
	Delivered int64 `json:"delivered"`
	Failed    int64 `json:"failed"`
	Retries   int64 `json:"retries"`
	Failing   bool  `json:"failing,omitempty"` // its last attempt failed and is being repeated

	Errors map[pipe.Class]int64 `json:"errors,omitempty"` // failures by class
}

// Balance is the account of all instances of events:
// Read + Created = Delivered + DeadLettered + Filtered + Merged + Dropped +
// Failed + Returned + InFlight + Error, and Error is 0.
type Balance struct {
	Read         int64 `json:"read"`
	Created      int64 `json:"created"` // extra copies made by fan-out and splitting
	Delivered    int64 `json:"delivered"`
	DeadLettered int64 `json:"dead_lettered"`
	Filtered     int64 `json:"filtered"`
	Merged       int64 `json:"merged"` // folded into another by a batch or window
	Dropped      int64 `json:"dropped"`
	Failed       int64 `json:"failed"`
	Returned     int64 `json:"returned"`
	InFlight     int64 `json:"in_flight"`
	Error        int64 `json:"error"`
}

// Status returns the figures of this moment. It locks each edge once, briefly,
// and never waits for data.
func (e *Engine) Status() Status {
	e.mu.Lock()
	state, started, ended := e.state, e.started, e.ended
	e.mu.Unlock()
	if ended.IsZero() {
		ended = time.Now()
	}
	s := Status{Pipeline: e.cfg.Name, Outcome: state, Generation: e.generation.Load(),
		Sources: map[string]SourceStatus{}, Stages: map[string]StageStatus{},
		Edges: map[string]EdgeStatus{}, Sinks: map[string]SinkStatus{}}
	if !started.IsZero() {
		s.Seconds = ended.Sub(started).Seconds()
	}
	// Ends are read before beginnings, so that what moves meanwhile shows as in
	// flight, never as missing.
	a := &s.Balance
	for _, n := range e.nodes() {
		n.addEnds(a)
	}
	a.Returned += e.returned.Load()
	queued := int64(0)
	for _, q := range e.edges {
		st := edgeStatus(q)
		s.Edges[q.ID()], s.EdgeNames = st, append(s.EdgeNames, q.ID())
		for _, d := range st.Dropped {
			a.Dropped += d
		}
		queued += st.Queued
		if st.Stats.Balance() != nil {
			a.Error++ // an edge whose own books do not add up
		}
	}
	for _, n := range e.nodes() {
		a.Created += n.count.created.Load()
	}
	e.nodeStatus(&s)
	a.close(queued, state)
	return s
}

func (e *Engine) nodeStatus(s *Status) {
	for _, n := range e.sinks {
		c := &n.count
		s.SinkNames = append(s.SinkNames, n.cfg.Name)
		s.Sinks[n.cfg.Name] = SinkStatus{In: c.in.Load(), Delivered: c.delivered.Load() + c.deadLettered.Load(),
			Failed: c.failed.Load(), Retries: n.guard.Retries(), Failing: n.guard.Failing(), Errors: c.errors.get()}
	}
	for _, n := range e.stages {
		c := &n.count
		s.StageNames = append(s.StageNames, n.cfg.Name)
		s.Stages[n.cfg.Name] = StageStatus{In: c.in.Load(), Out: c.out.Load(), Filtered: c.filtered.Load(),
			Unrouted: c.unrouted.Load(), Failed: c.failed.Load(), Merged: c.merged.Load(), Panics: c.panics.Load(),
			Held: c.held.Load(), Errors: c.errors.get()}
	}
	for _, n := range e.sources {
		s.SourceNames = append(s.SourceNames, n.cfg.Name)
		s.Sources[n.cfg.Name] = n.status(&s.Balance, s.Outcome.final() && e.gaveUp.Load())
	}
}

func (s *sourceNode) status(a *Balance, gaveUp bool) SourceStatus {
	t := s.ledger.Tally()
	st := SourceStatus{Read: t.Read, Acked: t.Acked, Nacked: t.Nacked, Returned: t.Returned,
		InFlight: t.OpenEvents, Failed: s.count.failed.Load()}
	if gaveUp { // parts that a worker made before it was given up are never settled
		st.Returned, st.InFlight = st.Returned+t.OpenEvents, 0
		t.Returned = st.Returned
	}
	if !s.traits.Replays {
		st.Returned, st.Lost = 0, t.Returned
	}
	if r, ok := s.src.(pipe.Rejecter); ok {
		st.Rejected = r.Rejected()
	}
	if p, ok := s.src.(pipe.Progresser); ok {
		st.ProgressDone, st.ProgressTotal = p.Progress()
	}
	a.Read += t.Read
	return st
}

// addEnds adds the instances that ended at this node.
func (n *node) addEnds(a *Balance) {
	c := &n.count
	a.Delivered += c.delivered.Load()
	a.DeadLettered += c.deadLettered.Load()
	a.Filtered += c.filtered.Load()
	a.Merged += c.merged.Load()
	a.Failed += c.endedFailed.Load()
	a.Returned += c.returned.Load()
	a.Error += c.unbalanced.Load() + c.double.Load()
}

// close works out what is in flight. While the pipeline runs that is what has
// begun and not ended; the books of every edge and of every step are audited
// by themselves. Once it has ended nothing may be left but what is still queued.
func (a *Balance) close(queued int64, state State) {
	open := a.Read + a.Created - a.Delivered - a.DeadLettered - a.Filtered - a.Merged - a.Dropped - a.Failed - a.Returned
	if !state.final() {
		a.InFlight = open
		return
	}
	a.InFlight = queued
	a.Error += open - queued
}

// policyReasons are the drop reasons that a policy's figures always show.
var policyReasons = map[edge.Policy][]edge.Reason{
	edge.DropOldest: {edge.Oldest}, edge.DropNewest: {edge.Newest}, edge.DropRandom: {edge.Random}, edge.Sample: {edge.Sampled, edge.Newest},
}

func edgeStatus(q *edge.Edge) EdgeStatus {
	t := q.Snapshot()
	s := EdgeStatus{Offered: t.Offered.Events, Admitted: t.Admitted.Events, Delivered: t.Delivered.Events,
		Queued: t.Queued.Events, Capacity: int64(t.CapacityEvents), Peak: int64(t.LifetimePeak), Returned: t.Returned.Events,
		Policy: string(t.Policy), BlockedSeconds: t.Blocked.Seconds(), Dropped: map[string]int64{}, Stats: t}
	for _, r := range policyReasons[t.Policy] {
		s.Dropped[r.String()] = 0
	}
	for r := range edge.Reasons {
		if n := t.Dropped(r).Events; n > 0 {
			s.Dropped[r.String()] = n
		}
	}
	if t.Policy == edge.Sample {
		s.SampleRate = t.SampleRate
	}
	return s
}
