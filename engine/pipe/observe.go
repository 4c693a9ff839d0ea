package pipe

import "encoding/hex"

// Metadata keys of the W3C trace context. Sources that receive one set them,
// sinks that can send one on do, and an Observer keeps them up to date.
const (
	TraceParent = "traceparent"
	TraceState  = "tracestate"
)

// Observer follows events from node to node; tracing is one. An engine without
// one calls nothing.
type Observer interface {
	// Step is called when a node begins with events: after a source has read
	// them and before they are sent, before a stage's Process and before a sink's
	// first attempt to write. The events are the caller's: Step may set metadata,
	// which every copy made of them in this step inherits, and keeps neither the
	// slice nor the events beyond done. It is called from the goroutines of all
	// nodes at once and must not block.
	//
	// done, when not nil, is called at most once, from the same goroutine, when
	// the node is done with the events and before they are sent on or settled. A
	// worker that is given up never calls it. out is what a stage decided, nil
	// for sources and sinks; err is what Process or Write returned: with a
	// *PartialError only its items failed, and what ends with context.Canceled was
	// taken away by a stop or a reload, which is no failure.
	Step(node string, kind Kind, events []*Event) (done func(out *Out, err error))
}

// TraceContext is what a traceparent says: which trace an event belongs to and
// which step of it was the last.
type TraceContext struct {
	Trace   [16]byte
	Span    [8]byte
	Sampled bool // its spans are wanted
}

// ParseTraceParent reads a traceparent of W3C Trace Context, of version 00 or of
// a later one as far as 00 knows it. It is false for anything else.
func ParseTraceParent(s string) (c TraceContext, ok bool) {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	var version, flags [1]byte
	switch {
	case len(s) < length, len(s) > length && (s[:2] == "00" || s[length] != '-'):
		return c, false
	case s[2] != '-' || s[35] != '-' || s[52] != '-':
		return c, false
	case !unhex(version[:], s[:2]) || version[0] == 0xff:
		return c, false
	case !unhex(c.Trace[:], s[3:35]) || !unhex(c.Span[:], s[36:52]) || !unhex(flags[:], s[53:55]):
		return TraceContext{}, false
	}
	c.Sampled = flags[0]&1 != 0
	return c, c.Trace != [16]byte{} && c.Span != [8]byte{}
}

// unhex decodes lower-case hexadecimal digits.
func unhex(dst []byte, s string) bool {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

// String returns c as a traceparent.
func (c TraceContext) String() string {
	b := append(make([]byte, 0, 55), "00-"...)
	b = append(hex.AppendEncode(b, c.Trace[:]), '-')
	b = append(hex.AppendEncode(b, c.Span[:]), "-00"...)
	if c.Sampled {
		b[len(b)-1] = '1'
	}
	return string(b)
}
