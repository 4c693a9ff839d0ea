package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pipectl/pipectl/engine/explain"
)

// topFrame draws what top shows as lines of text. It knows nothing of terminals:
// the same figures give the same lines.
type topFrame struct {
	frame
	data   *topData
	addr   string
	clock  time.Time
	order  order
	cursor string // id of the line that is picked
	paused bool
	lost   string // why there is no connection
	wait   string // what waits for confirmation
}

// head draws what stands above the table: the name, the figures of the whole
// pipeline, what limits it, and who is in trouble.
func (f topFrame) head() []*row {
	rows := []*row{f.title(), f.totals()}
	rows = append(rows, f.limit()...)
	if f.lost != "" {
		r := f.row()
		r.put(red, "no connection: "+f.lost)
		rows = append(rows, r)
	}
	if f.wait != "" {
		r := f.row()
		r.put(yellow, f.wait)
		rows = append(rows, r)
	}
	if n := f.data.now.Balance.Error; n != 0 {
		r := f.row()
		r.put(red, fmt.Sprintf("BUG: %s unaccounted for; please report this with pipectl status --format json", plural(max(n, -n), "event")))
		rows = append(rows, r)
	}
	return append(rows, f.sinks(f.data.now.Status)...)
}

func (f topFrame) title() *row {
	r, s := f.row(), f.data.now
	r.put(bold, printable(s.Pipeline))
	r.put(plain, "  ")
	r.put(stateColor(s.Outcome), string(s.Outcome))
	r.put(plain, " "+span(seconds(s.Seconds)))
	r.item(dim, fmt.Sprintf("  generation %d", s.Generation))
	right := f.addr + "  " + f.clock.Format("15:04:05")
	style := dim
	if f.paused {
		right, style = "PAUSED at "+f.clock.Format("15:04:05"), yellow
	}
	if room := r.max - r.width - utf8.RuneCountInString(right); room >= 2 {
		r.put(plain, strings.Repeat(" ", room))
		r.put(style, right)
	}
	return r
}

// totals draws the figures of the whole pipeline; each with its rate.
func (f topFrame) totals() *row {
	r, w := f.row(), f.data.win
	b, before := w.now.Balance, w.before.Balance
	figure := func(style, name string, now, before int64) {
		if now == 0 && name != "read" && name != "delivered" {
			return
		}
		text := name + " " + tight(now)
		if rate := w.perSecond(float64(before), float64(now)); rate > 0 {
			text += " (" + short(rate) + "/s)"
		}
		if r.width > 0 {
			text = "  " + text
		}
		r.item(style, text)
	}
	figure(plain, "read", b.Read, before.Read)
	figure(plain, "delivered", b.Delivered, before.Delivered)
	figure(red, "dropped", b.Dropped, before.Dropped)
	figure(red, "failed", b.Failed, before.Failed)
	r.item(plain, "  in flight "+tight(b.InFlight))
	if p95, ok := f.data.endToEnd(); ok {
		r.item(plain, "  p95 "+span(seconds(p95)))
	}
	figure(yellow, "dead letters", b.DeadLettered, before.DeadLettered)
	figure(dim, "filtered", b.Filtered, before.Filtered)
	return r
}

// limit draws what limits the pipeline, in as many lines as the terminal can
// spare.
func (f topFrame) limit() []*row {
	lines := wrap(printable(strings.Join(f.data.why.Sentences, " ")), f.row().max-2, max(2, min(5, f.height/10)))
	var rows []*row
	for i, line := range lines {
		r := f.row()
		mark := "  "
		if i == 0 {
			mark = "◀ "
		}
		r.put(red, mark)
		r.put(plain, line)
		rows = append(rows, r)
	}
	return rows
}

// topCell is what one line of the table is drawn from.
type topCell struct {
	line  topLine
	edge  edgeFigures
	share explain.NodeShare // of the node that the line leads to
	known bool              // there is a share
	data  *topData
	limit bool // the node limits the pipeline
}

// topColumn is a column of the table of top.
type topColumn struct {
	title string
	left  bool
	width int
	most  int // it may be stretched to this
	rank  int // who gives way on a narrow terminal: higher ranks first, 0 never
	put   func(r *row, c topCell, width int)
}

func topColumns() []topColumn {
	number := func(title string, width, rank int, text func(topCell) (style, text string)) topColumn {
		return topColumn{title, false, width, width, rank, func(r *row, c topCell, width int) {
			style, s := text(c)
			if style == plain && (s == "0" || s == "0/s" || s == "0%") {
				style = dim
			}
			r.put(style, padLeft(s, width))
		}}
	}
	return []topColumn{
		{"EDGE", true, 18, 18, 0, putTopName},
		{"FILL", true, 8, maxBar, 0, putTopFill},
		number("QUEUED", 11, 5, func(c topCell) (string, string) { return plain, unless(c.line.source, queued(c.edge)) }),
		number("RATE", 7, 0, topRate),
		{"TREND", true, 8, 60, 2, putTrend},
		number("DROPS/S", 7, 0, func(c topCell) (string, string) {
			return dropping(c.edge), unless(c.line.source, short(c.edge.dropRate))
		}),
		number("BLOCK", 5, 0, topBlocked),
		number("DROPPED", 7, 6, func(c topCell) (string, string) {
			return dropping(c.edge), unless(c.line.source, tight(c.edge.dropped))
		}),
		number("OLDEST", 6, 8, func(c topCell) (string, string) { return plain, oldest(c) }),
		{"POLICY", true, 11, 11, 3, putTopPolicy},
		{"TIME OF NODE", true, 12, 20, 7, putTime},
	}
}

func unless(not bool, text string) string { return ifText(!not, text) }

