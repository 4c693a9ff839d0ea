package dlq

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxError is the longest error text of a dead letter, in bytes: some servers
// answer with a whole page.
const maxError = 4 << 10

// hidden stands where something was taken out.
const hidden = "***"

// What an error of a client library can give away, although the configuration
// does not mark it as a secret: it can come from the environment or the far side.
var leaks = []struct {
	hint string // text that is there whenever find matches, in small letters
	find *regexp.Regexp
	with string
}{
	{"://", regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#"'` + "`" + `]*@`), "${1}" + hidden + "@"},
	{"@", regexp.MustCompile(`(^|[\s"'(=` + "`" + `])[^\s:/@"'(=` + "`" + `]+:[^\s/@"'` + "`" + `]+@([\w.-]+\(|[\w-]+[.:]|\[)`), "${1}" + hidden + "@${2}"},
	{"=", regexp.MustCompile(`(?i)\b([\w.-]*(?:password|passwd|passphrase|pwd|secret|token|credential|signature|api_?-?key|access_?-?key|private_?-?key|sig|auth)=)("[^"]*"|'[^']*'|[^\s&;,"')]+)`), "${1}" + hidden},
	{"authorization", regexp.MustCompile(`(?i)\b(authorization["']?\s*[:=]\s*["']?(?:[a-z]+ )?)[^\s"',;]+`), "${1}" + hidden},
	{"bearer", regexp.MustCompile(`(?i)\b(bearer\s+)[a-z0-9._~+/=-]{16,}`), "${1}" + hidden},
}

// Sanitise returns the text of an error as it may be kept in a file: without user
// and password in an address, without tokens and passwords in its query or after
// "Bearer", and at most 4 KiB of it. Secrets of the configuration are replaced
// by redact, which may be nil.
func Sanitise(text string, redact func(string) string) string {
	if redact != nil {
		text = redact(text)
	}
	text = cut(text, 4*maxError) // bounds the work below
	lower := strings.ToLower(text)
	for _, l := range leaks {
		if strings.Contains(lower, l.hint) {
			text = l.find.ReplaceAllString(text, l.with)
		}
	}
	return cut(text, maxError)
}

// cut returns at most n bytes of text, and says that there was more.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}
