package main

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// commas renders a count with its thousands apart: 1,234,567.
func commas(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// short renders a figure in at most five characters: 0, 7.3, 950, 45.2k, 1.23M.
func short(f float64) string {
	switch {
	case f <= 0 || math.IsNaN(f):
		return "0"
	case f < 0.05:
		return "<0.1"
	case f < 9.95:
		return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
	case f < 999.5:
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	for _, unit := range []string{"k", "M", "G", "T", "P"} {
		f /= 1000
		switch {
		case f < 9.995:
			return strconv.FormatFloat(f, 'f', 2, 64) + unit
		case f < 99.95:
			return strconv.FormatFloat(f, 'f', 1, 64) + unit
		case f < 999.5:
			return strconv.FormatFloat(f, 'f', 0, 64) + unit
		}
	}
	return ">999P"
}

// tight renders a count in full while it is short, else as short does.
func tight(n int64) string {
	if n < 100_000 {
		return commas(n)
	}
	return short(float64(n))
}

// bytesText renders a number of bytes: 512B, 16KiB, 1.5MiB.
func bytesText(n int64) string {
	f, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for f >= 1023.95 && len(units) > 1 {
		f, units = f/1024, units[1:]
	}
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0") + units[0]
}

// span renders a duration with about three digits: 12ms, 0.42s, 12.3s, 1m23s, 2h05m.
func span(d time.Duration) string {
	two := func(n int64) string { return strconv.FormatInt(100+n, 10)[1:] }
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case d < 100*time.Millisecond:
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	case d < 9995*time.Millisecond:
		return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + "s"
	case d < 59950*time.Millisecond:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	case s < 3600:
		return strconv.FormatInt(s/60, 10) + "m" + two(s%60) + "s"
	case s < 48*3600:
		return strconv.FormatInt(s/3600, 10) + "h" + two(s%3600/60) + "m"
	}
	return strconv.FormatInt(s/86400, 10) + "d" + two(s%86400/3600) + "h"
}

// tidy renders a configured duration exactly and as people write it: 5s, 1h30m.
func tidy(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// coarse renders a duration that is only an estimate: 6s, 1m23s.
func coarse(d time.Duration) string {
	if d < time.Minute {
		return strconv.FormatInt(int64(max(d, time.Second).Round(time.Second)/time.Second), 10) + "s"
	}
	return span(d)
}

// seconds makes a duration of a number of seconds.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// plural renders "1 event" and "2 events".
func plural(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return commas(n) + " " + one + "s"
}

// printable replaces what would disturb a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}
