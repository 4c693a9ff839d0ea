package stages

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"slices"

	"github.com/pipectl/pipectl/engine/record"
)

// redactWork is what one worker needs to redact texts.
type redactWork struct {
	stage     *Redact
	arena     *record.Arena
	mask      []byte
	mac       hash.Hash // nil unless the action is hash
	scratch   []byte    // what is being looked at
	unescaped []byte
	clean     []byte // a text without what was found
	spans     []span
	look      []*sought
	sum       [sha256.Size]byte
	digits    []byte
}

// span is a part of a text: from its first byte to behind its last.
type span struct{ from, to int }

func (r *Redact) newWork(a *record.Arena) *redactWork {
	w := &redactWork{stage: r, arena: a, mask: []byte(r.Mask)}
	if r.Action == redactHash {
		w.mac = hmac.New(sha256.New, []byte(r.Salt))
	}
	return w
}

// replacement returns what stands in place of secret. It is valid until the
// next call.
func (w *redactWork) replacement(secret []byte) []byte {
	switch w.stage.Action {
	case redactRemove:
		return nil
	case redactMask:
		return w.mask
	}
	w.mac.Reset()
	w.mac.Write(secret)
	w.digits = hex.AppendEncode(w.digits[:0], w.mac.Sum(w.sum[:0]))
	return w.digits
}

// text returns line without what the patterns of look find, and whether that is
// something else than line. It is valid until the next call.
func (w *redactWork) text(line []byte, look []*sought) (clean []byte, changed bool) {
	w.spans = w.spans[:0]
	for _, p := range look {
		w.spans = p.find(line, w.spans)
	}
	if len(w.spans) == 0 {
		return line, false
	}
	slices.SortFunc(w.spans, func(a, b span) int { return a.from - b.from })
	w.clean = w.clean[:0]
	end := 0
	for i := 0; i < len(w.spans); {
		s := w.spans[i]
		for i++; i < len(w.spans) && w.spans[i].from < s.to; i++ { // what overlaps is one
			s.to = max(s.to, w.spans[i].to)
		}
		w.clean = append(append(w.clean, line[end:s.from]...), w.replacement(line[s.from:s.to])...)
		end = s.to
	}
	w.clean = append(w.clean, line[end:]...)
	return w.clean, true
}

// json does the same with the texts and numbers of a JSON value. What it returns
// is kept by nobody else; a number in which something was found becomes a text.
func (w *redactWork) json(raw []byte) (clean []byte, changed bool) {
	look := w.lookFor(raw)
	if len(look) == 0 {
		return raw, false
	}
	done := 0 // up to here raw is in clean
	for at := 0; at < len(raw); {
		end := tokenEnd(raw, at)
		if end == at {
			at++
			continue
		}
		token := raw[at:end]
		if token[0] == '"' && isName(raw, end) {
			at = end
			continue
		}
		v := record.RawJSON(token)
		text := v.Bytes(w.unescaped)
		if v.Kind() == record.KindString && cap(text) > cap(w.unescaped) && len(text)+2 < len(token) {
			w.unescaped = text[:0] // it had escapes: the memory is ours
		}
		if text, found := w.text(text, look); found {
			clean = append(clean, raw[done:at]...)
			clean = record.AppendQuoted(clean, text)
			done = end
		}
		at = end
	}
	if done == 0 {
		return raw, false
	}
	return append(clean, raw[done:]...), true
}

// lookFor returns the patterns that can be in raw.
func (w *redactWork) lookFor(raw []byte) []*sought {
	if bytes.IndexByte(raw, '\\') >= 0 {
		return w.stage.look
	}
	w.look = w.look[:0]
	for _, p := range w.stage.look {
		if p.may == nil || p.may(raw) {
			w.look = append(w.look, p)
		}
	}
	return w.look
}

// tokenEnd returns where the text or number that begins at the byte at ends; at
// itself when none begins there.
func tokenEnd(raw []byte, at int) int {
	switch c := raw[at]; {
	case c == '"':
		for i := at + 1; i < len(raw); i++ {
			switch raw[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
	case c == '-' || c-'0' <= 9:
		i := at + 1
		for i < len(raw) && (raw[i]-'0' <= 9 || raw[i] == '.' || raw[i]|0x20 == 'e' || raw[i] == '+' || raw[i] == '-') {
			i++
		}
		return i
	}
	return at
}

// isName reports whether what ends at the byte end is the name of a member.
func isName(raw []byte, end int) bool {
	for _, c := range raw[end:] {
		switch c {
		case ' ', '\t', '\r', '\n':
		case ':':
			return true
		default:
			return false
		}
	}
	return false
}
