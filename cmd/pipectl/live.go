package main

import (
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/pipectl/pipectl/engine"
)

// liveView keeps a picture of the pipeline at the bottom of a terminal and draws
// it anew in place. Log lines written to it appear above the picture. It is safe
// for concurrent use.
type liveView struct {
	out   io.Writer
	size  func() (width, height int)
	color bool

	mu     sync.Mutex // guards what follows
	meter  meter
	widths []int // of the lines on the screen, top first
	last   []*row
	closed bool // nothing is drawn any more; log lines pass through
}

// draw replaces the picture by one of s.
func (v *liveView) draw(s engine.Status) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	width, height := v.size()
	w := v.meter.add(s)
	v.last = frame{width, height, v.color}.render(w)
	var b strings.Builder
	v.erase(&b, width)
	v.paint(&b)
	io.WriteString(v.out, b.String()) // a terminal that is gone is no reason to stop
}

// Write puts log lines above the picture.
func (v *liveView) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return v.out.Write(p)
	}
	width, _ := v.size()
	var b strings.Builder
	v.erase(&b, width)
	b.Write(p)
	v.paint(&b)
	if _, err := io.WriteString(v.out, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// close takes the picture off the screen. It may be called more than once.
func (v *liveView) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	v.closed = true
	width, _ := v.size()
	var b strings.Builder
	v.erase(&b, width)
	io.WriteString(v.out, b.String())
}

// erase moves to where the picture began and clears from there. Lines that have
// become wider than the terminal are wrapped by it and take more than one.
func (v *liveView) erase(b *strings.Builder, width int) {
	up := 0
	for _, w := range v.widths {
		up += max(1, (w+width-1)/width)
	}
	b.WriteByte('\r')
	if up > 0 {
		b.WriteString("\x1b[" + strconv.Itoa(up) + "A")
	}
	b.WriteString("\x1b[J")
	v.widths = v.widths[:0]
}

func (v *liveView) paint(b *strings.Builder) {
	for _, r := range v.last {
		b.WriteString(r.String())
		b.WriteByte('\n')
		v.widths = append(v.widths, r.width)
	}
}
