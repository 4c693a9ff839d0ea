// Package dlq is about dead letters: the record that an event becomes when a
// node cannot handle it, the files that hold such records, and how the events
// get out of them again, exactly as they were.
package dlq

import (
	"encoding/base64"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// Letter is a dead letter: an event that failed, and what is known about it.
type Letter struct {
	Error      string     // why it failed, without secrets: see Sanitise
	Class      pipe.Class // what could have been done about it
	Node       string     // where it failed
	Attempts   int64      // how often the node has tried
	Time       time.Time  // when it was given up
	FirstTime  time.Time  // when its source read it; before the first replay, if there was one
	ID         string     // of the event: pipe.Event.ID
	Origin     string     // where it came from, for people
	Source     string     // the source that read it
	Position   int64      // in the source's own unit, 0 when it has none
	Generation uint64     // of the configuration that was in force
	Replays    int64      // how often it has become a dead letter and was replayed before this one
	Metadata   []Entry    // of the event, in no order
	Event      record.Body
}

// Entry is one entry of an event's metadata.
type Entry struct{ Key, Value string }

// The keys of the record. The first eight are there in every dead letter.
const (
	keyError      = "error"
	keyClass      = "class"
	keyNode       = "node"
	keyAttempts   = "attempts"
	keyTime       = "time"
	keyID         = "id"
	keyOrigin     = "origin"
	keyEvent      = "event" // text as a string, an object as an object
	keyFirstTime  = "first_time"
	keySource     = "source"
	keyPosition   = "position"
	keyGeneration = "generation"
	keyReplays    = "replays"         // left out when 0
	keyMetadata   = "metadata"        // an object of strings; left out when there is none
	keyBytes      = "event_base64"    // the bytes of text that is not UTF-8: then event only shows it
	keyMetaBytes  = "metadata_base64" // pairs of keys and values, when not all are UTF-8: then metadata only shows them
)

// Of returns the letter of an event: what the event itself says. Error, Class,
// Node, Attempts, Time and Generation are left to the caller.
func Of(e *pipe.Event) Letter {
	l := Letter{FirstTime: e.Time(), ID: e.ID(), Origin: e.Origin(), Source: e.Source(), Position: e.Position(), Event: e.Body}
	if p := e.Past(); p != nil {
		l.Replays = p.Replays
		if !p.First.IsZero() {
			l.FirstTime = p.First
		}
	}
	e.RangeMeta(func(key, value string) bool {
		l.Metadata = append(l.Metadata, Entry{key, value})
		return true
	})
	return l
}

// Record returns the letter as it is written. The event is in it byte for byte.
func (l *Letter) Record() record.Body {
	r := record.NewObject(nil, 16)
	text := func(key, value string) { r.Add(nil, key, record.Str(value)) }
	number := func(key string, n int64) { r.Add(nil, key, record.Int(n, nil)) }
	text(keyError, l.Error)
	text(keyClass, string(l.Class))
	text(keyNode, l.Node)
	number(keyAttempts, l.Attempts)
	text(keyTime, timeText(l.Time))
	if !l.FirstTime.IsZero() {
		text(keyFirstTime, timeText(l.FirstTime))
	}
	text(keyID, l.ID)
	text(keyOrigin, l.Origin)
	text(keySource, l.Source)
	number(keyPosition, l.Position)
	number(keyGeneration, int64(l.Generation))
	if l.Replays > 0 {
		number(keyReplays, l.Replays)
	}
	l.addMetadata(&r)
	l.addEvent(&r)
	return r
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func (l *Letter) addEvent(r *record.Body) {
	if !l.Event.IsText() {
		r.Add(nil, keyEvent, record.RawJSON(l.Event.AppendJSON(nil)))
		return
	}
	line := l.Event.AppendText(nil)
	r.Add(nil, keyEvent, record.Text(line))
	if !utf8.Valid(line) {
		r.Add(nil, keyBytes, record.Str(base64.StdEncoding.EncodeToString(line)))
	}
}

func (l *Letter) addMetadata(r *record.Body) {
	if len(l.Metadata) == 0 {
		return
	}
	shown, exact, odd := []byte{'{'}, []byte{'['}, false
	for i, m := range l.Metadata {
		if i > 0 {
			shown, exact = append(shown, ','), append(exact, ',')
		}
		shown = append(record.AppendQuoted(shown, []byte(m.Key)), ':')
		shown = record.AppendQuoted(shown, []byte(m.Value))
		exact = fmt.Appendf(exact, `["%s","%s"]`, base64.StdEncoding.EncodeToString([]byte(m.Key)), base64.StdEncoding.EncodeToString([]byte(m.Value)))
		odd = odd || !utf8.ValidString(m.Key) || !utf8.ValidString(m.Value)
	}
	r.Add(nil, keyMetadata, record.RawJSON(append(shown, '}')))
	if odd {
		r.Add(nil, keyMetaBytes, record.RawJSON(append(exact, ']')))
	}
}

// Parse reads a letter out of its record. The letter shares no memory with it. An
// error says why the record is no dead letter.
func Parse(r *record.Body) (Letter, error) {
	var l Letter
	p := parser{r: r}
	l.Error, l.Class = p.text(keyError), pipe.Class(p.text(keyClass))
	l.Node, l.ID = p.needed(keyNode), p.needed(keyID)
	l.Origin, l.Source = p.text(keyOrigin), p.text(keySource)
	l.Attempts, l.Position, l.Replays = p.number(keyAttempts), p.number(keyPosition), p.number(keyReplays)
	l.Generation = uint64(p.number(keyGeneration))
	l.Time, l.FirstTime = p.time(keyTime), p.time(keyFirstTime)
	l.Metadata, l.Event = p.metadata(), p.event()
	if l.Source == "" {
		l.Source = l.Node
	}
	return l, p.err
}

// parser reads fields and keeps the first thing that is wrong.
type parser struct {
	r   *record.Body
	err error
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("not a dead letter: "+format, args...)
	}
}

func (p *parser) text(key string) string {
	v := p.r.Field(key)
	if v.Exists() && v.Kind() != record.KindString {
		p.fail("%s is no text", key)
	}
	return v.String()
}

func (p *parser) needed(key string) string {
	s := p.text(key)
	if s == "" {
		p.fail("it has no %s", key)
	}
	return s
}

func (p *parser) number(key string) int64 {
	v := p.r.Field(key)
	n, ok := v.Int()
	if v.Exists() && (!ok || n < 0) {
		p.fail("%s is no whole number", key)
	}
	return n
}

func (p *parser) time(key string) time.Time {
	s := p.text(key)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		p.fail("%s is no time", key)
	}
	return t
}

