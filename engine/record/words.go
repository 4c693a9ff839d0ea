package record

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
	"unsafe"
)

// Text is looked at eight bytes at a time, as a little-endian word: the first
// byte is the lowest. Tests on a word set the high bit of each byte that passes.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// word returns the eight bytes b[i:i+8], which must exist. Without unsafe, and so
// with the bounds checked twice, reading an event takes a sixth longer.
func word(b []byte, i int) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i))[:])
}

// special marks the bytes that end a run of plain string characters: quotes,
// backslashes, controls and non-ASCII bytes. Bytes above a marked one may be
// marked too (by a borrow); only the lowest is sure.
func special(w uint64) uint64 {
	m := (w ^ 0x02*ones) - 0x21*ones // a quote becomes 0x20, next to the controls
	m |= (w ^ '\\'*ones) - ones
	return (m | w) & highs
}

// nonDigit marks the bytes that are not decimal digits; only the lowest is sure.
func nonDigit(w uint64) uint64 {
	w ^= '0' * ones
	return (w + (0x80-10)*ones | w) & highs
}

// lowest returns the index of the lowest marked byte.
func lowest(marks uint64) int { return bits.TrailingZeros64(marks) >> 3 }

// plain returns the index of the first special byte in b[i:], or len(b).
func plain(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		if m := special(word(b, i)); m != 0 {
			return i + lowest(m)
		}
	}
	if len(b) >= 8 && i < len(b) { // the rest, and zeros after it, which are special
		rest := word(b, len(b)-8) >> (8 * uint(i+8-len(b)))
		return i + lowest(special(rest))
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < ' ' || c >= utf8.RuneSelf {
			break
		}
	}
	return i
}

// digits returns the index of the first byte in b[i:] that is not a digit, or len(b).
func digits(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		if m := nonDigit(word(b, i)); m != 0 {
			return i + lowest(m)
		}
	}
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}
