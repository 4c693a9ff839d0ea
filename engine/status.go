package engine

import (
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/guard"
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
	Memory     Memory                  `json:"memory"`
	Stall      *Stall                  `json:"stall,omitempty"` // nothing moves; nil while something does

	// Names in the order of the file, for views that show them in order.
	SourceNames, StageNames, EdgeNames, SinkNames []string `json:"-"`
}

// NodeTime is how the workers of a node spent their time, in seconds, summed
// over the workers; what is going on is counted up to this moment.
type NodeTime struct {
	Busy      float64 `json:"busy"`      // the rest: work
	Idle      float64 `json:"idle"`      // nothing to do: waited for events or input
	Blocked   float64 `json:"blocked"`   // waited for room in an edge, or for credit
	Throttled float64 `json:"throttled"` // waited because of a rate limit, a retry's pause or a Retry-After
	External  float64 `json:"external"`  // a sink waited for the far side
}

// Total returns the sum of all states: the time of all workers.
func (t NodeTime) Total() float64 { return t.Busy + t.Idle + t.Blocked + t.Throttled + t.External }

// NodeStatus are the figures that every node has.
type NodeStatus struct {
	Type     string   `json:"type"`
	Workers  int      `json:"workers"`
	InFlight int64    `json:"in_flight"` // sources: handed over and not settled; others: in the hands of workers
	Time     NodeTime `json:"time"`

	RateLimit   float64              `json:"rate_limit,omitempty"`        // events a second that its component lets through; 0 when it has no such limit
	DeadLetters int64                `json:"dead_letters,omitempty"`      // left through the failed port
	LeftBehind  int                  `json:"left_behind,omitempty"`       // calls that ignored their timeout and have not come back
	LeftTotal   int64                `json:"left_behind_total,omitempty"` // such calls, ever
	Outage      bool                 `json:"outage,omitempty"`            // so much fails that it is held back instead: see config.DeadLetters
	Errors      map[pipe.Class]int64 `json:"errors,omitempty"`            // failures by class
}

// SourceStatus are the figures of a source.
type SourceStatus struct {
	NodeStatus
	Read     int64 `json:"read"`
	Acked    int64 `json:"acked"`
	Nacked   int64 `json:"nacked"`
	Returned int64 `json:"returned"` // not decided; the source reads them again after a restart
	Lost     int64 `json:"lost"`     // not decided, and the source cannot read them again
	Failed   int64 `json:"failed,omitempty"`

	InFlightLimit int64            `json:"in_flight_limit,omitempty"` // events, 0 when there is none
	Paused        bool             `json:"paused,omitempty"`          // waits for room, for credit or for memory
	LagEvents     int64            `json:"lag_events"`                // there and not read yet; -1 unknown
	LagBytes      int64            `json:"lag_bytes"`                 // -1 unknown
	WindowSeconds float64          `json:"window_seconds,omitempty"`  // part of time.blocked: waited for credit
	MemorySeconds float64          `json:"memory_seconds,omitempty"`  // part of time.blocked: waited for memory
	Rejected      map[string]int64 `json:"rejected,omitempty"`
	ProgressDone  int64            `json:"-"`
	ProgressTotal int64            `json:"-"` // 0 when unknown
}

// StageStatus are the figures of a stage.
type StageStatus struct {
	NodeStatus
	In       int64 `json:"in"`
	Out      int64 `json:"out"` // through the main output or a case, before fan-out
	Filtered int64 `json:"filtered"`
	Unrouted int64 `json:"unrouted,omitempty"` // part of filtered: no case took it
	Failed   int64 `json:"failed"`
	Merged   int64 `json:"merged,omitempty"`
	Panics   int64 `json:"panics,omitempty"`
	Held     int64 `json:"held,omitempty"` // kept by a batch that is being filled

	Calls *CallStatus `json:"calls,omitempty"` // nil unless it calls out

	Processing Histogram `json:"processing"` // seconds of one call of the stage, with one batch
}

// EdgeStatus are the figures of an edge.
type EdgeStatus struct {
	From string `json:"from"`
	Port string `json:"port,omitempty"` // of From; empty for its main output
	To   string `json:"to"`

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

	QueuedBytes      int64   `json:"queued_bytes"`
	CapacityBytes    int64   `json:"capacity_bytes"`
	Utilization      float64 `json:"utilization"`       // by events or bytes, whichever is more
	OldestSeconds    float64 `json:"oldest_seconds"`    // age of the event at the head
	BlockedProducers int     `json:"blocked_producers"` // waiting now
	PressedSeconds   float64 `json:"pressed_seconds"`   // how long at least one producer waited
	Tripped          bool    `json:"tripped,omitempty"` // block has timed out and nothing has fitted since
	Generation       uint64  `json:"generation"`        // of its settings

	Stats edge.Stats `json:"-"`
}

