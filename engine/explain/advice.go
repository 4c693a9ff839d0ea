package explain

import (
	"fmt"
	"strings"
)

// advice says what can be done about a limit.
func (p *picture) advice(l *limit) string {
	say := p.faster(l)
	if l.edge != nil && !l.edge.drops() && l.form == FormPressure && !l.credit {
		say = append(say, fmt.Sprintf("to lose events there instead of making %s wait: pipectl edge set '%s' --policy drop-oldest", l.held(), l.edge.id))
	}
	if len(say) == 0 {
		return ""
	}
	return strings.Join(say, "; ") + "."
}

// faster says how a node may become faster.
func (p *picture) faster(l *limit) []string {
	n := l.node
	switch {
	case n.Kind == "stage" && l.cause == CauseBusy:
		return []string{fmt.Sprintf("to go faster give it more workers (it has %d) or less to do", max(1, n.Workers))}
	case l.cause == CauseThrottled && n.leftAlone():
		return []string{fmt.Sprintf("its breaker has opened %s because its writes fail: see its errors with pipectl status", count(float64(n.breaker.Opened), "time"))}
	case l.cause == CauseThrottled && n.delta.retries > 0:
		return []string{fmt.Sprintf("it repeated %s in %s: see its errors with pipectl status", count(float64(n.delta.retries), "write"), span(p.seconds))}
	case l.cause == CauseThrottled:
		return []string{"to go faster raise its rate"}
	case l.cause == CauseExternal && n.delta.requests > 0:
		each := float64(n.delta.in / n.delta.requests)
		return []string{fmt.Sprintf("one write takes %s for %s: more events in one (batch) may go faster, or look at the far side",
			span(float64(n.delta.external/n.delta.requests)), count(each, "event"))}
	}
	return nil
}

// nextSentence says what limits once l is out of the way.
func (p *picture) nextSentence(l *limit, next *Limit, end *flow) string {
	times := figure(round(next.Factor, 10)) + " times as many as now"
	if next.AtLeast {
		times = "at least " + times
	}
	name := next.Kind + " " + next.Node
	switch {
	case l.form == FormSource && next.Factor < 1.05:
		return fmt.Sprintf("If more came, %s could take no more: it is active %s of the time.", name, percent(p.byName[next.Node].Active()))
	case l.form == FormSource:
		return fmt.Sprintf("If more came, %s would limit first, at about %s from source %s, %s.", name, rate(next.SourceRate), l.node.Name, times)
	case l.form == FormLoss && next.Cause == CauseSource:
		return fmt.Sprintf("Without that limit all %s would be taken: nothing else behind edge %s is near its limit.", rate(next.SourceRate), end.edge.id)
	case l.form == FormLoss:
		return fmt.Sprintf("Without that limit the next one is %s, when edge %s hands on about %s, %s.", name, end.edge.id, rate(next.SourceRate), times)
	}
	switch {
	case next.AtLeast && end.source != nil && end.source.Name == next.Node:
		return fmt.Sprintf("Without that limit no other node is in the way: %s would read what its input brings, %s times as many as now or more.", name, figure(far))
	case next.Factor >= 1.05 && end.source != nil && end.source.Name == next.Node && end.source.limit > 0:
		return fmt.Sprintf("Without that limit no other node is in the way: %s would reach its own rate, %s, %s.", name, rate(next.SourceRate), times)
	case next.Factor >= 1.05 && end.source != nil && end.source.Name == next.Node:
		return fmt.Sprintf("Without that limit no other node is in the way: %s would read about %s, %s, or what its input brings.", name, rate(next.SourceRate), times)
	case next.Factor >= 1.05:
		return fmt.Sprintf("Without that limit the next one is %s, at about %s, %s.", name, rate(next.SourceRate), times)
	case end.source != nil && end.source.Name == next.Node:
		return fmt.Sprintf("Without that limit the pipeline would keep up with %s, at %s.", name, rate(next.SourceRate))
	}
	return fmt.Sprintf("Without that limit little would be won: the next one is %s, at about %s.", name, rate(next.SourceRate))
}
