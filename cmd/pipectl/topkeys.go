package main

import (
	tea "charm.land/bubbletea/v2"
	"github.com/pipectl/pipectl/engine/control"
)

// press takes one key.
func (m *top) press(k tea.KeyPressMsg) tea.Cmd {
	key := k.String()
	m.notice = ""
	switch {
	case key == "ctrl+c":
		return tea.Quit
	case m.filtering:
		m.pressFilter(key, k.Text)
		return nil
	case m.panel == showForm:
		return m.pressForm(key, k.Text)
	}
	return m.pressTable(key)
}

// pressTable takes a key while nothing is being typed.
func (m *top) pressTable(key string) tea.Cmd {
	page := max(1, m.height/2)
	switch key {
	case "q":
		return tea.Quit
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup":
		m.move(-page)
	case "pgdown":
		m.move(page)
	case "home", "g":
		m.move(-1 << 30)
	case "end", "G":
		m.move(1 << 30)
	case "enter", "e":
		return m.openForm()
	case "s":
		m.order = (m.order + 1) % len(orders)
	case "S":
		m.order = (m.order + len(orders) - 1) % len(orders)
	case "/":
		m.filtering, m.panel = true, showDetails
	case "p", "space":
		m.pause()
	case "w":
		m.toggle(showReasons)
	case "?", "h":
		m.toggle(showHelp)
	case "c":
		return m.confirmPending()
	case "u":
		return m.revertPending()
	case "esc":
		m.panel, m.filter = showDetails, ifText(m.panel != showDetails, m.filter)
		m.keepCursor()
	}
	return nil
}

func (m *top) toggle(p panel) {
	if m.panel == p {
		p = showDetails
	}
	m.panel = p
}

// pause freezes the picture, or lets it go on.
func (m *top) pause() {
	if m.frozen != nil {
		m.frozen = nil
		m.keepCursor()
		return
	}
	m.frozen, m.frozenAt = m.data.clone(), m.clock()
}

// openForm asks for the settings of the picked edge; they come as a message.
func (m *top) openForm() tea.Cmd {
	id := m.cursor
	if _, ok := m.data.now.Edges[id]; !ok {
		m.notice = "a source has no buffer and no policy: pick an edge"
		return nil
	}
	return func() tea.Msg {
		now, err := m.k.edge(m.ctx, id)
		return edgeMsg{id, now, err}
	}
}

// opened shows the form for an edge.
func (m *top) opened(msg edgeMsg) {
	switch {
	case msg.err != nil:
		m.notice = refusalText(msg.err)
	case m.panel != showForm && !m.filtering:
		m.form, m.panel = newEdgeForm(msg.id, msg.now), showForm
	}
}

// typed takes text that was typed or pasted.
func (m *top) typed(text string) {
	switch {
	case m.filtering:
		m.filter += printable(text)
		m.keepCursor()
	case m.panel == showForm:
		m.form.enter(text)
	}
}

func (m *top) pressFilter(key, text string) {
	switch key {
	case "enter":
		m.filtering = false
	case "esc":
		m.filtering, m.filter = false, ""
	case "backspace":
		if r := []rune(m.filter); len(r) > 0 {
			m.filter = string(r[:len(r)-1])
		}
	case "ctrl+u":
		m.filter = ""
	default:
		m.typed(text)
	}
	m.keepCursor()
}

func (m *top) pressForm(key, text string) tea.Cmd {
	f := m.form
	if f.busy {
		return nil
	}
	f.trouble = ""
	switch key {
	case "esc":
		m.form, m.panel = nil, showDetails
	case "up", "shift+tab":
		f.move(-1)
	case "down", "tab":
		f.move(1)
	case "left":
		f.choose(-1)
	case "right", "space":
		if f.choose(1); key == "space" {
			f.enter(" ")
		}
	case "backspace":
		f.erase(false)
	case "ctrl+u":
		f.erase(true)
	case "enter":
		return m.apply()
	default:
		f.enter(text)
	}
	return nil
}

// apply sends what the form asks for.
func (m *top) apply() tea.Cmd {
	s, t, err := m.form.change()
	switch {
	case err != nil:
		m.form.trouble = err.Error()
		return nil
	case len(s.list) == 0:
		m.form.trouble = "nothing is different yet: change a field, or leave with esc"
		return nil
	}
	m.form.busy = true
	c := patchEdges([]string{m.form.edge}, s.body(), t)
	return m.send(c)
}

// send makes a change; what comes of it comes back as a message.
func (m *top) send(c call) tea.Cmd {
	return func() tea.Msg {
		var o control.Outcome
		_, err := m.k.ask(m.ctx, c, &o)
		return changedMsg{o, err}
	}
}

func (m *top) confirmPending() tea.Cmd {
	t := m.data.now.trial()
	if t == nil {
		m.notice = "no change is on trial"
		return nil
	}
	return func() tea.Msg {
		_, err := m.k.confirm(m.ctx, t.Generation)
		return confirmedMsg{t.Generation, err}
	}
}

func (m *top) revertPending() tea.Cmd {
	if m.data.now.trial() == nil {
		m.notice = "no change is on trial; pipectl revert takes back the last one"
		return nil
	}
	return m.send(revertCall())
}
