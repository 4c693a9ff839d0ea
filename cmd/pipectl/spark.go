package main

import "strings"

var levels = []rune("▁▂▃▄▅▆▇█")

// spark draws the last samples as a line of width columns, the newest at the
// right. most is the value of a full column; nothing is drawn where there is no
// sample, and a sample above 0 never looks like 0.
func spark(samples []float32, width int, most float64) string {
	return area(samples, width, 1, most)[0]
}

// area is spark with columns of several lines, the top line first.
func area(samples []float32, width, height int, most float64) []string {
	samples = samples[max(0, len(samples)-width):]
	lines := make([]string, height)
	for line := range lines {
		below := (height - 1 - line) * len(levels) // eighths that the lines below take
		var b strings.Builder
		b.WriteString(strings.Repeat(" ", width-len(samples)))
		for _, v := range samples {
			b.WriteRune(slice(eighthsOf(float64(v), most, height)-below, below == 0))
		}
		lines[line] = b.String()
	}
	return lines
}

// eighthsOf is how high a column is.
func eighthsOf(v, most float64, height int) int {
	full := height*len(levels) - 1 // so that neighbours do not touch
	switch {
	case v <= 0:
		return 0
	case most <= 0:
		return 1
	}
	return min(full, max(1, int(v/most*float64(full)+0.5)))
}

// slice is the part of a column that is in one line.
func slice(eighths int, lowest bool) rune {
	switch {
	case eighths > 0:
		return levels[min(eighths, len(levels))-1]
	case lowest:
		return '·'
	}
	return ' '
}

// peak is the largest of the last n samples.
func peak(samples []float32, n int) float64 {
	most := float32(0)
	for _, v := range samples[max(0, len(samples)-n):] {
		most = max(most, v)
	}
	return float64(most)
}

// wrap breaks text into lines of at most width columns; what does not fit into
// most lines is cut off.
func wrap(text string, width, most int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	if len(lines) > most {
		lines = lines[:max(0, most)]
		if most > 0 {
			last := []rune(lines[most-1])
			lines[most-1] = string(last[:min(len(last), width-1)]) + "…"
		}
	}
	return lines
}
