package main

import (
	"fmt"
	"unicode/utf8"

	"github.com/pipectl/pipectl/engine"
)

// frame draws one picture of a pipeline as lines of text. It knows nothing of
// terminals: the same figures give the same lines.
type frame struct {
	width, height int // of the terminal
	color         bool
}

// The terminal sizes that the layout is made for; beyond them it still fits.
const (
	minWidth    = 40
	maxWidth    = 200
	minEdges    = 3 // shown at least, however low the terminal is
	maxSinkRows = 4
)

func (f frame) row() *row {
	return &row{max: min(max(f.width, minWidth), maxWidth) - 1, color: f.color}
}

// render draws the picture, top line first.
func (f frame) render(w window) []*row {
	rows := []*row{f.header(w)}
	if w.finite {
		rows = append(rows, f.progress(w))
	}
	sinks := f.sinks(w.now)
	room := f.height - len(rows) - len(sinks) - 2 // the column titles, the cursor's line
	rows = append(rows, f.table(w.edges(), max(room, minEdges))...)
	return append(rows, sinks...)
}

// header draws the name, the state and the figures of the whole pipeline.
func (f frame) header(w window) *row {
	r, s := f.row(), w.now
	r.put(bold, printable(s.Pipeline))
	r.put(plain, "  ")
	r.put(stateColor(s.Outcome), string(s.Outcome))
	r.put(plain, " "+span(seconds(s.Seconds)))
	r.item(plain, "  read "+tight(s.Balance.Read))
	r.item(plain, "  "+short(w.readRate())+"/s")
	if n := s.Balance.Dropped; n > 0 {
		r.item(red, "  dropped "+tight(n))
	}
	if n := s.Balance.DeadLettered; n > 0 {
		r.item(yellow, "  dead letters "+tight(n))
	}
	r.item(plain, "  in flight "+tight(s.Balance.InFlight))
	return r
}

func stateColor(s engine.State) string {
	switch s {
	case engine.Running, engine.Drained:
		return green
	case engine.Failed:
		return red
	}
	return yellow
}

// progress draws how far a finite input has been read.
func (f frame) progress(w window) *row {
	r := f.row()
	text := fmt.Sprintf(" %3.0f%% read", w.done*100)
	if w.left > 0 && w.now.Outcome == engine.Running {
		text += ", about " + coarse(w.left) + " left"
	}
	filled, empty := bar(w.done, min(40, r.max-utf8.RuneCountInString(text)))
	r.put(green, filled)
	r.put(dim, empty)
	r.put(plain, text)
	return r
}

// sinks draws a line for every sink that is in trouble.
func (f frame) sinks(s engine.Status) []*row {
	var rows []*row
	hidden := 0
	for _, name := range s.SinkNames {
		k := s.Sinks[name]
		if !k.Failing && k.Failed == 0 {
			continue
		}
		if len(rows) == maxSinkRows {
			hidden++
			continue
		}
		r := f.row()
		r.put(plain, "sink "+name+": ")
		if k.Failing {
			r.put(red, "failing")
			r.put(plain, ", retrying")
		}
		if k.Failing && k.Failed > 0 {
			r.put(plain, ", ")
		}
		if k.Failed > 0 {
			r.put(red, tight(k.Failed)+" failed")
		}
		r.put(plain, fmt.Sprintf(", %s so far, %s delivered", retries(k.Retries), tight(k.Delivered)))
		rows = append(rows, r)
	}
	if hidden > 0 {
		r := f.row()
		r.put(dim, fmt.Sprintf("%d more sinks in trouble", hidden))
		rows = append(rows, r)
	}
	return rows
}

func retries(n int64) string {
	if n == 1 {
		return "1 retry"
	}
	return tight(n) + " retries"
}
