package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pipectl/pipectl/engine/explain"
)

// rule draws the line above a panel, with its title.
func (f topFrame) rule(title string) *row {
	r := f.row()
	r.put(dim, "── ")
	r.put(bold, title)
	r.put(dim, " "+strings.Repeat("─", max(0, r.max-r.width-1)))
	return r
}

// details draws all that is known of the line that is picked, in room lines.
func (f topFrame) details(room int) []*row {
	if room < 2 || f.cursor == "" {
		return nil
	}
	rows := f.edgeDetails(f.cursor, room)
	if _, ok := f.data.now.Sources[f.cursor]; ok {
		rows = f.sourceDetails(f.cursor)
	}
	return rows[:min(room, len(rows))]
}

func (f topFrame) edgeDetails(id string, room int) []*row {
	s, ok := f.data.now.Edges[id]
	if !ok {
		return nil
	}
	e := f.data.edge(id)
	facts := []string{policy(e), queued(e) + ifText(!strings.Contains(queued(e), "B"), " events")}
	if s.CapacityBytes > 0 {
		facts = append(facts, bytesText(s.QueuedBytes)+"/"+bytesText(s.CapacityBytes))
	}
	if s.OldestSeconds > 0 {
		facts = append(facts, "oldest "+span(seconds(s.OldestSeconds)))
	}
	facts = append(facts, "peak "+tight(s.Peak))
	if s.BlockedProducers > 0 {
		facts = append(facts, fmt.Sprintf("%d waiting", s.BlockedProducers))
	}
	if s.Tripped {
		facts = append(facts, "tripped")
	}
	counts := []string{"offered " + tight(s.Offered), "delivered " + tight(s.Delivered)}
	for _, reason := range sortedKeys(s.Dropped) {
		if n := s.Dropped[reason]; n > 0 {
			counts = append(counts, fmt.Sprintf("dropped %s: %s", tight(n), reasonWords[reason]))
		}
	}
	if s.BlockedSeconds >= 0.0005 {
		counts = append(counts, "producers waited "+span(seconds(s.BlockedSeconds))+" in all")
	}
	rows := []*row{f.rule(id), f.facts(facts), f.facts(counts)}
	if n, ok := f.data.node(s.To); ok {
		rows = append(rows, f.nodeFacts(n))
	}
	past, height := f.data.edges[id], min(maxPlot, (room-len(rows))/4)
	if height < 1 {
		return rows
	}
	rows = append(rows, f.plot("rate", cyan, past.Rate, short(e.rate)+"/s", 0, height)...)
	rows = append(rows, f.plot("fill", fillStyle(e.fill), past.Fill, share(e.fill), 1, height)...)
	rows = append(rows, f.plot("drops", red, past.Dropped, short(e.dropRate)+"/s", 0, height)...)
	return append(rows, f.plot("blocked", yellow, past.Blocked, share(e.blocked), 1, height)...)
}

// maxPlot is how many lines high a plot is at most.
const maxPlot = 4

func (f topFrame) sourceDetails(name string) []*row {
	s := f.data.now.Sources[name]
	facts := []string{"read " + tight(s.Read), "acked " + tight(s.Acked)}
	for _, c := range []struct {
		n    int64
		what string
	}{{s.Nacked, "nacked"}, {s.Failed, "not decoded"}, {s.Returned, "returned"}, {s.Lost, "lost"}} {
		if c.n > 0 {
			facts = append(facts, c.what+" "+tight(c.n))
		}
	}
	flight := "in flight " + tight(s.InFlight)
	if s.InFlightLimit > 0 {
		flight += "/" + tight(s.InFlightLimit)
	}
	facts = append(facts, flight)
	if s.LagEvents > 0 {
		facts = append(facts, "lag "+tight(s.LagEvents))
	}
	if s.LagBytes > 0 {
		facts = append(facts, "lag "+bytesText(s.LagBytes))
	}
	rows := []*row{f.rule("source " + name), f.facts(facts)}
	if n, ok := f.data.node(name); ok {
		rows = append(rows, f.nodeFacts(n))
	}
	return rows
}

// facts draws short texts beside each other, as many as fit.
func (f topFrame) facts(facts []string) *row {
	r := f.row()
	for i, fact := range facts {
		if i > 0 {
			fact = " · " + fact
		}
		r.item(plain, fact)
	}
	return r
}

