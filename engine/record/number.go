package record

import (
	"math"
	"strconv"
)

// parseInt returns the value of a valid number literal if it is an integer that fits.
func parseInt(b []byte) (int64, bool) {
	digits := b
	if b[0] == '-' {
		digits = b[1:]
	}
	if len(digits) > 19 {
		return 0, false
	}
	var n uint64 // 19 digits always fit
	for _, c := range digits {
		if c -= '0'; c > 9 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	if len(digits) != len(b) {
		return -int64(n), n <= 1<<63
	}
	return int64(n), n < 1<<63
}

// powers holds the powers of ten that a float64 holds exactly.
var powers = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10,
	1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// parseFloat returns the nearest float64 of a valid number literal. If its digits
// are an integer below 2^53 and it has at most 22 decimals, both that integer and
// the power of ten are exact, so their quotient is rounded only once, correctly.
func parseFloat(b []byte) float64 {
	var n uint64
	decimals, point := 0, false
	for i, c := range b {
		switch {
		case c-'0' <= 9:
			if n = n*10 + uint64(c-'0'); n >= 1<<53 {
				return parseAnyFloat(b)
			}
			if point {
				decimals++
			}
		case c == '.':
			point = true
		case c != '-' || i > 0:
			return parseAnyFloat(b)
		}
	}
	if decimals >= len(powers) {
		return parseAnyFloat(b)
	}
	f := float64(n)
	if decimals > 0 {
		f /= powers[decimals]
	}
	if b[0] == '-' {
		return -f
	}
	return f
}

// parseAnyFloat is parseFloat for the rest. Out of range it returns an infinity.
func parseAnyFloat(b []byte) float64 {
	f, _ := strconv.ParseFloat(string(b), 64)
	return f
}

// appendFloat appends x as encoding/json does: without an exponent if it is of an
// ordinary size.
func appendFloat(dst []byte, x float64, bits int) []byte {
	if size := math.Abs(x); size == 0 || size >= 1e-6 && size < 1e21 {
		return strconv.AppendFloat(dst, x, 'f', -1, bits)
	}
	return strconv.AppendFloat(dst, x, 'e', -1, bits)
}
