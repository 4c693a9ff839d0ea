package main

import (
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/near"
)

func TestFigures(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(commas(0), "0")
	f(commas(999), "999")
	f(commas(1000), "1,000")
	f(commas(-1234567), "-1,234,567")
	f(short(0), "0")
	f(short(0.01), "<0.1")
	f(short(7.25), "7.2")
	f(short(9.99), "10")
	f(short(999.4), "999")
	f(short(999.6), "1.00k")
	f(short(45_200), "45.2k")
	f(short(99_960), "100k")
	f(short(1_234_567), "1.23M")
	f(short(2.5e15), "2.50P")
	f(short(2.5e18), ">999P")
	f(tight(99_999), "99,999")
	f(tight(123_456), "123k")
	f(bytesText(512), "512B")
	f(bytesText(1024), "1KiB")
	f(bytesText(1536), "1.5KiB")
	f(bytesText(1<<20-1), "1MiB")
	f(bytesText(3<<40), "3TiB")
	f(span(0), "0ms")
	f(span(12*time.Millisecond), "12ms")
	f(span(420*time.Millisecond), "0.42s")
	f(span(12345*time.Millisecond), "12.3s")
	f(span(59999*time.Millisecond), "1m00s")
	f(span(83*time.Second), "1m23s")
	f(span(2*time.Hour+5*time.Minute), "2h05m")
	f(span(76*time.Hour), "3d04h")
	f(tidy(30*time.Second), "30s")
	f(tidy(90*time.Minute), "1h30m")
	f(tidy(2*time.Hour), "2h")
	f(tidy(1500*time.Millisecond), "1.5s")
	f(coarse(100*time.Millisecond), "1s")
	f(coarse(6250*time.Millisecond), "6s")
	f(coarse(83*time.Second), "1m23s")
	f(plural(1, "event"), "1 event")
	f(plural(2000, "event"), "2,000 events")
	f(printable("a\x1b[31mb\nc"), "a\uFFFD[31mb\uFFFDc")
}

func TestBar(t *testing.T) {
	f := func(share float64, want string) {
		t.Helper()
		filled, empty := bar(share, 4)
		if got := filled + empty; got != want {
			t.Errorf("bar(%v): got %q, want %q", share, got, want)
		}
	}
	f(0, "····")
	f(0.0001, "▏···")
	f(0.5, "██··")
	f(0.53, "██▏·")
	f(0.9999, "███▉")
	f(1, "████")
	f(3, "████") // after a shrink
}

func TestSqueeze(t *testing.T) {
	f := func(name string, width int, want string) {
		t.Helper()
		if got := squeeze(name, width); got != want {
			t.Errorf("squeeze(%q, %d): got %q, want %q", name, width, got, want)
		}
	}
	f("in->out", 7, "in->out")
	f("parse.failed->bad", 12, "parse…d->bad")
	f("abcdef", 3, "abc")
}

func TestNearest(t *testing.T) {
	commands := []string{"run", "validate", "graph", "version"}
	f := func(word, want string) {
		t.Helper()
		if got := near.Word(word, commands); got != want {
			t.Errorf("nearest(%q): got %q, want %q", word, got, want)
		}
	}
	f("rnu", "run")
	f("ru", "run")
	f("valdate", "validate")
	f("grpah", "graph")
	f("versoin", "version")
	f("deploy", "")
}
