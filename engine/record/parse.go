package record

import (
	"bytes"
	"fmt"
)

// A SyntaxError says where and why bytes are not a JSON object.
type SyntaxError struct {
	Offset int    // of the first byte that cannot be right, from 0
	Msg    string // what should be there
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("invalid JSON at byte %d: %s", e.Offset, e.Msg)
}

// FromJSON returns the body of an event that is a JSON object. It checks all of
// raw against RFC 8259 and indexes the members of the object in the same pass.
// White space around the object is left out; if there are line breaks inside it,
// the body is a copy without any white space, as an event is always one line.
// Otherwise the body keeps raw, which must not be changed any more.
//
// The error, a *SyntaxError, says what is wrong: anything that is not JSON, not
// an object, not UTF-8, nested more than 1,000 levels deep or larger than 2 GiB.
func FromJSON(raw []byte, a *Arena) (Body, error) {
	if len(raw) > maxText {
		return Body{}, &SyntaxError{maxText, "the event is larger than 2 GiB"}
	}
	var s scanner
	lead := 0
	if len(raw) > 0 && raw[0] != '{' {
		lead = s.space(raw, 0)
		s.multiline = false
	}
	if lead >= len(raw) || raw[lead] != '{' {
		return Body{}, notObject(raw, lead)
	}
	raw = raw[lead:]
	s.shape, s.wide = a.knownShape(), len(raw) > maxNarrow
	s.cells = a.cellRoom(minCells)
	s.cells = s.cells[:cap(s.cells)]
	end := s.object(raw, 1, 1, 0)
	if end >= 0 && end < len(raw) {
		multiline := s.multiline
		if i := s.space(raw, end); i < len(raw) {
			end = s.fail(i, "only white space may follow the object")
		}
		s.multiline = multiline
	}
	if end < 0 {
		return Body{}, &SyntaxError{lead + s.at, s.msg}
	}
	if s.multiline {
		return FromJSON(appendCompact(nil, raw[:end]), a)
	}
	return Body{buf: raw[:end:end], idx: s.index(a), form: rawForm}, nil
}

// minCells is for how many cells an arena must have room, not to start a new chunk.
const minCells = 16

// index returns the index, as a piece of the arena if it was built there.
func (s *scanner) index(a *Arena) index {
	if s.grown && a != nil {
		a.cells = chunk[uint32]{} // the next object may be as large: let it have a new chunk
	} else {
		a.take(0, s.n)
	}
	return index{s.cells[:s.n:s.n], s.wide}
}

// knownShape returns what the arena expects objects to look like.
func (a *Arena) knownShape() *shape {
	if a == nil {
		return &noShape
	}
	if a.shape == nil {
		a.shape = new(shape)
	}
	return a.shape
}

// notObject says what raw is instead of an object.
func notObject(raw []byte, at int) error {
	msg := "an event must be a JSON object, starting with {"
	switch {
	case bytes.HasPrefix(raw, []byte("\xef\xbb\xbf")):
		at, msg = 0, "the text starts with a byte order mark; save it as UTF-8 without one"
	case bytes.HasPrefix(raw, []byte("\xff\xfe")), bytes.HasPrefix(raw, []byte("\xfe\xff")):
		at, msg = 0, "the text is UTF-16; save it as UTF-8"
	case at >= len(raw):
		msg = "there is no event, only white space"
	}
	return &SyntaxError{at, msg}
}

// appendCompact appends valid JSON without the white space between its tokens.
func appendCompact(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case ' ', '\t', '\n', '\r':
			i++
		case '"':
			end, _ := stringEnd(text, i+1)
			dst = append(dst, text[i:end]...)
			i = end
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}
