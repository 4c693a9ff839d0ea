package stages

import (
	"bytes"
	"regexp"
	"strings"
)

// finder appends to spans the parts of text that a pattern describes.
type finder func(text []byte, spans []span) []span

// sought is what to look for.
type sought struct {
	find finder
	// may reports quickly whether there can be any in raw JSON without escapes;
	// nil means always.
	may func(raw []byte) bool
}

// builtin has the patterns by name. They are written out, because a regular
// expression takes ten times as long for what nearly always finds nothing.
var builtin = map[string]*sought{
	"email":       {each(findEmail), func(raw []byte) bool { return bytes.IndexByte(raw, '@') >= 0 }},
	"ipv4":        {each(findIPv4), mayIPv4},
	"credit_card": {each(findCard), mayCard},
	"jwt":         {each(findJWT), func(raw []byte) bool { return bytes.Contains(raw, jwtHead) }},
}

// mayIPv4 looks for a dot between digits.
func mayIPv4(raw []byte) bool {
	for at := 1; at < len(raw)-1; at++ {
		i := bytes.IndexByte(raw[at:len(raw)-1], '.')
		if i < 0 {
			return false
		}
		if at += i; isDigit(raw[at-1]) && isDigit(raw[at+1]) {
			return true
		}
	}
	return false
}

// mayCard looks for enough digits with nothing but separators between them.
func mayCard(raw []byte) bool {
	n := 0
	for _, c := range raw {
		switch {
		case isDigit(c):
			if n++; n == minCard {
				return true
			}
		case c != ' ' && c != '-':
			n = 0
		}
	}
	return false
}

// each makes a finder of next, which returns the first part from the byte at on.
func each(next func(text []byte, at int) (found span, ok bool)) finder {
	return func(text []byte, spans []span) []span {
		for at := 0; ; {
			s, ok := next(text, at)
			if !ok {
				return spans
			}
			spans = append(spans, s)
			at = s.to
		}
	}
}

func regexFinder(re *regexp.Regexp) finder {
	return func(text []byte, spans []span) []span {
		for _, m := range re.FindAllIndex(text, -1) {
			if m[1] > m[0] {
				spans = append(spans, span{m[0], m[1]})
			}
		}
		return spans
	}
}

func isDigit(c byte) bool { return c-'0' <= 9 }

func isAlnum(c byte) bool { return isDigit(c) || c|0x20-'a' < 26 }

// findEmail takes whatever may stand before an @, and a name with a dot behind it.
func findEmail(text []byte, at int) (span, bool) {
	for from := at; ; {
		i := bytes.IndexByte(text[from:], '@')
		if i < 0 {
			return span{}, false
		}
		i += from
		start := i
		for start > at && isLocal(text[start-1]) {
			start--
		}
		if end := hostEnd(text, i+1); start < i && end > 0 {
			return span{start, end}, true
		}
		from = i + 1
	}
}

func isLocal(c byte) bool {
	return isAlnum(c) || c >= 0x80 || strings.IndexByte("._%+-!#$&'*/=?^`{|}~", c) >= 0
}

// hostEnd returns where the host name with a dot that begins at the byte at
// ends, 0 when there is none.
func hostEnd(text []byte, at int) (end int) {
	label, dotted := at, false
	for i := at; ; i++ {
		inside := i < len(text) && (isAlnum(text[i]) || text[i] == '-' || text[i] >= 0x80)
		if inside {
			continue
		}
		if i-label < 1 {
			break
		}
		if dotted && i-label >= 2 && !isDigit(text[label]) {
			end = i
		}
		if i == len(text) || text[i] != '.' {
			break
		}
		label, dotted = i+1, true
	}
	return end
}

// findIPv4 takes four numbers up to 255 with dots between them.
func findIPv4(text []byte, at int) (span, bool) {
	for i := at; i < len(text); i++ {
		if !isDigit(text[i]) {
			continue
		}
		if end := quadEnd(text, i); end > 0 {
			return span{i, end}, true
		}
		for i+1 < len(text) && isDigit(text[i+1]) {
			i++
		}
	}
	return span{}, false
}

