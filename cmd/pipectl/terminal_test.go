package main

import (
	"strconv"
	"strings"
	"testing"
)

// screen is as much of a terminal as the live view uses: it wraps lines, moves
// up, and clears.
type screen struct {
	width    int
	lines    [][]rune
	row, col int
}

func (s *screen) Write(p []byte) (int, error) {
	for text := []rune(string(p)); len(text) > 0; {
		if text[0] == '\x1b' {
			text = s.escape(text)
			continue
		}
		s.put(text[0])
		text = text[1:]
	}
	return len(p), nil
}

func (s *screen) escape(text []rune) (rest []rune) {
	end := 2
	for text[end] < '@' {
		end++
	}
	n, _ := strconv.Atoi(string(text[2:end]))
	switch text[end] {
	case 'A':
		s.row = max(0, s.row-max(1, n))
	case 'J':
		if s.row < len(s.lines) {
			s.lines = s.lines[:s.row+1]
			s.lines[s.row] = s.lines[s.row][:min(s.col, len(s.lines[s.row]))]
		}
	}
	return text[end+1:]
}

func (s *screen) put(r rune) {
	switch r {
	case '\r':
		s.col = 0
		return
	case '\n':
		s.row, s.col = s.row+1, 0
		return
	}
	if s.col == s.width {
		s.row, s.col = s.row+1, 0
	}
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, nil)
	}
	line := s.lines[s.row]
	for len(line) <= s.col {
		line = append(line, ' ')
	}
	line[s.col] = r
	s.lines[s.row] = line
	s.col++
}

func (s *screen) String() string {
	var b strings.Builder
	for _, l := range s.lines {
		b.WriteString(strings.TrimRight(string(l), " ") + "\n")
	}
	return b.String()
}

// resize wraps what is on the screen anew, as most terminals do.
func (s *screen) resize(width int) {
	old := *s
	*s = screen{width: width}
	for _, l := range old.lines {
		for _, r := range l {
			s.put(r)
		}
		s.put('\n')
	}
}

func picture(v *liveView, w window) string {
	width, height := v.size()
	var b strings.Builder
	for _, r := range (frame{width, height, false}).render(w) {
		b.WriteString(r.String() + "\n")
	}
	return b.String()
}

func TestLiveViewRedrawsInPlace(t *testing.T) {
	s := &screen{width: 100}
	v := &liveView{out: s, color: true, size: func() (int, int) { return s.width, 24 }}
	expect := func(above string, k int64) {
		t.Helper()
		var m meter
		m.add(accessLogs(3, 5))
		want := above + picture(v, m.add(accessLogs(k, 5)))
		if got := s.String(); got != want {
			t.Fatalf("screen:\n%s\nwant:\n%s", got, want)
		}
	}
	v.draw(accessLogs(3, 5))
	expect("", 3)
	v.draw(accessLogs(4, 5))
	expect("", 4)
	v.Write([]byte("a log line\n"))
	expect("a log line\n", 4)
	v.Write([]byte(strings.Repeat("long ", 40) + "\nlast\n"))
	long := strings.Repeat("long ", 40)
	above := "a log line\n" + strings.TrimRight(long[:100], " ") + "\n" + strings.TrimRight(long[100:], " ") + "\nlast\n"
	expect(above, 4)
	v.draw(accessLogs(5, 5))
	expect(above, 5)
	v.close()
	if got := s.String(); got != above+"\n" && got != above {
		t.Fatalf("after close: %q", got)
	}
	v.draw(accessLogs(5, 5))
	v.Write([]byte("after\n"))
	if got := s.String(); got != above+"after\n" {
		t.Fatalf("after close: %q", got)
	}
}

// A terminal that gets narrower wraps the old picture; none of it may stay.
func TestLiveViewSurvivesResizing(t *testing.T) {
	s := &screen{width: 160}
	v := &liveView{out: s, size: func() (int, int) { return s.width, 24 }}
	v.draw(accessLogs(3, 5))
	for _, width := range []int{70, 61, 200, 40, 160} {
		s.resize(width)
		v.draw(accessLogs(4, 5))
		var m meter
		m.add(accessLogs(3, 5))
		if got, want := s.String(), picture(v, m.add(accessLogs(4, 5))); got != want {
			t.Fatalf("at %d columns:\n%s\nwant:\n%s", width, got, want)
		}
	}
}
