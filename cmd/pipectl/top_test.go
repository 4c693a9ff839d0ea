package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/pipectl/pipectl/engine/control"
)

var topClock = time.Date(2026, 3, 1, 10, 55, 27, 0, time.UTC)

// newTestTop is top after it has watched the fixture for a while.
func newTestTop(t *testing.T, addr string, edges int) *top {
	t.Helper()
	c := connection{addr: addr}
	k, err := c.open()
	if err != nil {
		t.Fatal(err)
	}
	m := &top{k: k, ctx: context.Background(), clock: func() time.Time { return topClock }, width: 80, height: 24}
	m.Update(pastMsg(fixtureHistory(90)))
	for k := range int64(10) {
		m.Update(statusMsg(fixture(k+1, edges)))
	}
	return m
}

// screenText is what top shows.
func screenText(m *top) string {
	text, _ := m.draw()
	return text + "\n"
}

// keyNames are the keys of tests that are no single character.
var keyNames = map[string]tea.KeyPressMsg{
	"up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown}, "left": {Code: tea.KeyLeft}, "right": {Code: tea.KeyRight},
	"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "tab": {Code: tea.KeyTab}, "backspace": {Code: tea.KeyBackspace},
	"home": {Code: tea.KeyHome}, "end": {Code: tea.KeyEnd}, "pgdown": {Code: tea.KeyPgDown}, "space": {Code: ' ', Text: " "},
	"ctrl+u": {Code: 'u', Mod: tea.ModCtrl}, "ctrl+c": {Code: 'c', Mod: tea.ModCtrl},
}

// press presses keys one after another, and runs what they ask for, as the
// program would. It reports whether one of them ended it.
func press(m *top, keys ...string) (quit bool) {
	for _, name := range keys {
		k, ok := keyNames[name]
		if !ok {
			k = tea.KeyPressMsg{Code: []rune(name)[0], Text: name}
		}
		_, cmd := m.Update(k)
		if cmd == nil {
			continue
		}
		msg := cmd()
		if _, quit := msg.(tea.QuitMsg); quit {
			return true
		}
		m.Update(msg)
	}
	return false
}

func TestTopScreens(t *testing.T) {
	f := func(name string, width, height, edges int, color bool, keys ...string) {
		t.Helper()
		m := newTestTop(t, "127.0.0.1:9464", edges)
		m.width, m.height, m.color = width, height, color
		press(m, keys...)
		golden(t, filepath.Join("testdata", "top", name+".golden"), screenText(m))
	}
	f("small", 80, 24, 9, false)
	f("large", 200, 50, 9, false, "down", "down", "down")
	f("color", 100, 24, 9, true, "end")
	f("source", 100, 24, 9, false, "home")
	f("many", 100, 24, 300, false, "end")
	f("by_drops", 100, 24, 9, false, "s", "s", "s")
	f("filtered", 100, 24, 9, false, "/", "e", "s", "enter")
	f("filtering", 100, 24, 9, false, "/", "z")
	f("help", 80, 24, 9, false, "?")
	f("why", 100, 30, 9, false, "w")
	f("paused", 80, 24, 9, false, "p")
}

// A terminal that is far too small shows what fits, and the keys.
func TestTopInATinyTerminal(t *testing.T) {
	for _, keys := range [][]string{nil, {"?"}, {"w"}, {"/"}} {
		m := newTestTop(t, "127.0.0.1:9464", 9)
		press(m, keys...)
		for height := 1; height < 16; height++ {
			m.Update(tea.WindowSizeMsg{Width: 20, Height: height})
			lines := strings.Split(strings.TrimSuffix(screenText(m), "\n"), "\n")
			last := lines[len(lines)-1]
			if len(lines) > height || !strings.HasPrefix(last, "↑↓ pick") && !strings.HasPrefix(last, "esc back") && !strings.HasPrefix(last, "show only:") {
				t.Errorf("%v: %d lines on %d:\n%s", keys, len(lines), height, strings.Join(lines, "\n"))
			}
		}
	}
}

// Whatever the terminal, the pipeline and the keys, the screen is exactly as high
// as the terminal, no line is wider, and the picked line is on it.
func TestTopFits(t *testing.T) {
	for _, edges := range []int{9, 40, 1000} {
		for _, keys := range [][]string{nil, {"end"}, {"pgdown"}, {"w"}, {"?"}, {"s", "s", "end"}, {"/", "z", "z"}} {
			m := newTestTop(t, "127.0.0.1:9464", edges)
			press(m, keys...)
			for _, height := range []int{16, 24, 50, 90} {
				for width := minWidth; width < 230; width += 7 + edges/25 {
					m.Update(tea.WindowSizeMsg{Width: width, Height: height})
					checkScreen(t, m, width, height)
				}
			}
		}
	}
}

