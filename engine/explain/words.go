package explain

import (
	"fmt"
	"math"
	"strings"

	"github.com/pipectl/pipectl/engine"
)

// others is how many limits after the first one get a sentence.
const others = 3

// tell says it for people, the most important first.
func (p *picture) tell(r *Report, limits []*limit, mixed bool) (say []string) {
	if over(p.status.Outcome) {
		say = append(say, fmt.Sprintf("The pipeline has ended (%s); this is about its last %s.", p.status.Outcome, span(p.seconds)))
	}
	if p.status.Outcome == engine.Draining || p.status.Outcome == engine.Stopping {
		say = append(say, fmt.Sprintf("The pipeline is %s: its sources read no more.", p.status.Outcome))
	}
	if s := p.status.Stall; s != nil {
		say = append(say, fmt.Sprintf("The pipeline is %s.", s))
	}
	if r.Cause == CauseIdle {
		say = append(say, p.idleSentence())
	} else {
		say = append(say, p.sentences(limits[0])...)
		say = append(say, p.also(limits[1:])...)
	}
	if r.Next != nil {
		say = append(say, r.Next.Sentence)
	}
	say = append(say, p.bursts()...)
	if mixed {
		say = append(say, fmt.Sprintf("The configuration changed within these %s (now generation %d): the figures mix before and after.",
			span(p.seconds), p.status.Generation))
	}
	for i, s := range say {
		say[i] = capital(s)
	}
	return say
}

func tooEarly(b *engine.Status, seconds float64, ended bool) string {
	switch {
	case ended:
		return fmt.Sprintf("The pipeline has ended (%s) after %s.", b.Outcome, span(b.Seconds))
	case b.Outcome == engine.Starting:
		return "The pipeline is starting: nothing to tell yet."
	}
	return fmt.Sprintf("Not enough figures yet: there are %s, and %s or more are needed. Ask again in a moment.", span(max(0, seconds)), span(shortest))
}

func (p *picture) idleSentence() string {
	open := max(0, p.status.Balance.InFlight)
	if len(p.sources) == 0 {
		return fmt.Sprintf("The sources have ended; %s in flight.", isAre(open))
	}
	var waiting []string
	for _, s := range p.sources {
		waiting = append(waiting, s.Name)
	}
	verb := "wait"
	if len(waiting) == 1 {
		verb = "waits"
	}
	s := fmt.Sprintf("Nothing to do: %s %s for input, and %s in flight", plural("source", waiting), verb, isAre(open))
	if open > 0 {
		var holder *node
		for _, n := range p.nodes {
			if !n.isSource() && (holder == nil || n.load() > holder.load()) {
				holder = n
			}
		}
		if holder != nil && holder.load() >= 1 {
			s += fmt.Sprintf(", most of it (%s) at %s", count(holder.load(), "event"), holder)
		}
	}
	return s + "."
}

func isAre(n int64) string {
	if n == 1 {
		return "1 event is"
	}
	return thousands(n) + " events are"
}

// plural renders "source a" and "sources a and b".
func plural(kind string, names []string) string {
	if len(names) == 1 {
		return kind + " " + names[0]
	}
	return kind + "s " + list(names)
}

// String names a node with its kind: sink es.
func (n *node) String() string { return n.Kind + " " + n.Name }

// sentences are about the heaviest limit: what it is, who waits, what to do.
func (p *picture) sentences(l *limit) []string {
	switch l.form {
	case FormWindow:
		return []string{p.windowSentence(l)}
	case FormLoss:
		return filled(p.lossSentence(l), l.node.work(p), p.advice(l))
	case FormBacklog:
		return filled(l.node.work(p), p.backlogSentence(l), p.advice(l))
	case FormSource:
		return []string{p.sourceSentence(l)}
	}
	if l.cause == CauseUnclear {
		return []string{p.unclearSentence(l)}
	}
	return filled(l.node.limits(p), p.waitSentence(l), p.advice(l))
}

func filled(say ...string) (list []string) {
	for _, s := range say {
		if s != "" {
			list = append(list, s)
		}
	}
	return list
}

// limits says that a node limits, and how.
func (n *node) limits(p *picture) string {
	return fmt.Sprintf("%s limits the pipeline: it %s.", n, n.doing(p))
}

