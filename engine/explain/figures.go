package explain

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// round rounds to one part of so many.
func round(x, parts float64) float64 { return math.Round(x*parts) / parts }

// percent renders a share: 41 %, <1 %.
func percent(share float64) string {
	switch {
	case share > 0 && share < .005:
		return "<1 %"
	case share < 1 && share >= .995:
		return ">99 %"
	}
	return strconv.Itoa(int(math.Round(share*100))) + " %"
}

// figure renders a number with three digits, or all before the point: 0.052,
// 8.4, 118, 8,450, 1,230,000.
func figure(x float64) string {
	if x <= 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return "0"
	}
	unit := math.Pow(10, math.Floor(math.Log10(x))-2)
	if x = math.Round(x/unit) * unit; x < 100 {
		s := strconv.FormatFloat(x, 'f', max(0, int(2-math.Floor(math.Log10(x)))), 64)
		return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
	}
	return thousands(int64(math.Round(x)))
}

// thousands renders a count with its thousands apart: 1,234,567.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func rate(x float64) string { return figure(x) + " events/s" }

func count(n float64, what string) string {
	if math.Round(n) == 1 {
		return "1 " + what
	}
	return thousands(int64(math.Round(n))) + " " + what + "s"
}

// span renders seconds: 45 µs, 11.8 ms, 2.1 s, 3 min.
func span(seconds float64) string {
	switch {
	case seconds < .9995e-3:
		return figure(seconds*1e6) + " µs"
	case seconds < .9995:
		return figure(seconds*1e3) + " ms"
	case seconds < 120:
		return figure(round(seconds, 10)) + " s"
	}
	return figure(math.Round(seconds/60)) + " min"
}

// list renders names: a; a and b; a, b and 3 more.
func list(names []string) string {
	const most = 4
	switch n := len(names); {
	case n == 0:
		return ""
	case n == 1:
		return names[0]
	case n <= most:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most-1], ", "), len(names)-most+1)
}