// quadEnd returns where the address that begins at the byte i ends, or 0.
func quadEnd(text []byte, i int) int {
	for part := 0; ; part++ {
		n, begin := 0, i
		for i < len(text) && isDigit(text[i]) && i-begin < 4 {
			n = n*10 + int(text[i]-'0')
			i++
		}
		if i == begin || i-begin > 3 || n > 255 {
			return 0
		}
		if part == 3 {
			return i
		}
		if i == len(text) || text[i] != '.' {
			return 0
		}
		i++
	}
}

const (
	minCard = 13 // digits
	maxCard = 19
)

// findCard takes digits, with single spaces or dashes between groups of them,
// that are a number of a payment card.
func findCard(text []byte, at int) (span, bool) {
	for i := at; i < len(text); i++ {
		if !isDigit(text[i]) {
			continue
		}
		end := runEnd(text, i)
		for start := i; end-start >= minCard; {
			if !(start > 0 && isDigit(text[start-1])) {
				if stop := cardEnd(text[start:end]); stop > 0 {
					return span{start, start + stop}, true
				}
			}
			for start < end && isDigit(text[start]) { // go on with the next group
				start++
			}
			start++
		}
		i = end
	}
	return span{}, false
}

// runEnd returns where the digits and single separators that begin at i end.
func runEnd(text []byte, i int) int {
	for i < len(text) {
		switch {
		case isDigit(text[i]):
		case (text[i] == ' ' || text[i] == '-') && i+1 < len(text) && isDigit(text[i+1]):
		default:
			return i
		}
		i++
	}
	return i
}

// cardEnd returns where the longest card number that run begins with ends, 0 if
// there is none. It ends with a group.
func cardEnd(run []byte) (end int) {
	if !beginsAsCard(run) {
		return 0
	}
	var digits [maxCard]byte
	n := 0
	for i, c := range run {
		if !isDigit(c) {
			continue
		}
		if n == maxCard {
			break
		}
		digits[n] = c - '0'
		n++
		if last := i+1 == len(run) || !isDigit(run[i+1]); last && n >= minCard && luhn(digits[:n]) {
			end = i + 1
		}
	}
	return end
}

// beginsAsCard reports whether the first digits are those of the large networks:
// 3 to 6, and 22 to 27. A time in milliseconds since 1970 is not one of them.
func beginsAsCard(run []byte) bool {
	switch {
	case run[0] >= '3' && run[0] <= '6':
		return true
	case run[0] != '2':
		return false
	}
	second := run[1]
	if !isDigit(second) {
		second = run[2]
	}
	return second >= '2' && second <= '7'
}

// luhn reports whether the last digit checks the ones before it.
func luhn(digits []byte) bool {
	sum := 0
	for i, d := range digits {
		n := int(d)
		if (len(digits)-i)%2 == 0 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	return sum%10 == 0
}

// jwtHead is {" in base64.
var jwtHead = []byte("eyJ")

// findJWT takes three parts in base64url with dots between, the last of which
// may be empty.
func findJWT(text []byte, at int) (span, bool) {
	for from := at; ; {
		i := bytes.Index(text[from:], jwtHead)
		if i < 0 {
			return span{}, false
		}
		i += from
		head := base64End(text, i)
		if head-i >= 8 && head < len(text) && text[head] == '.' {
			body := base64End(text, head+1)
			if body-head >= 3 && body < len(text) && text[body] == '.' {
				return span{i, base64End(text, body+1)}, true
			}
		}
		from = max(head, i+1)
	}
}

func base64End(text []byte, i int) int {
	for i < len(text) && (isAlnum(text[i]) || text[i] == '-' || text[i] == '_') {
		i++
	}
	return i
}
