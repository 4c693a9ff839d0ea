package main

import (
	"fmt"
	"io"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/explain"
)

// snapshot is a pipeline at one moment, and what it did in the last seconds.
type snapshot struct {
	engine.Status
	past explain.History
	why  explain.Report
}

// writeStatus writes the state of a pipeline for people.
func writeStatus(w io.Writer, s snapshot) {
	fmt.Fprintf(w, "%s: %s for %s, generation %d\n", printable(s.Pipeline), s.Outcome, span(seconds(s.Seconds)), s.Generation)
	for _, line := range s.why.Sentences {
		fmt.Fprintln(w, printable(line))
	}
	fmt.Fprintln(w)
	section(w, s.SourceNames, liveSourceHead, s.sourceRow)
	section(w, s.StageNames, liveStageHead, s.stageRow)
	section(w, s.EdgeNames, liveEdgeHead, s.edgeRow)
	section(w, s.SinkNames, liveSinkHead, s.sinkRow)
	fmt.Fprintln(w, balanceLine(s.Balance))
	if n := s.Balance.Error; n != 0 {
		fmt.Fprintf(w, "BUG: %s unaccounted for; please report this with pipectl status --format json\n", plural(max(n, -n), "event"))
	}
}

var (
	liveSourceHead = []string{"SOURCE", "READ", "NOW", "IN FLIGHT", "LAG", ""}
	liveStageHead  = []string{"STAGE", "IN", "NOW", "OUT", "FILTERED", "FAILED", ""}
	liveEdgeHead   = []string{"EDGE", "QUEUED", "FILL", "NOW", "DROPPED", "BLOCKED", "POLICY"}
	liveSinkHead   = []string{"SINK", "DELIVERED", "NOW", "FAILED", "RETRIES", "P95", ""}
)

// rate is what a node reads or takes now.
func (s snapshot) rate(node string) string {
	for _, n := range s.why.Nodes {
		if n.Name == node {
			return short(n.Rate) + "/s"
		}
	}
	return "-"
}

// spent says what a node spends its time with, where that says something.
func (s snapshot) spent(node string, n *notes) {
	for _, share := range s.why.Nodes {
		if share.Name != node {
			continue
		}
		for _, part := range []struct {
			share float64
			name  string
		}{{share.Busy, "busy"}, {share.External, "external"}, {share.Throttled, "throttled"}, {share.Blocked, "blocked"}} {
			if part.share >= 0.05 {
				*n = append(*n, fmt.Sprintf("%s %.0f%%", part.name, part.share*100))
			}
		}
	}
}

func (s snapshot) sourceRow(name string) ([]string, bool) {
	src := s.Sources[name]
	n := notes{}
	s.spent(name, &n)
	n.count(src.Nacked, "nacked")
	n.count(src.Failed, "not decoded")
	for _, code := range sortedKeys(src.Rejected) {
		n.count(src.Rejected[code], "rejected with "+code)
	}
	flight := commas(src.InFlight)
	if src.InFlightLimit > 0 {
		flight += "/" + commas(src.InFlightLimit)
	}
	lag := "-"
	switch {
	case src.LagEvents > 0, src.LagEvents == 0 && src.LagBytes <= 0:
		lag = commas(src.LagEvents)
	case src.LagBytes >= 0:
		lag = bytesText(src.LagBytes)
	}
	return []string{squeeze(name, maxReceiptName), commas(src.Read), s.rate(name), flight, lag, n.String()}, src.Nacked+src.Failed > 0
}

func (s snapshot) stageRow(name string) ([]string, bool) {
	st := s.Stages[name]
	n := notes{}
	failing := false
	if c := st.Calls; c != nil {
		if failing = c.Failing; failing {
			n = append(n, "failing")
		}
		n.breaker(c.Breaker)
		n.count(c.Retries, "retries")
	}
	s.spent(name, &n)
	n.count(st.Unrouted, "unrouted")
	n.count(st.Merged, "merged")
	n.count(st.Held, "held")
	n.count(st.Panics, "panics contained")
	return []string{squeeze(name, maxReceiptName), commas(st.In), s.rate(name), commas(st.Out), commas(st.Filtered), commas(st.Failed), n.String()},
		st.Failed+st.Panics > 0 || failing
}

func (s snapshot) edgeRow(id string) ([]string, bool) {
	e := s.Edges[id]
	now := latest(s.past, id)
	n := notes{policy(edgeFigures{status: e})}
	if e.BlockedProducers > 0 {
		n = append(n, fmt.Sprintf("%d waiting now", e.BlockedProducers))
	}
	if e.Tripped {
		n = append(n, "tripped")
	}
	dropped := droppedBy(e)
	drops := commas(dropped)
	if now.dropped > 0 {
		drops += " +" + short(now.dropped) + "/s"
	}
	return []string{squeeze(id, maxReceiptName), commas(e.Queued) + "/" + commas(e.Capacity), share(fillOf(e)), short(now.rate) + "/s",
		drops, share(now.blocked), n.String()}, dropped > 0 || now.blocked > 0.05 || fillOf(e) > 0.5
}

func (s snapshot) sinkRow(name string) ([]string, bool) {
	k := s.Sinks[name]
	n := notes{}
	if k.Failing {
		n = append(n, "failing")
	}
	n.breaker(k.Breaker)
	s.spent(name, &n)
	n.count(k.DeadLettered, "dead letters")
	p95 := "-"
	if k.EndToEnd.Count > 0 {
		p95 = span(seconds(k.EndToEnd.Quantile(0.95)))
	}
	return []string{squeeze(name, maxReceiptName), commas(k.Delivered), s.rate(name), commas(k.Failed), commas(k.Retries), p95, n.String()},
		k.Failed+k.Retries > 0 || k.Failing
}

// breaker notes the state of a breaker that is not closed.
func (n *notes) breaker(b *engine.BreakerStatus) {
	switch {
	case b == nil || b.State == "closed":
	case b.Until != nil:
		*n = append(*n, "breaker open until "+b.Until.Local().Format(time.TimeOnly))
	default:
		*n = append(*n, fmt.Sprintf("breaker %s, lets %.0f%% through", b.State, b.Share*100))
	}
}

// edgeMoment is what an edge did lately.
type edgeMoment struct{ rate, dropped, fill, blocked float64 }

// latest returns the mean of an edge's samples.
func latest(h explain.History, id string) edgeMoment {
	e := h.Edges[id]
	return edgeMoment{mean(e.Rate), mean(e.Dropped), mean(e.Fill), mean(e.Blocked)}
}

func mean(samples []float32) float64 {
	sum := 0.0
	for _, f := range samples {
		sum += float64(f)
	}
	return sum / float64(max(1, len(samples)))
}