// SinkStatus are the figures of a sink.
type SinkStatus struct {
	NodeStatus
	In        int64 `json:"in"`
	Delivered int64 `json:"delivered"`
	Failed    int64 `json:"failed"`
	Retries   int64 `json:"retries"`
	Failing   bool  `json:"failing,omitempty"` // its last attempt failed and is being repeated

	DeadLettered   int64            `json:"dead_lettered,omitempty"` // part of delivered: dead letters written
	Requests       map[string]int64 `json:"requests,omitempty"`      // attempts that are over, by result: ok or an error class
	RequestSeconds Histogram        `json:"request_seconds"`         // of one attempt
	EndToEnd       Histogram        `json:"end_to_end"`              // from the source's read to the confirmation
	Concurrency    int              `json:"concurrency"`             // writes at a time, at most, now
	RetryBudget    float64          `json:"retry_budget"`            // part of the burst of retries that is left, 0 to 1
	Breaker        *BreakerStatus   `json:"breaker,omitempty"`       // nil when the sink has none
}

// BreakerStatus is what the breaker of a sink is doing.
type BreakerStatus struct {
	State  string     `json:"state"`           // closed, half-open or open
	Opened int64      `json:"opened"`          // how often it has opened
	Share  float64    `json:"share"`           // of the usual writes that it lets through, 0 to 1
	Until  *time.Time `json:"until,omitempty"` // when an open one becomes half-open
	Level  int        `json:"-"`               // 0 closed, 1 half-open, 2 open
}

// guardStatus fills in what the guards of the sink say.
func (s *sinkNode) guardStatus(st *SinkStatus) {
	g := s.doing.Load().guard
	st.Concurrency, st.RetryBudget = g.Limit(), g.Budget()
	st.Workers = s.writers()
	if st.RateLimit == 0 {
		st.RateLimit = g.RateLimit()
	}
	st.Breaker = breakerStatus(g, &s.writes)
}

// breakerStatus returns nil when there is no breaker.
func breakerStatus(g *guard.Sink, r *guard.Record) *BreakerStatus {
	b, ok := g.BreakerStatus()
	if !ok {
		return nil
	}
	st := &BreakerStatus{State: b.State.String(), Opened: r.Opened(), Share: b.Share, Level: int(b.State)}
	if !b.Until.IsZero() {
		st.Until = &b.Until
	}
	return st
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
	e.shape.RLock()
	defer e.shape.RUnlock()
	s := Status{Pipeline: e.cfg.Name, Outcome: state, Generation: e.generation.Load(),
		Sources: map[string]SourceStatus{}, Stages: map[string]StageStatus{},
		Edges: map[string]EdgeStatus{}, Sinks: map[string]SinkStatus{}}
	if !started.IsZero() {
		s.Seconds = ended.Sub(started).Seconds()
	}
	// Ends are read before beginnings, so that what moves meanwhile shows as in
	// flight, never as missing.
	s.Balance = e.gone
	a := &s.Balance
	for _, n := range e.nodes() {
		n.addEnds(a)
	}
	a.Returned += e.returned.Load()
	queued, blocked, held := e.edgeStatus(&s)
	s.Memory = e.memory(held)
	s.Stall = e.stall.Load()
	for _, n := range e.nodes() {
		a.Created += n.count.created.Load()
	}
	e.nodeStatus(&s, blocked)
	a.close(queued, state)
	return s
}

// ResetPeaks begins a new period for Stats.PeakEvents of every edge.
func (e *Engine) ResetPeaks() {
	e.shape.RLock()
	defer e.shape.RUnlock()
	for _, l := range e.graph.links {
		l.ResetPeak()
	}
}

// edgeStatus fills in the edges. It returns how many events are queued, how long
// each node has waited for room in its edges, and what is held.
func (e *Engine) edgeStatus(s *Status) (queued int64, blocked map[*node]*pressure, held *holdings) {
	blocked, held = map[*node]*pressure{}, &holdings{taken: map[*node]edge.Count{}}
	current := len(e.graph.links)
	for i, l := range e.links() {
		st := l.status()
		if i < current { // the others are leaving: they count, and have no name any more
			s.Edges[l.ID()], s.EdgeNames = st, append(s.EdgeNames, l.ID())
		}
		for _, d := range st.Dropped {
			s.Balance.Dropped += d
		}
		queued += st.Queued
		held.add(l, &st.Stats)
		if st.Stats.Balance() != nil {
			s.Balance.Error++ // an edge whose own books do not add up
		}
		p := blocked[l.from]
		if p == nil {
			p = &pressure{}
			blocked[l.from] = p
		}
		p.waited += st.Stats.Blocked
		p.waiting += st.Stats.Producers
	}
	return queued, blocked, held
}

// pressure is what a node feels of its edges.
type pressure struct {
	waited  time.Duration
	waiting int // workers that wait now
}