func checkScreen(t *testing.T, m *top, width, height int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(screenText(m), "\n"), "\n")
	picked := len(m.lines()) == 0 || m.panel != showDetails
	for _, l := range lines {
		if n := utf8.RuneCountInString(l); n > width {
			t.Fatalf("%dx%d: a line has %d columns: %q", width, height, n, l)
		}
		picked = picked || strings.HasPrefix(l, "▸")
	}
	if len(lines) != height || !picked {
		t.Fatalf("%dx%d: %d lines, picked line shown: %v\n%s", width, height, len(lines), picked, strings.Join(lines, "\n"))
	}
}

func TestTopMoves(t *testing.T) {
	f := func(want string, keys ...string) {
		t.Helper()
		m := newTestTop(t, "127.0.0.1:9464", 9)
		press(m, keys...)
		if m.cursor != want {
			t.Errorf("after %v: %s is picked, want %s", keys, m.cursor, want)
		}
	}
	f("access->parse") // the first edge
	f("access", "up")
	f("access", "up", "up", "home")
	f("parse.failed->bad", "down")
	f("parse->keep", "j", "j")
	f("metrics->archive", "end", "down")
	f("metrics", "end", "k", "k")
	f("keep->shape", "/", "d", "r", "o", "p", "-", "o", "enter") // the picked one is filtered out
	f("access->parse", "/", "z", "esc")
	f("access->parse", "s", "s", "s") // stays picked in another order
}

func TestTopQuits(t *testing.T) {
	f := func(want bool, keys ...string) {
		t.Helper()
		m := newTestTop(t, "127.0.0.1:9464", 9)
		if got := press(m, keys...); got != want {
			t.Errorf("%v: ended: %v, want %v", keys, got, want)
		}
	}
	f(true, "q")
	f(true, "ctrl+c")
	f(true, "/", "ctrl+c")
	f(false, "/", "q") // is typed
	f(false, "esc")
}

func TestTopPauses(t *testing.T) {
	m := newTestTop(t, "127.0.0.1:9464", 9)
	press(m, "p")
	before := screenText(m)
	for k := range int64(700) { // more than is kept of the past
		m.Update(statusMsg(fixture(k+11, 9)))
	}
	if got := screenText(m); got != before {
		t.Errorf("a paused picture has changed:\n%s\nbefore:\n%s", got, before)
	}
	press(m, "space")
	if got := screenText(m); got == before || !strings.Contains(got, "2h11m") {
		t.Errorf("the picture does not go on:\n%s", got)
	}
	if n := len(m.data.edges["parse->keep"].Rate); n != keepSamples {
		t.Errorf("%d samples are kept, want %d", n, keepSamples)
	}
}

func TestTopTellsOfALostConnection(t *testing.T) {
	m := newTestTop(t, "127.0.0.1:9464", 9)
	m.Update(lostMsg{errors.New("nothing listens at 127.0.0.1:9464\nstart it")})
	if got := screenText(m); !strings.Contains(got, "\nno connection: nothing listens at 127.0.0.1:9464\n") {
		t.Errorf("it does not say so:\n%s", got)
	}
	m.Update(statusMsg(fixture(11, 9)))
	if got := screenText(m); strings.Contains(got, "no connection") {
		t.Errorf("it still says so:\n%s", got)
	}
}

// A pipeline that was started again counts from 0: no rate may come of that.
func TestTopSeesANewProcess(t *testing.T) {
	m := newTestTop(t, "127.0.0.1:9464", 9)
	s := fixture(1, 9)
	s.Seconds = 1
	m.Update(statusMsg(s))
	if got := m.data.edge("access->parse").rate; got != 0 {
		t.Errorf("rate %v of an edge that was seen once", got)
	}
	s = fixture(2, 9)
	s.Seconds = 2
	m.Update(statusMsg(s))
	if got := m.data.edge("access->parse").rate; got != 8200 {
		t.Errorf("rate %v, want 8200", got)
	}
}

func TestTopShowsATrial(t *testing.T) {
	m := newTestTop(t, "127.0.0.1:9464", 9)
	s := fixture(11, 9)
	by := topClock.Add(42 * time.Second)
	s.Admin.LastReload.Trial = &control.Trial{Generation: 3, ConfirmBy: &by}
	m.Update(statusMsg(s))
	if got := screenText(m); !strings.Contains(got, "generation 3 is taken back in 42s unless confirmed: c confirm, u take back") {
		t.Errorf("it does not say so:\n%s", got)
	}
	press(m, "u") // nothing listens there
	if !strings.Contains(screenText(m), "nothing listens at 127.0.0.1:9464") {
		t.Errorf("the error is not shown:\n%s", screenText(m))
	}
}
