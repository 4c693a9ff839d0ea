package codec

import (
	"bytes"
	"fmt"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// arrayState is where reading stands in an array at the top of a JSON stream.
type arrayState uint8

const (
	arrayNone    arrayState = iota // not in an array
	arrayOpen                      // after [: an element or ] comes next
	arrayAfter                     // after an element: , or ] comes next
	arrayComma                     // after a comma: an element comes next
	arrayResumed                   // reading began after some value, in an array or not
)

type jsonMode uint8

const (
	jsonFresh   jsonMode = iota
	jsonNested           // in an object or array
	jsonText             // in a string of it
	jsonEscape           // after a backslash in a string
	jsonGarbage          // in something that is neither object nor array
)

// jsonScanner finds the end of JSON values by brackets and quotes alone. What
// it cuts out is checked when it is decoded.
type jsonScanner struct {
	array     arrayState
	mode      jsonMode
	depth     int
	misplaced bool // the value follows another one in the array without a comma
	lone      bool // what was cut out is a comma without an element
}

// scan goes on with the current value in p; see Reader.scan.
func (s *jsonScanner) scan(p []byte) (n int, done bool) {
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch s.mode {
		case jsonNested:
			switch c {
			case '"':
				s.mode = jsonText
			case '{', '[':
				s.depth++
			case '}', ']':
				if s.depth--; s.depth == 0 {
					return i + 1, true
				}
			}
		case jsonText:
			switch c {
			case '"':
				s.mode = jsonNested
			case '\\':
				s.mode = jsonEscape
			case '\n': // never allowed in a string: its end was lost, but not the lines after it
				return i, true
			}
		case jsonEscape:
			if c == '\n' {
				return i, true
			}
			s.mode = jsonText
		case jsonGarbage:
			if c == '\n' || s.array != arrayNone && (c == ',' || c == ']') {
				return i, true
			}
		case jsonFresh:
			switch {
			case c == '{', c == '[':
				s.mode, s.depth = jsonNested, 1
			case c == ']' && s.array != arrayNone: // after a comma
				s.array = arrayNone
				return i + 1, true
			case c == ',' && s.array != arrayNone: // after [ or a comma
				s.lone = true
				return i + 1, true
			default:
				s.mode = jsonGarbage
			}
		}
	}
	return len(p), false
}

// next prepares for the next value.
func (s *jsonScanner) next() {
	switch {
	case s.lone:
		s.array = arrayComma
	case s.array != arrayNone:
		s.array = arrayAfter
	}
	*s = jsonScanner{array: s.array}
}

func (s *jsonScanner) unclosed() bool { return s.array != arrayNone && s.array != arrayResumed }

// separator takes c if it may stand between values here, and reports whether it did.
func (s *jsonScanner) separator(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n':
	case '[':
		if s.array != arrayNone && s.array != arrayResumed {
			return false
		}
		s.array = arrayOpen
	case ',':
		if s.array != arrayAfter && s.array != arrayResumed {
			return false
		}
		s.array = arrayComma
	case ']':
		if s.array == arrayNone || s.array == arrayComma {
			return false
		}
		s.array = arrayNone
	default:
		return false
	}
	return true
}

type jsonStart uint8

const (
	jsonScan  jsonStart = iota // a value begins here; look for its end
	jsonAdded                  // a value was added
	jsonStop                   // the batch must end, or more must be read
)

// jsonStart moves to the beginning of the next value, and takes it at once when
// it is an object on a line of its own.
func (r *Reader) jsonStart(b *pipe.Batch) jsonStart {
	for {
		if r.start == len(r.buf) {
			return jsonStop
		}
		c := r.buf[r.start]
		if !r.json.separator(c) {
			break
		}
		r.drop(1)
		if c == '\n' && r.line > 0 {
			r.line++
		}
	}
	switch r.json.array {
	case arrayResumed:
		r.json.array = arrayNone
	case arrayAfter:
		r.json.misplaced = true
	}
	if !r.place(b) {
		return jsonStop
	}
	return r.jsonLine(b)
}

func (r *Reader) jsonLine(b *pipe.Batch) jsonStart {
	rest := r.buf[r.start:]
	end := bytes.IndexByte(rest, '\n')
	if end < 0 || rest[0] != '{' || r.json.array != arrayNone || r.json.misplaced {
		return jsonScan
	}
	for end > 0 && (rest[end-1] == '\r' || rest[end-1] == ' ' || rest[end-1] == '\t') {
		end--
	}
	if rest[end-1] != '}' || end > r.max {
		return jsonScan
	}
	text := rest[:end:end]
	if r.ample() {
		text = bytes.Clone(text)
	}
	body, err := record.FromJSON(text, &b.Arena)
	if err != nil {
		return jsonScan // two objects on the line, perhaps
	}
	r.drop(end)
	b.Add(body, r.pos)
	r.last = r.pos
	return jsonAdded
}

// object decodes a JSON object.
func (r *Reader) object(text []byte, a *record.Arena) (record.Body, error) {
	if r.json.misplaced {
		return record.Body{}, fmt.Errorf("the array at the top has no comma before this")
	}
	body, err := record.FromJSON(text, a)
	if err != nil {
		return body, fmt.Errorf("not a JSON object: %w", err)
	}
	return body, nil
}
