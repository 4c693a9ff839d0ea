package sinks

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// longestValue bounds what one value adds to a file's name, in bytes: names of
// more than 255 bytes are refused by most file systems.
const longestValue = 128

// pathTemplate is a file name with places for values of the event.
type pathTemplate struct {
	parts []pathPart
}

// pathPart is literal text or one place.
type pathPart struct {
	literal string
	field   *record.Path // {service}
	meta    string       // {meta:topic}
	layout  string       // {time:2006-01-02}
}

// parsePathTemplate reads a template. "{{" and "}}" stand for braces.
func parsePathTemplate(s string) (*pathTemplate, error) {
	t := &pathTemplate{}
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			t.parts = append(t.parts, pathPart{literal: lit.String()})
			lit.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], "{{"), strings.HasPrefix(s[i:], "}}"):
			lit.WriteByte(s[i])
			i++
		case s[i] == '}':
			return nil, fmt.Errorf("%q has a } without a {: write }} for a brace", s)
		case s[i] == '{':
			n := strings.IndexByte(s[i:], '}')
			if n < 0 {
				return nil, fmt.Errorf("%q has a { without a }: write {{ for a brace", s)
			}
			part, err := parsePathPart(s[i+1 : i+n])
			if err != nil {
				return nil, err
			}
			flush()
			t.parts = append(t.parts, part)
			i += n
		default:
			lit.WriteByte(s[i])
		}
	}
	flush()
	return t, nil
}

func parsePathPart(s string) (pathPart, error) {
	if layout, ok := strings.CutPrefix(s, "time:"); ok {
		if layout == "" || time.Unix(0, 0).UTC().Format(layout) == layout {
			return pathPart{}, fmt.Errorf("{%s} holds no part of a time: write a layout such as {time:2006-01-02} or {time:15}", s)
		}
		return pathPart{layout: layout}, nil
	}
	if key, ok := strings.CutPrefix(s, "meta:"); ok {
		if key == "" {
			return pathPart{}, fmt.Errorf("{%s} names no metadata: write {meta:topic}", s)
		}
		return pathPart{meta: key}, nil
	}
	field, err := record.ParsePath(s)
	if err != nil {
		return pathPart{}, fmt.Errorf("{%s}: %w", s, err)
	}
	return pathPart{field: field}, nil
}

// static reports whether every event goes to the same file.
func (t *pathTemplate) static() bool {
	for _, p := range t.parts {
		if p.literal == "" {
			return false
		}
	}
	return true
}

// appendPath appends the name of e's file to dst. What e does not have, and
// what is neither text, number nor boolean, becomes missing.
func (t *pathTemplate) appendPath(dst []byte, e *pipe.Event, missing string) []byte {
	for _, p := range t.parts {
		if p.literal != "" {
			dst = append(dst, p.literal...)
			continue
		}
		if p.layout != "" { // the layout is the operator's: it may make folders
			dst = e.Time().UTC().AppendFormat(dst, p.layout)
			continue
		}
		start := len(dst)
		dst = p.appendValue(dst, e)
		if len(dst) == start {
			dst = append(dst, missing...)
			continue
		}
		dst = tame(dst, start)
	}
	return dst
}

func (p *pathPart) appendValue(dst []byte, e *pipe.Event) []byte {
	if p.meta != "" {
		v, _ := e.Meta(p.meta)
		return append(dst, v...)
	}
	v := e.Body.Get(p.field)
	switch v.Kind() {
	case record.KindString, record.KindNumber, record.KindBool:
		var scratch [64]byte
		return append(dst, v.Bytes(scratch[:0])...)
	}
	return dst
}

// tame makes what was appended at start harmless inside a file name: it can
// neither leave its folder nor be empty, hidden by control characters, or too
// long. Events choose the value, and events come from strangers.
func tame(b []byte, start int) []byte {
	if end := start + longestValue; len(b) > end {
		for !utf8.RuneStart(b[end]) && end > start+longestValue-utf8.UTFMax {
			end--
		}
		b = b[:end]
	}
	dots := true
	for i := start; i < len(b); i++ {
		c := b[i]
		if c == '/' || c == '\\' || c < ' ' || c == 0x7f {
			b[i] = '_'
		}
		dots = dots && c == '.'
	}
	for i := start; dots && i < len(b); i++ {
		b[i] = '_'
	}
	return b
}