func (n *node) work(p *picture) string { return fmt.Sprintf("%s %s.", n, n.doing(p)) }

// doing says how a node spends its time, and what comes of it.
func (n *node) doing(p *picture) string {
	var parts []string
	for _, s := range n.states() {
		if s.share >= .05 {
			parts = append(parts, fmt.Sprintf("%s %s", s.verb, percent(s.share)))
		}
	}
	text := list(parts) + " of the time"
	verb := "takes"
	if n.isSource() {
		verb = "reads"
	}
	if n.Rate <= 0 {
		return fmt.Sprintf("%s and has finished nothing for %s", text, span(p.seconds))
	}
	each := n.Active() * p.seconds * float64(max(1, n.Workers)) / float64(n.delta.in)
	return fmt.Sprintf("%s and %s %s (%s, %s an event)", text, verb, rate(n.Rate), count(float64(max(1, n.Workers)), "worker"), span(each))
}

type state struct {
	verb  string
	share float64
}

// states are what a node does when it is active, the largest part first.
func (n *node) states() []state {
	throttled := "is held to its rate"
	if n.delta.retries > 0 {
		throttled = "pauses between retries"
	}
	if n.leftAlone() {
		throttled = "leaves the far side alone, since its breaker is " + n.breaker.State
	}
	list := []state{{"waits for the far side", n.External}, {throttled, n.Throttled}, {"is busy", n.Busy}}
	for i := range list {
		for j := i + 1; j < len(list); j++ {
			if list[j].share > list[i].share {
				list[i], list[j] = list[j], list[i]
			}
		}
	}
	return list
}

// waitSentence says who waits because of a limit.
func (p *picture) waitSentence(l *limit) string {
	if l.credit {
		s := l.sources[0]
		return fmt.Sprintf("Because of it source %s waits %s of the time: its max_in_flight%s is used up, and %s at %s.",
			s.Name, percent(s.Blocked), s.creditText(), verbed(l.node.load(), "is", "are"), l.node)
	}
	var who []string
	for _, s := range l.sources {
		who = append(who, fmt.Sprintf("source %s waits %s", s.Name, percent(s.Blocked)))
	}
	for _, name := range l.node.waiters() {
		if n := p.byName[name]; !n.isSource() {
			who = append(who, fmt.Sprintf("%s %s", n, percent(n.waiting())))
		}
	}
	text := fmt.Sprintf("Because of it %s of the time", list(who))
	if l.edge != nil {
		text += fmt.Sprintf(": edge %s (%s, %s) is full", l.edge.id, l.edge.policy, count(float64(l.edge.capacity), "event"))
	}
	return text + "."
}

func verbed(n float64, is, are string) string {
	if math.Round(n) == 1 {
		return "1 event " + is
	}
	return count(n, "event") + " " + are
}

