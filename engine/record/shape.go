package record

import "encoding/binary"

// Events of one stream mostly have the same members in the same order. A shape
// remembers, for each place where a member can be, the text from the end of the
// value before (or the opening brace) to the start of this member's value, such as
//
//	,"status":
//
// The scanner compares that text with what it finds, and if they are equal the
// comma, the name, the quotes and the colon are all known to be right, without
// looking at them one by one. It is only a guess: if it is wrong the text is
// read in full. On log events of one shape this saves half of the time.
type shape struct {
	first [64]guess // first members: the only ones without a comma
	top   [64]guess // other members of the event itself, by their position
	deep  [64]guess // other members of nested objects, by a hash of where they are
}

// guessLen is the longest text a guess can hold; a longer one is always read in full.
const guessLen = 24

// A guess is the expected text as three little-endian words. The bytes after its
// end are 0xff in both text and rest, so that word|rest == text if it is there.
// The zero guess expects NUL bytes, which no value can follow.
type guess struct {
	text0, rest0 uint64
	text1, rest1 uint64
	text2, rest2 uint64
	n, key       uint32 // length of the text, and where in it the name starts
	wrong        int    // how often it was wrong
}

// noShape is what is expected when there is nowhere to remember anything. It is never written.
var noShape shape

// patience is how often a guess may be wrong before it is replaced, so that two
// kinds of events in one stream do not throw each other out at every turn.
const patience = 32

// learn makes text the guess, or counts that it was not.
func (g *guess) learn(text []byte, key uint32) {
	if g.wrong++; len(text) > guessLen || g.n > 0 && g.wrong < patience {
		return
	}
	var want, rest [guessLen]byte
	for i := range want {
		if i < len(text) {
			want[i] = text[i]
		} else {
			want[i], rest[i] = 0xff, 0xff
		}
	}
	le := binary.LittleEndian
	*g = guess{
		text0: le.Uint64(want[0:]), rest0: le.Uint64(rest[0:]),
		text1: le.Uint64(want[8:]), rest1: le.Uint64(rest[8:]),
		text2: le.Uint64(want[16:]), rest2: le.Uint64(rest[16:]),
		n: uint32(len(text)), key: key,
	}
}
