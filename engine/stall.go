package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/guard"
	"github.com/pipectl/pipectl/engine/pipe"
)

// Stall is what a pipeline says in which events are in flight and, for longer than
// limits.stall_after, nothing has moved.
type Stall struct {
	Since time.Time `json:"since"` // when something moved last
	// Told says that it waits because it was told so: a rate limit, an open breaker,
	// a delay, an interval. Then it is not stalled.
	Told bool `json:"told,omitempty"`
	// Chain is who waits for whom, from a source to the node that does not go on.
	Chain []string `json:"chain"`
}

// String says it in a sentence.
func (s *Stall) String() string { return s.text(time.Now()) }

func (s *Stall) text(now time.Time) string {
	verb := "stalled"
	if s.Told {
		verb = "waiting, as it was told,"
	}
	return fmt.Sprintf("%s for %v: %s", verb, now.Sub(s.Since).Round(time.Second), strings.Join(s.Chain, "; "))
}

// Stalled reports whether nothing moves though it should. It is so for nil, too.
func (s *Stall) Stalled() bool { return s != nil && !s.Told }

// same reports whether a log that has told s needs not tell t.
func (s *Stall) same(t *Stall) bool { return s != nil && t != nil && s.Told == t.Told }

// watch looks for stalls as long as the pipeline runs. It returns how to end that.
//
// A node does not go on when it has had events in hand for the whole time without
// deciding about one, and does not itself wait for room in an edge. That is a
// stall if a source waits behind it or has nothing to read meanwhile: as long as
// sources go on (through an edge that drops, say) the pipeline does what it was
// told.
func (e *Engine) watch() (end func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	w := watcher{eng: e, seen: map[*node]moved{}}
	go func() {
		defer close(ended)
		for {
			timer := time.NewTimer(lookForStall(e.stallAfter()))
			select {
			case now := <-timer.C:
				w.look(now)
			case <-stop:
				timer.Stop()
				e.stall.Store(nil)
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-ended
	}
}

// lookForStall is how often the watcher looks: often enough to be late by a small
// part of the time that a stall takes.
func lookForStall(after time.Duration) time.Duration {
	return min(max(after/20, 10*time.Millisecond), 5*time.Second)
}

func (e *Engine) stallAfter() time.Duration { return e.Config().Limits.StallAfter.D() }

// watcher remembers when each node moved last.
type watcher struct {
	eng  *Engine
	seen map[*node]moved
}

type moved struct {
	figure int64
	at     time.Time
}

// look looks once, and says in the log what is new.
func (w *watcher) look(now time.Time) {
	e := w.eng
	next := w.find(now)
	last := e.stall.Swap(next)
	switch {
	case next == nil && last == nil, last.same(next):
	case next == nil && last.Told:
		e.log.Info("events move again", "after", now.Sub(last.Since).Round(time.Millisecond))
	case next == nil:
		e.log.Warn("the stall is over, events move again", "after", now.Sub(last.Since).Round(time.Millisecond))
	case next.Told:
		e.log.Info("nothing moves, as told", "since", next.Since, "chain", strings.Join(next.Chain, "; "))
	default:
		e.log.Error("the pipeline is stalled", "since", next.Since, "chain", strings.Join(next.Chain, "; "))
	}
}

// find returns the stall there is now, nil if there is none. One that should not
// be goes before those that were ordered.
func (w *watcher) find(now time.Time) *Stall {
	e := w.eng
	e.shape.RLock()
	defer e.shape.RUnlock()
	after := e.cfg.Limits.StallAfter.D()
	w.note(now)
	if e.draining.Load() { // its end is near, one way or the other
		return nil
	}
	var told *Stall
	for _, s := range e.graph.sources {
		if s.ledger.Tally().OpenEvents == 0 || now.Sub(w.seen[&s.node].at) < after {
			continue
		}
		x := w.behind(s, now, after)
		if e.draining.Load() {
			return nil
		}
		if x.Stalled() {
			return x
		}
		if told == nil {
			told = x
		}
	}
	return told
}

// note notes which nodes have moved since the last look.
func (w *watcher) note(now time.Time) {
	nodes := w.eng.nodes()
	for _, n := range nodes {
		figure := n.figure()
		if n.cfg.Kind == pipe.KindSource {
			continue
		}
		if last, known := w.seen[n]; !known || last.figure != figure {
			w.seen[n] = moved{figure, now}
		}
	}
	for _, s := range w.eng.graph.sources {
		read := s.ledger.Tally().Read
		if last, known := w.seen[&s.node]; !known || last.figure != read {
			w.seen[&s.node] = moved{read, now}
		}
	}
	for n := range w.seen {
		if !slices.Contains(nodes, n) {
			delete(w.seen, n)
		}
	}
}

// figure changes whenever the node takes events or decides about one.
func (n *node) figure() int64 {
	c := &n.count
	return c.in.Load() + c.out.Load() + c.filtered.Load() + c.failed.Load() + c.merged.Load() + c.delivered.Load() +
		c.deadLettered.Load() + c.endedFailed.Load() + c.returned.Load() + c.deadOut.Load()
}

// behind returns why the events of s do not move: the nearest node behind it that
// does not go on though nobody has told it to wait, else one that was told.
func (w *watcher) behind(s *sourceNode, now time.Time, after time.Duration) *Stall {
	var told *Stall
	ways := w.ways(s)
	for _, way := range ways {
		n := way.to
		if n.load() == 0 || now.Sub(w.seen[n].at) < after || n.waitsAtEdge() != nil {
			continue
		}
		why, asTold := w.eng.graph.reason(n, now, now.Sub(w.seen[n].at)-after)
		x := &Stall{Since: w.since(s, way), Told: asTold, Chain: append(s.waits(way), why)}
		if n.load() == 0 || n.figure() != w.seen[n].figure {
			continue // it has moved while it was looked at
		}
		if !asTold {
			return x
		}
		if told == nil {
			told = x
		}
	}
	if told == nil && s.held() {
		return w.kept(s, ways, now, after)
	}
	return told
}

// kept returns that a source waits for events which nobody has in hand: a stage
// keeps them because it waits for more, or nobody takes them.
func (w *watcher) kept(s *sourceNode, ways []way, now time.Time, after time.Duration) *Stall {
	for _, way := range ways {
		n := way.to
		kept := n.count.held.Load()
		if kept == 0 || now.Sub(w.seen[n].at) < after {
			continue
		}
		does, told := fmt.Sprintf("stage %s keeps %s until more come", n.cfg.Name, events(kept)), false
		if s, ok := w.eng.graph.byName[n.cfg.Name].(*stageNode); ok {
			if due := time.Unix(0, s.due.Load()); due.After(now) {
				does, told = does+", or until "+due.Format(time.TimeOnly), true
			}
		}
		return &Stall{Since: w.since(s, way), Told: told, Chain: append(s.waits(way), does)}
	}
	for _, way := range ways {
		l := way.edges[len(way.edges)-1]
		if st := l.Snapshot(); st.Producers > 0 && now.Sub(w.seen[way.to].at) >= after {
			return &Stall{Since: w.since(s, way), Chain: append(s.waits(way), fmt.Sprintf("%s %s does not take them", way.to.cfg.Kind, way.to.cfg.Name))}
		}
	}
	return nil
}

// since is when something moved last on the way.
func (w *watcher) since(s *sourceNode, to way) time.Time {
	at := w.seen[&s.node].at
	if t := w.seen[to.to].at; t.After(at) {
		at = t
	}
	return at
}

// held reports whether the source does not read because of what is in flight.
func (s *sourceNode) held() bool {
	_, credit := s.ledger.Waited()
	return credit || s.short.Waiting() > 0 || s.waitsAtEdge() != nil
}

// load is how many events the workers of the node have in hand or hand on.
func (n *node) load() int64 { return n.held() + n.sending() }

// waitsAtEdge returns an edge at which the node waits for room, nil if it does not.
func (n *node) waitsAtEdge() *link {
	for _, o := range append(slices.Clone(n.ports()), n.failed) {
		for _, l := range o.links() {
			if l.Snapshot().Producers > 0 {
				return l
			}
		}
	}
	return nil
}

// way is how to get from a source to a node.
type way struct {
	to    *node
	edges []*link
}

// ways returns a way to each node behind the source, the shortest, nearest first.
func (w *watcher) ways(s *sourceNode) []way {
	all := []way{{to: &s.node}}
	reached := map[*node]bool{&s.node: true}
	for i := 0; i < len(all); i++ {
		for _, l := range w.eng.links() {
			if l.from == all[i].to && !reached[l.to] {
				reached[l.to] = true
				all = append(all, way{l.to, append(slices.Clone(all[i].edges), l)})
			}
		}
	}
	return all[1:]
}

// waits says who waits for whom on the way.
func (s *sourceNode) waits(to way) (chain []string) {
	name := "source " + s.cfg.Name
	if _, credit := s.ledger.Waited(); credit {
		chain = append(chain, fmt.Sprintf("%s waits for its max_in_flight: %s not settled", name, are(s.ledger.Tally().OpenEvents)))
	} else if s.short.Waiting() > 0 {
		chain = append(chain, name+" waits for memory")
	} else if s.waitsAtEdge() == nil {
		chain = append(chain, fmt.Sprintf("source %s has %s in flight", s.cfg.Name, events(s.ledger.Tally().OpenEvents)))
	}
	for _, l := range to.edges {
		if st := l.Snapshot(); st.Producers > 0 {
			chain = append(chain, fmt.Sprintf("%s %s waits for room in edge %s (%s)", l.from.cfg.Kind, l.from.cfg.Name, l.ID(), fill(&st)))
		}
	}
	return chain
}

func fill(st *edge.Stats) string {
	if st.CapacityBytes > 0 && float64(st.Queued.Bytes)/float64(st.CapacityBytes) > float64(st.Queued.Events)/float64(max(1, st.CapacityEvents)) {
		return fmt.Sprintf("%v of %v", pipe.Size(st.Queued.Bytes), pipe.Size(st.CapacityBytes))
	}
	return fmt.Sprintf("%d of %s", st.Queued.Events, events(int64(st.CapacityEvents)))
}

func events(n int64) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}

func are(n int64) string {
	if n == 1 {
		return "1 event is"
	}
	return events(n) + " are"
}

// reason says what a node does that does not go on, and whether it was told so.
// late is by how much it has been longer than stall_after.
func (g *graph) reason(n *node, now time.Time, late time.Duration) (why string, told bool) {
	why = fmt.Sprintf("%s %s has had %s in hand all the time and ", n.cfg.Kind, n.cfg.Name, events(n.load()))
	does, told := g.does(n, now, late)
	if left, _ := n.strays.figures(); left > 0 {
		does += fmt.Sprintf(" (%d of its calls ignored their timeout and were left behind)", left)
	}
	return why + does, told
}

func (g *graph) does(n *node, now time.Time, late time.Duration) (does string, told bool) {
	external, throttled := n.meter.External.Waiting(), n.meter.Throttled.Waiting()
	hands, patient := n.hold(now)
	switch s := g.byName[n.cfg.Name].(type) {
	case *sinkNode:
		if external == 0 && throttled > 0 {
			return n.pauses(s.doing.Load().guard, s.writes.Failing(), now)
		}
	case *stageNode:
		if g := s.doing.Load().guard; g != nil && throttled > 0 && throttled >= hands {
			return n.pauses(g, s.calls.Failing(), now)
		}
		if l, ok := s.component().(pipe.Lengthy); ok && l.Lasts() > late {
			return fmt.Sprintf("takes %v for a call, as told", l.Lasts()), true
		}
	}
	switch {
	case n.outage.on() && throttled > 0:
		return "holds back what fails: it is an outage", true
	case throttled > 0 && throttled >= hands:
		return "is held to its rate", true
	case patient && n.cfg.Kind == pipe.KindSink && external == 0:
		return "waits for a batch to fill", true
	case patient:
		return "has time left until its timeout", true
	case external > 0:
		return "waits for the far side", false
	}
	return "has not come back from its work", false
}

// pauses says what a node waits for before it asks the far side again.
func (n *node) pauses(g *guard.Sink, failing bool, now time.Time) (does string, told bool) {
	b, has := g.BreakerStatus()
	switch {
	case has && b.Share < 1 && b.Until.After(now):
		return fmt.Sprintf("leaves the far side alone until %s: its breaker is %s", b.Until.Format(time.TimeOnly), b.State), true
	case has && b.Share < 1:
		return fmt.Sprintf("lets little through: its breaker is %s", b.State), true
	case n.outage.on():
		return "holds back what fails: it is an outage", true
	case failing:
		return "tries again what has failed, in vain", false
	}
	return "is held to its rate", true
}

// hold returns how many workers of the node have events in hand, and whether all
// of them may take their time because they were told so.
func (n *node) hold(now time.Time) (hands int, patient bool) {
	n.life.Lock()
	defer n.life.Unlock()
	may := 0
	for _, h := range n.hands {
		h.mu.Lock()
		if len(h.events) > 0 {
			hands++
			if h.until.After(now) {
				may++
			}
		}
		h.mu.Unlock()
	}
	return hands, hands > 0 && may == hands
}
