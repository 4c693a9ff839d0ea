package record

import "unicode/utf8"

// maxDepth is how deep objects and arrays may be nested, the event itself included.
const maxDepth = 1000

// A scanner checks JSON text against the whole grammar of RFC 8259. Its methods
// take the text and where something starts, and return where it ends; or -1, and
// then at and msg say what is wrong. It also indexes the members of the outermost object.
type scanner struct {
	shape     *shape
	cells     []uint32 // the index
	n         int      // cells used
	wide      bool     // two cells an entry
	grown     bool     // cells is not of the arena any more
	escaped   bool     // a string had a backslash
	multiline bool     // there was a line break between two tokens
	at        int
	msg       string
}

func (s *scanner) fail(at int, msg string) int {
	s.at, s.msg = at, msg
	return -1
}

// object checks an object at the given depth from after its opening brace. Place
// is where in the shape its members' guesses are. One loop does all objects, and
// does strings itself: this is where the time of reading an event goes.
func (s *scanner) object(b []byte, i, depth, place int) int {
	if depth > maxDepth {
		return s.fail(i-1, "more than 1000 levels of nesting")
	}
	guesses := &s.shape.deep
	if depth == 1 {
		guesses = &s.shape.top
	}
	for g := &s.shape.first[place&63]; ; g = &guesses[place&63] {
		place++
		key := uint32(i) + g.key
		if i+8 <= len(b) && word(b, i)|g.rest0 == g.text0 &&
			(g.n <= 8 || i+16 <= len(b) && word(b, i+8)|g.rest1 == g.text1 &&
				(g.n <= 16 || i+24 <= len(b) && word(b, i+16)|g.rest2 == g.text2)) {
			i += int(g.n)
		} else if uint(i) < uint(len(b)) && b[i] == '}' {
			return i + 1
		} else if i, key = s.member(b, i, g); key == 0 {
			return i
		}
		if uint(i) >= uint(len(b)) {
			return s.fail(len(b), "the text ends where a value should be")
		}
		var escaped uint32
		switch c := b[i]; {
		case c == '"':
			for i++; i+16 <= len(b); i += 16 {
				m := special(word(b, i))
				if m != 0 {
					i += lowest(m)
					break
				}
				if m = special(word(b, i+8)); m != 0 {
					i += 8 + lowest(m)
					break
				}
			}
			if uint(i) < uint(len(b)) && b[i] == '"' {
				i++
			} else {
				s.escaped = false
				if i = s.oddStr(b, i); s.escaped {
					escaped = flag
				}
			}
		case c-'0' <= 9:
			i = s.number(b, i)
		case c == '{':
			i = s.object(b, i+1, depth+1, place*11)
		default:
			s.escaped = false
			if i = s.value(b, i, depth, place); s.escaped {
				escaped = flag
			}
		}
		if i < 0 {
			return i
		}
		if depth == 1 {
			if e := (entry{key, uint32(i) | escaped}); s.wide || s.n == len(s.cells) {
				s.put(e)
			} else {
				s.cells[s.n] = e.pack()
				s.n++
			}
		}
	}
}

// put adds an entry to the index if that is wide, or has no more room.
func (s *scanner) put(e entry) {
	if s.n+2 > len(s.cells) {
		more := make([]uint32, max(32, 2*len(s.cells)))
		copy(more, s.cells)
		s.cells, s.grown = more, true
	}
	x := index{s.cells[:s.n], s.wide}
	x.append(e)
	s.n = len(x.cells)
}

// member reads in full what a guess stands for. It returns the start of the
// member's value and of its name; or if the object ends here its end and 0.
func (s *scanner) member(b []byte, i int, g *guess) (value int, key uint32) {
	start := i
	i = s.space(b, i)
	switch {
	case i >= len(b):
		return s.fail(i, "the text ends inside an object"), 0
	case b[i] == '}':
		return i + 1, 0
	case b[start-1] == '{': // the first member
	case b[i] == ',':
		i = s.space(b, i+1)
	default:
		return s.fail(i, "a comma or } should be here"), 0
	}
	if i >= len(b) || b[i] != '"' {
		return s.fail(i, "a member's name in double quotes should be here"), 0
	}
	key = uint32(i + 1)
	s.escaped = false
	if i = s.str(b, i+1); i < 0 {
		return i, 0
	}
	i = s.space(b, i)
	if i >= len(b) || b[i] != ':' {
		return s.fail(i, "a colon should be here"), 0
	}
	i = s.space(b, i+1)
	if s.escaped {
		return i, key | flag
	}
	if !s.multiline && s.shape != &noShape {
		g.learn(b[start:i], key-uint32(start))
	}
	return i, key
}