func oldest(c topCell) string {
	if c.edge.status.OldestSeconds <= 0 {
		return ""
	}
	return span(seconds(c.edge.status.OldestSeconds))
}

func putTopName(r *row, c topCell, width int) {
	r.put(dim, c.line.lead)
	room := width - utf8.RuneCountInString(c.line.lead)
	style, label := plain, c.line.label
	switch {
	case c.limit:
		style = red
		room -= 2
	case c.line.source:
		style = bold
	case c.line.again:
		style = dim
	}
	label = squeeze(label, max(1, room))
	r.put(style, label)
	if c.limit {
		r.put(red, " ◀")
	}
	r.put(plain, strings.Repeat(" ", max(0, room-utf8.RuneCountInString(label))))
}

func putTopFill(r *row, c topCell, width int) {
	if c.line.source {
		r.put(plain, strings.Repeat(" ", width))
		return
	}
	putFill(r, c.edge, width)
}

func topRate(c topCell) (style, text string) {
	if !c.line.source {
		return plain, short(c.edge.rate) + "/s"
	}
	return plain, short(c.data.readRate(c.line.id)) + "/s"
}

func topBlocked(c topCell) (style, text string) {
	if !c.line.source {
		return blocking(c.edge), share(c.edge.blocked)
	}
	if !c.known {
		return dim, ""
	}
	return blocking(edgeFigures{blocked: c.share.Blocked}), share(c.share.Blocked)
}

func putTrend(r *row, c topCell, width int) {
	samples := c.data.edges[c.line.id].Rate
	if c.line.source {
		samples = c.data.sources[c.line.id]
	}
	r.put(cyan, spark(samples, width, peak(samples, width)))
}

func putTopPolicy(r *row, c topCell, width int) {
	text := policy(c.edge)
	if c.line.source {
		text = c.data.now.Sources[c.line.id].Type
	}
	r.put(dim, padRight(squeeze(text, width), width))
}

// putTime draws how the node that a line leads to spends its time.
func putTime(r *row, c topCell, width int) {
	if !c.known || c.line.again {
		r.put(plain, strings.Repeat(" ", width))
		return
	}
	left := width
	for _, part := range timeParts(c.share) {
		n := min(left, int(part.share*float64(width)+0.5))
		r.put(part.style, strings.Repeat(part.sign, n))
		left -= n
	}
	r.put(dim, strings.Repeat("·", left))
}

// timePart is a part of a node's time, as it is drawn.
type timePart struct {
	name, sign, style string
	share             float64
}

func timeParts(n explain.NodeShare) []timePart {
	return []timePart{{"busy", "█", green, n.Busy}, {"external", "▓", cyan, n.External},
		{"throttled", "▒", yellow, n.Throttled}, {"blocked", "░", red, n.Blocked}}
}

// table draws lines below the titles of the columns.
func (f topFrame) table(lines []topLine) []*row {
	cells := make([]topCell, len(lines))
	for i, line := range lines {
		cells[i] = f.cell(line)
	}
	cols := f.columns(cells)
	rows := []*row{f.titles(cols)}
	for _, c := range cells {
		r := f.row()
		if c.line.id == f.cursor {
			r.put(cyan, "▸")
			r.mark = inverse
		} else {
			r.put(plain, " ")
		}
		for i, col := range cols {
			if i > 0 {
				r.mark = plain
				r.put(plain, " ")
			}
			col.put(r, c, col.width)
		}
		rows = append(rows, r)
	}
	return rows
}

func (f topFrame) cell(line topLine) topCell {
	c := topCell{line: line, data: f.data}
	node := line.id
	if !line.source {
		c.edge = f.data.edge(line.id)
		node = c.edge.status.To
	}
	c.share, c.known = f.data.node(node)
	c.limit = node == f.data.why.Limiting && node != ""
	return c
}

func (f topFrame) titles(cols []topColumn) *row {
	r := f.row()
	r.put(plain, " ")
	for _, c := range cols {
		title, style := c.title, dim
		if title == f.order.title {
			style = cyan
			if n := utf8.RuneCountInString(title); n < c.width {
				title += "▾"
			}
		}
		if c.left {
			r.put(style, padRight(title, c.width)+" ")
		} else {
			r.put(style, padLeft(title, c.width)+" ")
		}
	}
	return r
}

// columns chooses the columns that there is room for, and stretches them into
// what is left. A name that can be read is worth more than the columns of the
// highest ranks.
func (f topFrame) columns(cells []topCell) []topColumn {
	cols := topColumns()
	name := &cols[0]
	for _, c := range cells {
		n := utf8.RuneCountInString(c.line.lead+c.line.label) + 2*len(ifText(c.limit, "1"))
		name.width = min(maxName, max(name.width, n))
		cols[queuedColumn].width = max(cols[queuedColumn].width, utf8.RuneCountInString(queued(c.edge)))
	}
	const luxury = 5 // rank from which a column is worth less than a name
	spare := func() int {
		n := f.row().max - 1 - (len(cols) - 1)
		for _, c := range cols {
			n -= c.width
		}
		return n
	}
	for spare() < 0 {
		last := 0
		for i, c := range cols {
			if c.rank > cols[last].rank {
				last = i
			}
		}
		if least := name.most; cols[last].rank < luxury && cols[0].width > least {
			cols[0].width = max(least, cols[0].width+spare())
			continue
		}
		if last == 0 {
			break
		}
		cols = slices.Delete(cols, last, last+1)
	}
	for _, part := range []int{2, 1} { // all of them get a little before one gets all
		for i := range cols {
			cols[i].width += max(0, min(spare(), cols[i].most/part-cols[i].width))
		}
	}
	return cols
}
