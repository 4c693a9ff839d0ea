package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/explain"
)

// top is the state of the screen. It is a bubbletea model: Update changes it, one
// message at a time, and View draws it.
type top struct {
	k     *client
	ctx   context.Context
	clock func() time.Time
	color bool

	width, height int
	data          topData
	frozen        *topData  // what is shown while paused
	frozenAt      time.Time // when it was paused
	lost          string    // why there is no connection

	order     int
	filter    string
	filtering bool   // the filter is being typed
	cursor    string // id of the line that is picked
	first     int    // line at the top of the table

	panel   panel
	form    *edgeForm
	receipt []string // of the last change
	notice  string   // a word about the last key
}

// panel is what stands below the table.
type panel int

const (
	showDetails panel = iota
	showForm
	showReceipt
	showReasons
	showHelp
)

// The messages that change the screen besides keys.
type (
	statusMsg liveStatus // a second has passed
	lostMsg   struct{ err error }
	pastMsg   explain.History
	edgeMsg   struct { // the settings of the edge that is to be changed
		id  string
		now edgeSettingsNow
		err error
	}
	changedMsg struct { // the answer to a change
		outcome control.Outcome
		err     error
	}
	confirmedMsg struct {
		generation uint64
		err        error
	}
)

// Init does nothing: what is to be shown comes from the stream.
func (m *top) Init() tea.Cmd { return nil }

// Update takes one message.
func (m *top) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case statusMsg:
		m.lost = ""
		m.data.add(liveStatus(msg))
		m.keepCursor()
	case pastMsg:
		m.data.recall(explain.History(msg))
	case lostMsg:
		m.lost = firstLine(msg.err)
	case edgeMsg:
		m.opened(msg)
	case changedMsg:
		m.changed(msg)
	case confirmedMsg:
		m.confirmed(msg)
	case tea.PasteMsg:
		m.typed(msg.Content)
	case tea.KeyPressMsg:
		return m, m.press(msg)
	}
	return m, nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// keepCursor picks the first line when the picked one is gone.
func (m *top) keepCursor() {
	lines := m.lines()
	if m.lineAt(lines) < 0 && len(lines) > 0 {
		m.cursor = lines[0].id
		for _, l := range lines { // an edge, since those can be changed
			if !l.source {
				m.cursor = l.id
				break
			}
		}
	}
}

// shown is the data of the picture.
func (m *top) shown() *topData {
	if m.frozen != nil {
		return m.frozen
	}
	return &m.data
}

func (m *top) lines() []topLine { return tableLines(m.shown().win, orders[m.order], m.filter) }

func (m *top) lineAt(lines []topLine) int {
	return slices.IndexFunc(lines, func(l topLine) bool { return l.id == m.cursor })
}

// move picks another line.
func (m *top) move(by int) {
	lines := m.lines()
	if len(lines) == 0 {
		return
	}
	m.cursor = lines[min(max(0, m.lineAt(lines)+by), len(lines)-1)].id
}

