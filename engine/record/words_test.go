package record

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestWords compares the functions that look at eight bytes at a time with those
// that look at one, on texts where most bytes are on an edge of what they test.
func TestWords(t *testing.T) {
	const alphabet = "\"#!\\][\x00\x1f !~\x7f\x80\xff\xa209/:a"
	isPlain := func(c byte) bool { return c != '"' && c != '\\' && c >= ' ' && c < 0x80 }
	isDigit := func(c byte) bool { return c >= '0' && c <= '9' }
	skip := func(b []byte, i int, ok func(byte) bool) int {
		for i < len(b) && ok(b[i]) {
			i++
		}
		return i
	}
	r := rand.New(rand.NewPCG(7, 8))
	for range 5000 {
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = "a0"[r.IntN(2)]
			if r.IntN(4) == 0 {
				b[i] = alphabet[r.IntN(len(alphabet))]
			}
		}
		b = append(bytes.Clone(b), '"')[:len(b)] // what is after the end must not matter
		for i := range len(b) + 1 {
			if got, want := plain(b, i), skip(b, i, isPlain); got != want {
				t.Fatalf("plain(%q, %d): got %d, want %d", b, i, got, want)
			}
			if got, want := digits(b, i), skip(b, i, isDigit); got != want {
				t.Fatalf("digits(%q, %d): got %d, want %d", b, i, got, want)
			}
		}
	}
}