func (p *parser) event() record.Body {
	v := p.r.Field(keyEvent)
	switch v.Kind() {
	case record.KindObject:
		body, err := record.FromJSON(v.AppendJSON(nil), nil)
		if err != nil { // what is part of valid JSON is valid
			p.fail("event: %v", err)
		}
		return body
	case record.KindString:
		line := append([]byte{}, v.Bytes(nil)...)
		if exact := p.text(keyBytes); exact != "" {
			line = p.decode(keyBytes, exact)
		}
		return record.FromText(line)
	}
	p.fail("event is neither text nor an object")
	return record.Body{}
}

func (p *parser) decode(key, text string) []byte {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		p.fail("%s is no base64", key)
	}
	return data
}

func (p *parser) metadata() []Entry {
	if v := p.r.Field(keyMetaBytes); v.Exists() {
		return p.pairs(v)
	}
	v := p.r.Field(keyMetadata)
	if v.Exists() && v.Kind() != record.KindObject {
		p.fail("%s is no object", keyMetadata)
	}
	var list []Entry
	v.Members(func(key []byte, v record.Value) bool {
		list = append(list, Entry{string(key), v.String()})
		return true
	})
	return list
}

// pairs reads the metadata that JSON cannot hold.
func (p *parser) pairs(v record.Value) []Entry {
	var list []Entry
	v.Elements(func(pair record.Value) bool {
		var both []string
		pair.Elements(func(v record.Value) bool {
			both = append(both, string(p.decode(keyMetaBytes, v.String())))
			return true
		})
		if len(both) != 2 {
			p.fail("%s is no list of pairs", keyMetaBytes)
			return false
		}
		list = append(list, Entry{both[0], both[1]})
		return true
	})
	return list
}