// changed shows what came of a change.
func (m *top) changed(c changedMsg) {
	if m.form != nil {
		m.form.busy = false
	}
	if c.err != nil {
		text := refusalText(c.err)
		if m.form == nil {
			m.notice = text
			return
		}
		m.form.trouble = text
		return
	}
	var b strings.Builder
	writeOutcome(&b, c.outcome, trial{}) // a strings.Builder takes everything
	m.form, m.panel, m.receipt = nil, showReceipt, strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

// refusalText is why a change was refused, in one paragraph.
func refusalText(err error) string {
	text := firstLine(err)
	var r *refusal
	if errors.As(err, &r) {
		for _, d := range r.Diagnostics {
			text += "; " + d.Message + ifText(d.Hint != "", " ("+d.Hint+")")
		}
		for _, c := range r.Changes {
			text += "; " + c.Part + " " + c.Name + ": " + c.Why
		}
	}
	return text
}

func (m *top) confirmed(c confirmedMsg) {
	if c.err != nil {
		m.notice = refusalText(c.err)
		return
	}
	m.receipt = []string{fmt.Sprintf("generation %d is confirmed", c.generation)}
	m.panel = showReceipt
}

// trialText says what a change on trial waits for.
func trialText(t control.Trial, now time.Time) string {
	text := fmt.Sprintf("generation %d is taken back ", t.Generation)
	if t.ConfirmBy != nil {
		text += fmt.Sprintf("in %s unless confirmed", coarse(t.ConfirmBy.Sub(now)))
	}
	if t.Guard != "" && t.GuardUntil != nil {
		text += ifText(t.ConfirmBy != nil, ", and ") + fmt.Sprintf("if its guard fails in the next %s", coarse(t.GuardUntil.Sub(now)))
	}
	return text + ": c confirm, u take back"
}

// View draws the screen.
func (m *top) View() tea.View {
	text, cursor := m.draw()
	v := tea.NewView(text)
	v.AltScreen, v.Cursor = true, cursor
	v.WindowTitle = "pipectl top " + m.data.now.Pipeline
	return v
}

func (m *top) frame() topFrame {
	f := topFrame{frame: frame{m.width, m.height, m.color}, data: m.shown(), addr: m.k.String(), clock: m.clock(),
		order: orders[m.order], cursor: m.cursor, paused: m.frozen != nil, lost: m.lost}
	if f.paused {
		f.clock = m.frozenAt
	}
	if t := m.data.now.trial(); t != nil {
		f.wait = trialText(*t, m.clock())
	}
	return f
}

// draw returns the lines of the screen, and the cursor of the terminal when
// something is being typed.
func (m *top) draw() (string, *tea.Cursor) {
	f := m.frame()
	if m.width == 0 {
		return "", nil
	}
	if f.data.now.Pipeline == "" {
		return "waiting for " + m.k.String() + ifText(m.lost != "", ": "+m.lost) + "\n", nil
	}
	lines, head := m.lines(), f.head()
	at := m.lineAt(lines)
	bottom, x, y := m.bottom(f)
	room := max(minEdges, m.height-len(head)-2-len(bottom)-1) // the blank line, the titles, the keys
	if m.panel == showDetails && at >= 0 {
		bottom = f.details(min(5+4*maxPlot, max(0, m.height-len(head)-3-m.wanted(len(lines)))))
		room = max(minEdges, m.height-len(head)-2-len(bottom)-1)
	}
	lines = m.scroll(lines, at, room)
	rows := append(head, f.row())
	rows = append(rows, f.table(lines)...)
	if len(lines) == 0 {
		rows = append(rows, f.text(" no edge has "+m.filter+" in its name or policy")...)
	}
	for len(rows) < m.height-len(bottom)-1 {
		rows = append(rows, f.row())
	}
	top := len(rows)
	rows = append(rows, bottom...)
	rows = append(rows[:min(len(rows), max(0, m.height-1))], m.keys(f))
	return join(rows), m.terminalCursor(x, top+y, len(rows)-1)
}

// wanted is how many lines the table would like: most of them, but at least half
// the screen is enough.
func (m *top) wanted(lines int) int { return min(lines, max(minEdges, m.height/2)) }

// scroll cuts the lines to those that there is room for, the picked one, at,
// among them.
func (m *top) scroll(lines []topLine, at, room int) []topLine {
	at = max(0, at)
	m.first = min(max(m.first, at-room+1), at, max(0, len(lines)-room))
	m.first = max(0, m.first)
	return lines[m.first:min(len(lines), m.first+room)]
}

// bottom draws the panel, unless it is the details of an edge.
func (m *top) bottom(f topFrame) (rows []*row, x, y int) {
	switch m.panel {
	case showForm:
		return m.form.rows(f)
	case showReceipt:
		rows = append([]*row{f.rule("done")}, f.text(m.receipt...)...)
	case showReasons:
		rows = f.reasons()
	case showHelp:
		rows = f.help()
	}
	return rows[:min(len(rows), max(0, m.height-8))], 0, 0
}

// keys draws the bottom line.
func (m *top) keys(f topFrame) *row {
	switch {
	case m.filtering:
		r := f.row()
		r.put(bold, "show only: ")
		r.put(plain, m.filter)
		r.item(dim, "   enter keeps it, esc shows all")
		return r
	case m.notice != "":
		r := f.row()
		r.put(yellow, m.notice)
		return r
	}
	switch m.panel {
	case showForm:
		return f.keyLine("enter apply", "↑↓ field", "←→ choose", "ctrl+u empty", "esc leave")
	case showDetails:
		if m.data.now.trial() != nil {
			return f.keyLine("c confirm", "u take back", "↑↓ pick", "enter change", "s order", "q end")
		}
		return f.keyLine("↑↓ pick", "enter change", "s order:"+orders[m.order].name, "/ filter"+ifText(m.filter != "", ":"+m.filter),
			"p pause", "w why", "? help", "q end")
	}
	return f.keyLine("esc back", "q end")
}

func (m *top) terminalCursor(x, y, last int) *tea.Cursor {
	switch {
	case m.filtering:
		return tea.NewCursor(len("show only: ")+utf8.RuneCountInString(m.filter), last)
	case m.panel == showForm && x > 0 && !m.form.busy:
		return tea.NewCursor(x, y)
	}
	return nil
}

func join(rows []*row) string {
	lines := make([]string, len(rows))
	for i, r := range rows {
		lines[i] = r.String()
	}
	return strings.Join(lines, "\n")
}
