// Package pipe is pipectl's vocabulary: events, batches, outcomes, the
// contracts of sources, stages and sinks, and the registry that knows them.
// It imports the standard library and the record package only.
package pipe

import (
	"encoding/hex"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/pipectl/pipectl/engine/record"
)

// EventOverhead is the fixed part of an event's accounted size, in bytes: what
// the engine itself keeps for one event beside its payload and metadata.
const EventOverhead = 128

// Event is one instance of one event on one path through the pipeline.
//
// An event has one owner at a time: whoever holds the pointer may replace Body
// and metadata, and gives both up by handing the event on. The bytes behind a
// Body are shared between copies and never written to.
type Event struct {
	// Body is the content. A stage replaces or edits it; set it only when the
	// step has succeeded, so that a failed event leaves as it came.
	Body record.Body

	meta     *meta
	group    *Group
	decided  uint64 // the step of a stage that last decided about it
	index    uint32 // which message of the group
	split    uint32 // which part of the message, 0 when it was not split
	size     uint32 // accounted bytes, as of the last Weigh
	dead     bool   // travels as a dead letter
	settled  bool
	detached bool // its memory is its own
}

// meta is an immutable list of metadata; newer entries hide older ones.
type meta struct {
	key, value string
	next       *meta
}

// Meta returns the metadata value of key, and whether there is one.
func (e *Event) Meta(key string) (string, bool) {
	for m := e.meta; m != nil; m = m.next {
		if m.key == key {
			return m.value, true
		}
	}
	return "", false
}

// SetMeta sets metadata on this instance; copies on other branches keep theirs.
func (e *Event) SetMeta(key, value string) {
	if m := e.meta; m != nil && m.key == key { // it would only be hidden; copies keep theirs
		e.meta = m.next
		e.size -= uint32(len(m.key) + len(m.value))
	}
	e.meta = &meta{key: key, value: value, next: e.meta}
	e.size += uint32(len(key) + len(value))
}

// RangeMeta calls f for each metadata entry, newest first, until f returns false.
func (e *Event) RangeMeta(f func(key, value string) bool) {
	for m := e.meta; m != nil; m = m.next {
		if hidden(e.meta, m) {
			continue
		}
		if !f(m.key, m.value) {
			return
		}
	}
}

func hidden(head, m *meta) bool {
	for x := head; x != m; x = x.next {
		if x.key == m.key {
			return true
		}
	}
	return false
}

// Size returns the accounted size in bytes: payload, metadata and EventOverhead
// as of the last Weigh. Every byte bound uses it.
func (e *Event) Size() int { return int(e.size) }

// Weigh measures the event anew after its Body changed. Out.Emit and Batch.Add
// call it; components need not.
func (e *Event) Weigh() {
	n := EventOverhead + e.Body.Size()
	for m := e.meta; m != nil; m = m.next {
		n += len(m.key) + len(m.value)
	}
	e.size = uint32(min(n, 1<<32-1))
}

// Time returns when the source read the event (wall clock and monotonic).
func (e *Event) Time() time.Time {
	if e.group == nil {
		return time.Time{}
	}
	return e.group.read
}

// Position returns the event's position in its partition, in the source's own
// unit (the byte after the line for files), or 0.
func (e *Event) Position() int64 {
	if p := e.Past(); p != nil {
		return p.Position
	}
	return e.offset()
}

// offset is the position of the event's message in what its source reads now.
func (e *Event) offset() int64 {
	if e.group == nil || int(e.index) >= len(e.group.origins) {
		return 0
	}
	return e.group.origins[e.index].pos
}

// ID returns the stable identity of the event: the same input gives the same
// ID after any crash or replay. It is 16 hexadecimal digits, the FNV-1a hash of
// source, partition, position and part.
func (e *Event) ID() string {
	if p := e.Past(); p != nil {
		return partID(p.ID, e.split)
	}
	h := fnv.New64a()
	if g := e.group; g != nil {
		h.Write([]byte(g.source))
		h.Write([]byte{0})
		h.Write([]byte(g.partition))
		h.Write([]byte{0})
		h.Write(strconv.AppendInt(nil, e.Position(), 10))
		if g.line == 0 && e.Position() == 0 { // no positions: number the messages of this run
			h.Write(strconv.AppendInt(nil, int64(g.seq), 16))
			h.Write(strconv.AppendInt([]byte{'.'}, int64(e.index), 16))
		}
	}
	h.Write(strconv.AppendInt([]byte{'/'}, int64(e.split), 10))
	return hex.EncodeToString(h.Sum(nil))
}

// Origin says where the event came from, for people: "access.log:8899", or the
// source's name where there are no lines.
func (e *Event) Origin() string {
	if p := e.Past(); p != nil {
		return p.Origin
	}
	g := e.group
	switch {
	case g == nil:
		return "unknown"
	case g.line > 0:
		return g.where() + ":" + strconv.FormatInt(g.line+int64(e.index), 10)
	case e.Position() > 0:
		return g.where() + "@" + strconv.FormatInt(e.Position(), 10)
	}
	return g.where()
}

// Source returns the name of the source node that read the event.
func (e *Event) Source() string {
	if p := e.Past(); p != nil {
		return p.Source
	}
	if e.group == nil {
		return ""
	}
	return e.group.source
}

// Detach returns the same instance in memory of its own, so that a small event
// that stays behind does not pin the read buffer of its whole batch. The
// receiver must not be used afterwards.
func (e *Event) Detach() *Event {
	d := *e
	d.Body, d.detached = e.Body.Detach(), true
	if !e.detached && e.group != nil {
		e.group.depart(1)
	}
	return &d
}

// Dead reports whether the event travels as a dead letter.
func (e *Event) Dead() bool { return e.dead }

// MarkDead makes the event a dead letter: its delivery counts as dead_lettered.
// The engine calls it when an event leaves through a failed port.
func (e *Event) MarkDead() { e.dead = true }