// nodeFacts says how a node spends its time.
func (f topFrame) nodeFacts(n explain.NodeShare) *row {
	r := f.row()
	r.put(plain, fmt.Sprintf("%s %s takes %s/s", n.Kind, n.Name, short(n.Rate)))
	if n.Capacity > n.Rate*1.01 {
		r.item(plain, fmt.Sprintf(", could do %s/s", short(n.Capacity)))
	}
	r.item(plain, ": ")
	for _, p := range append(timeParts(n), timePart{"idle", "·", dim, n.Idle}) {
		text := fmt.Sprintf(" %s %s  ", p.name, share(p.share))
		if p.share >= 0.005 && r.max-r.width > utf8.RuneCountInString(text) {
			r.put(p.style, p.sign)
			r.put(plain, text)
		}
	}
	return r
}

// plot draws what something was in the past, over the whole width, height lines
// high. most is the value of a full column; 0 means the largest that is shown.
func (f topFrame) plot(name, style string, samples []float32, now string, most float64, height int) []*row {
	const label = 18
	width := f.row().max - label - 11
	end := " " + share(most)
	if most == 0 {
		most = peak(samples, width)
		end = " " + short(most) + "/s"
	}
	rows := make([]*row, height)
	for i, line := range area(samples, width, height, most) {
		r := f.row()
		text := padRight("", label)
		if i == height-1 {
			text = padRight(name, 8) + padLeft(now, label-9) + " "
		}
		r.put(plain, text)
		r.put(style, line)
		if i == 0 {
			r.put(dim, end)
		}
		rows[i] = r
	}
	return rows
}

// reasons draws all that is known of what limits the pipeline.
func (f topFrame) reasons() []*row {
	var b strings.Builder
	w := f.data.why
	sentences := w.Sentences
	w.Sentences = nil
	writeWhy(&b, w)
	rows := []*row{f.rule("what limits " + printable(f.data.now.Pipeline))}
	for _, s := range sentences {
		rows = append(rows, f.text(wrap(printable(s), f.row().max-1, 4)...)...)
	}
	return append(rows, f.text(strings.Split(strings.TrimRight(b.String(), "\n"), "\n")...)...)
}

// text draws lines as they are.
func (f topFrame) text(lines ...string) []*row {
	rows := make([]*row, len(lines))
	for i, line := range lines {
		rows[i] = f.row()
		rows[i].put(plain, line)
	}
	return rows
}

// topHelp are the keys and the signs of top.
var topHelp = []struct{ key, means string }{
	{"↑ ↓ j k", "pick an edge; pgup, pgdn, home and end go further"},
	{"enter e", "change the buffer and the policy of the edge"},
	{"s S", "next and previous order: " + orderNames()},
	{"/", "show only edges whose name or policy has a text; esc shows all again"},
	{"p space", "freeze the picture; the past goes on being kept"},
	{"w", "what limits the pipeline, and how every node spends its time"},
	{"c u", "confirm, or take back, a change that is on trial"},
	{"q ctrl+c", "end; the pipeline runs on"},
	{"◀", "this node limits the pipeline"},
	{"BLOCK", "part of the time in which a producer waited at the edge"},
	{"TIME", "of the node: █ busy  ▓ external  ▒ throttled  ░ blocked  · idle"},
}

func orderNames() string {
	var names []string
	for _, o := range orders {
		names = append(names, o.name)
	}
	return strings.Join(names, ", ")
}

func (f topFrame) help() []*row {
	rows := []*row{f.rule("help")}
	for _, h := range topHelp {
		r := f.row()
		r.put(bold, padRight(h.key, 10))
		r.put(plain, h.means)
		rows = append(rows, r)
	}
	return rows
}

// keyLine draws the bottom line: what keys do here, as many as fit.
func (f topFrame) keyLine(keys ...string) *row {
	r := f.row()
	for _, k := range keys {
		key, means, _ := strings.Cut(k, " ")
		if r.max-r.width < utf8.RuneCountInString(k)+2 {
			break
		}
		r.put(bold, key)
		r.put(dim, " "+means+"  ")
	}
	return r
}
