package record

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// AppendQuoted appends text as a JSON string with its quotes. It escapes what the
// grammar requires and nothing else; bytes that are not UTF-8 become U+FFFD.
func AppendQuoted(dst, text []byte) []byte {
	dst = append(dst, '"')
	for done := 0; ; {
		i := plain(text, done)
		dst = append(dst, text[done:i]...)
		if i == len(text) {
			return append(dst, '"')
		}
		dst, done = appendOdd(dst, text, i)
	}
}

// appendOdd appends the special character at text[i] and returns where it ends.
func appendOdd(dst, text []byte, i int) ([]byte, int) {
	switch c := text[i]; {
	case c == '"' || c == '\\':
		return append(dst, '\\', c), i + 1
	case c == '\n':
		return append(dst, '\\', 'n'), i + 1
	case c == '\t':
		return append(dst, '\\', 't'), i + 1
	case c == '\r':
		return append(dst, '\\', 'r'), i + 1
	case c < ' ':
		return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15]), i + 1
	}
	r, n := utf8.DecodeRune(text[i:])
	return utf8.AppendRune(dst, r), i + n
}

// appendUnescaped appends the characters of a valid JSON string, given without its
// quotes. Half a surrogate pair becomes U+FFFD.
func appendUnescaped(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(dst, s...)
		}
		r, n := unescape(s[i:])
		dst = utf8.AppendRune(append(dst, s[:i]...), r)
		s = s[i+n:]
	}
}

// appendContent is appendUnescaped for a string that may have escapes.
func appendContent(dst, s []byte, escaped bool) []byte {
	if escaped {
		return appendUnescaped(dst, s)
	}
	return append(dst, s...)
}

// unescape returns the character of the escape that s starts with, and its length.
func unescape(s []byte) (rune, int) {
	switch c := s[1]; c {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r := hex4(s[2:])
		if !utf16.IsSurrogate(r) {
			return r, 6
		}
		if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
			if r = utf16.DecodeRune(r, hex4(s[8:])); r != utf8.RuneError {
				return r, 12
			}
		}
		return utf8.RuneError, 6
	default:
		return rune(c), 2
	}
}

func hex4(s []byte) rune {
	return hexDigit(s[0])<<12 | hexDigit(s[1])<<8 | hexDigit(s[2])<<4 | hexDigit(s[3])
}

// equalContent reports whether the characters of a valid JSON string, given
// without its quotes, are those of want.
func equalContent(s []byte, escaped bool, want string) bool {
	if !escaped {
		return string(s) == want
	}
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return string(s) == want
		}
		if len(want) < i || string(s[:i]) != want[:i] {
			return false
		}
		r, n := unescape(s[i:])
		var char [utf8.UTFMax]byte
		c := utf8.AppendRune(char[:0], r)
		if want = want[i:]; len(want) < len(c) || string(c) != want[:len(c)] {
			return false
		}
		s, want = s[i+n:], want[len(c):]
	}
}