func (n *node) creditText() string {
	if n.credit > 0 {
		return " of " + count(float64(n.credit), "event")
	}
	return ""
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (p *picture) unclearSentence(l *limit) string {
	return fmt.Sprintf("source %s waits %s of the time, but no node behind it is at its limit: the one that works most is %s, %s of the time. "+
		"Events come in bursts, which larger buffers level out, or the machine has too little processor time for all.",
		l.sources[0].Name, percent(l.share), l.node, percent(l.node.Active()))
}

func (p *picture) windowSentence(l *limit) string {
	text := fmt.Sprintf("source %s is held back by its window: max_in_flight%s is used up and it waits %s of the time, though no node is at its limit",
		l.node.Name, l.node.creditText(), percent(l.node.Blocked))
	if h := l.holder; h != nil && h.load() >= 1 {
		text += fmt.Sprintf("; %s at %s, which is active %s of the time", verbed(h.load(), "is", "are"), h, percent(h.Active()))
	}
	return text + fmt.Sprintf(". To go faster raise max_in_flight of %s.", l.node.Name)
}

func (p *picture) lossSentence(l *limit) string {
	e := l.edge
	lost := float64(e.delta.dropped) / p.seconds
	if l.node == e.to {
		return fmt.Sprintf("%s takes %s of %s; edge %s (%s) drops the other %s (%s).",
			e.to, figure(e.rate), rate(e.offered), e.id, e.policy, figure(lost), percent(l.share))
	}
	return fmt.Sprintf("Edge %s (%s) drops %s of %s (%s), since %s behind it takes no more.",
		e.id, e.policy, figure(lost), rate(e.offered), percent(l.share), l.node)
}

func (p *picture) backlogSentence(l *limit) string {
	e := l.edge
	text := fmt.Sprintf("%s of %s queued at edge %s", thousands(int64(e.delta.queued)), count(float64(e.capacity), "event"), e.id)
	pace, left := float64(e.delta.grown)/p.seconds, float64(e.capacity)-float64(e.delta.queued)
	then := "will make others wait"
	if e.drops() {
		then = "will drop events"
	}
	switch {
	case pace > 0 && left > 0:
		text += fmt.Sprintf(", %s more each second: in about %s it is full and %s", figure(pace), span(max(1, left/pace)), then)
	case pace < 0:
		text += fmt.Sprintf(", %s fewer each second: the backlog is gone in about %s", figure(-pace), span(max(1, float64(e.delta.queued)/-pace)))
	}
	return text + "."
}

func (p *picture) sourceSentence(l *limit) string {
	n := l.node
	switch l.cause {
	case CauseSource:
		return fmt.Sprintf("Nothing holds the pipeline back: source %s reads all there is, %s, and waits for more %s of the time.",
			n.Name, rate(n.Rate), percent(n.Idle))
	case CauseThrottled:
		return fmt.Sprintf("source %s limits the pipeline: it keeps to a rate of its own, %s; nothing behind it holds it back.", n.Name, rate(n.Rate))
	}
	text := fmt.Sprintf("source %s limits the pipeline: it %s", n.Name, n.doing(p))
	if n.waiting() >= trace {
		return text + fmt.Sprintf("; it waits for others only %s.", percent(n.waiting()))
	}
	return text + "; nothing behind it holds it back."
}

// also mentions the limits after the first one.
func (p *picture) also(limits []*limit) (say []string) {
	var free []string
	more := 0
	for _, l := range limits {
		switch {
		case l.form == FormSource:
			free = append(free, fmt.Sprintf("%s (%s)", l.node.Name, rate(l.node.Rate)))
		case len(say) == others:
			more++
		default:
			say = append(say, p.shortly(l))
		}
	}
	if more > 0 {
		say = append(say, fmt.Sprintf("There are %s more.", count(float64(more), "limit")))
	}
	if len(free) > 0 {
		say = append(say, fmt.Sprintf("Nothing holds back %s.", plural("source", free)))
	}
	return say
}

func (p *picture) shortly(l *limit) string {
	switch l.form {
	case FormLoss:
		return "Also: " + p.lossSentence(l)
	case FormWindow:
		return "Also: " + p.windowSentence(l)
	case FormBacklog:
		return "Also: " + l.node.work(p) + " " + p.backlogSentence(l)
	}
	if l.cause == CauseUnclear {
		return "Also: " + p.unclearSentence(l)
	}
	verb := "wait"
	if len(l.sources) == 1 {
		verb = "waits"
	}
	return fmt.Sprintf("Also: %s %s; %s %s %s of the time because of it.", l.node, l.node.doing(p), l.held(), verb, percent(l.share))
}

// held names the sources that are held back.
func (l *limit) held() string {
	var names []string
	for _, s := range l.sources {
		names = append(names, s.Name)
	}
	return plural("source", names)
}

// bursts mentions edges that drop though nobody behind them is at a limit.
func (p *picture) bursts() (say []string) {
	for _, l := range p.links {
		if l.delta.lost > 0 && !l.hasLimit() && len(say) < others {
			say = append(say, fmt.Sprintf("Edge %s (%s) dropped %s in bursts (%s of what came): %s is active only %s of the time, so a larger buffer would take them.",
				l.id, l.policy, count(float64(l.delta.lost), "event"), percent(float64(l.delta.lost)/max(1, float64(l.delta.offered))), l.to, percent(l.to.Active())))
		}
	}
	return say
}

func (l *link) hasLimit() bool {
	t := follow(l.to)
	return t.clear()
}