func (e *Engine) nodeStatus(s *Status, blocked map[*node]*pressure) {
	for _, n := range e.graph.sinks {
		c := &n.count
		s.SinkNames = append(s.SinkNames, n.cfg.Name)
		st := SinkStatus{NodeStatus: n.status(n.component(), blocked, 0), In: c.in.Load(), Delivered: c.delivered.Load() + c.deadLettered.Load(),
			Failed: c.failed.Load(), Retries: n.writes.Retries(), Failing: n.writes.Failing(), DeadLettered: c.deadLettered.Load(),
			Requests: n.writes.Results(), RequestSeconds: histogram(n.writes.Seconds()), EndToEnd: n.ages.get()}
		n.guardStatus(&st)
		s.Sinks[n.cfg.Name] = st
	}
	for _, n := range e.graph.stages {
		c := &n.count
		s.StageNames = append(s.StageNames, n.cfg.Name)
		st := StageStatus{NodeStatus: n.status(n.component(), blocked, 0), In: c.in.Load(), Out: c.out.Load(), Filtered: c.filtered.Load(),
			Unrouted: c.unrouted.Load(), Failed: c.failed.Load(), Merged: c.merged.Load(), Panics: c.panics.Load(),
			Held: c.held.Load(), Processing: n.elapsed.get()}
		n.callStatus(&st)
		s.Stages[n.cfg.Name] = st
	}
	gaveUp := s.Outcome.final() && e.gaveUp.Load()
	for _, n := range e.graph.sources {
		s.SourceNames = append(s.SourceNames, n.cfg.Name)
		s.Sources[n.cfg.Name] = n.sourceStatus(&s.Balance, gaveUp, blocked)
	}
	for _, d := range e.leaving {
		for _, n := range d.nodes {
			if source, ok := n.(*sourceNode); ok {
				source.sourceStatus(&s.Balance, gaveUp, blocked)
			}
		}
	}
}

// status returns what every node has. Its times add up to the time of its
// workers; more is time that it was blocked elsewhere than at its edges.
func (n *node) status(component any, blocked map[*node]*pressure, more time.Duration) NodeStatus {
	st := NodeStatus{Type: n.cfg.Type, Workers: max(1, n.cfg.Workers), InFlight: n.held() + n.count.held.Load(),
		DeadLetters: n.count.deadOut.Load(), Outage: n.outage.on(), Errors: n.count.errors.get()}
	st.LeftBehind, st.LeftTotal = n.strays.figures()
	if r, ok := component.(pipe.RateLimiter); ok {
		st.RateLimit = r.RateLimit()
	}
	t := &st.Time
	if n.in != nil {
		idle, _ := n.in.Idle()
		t.Idle = idle.Seconds()
	}
	if p := blocked[n]; p != nil {
		t.Blocked = p.waited.Seconds()
	}
	t.Blocked += (more + time.Duration(n.blockedBefore.Load())).Seconds()
	t.Idle += n.meter.Idle.Total().Seconds()
	t.Throttled = n.meter.Throttled.Total().Seconds()
	t.External = n.meter.External.Total().Seconds()
	t.Busy = n.busy.rise(n.alive.Total().Seconds() - t.Total())
	return st
}

// highWater is a figure worked out from several clocks that are read one after
// another: it may come out a little lower than before, and must not be told so.
type highWater struct {
	mu sync.Mutex // guards v
	v  float64
}

func (h *highWater) rise(v float64) float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.v = max(h.v, v)
	return h.v
}

func (s *sourceNode) sourceStatus(a *Balance, gaveUp bool, blocked map[*node]*pressure) SourceStatus {
	t := s.ledger.Tally()
	waited, waiting := s.ledger.Waited()
	short := s.short.Total()
	st := SourceStatus{NodeStatus: s.status(s.src, blocked, waited+short), MemorySeconds: short.Seconds(), WindowSeconds: waited.Seconds(), Read: t.Read, Acked: t.Acked, Nacked: t.Nacked, Returned: t.Returned,
		Failed: s.count.failed.Load(), InFlightLimit: s.ledger.Window().Events, LagEvents: -1, LagBytes: -1}
	st.InFlight = t.OpenEvents
	if gaveUp { // parts that a worker made before it was given up are never settled
		st.Returned, st.InFlight = st.Returned+t.OpenEvents, 0
		t.Returned = st.Returned
	}
	if !s.traits.Replays {
		st.Returned, st.Lost = 0, t.Returned
	}
	p := blocked[&s.node]
	st.Paused = waiting || s.short.Waiting() > 0 || p != nil && p.waiting > 0
	if r, ok := s.src.(pipe.Rejecter); ok {
		st.Rejected = r.Rejected()
	}
	if p, ok := s.src.(pipe.Progresser); ok {
		st.ProgressDone, st.ProgressTotal = p.Progress()
	}
	if l, ok := s.src.(pipe.Lagger); ok {
		st.LagEvents, st.LagBytes = l.Lag()
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

func (l *link) status() EdgeStatus {
	t := l.Snapshot()
	s := EdgeStatus{From: l.from.cfg.Name, Port: l.port, To: l.to.cfg.Name,
		QueuedBytes: t.Queued.Bytes, CapacityBytes: t.CapacityBytes, Utilization: t.Utilization, OldestSeconds: t.OldestAge.Seconds(),
		BlockedProducers: t.Producers, PressedSeconds: t.Pressed.Seconds(), Tripped: t.Tripped, Generation: t.Generation,
		Offered: t.Offered.Events, Admitted: t.Admitted.Events, Delivered: t.Delivered.Events,
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