// value checks the value that starts at b[i], inside depth containers.
func (s *scanner) value(b []byte, i, depth, place int) int {
	if i >= len(b) {
		return s.fail(i, "the text ends where a value should be")
	}
	switch c := b[i]; {
	case c == '"':
		return s.str(b, i+1)
	case c-'0' <= 9, c == '-':
		return s.number(b, i)
	case c == '{':
		return s.object(b, i+1, depth+1, place*11)
	case c == '[':
		return s.array(b, i+1, depth+1, place)
	case c <= ' ': // after a guess that was right but for white space
		if j := s.space(b, i); j > i {
			return s.value(b, j, depth, place)
		}
	}
	rest := b[i:]
	switch {
	case len(rest) >= 4 && (string(rest[:4]) == "true" || string(rest[:4]) == "null"):
		return i + 4
	case len(rest) >= 5 && string(rest[:5]) == "false":
		return i + 5
	}
	return s.fail(i, "a value should be here")
}

// array checks an array from after its opening bracket.
func (s *scanner) array(b []byte, i, depth, place int) int {
	if depth > maxDepth {
		return s.fail(i-1, "more than 1000 levels of nesting")
	}
	i = s.space(b, i)
	if i < len(b) && b[i] == ']' {
		return i + 1
	}
	for {
		if i = s.value(b, i, depth, place); i < 0 {
			return i
		}
		i = s.space(b, i)
		if i >= len(b) {
			return s.fail(i, "the text ends inside an array")
		}
		switch b[i] {
		case ',':
			i = s.space(b, i+1)
		case ']':
			return i + 1
		default:
			return s.fail(i, "a comma or ] should be here")
		}
	}
}

// space skips white space.
func (s *scanner) space(b []byte, i int) int {
	for ; i < len(b); i++ {
		switch b[i] {
		case ' ', '\t':
		case '\n', '\r':
			s.multiline = true
		default:
			return i
		}
	}
	return i
}

// number checks the number that starts at b[i].
func (s *scanner) number(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	start := i
	i = digits(b, i)
	if i == start {
		return s.fail(i, "a digit should be here")
	}
	if b[start] == '0' && i > start+1 {
		return s.fail(start, "a number must not start with 0")
	}
	if i < len(b) && b[i] == '.' {
		start = i + 1
		if i = digits(b, start); i == start {
			return s.fail(i, "a digit should be here")
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		start = i + 1
		if start < len(b) && (b[start] == '+' || b[start] == '-') {
			start++
		}
		if i = digits(b, start); i == start {
			return s.fail(i, "a digit should be here")
		}
	}
	return i
}

// str checks a string from after its opening quote.
func (s *scanner) str(b []byte, i int) int {
	if i = plain(b, i); i < len(b) && b[i] == '"' {
		return i + 1
	}
	return s.oddStr(b, i)
}

// oddStr checks the rest of a string that may hold anything.
func (s *scanner) oddStr(b []byte, i int) int {
	for {
		i = plain(b, i)
		if i >= len(b) {
			return s.fail(i, "the text ends inside a string")
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			s.escaped = true
			if i = s.escape(b, i+1); i < 0 {
				return i
			}
		case c < ' ':
			return s.fail(i, "a control character inside a string must be escaped")
		default:
			_, n := utf8.DecodeRune(b[i:])
			if n == 1 {
				return s.fail(i, "these bytes are not valid UTF-8")
			}
			i += n
		}
	}
}

// escape checks an escape from after its backslash.
func (s *scanner) escape(b []byte, i int) int {
	if i >= len(b) {
		return s.fail(i, "the text ends inside a string")
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		for end := i + 5; ; {
			if i++; i == end {
				return i
			}
			if i >= len(b) {
				return s.fail(i, "the text ends inside a string")
			}
			if hexDigit(b[i]) < 0 {
				return s.fail(i, `\u must be followed by four hexadecimal digits`)
			}
		}
	}
	return s.fail(i, "a backslash must be followed by one of \"\\/bfnrtu")
}

// hexDigit returns the value of a hexadecimal digit, or -1.
func hexDigit(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c && c <= 'f':
		return rune(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}
