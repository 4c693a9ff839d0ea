package main

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// column is a column of the edge table.
type column struct {
	title string
	left  bool // aligned left
	width int
	rank  int // who gives way on a narrow terminal: higher ranks first, 0 never
	put   func(r *row, e edgeFigures, width int)
}

// right makes a column of figures, aligned right. A figure of "0" is dimmed, and
// one that worries is drawn in the style that worry returns.
func right(title string, width, rank int, text func(edgeFigures) string, worry func(edgeFigures) string) column {
	return column{title, false, width, rank, func(r *row, e edgeFigures, width int) {
		s := text(e)
		style := worry(e)
		if style == plain && (s == "0" || s == "0/s" || s == "0%") {
			style = dim
		}
		r.put(style, padLeft(s, width))
	}}
}

func calm(edgeFigures) string { return plain }

// The widths of what the table can stretch.
const (
	gap     = 2 // between columns
	minName = 12
	maxName = 48
	minBar  = 6
	maxBar  = 24
)

const queuedColumn = 2

// columns are all columns of the table, in order.
func columns() []column {
	return []column{
		{"EDGE", true, minName, 0, func(r *row, e edgeFigures, width int) { r.put(plain, padRight(squeeze(e.id, width), width)) }},
		{"FILL", true, minBar, 0, putFill},
		right("QUEUED", 6, 3, queued, calm),
		right("RATE", 8, 0, func(e edgeFigures) string { return short(e.rate) + "/s" }, calm),
		right("DROPPED", 7, 0, func(e edgeFigures) string { return tight(e.dropped) }, dropping),
		right("DROPS/S", 7, 4, func(e edgeFigures) string { return short(e.dropRate) }, dropping),
		right("BLOCKED", 7, 1, func(e edgeFigures) string { return fmt.Sprintf("%.0f%%", e.blocked*100) }, blocking),
		{"POLICY", true, 6, 2, func(r *row, e edgeFigures, width int) { r.put(dim, padRight(policy(e), width)) }},
	}
}

// queued is what the edge holds of what it may hold: in events, or in bytes when
// those are nearer to their bound.
func queued(e edgeFigures) string {
	s := e.status
	if s.CapacityBytes > 0 && float64(s.QueuedBytes)/float64(s.CapacityBytes) > float64(s.Queued)/float64(s.Capacity) {
		return bytesText(s.QueuedBytes) + "/" + bytesText(s.CapacityBytes)
	}
	return tight(s.Queued) + "/" + tight(s.Capacity)
}

func dropping(e edgeFigures) string {
	if e.dropRate > 0 {
		return red
	}
	return plain
}

func blocking(e edgeFigures) string {
	switch {
	case e.blocked >= 0.5:
		return red
	case e.blocked >= 0.1:
		return yellow
	}
	return plain
}

// policy names the policy, with the rate that sampling is at.
func policy(e edgeFigures) string {
	if r := e.status.SampleRate; r > 0 {
		return fmt.Sprintf("%s %.3g%%", e.status.Policy, r*100)
	}
	return e.status.Policy
}

func putFill(r *row, e edgeFigures, width int) {
	filled, empty := bar(e.fill, width)
	r.put(fillStyle(e.fill), filled)
	r.put(dim, empty)
}

// fillStyle is the colour of a fill.
func fillStyle(fill float64) string {
	switch {
	case fill >= 0.8:
		return red
	case fill >= 0.5:
		return yellow
	}
	return green
}

// table draws the edges in at most room lines below the titles.
func (f frame) table(edges []edgeFigures, room int) []*row {
	shown, hidden := busiest(edges, room)
	if len(hidden) > 0 { // one line goes to saying so
		shown, hidden = busiest(edges, room-1)
	}
	cols := f.fit(shown)
	rows := make([]*row, 0, room+1)
	title := f.row()
	for _, c := range cols {
		if c.left {
			title.put(dim, padRight(c.title, c.width+gap))
		} else {
			title.put(dim, padLeft(c.title, c.width)+padRight("", gap))
		}
	}
	rows = append(rows, title)
	for _, e := range shown {
		r := f.row()
		for _, c := range cols {
			c.put(r, e, c.width)
			r.put(plain, padRight("", gap))
		}
		rows = append(rows, r)
	}
	if len(hidden) > 0 {
		r := f.row()
		r.put(dim, quieter(hidden))
		rows = append(rows, r)
	}
	return rows
}

// quieter says how many edges there was no room for, and how full they are.
func quieter(hidden []edgeFigures) string {
	most := 0.0
	for _, e := range hidden {
		most = max(most, e.fill)
	}
	return fmt.Sprintf("… and %s, at most %.0f%% full", plural(int64(len(hidden)), "quieter edge"), most*100)
}

// fit chooses the columns that the terminal has room for and stretches the name
// and the bar into what is left.
func (f frame) fit(edges []edgeFigures) []column {
	cols := columns()
	longest := minName
	for _, e := range edges {
		longest = max(longest, utf8.RuneCountInString(e.id))
		cols[queuedColumn].widen(queued(e), tight(e.status.Capacity)+"/"+tight(e.status.Capacity))
		cols[len(cols)-1].widen(policy(e))
	}
	longest = min(longest, maxName)
	room := f.row().max
	spare := func() int {
		n := room - gap*(len(cols)-1)
		for _, c := range cols {
			n -= c.width
		}
		return n
	}
	for spare() < min(longest, 22)-minName { // names need some room to tell edges apart
		last := slices.IndexFunc(cols, func(c column) bool { return c.rank == maxRank(cols) })
		if cols[last].rank == 0 {
			break
		}
		cols = slices.Delete(cols, last, last+1)
	}
	cols[0].width = min(longest, max(minName, minName+spare()))
	cols[1].width = min(maxBar, max(minBar, minBar+spare()))
	return cols
}

// widen makes room for the widest of texts.
func (c *column) widen(texts ...string) {
	for _, t := range texts {
		c.width = max(c.width, utf8.RuneCountInString(t))
	}
}

func maxRank(cols []column) int {
	rank := 0
	for _, c := range cols {
		rank = max(rank, c.rank)
	}
	return rank
}
