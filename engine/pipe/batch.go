package pipe

import (
	"time"

	"github.com/pipectl/pipectl/engine/record"
)

// Batch is what one call of Source.Read collects. The engine makes it, hands it
// to Read empty, and takes the events out; a source only appends.
type Batch struct {
	// Arena owns the index entries and small values of the bodies of this
	// source. Pass it to record and codec functions.
	Arena record.Arena

	events  []*Event
	failed  []Failure
	cells   *Supply[[]uint32]
	cell    *Piece[[]uint32] // indexes of the next bodies are in its last lent cells
	lent    int
	slabs   *Supply[[]Event]
	slab    *slab // the events of the next Adds are in it, from used on
	used    int
	filled  int64 // accounted bytes of the events in slab
	kept    bool  // the group holds slab
	group   *Group
	meta    *meta
	origins []origin
	tokens  []any
	weights []int32
	inside  bool // between Begin and End
	each    any  // token of the messages that Add and Fail make; nil for none
	bytes   int64
}

// Failure is an event that could not be handled, and why.
type Failure struct {
	Event *Event
	Err   error
}

// Reset prepares the batch for the next Read. Only the engine calls it.
func (b *Batch) Reset(acks Acks, source string, seq uint64) {
	b.events, b.failed = b.events[:0], b.failed[:0]
	b.group = &Group{acks: acks, source: source, seq: seq}
	b.origins = make([]origin, 0, max(16, min(cap(b.origins), 4096)))
	b.lendCells()
	b.tokens, b.weights, b.each, b.meta, b.inside, b.kept, b.bytes = nil, nil, nil, nil, false, false, 0
}

// From names the partition (a file, a topic partition) of the batch and the
// line number of its first message, 0 if it has no lines. A batch comes from
// one partition.
func (b *Batch) From(partition string, line int64) {
	b.group.partition, b.group.line = partition, line
}

// Line returns the line number that the next message gets, or 0.
func (b *Batch) Line() int64 {
	if b.group.line == 0 {
		return 0
	}
	return b.group.line + int64(len(b.origins))
}

// SetMeta sets metadata for all events added after it.
func (b *Batch) SetMeta(key, value string) {
	b.meta = &meta{key: key, value: value, next: b.meta}
}

// Begin starts a message that may hold several events (an HTTP request, a
// broker message): what Add appends until End is settled as one, and
// Settler.Settled is called with token once all of it is.
func (b *Batch) Begin(token any) {
	b.padTokens()
	b.origins = append(b.origins, origin{})
	b.tokens, b.weights = append(b.tokens, token), append(b.weights, 0)
	b.inside = true
}

// Each gives a token to every message that is added from now on, as Begin does for
// one that holds several events: for what makes messages of its own, such as a
// codec.
func (b *Batch) Each(token any) {
	b.padTokens()
	b.each = token
}

// padTokens says of the messages so far, if they do not know of tokens, that they
// have none.
func (b *Batch) padTokens() {
	if b.tokens == nil {
		b.tokens, b.weights = make([]any, 0, cap(b.origins)), make([]int32, 0, cap(b.origins))
	}
	for len(b.tokens) < len(b.origins) {
		b.tokens, b.weights = append(b.tokens, nil), append(b.weights, 1)
	}
}

// End closes the message opened by Begin. A message without events is settled
// at once, as filtered.
func (b *Batch) End() { b.inside = false }

// Add appends an event. Outside Begin and End it is a message of its own, and
// pos is its position: what Commit is called with once everything up to it is
// settled (for a file: the offset after the line). It returns the event, for
// metadata of its own.
func (b *Batch) Add(body record.Body, pos int64) *Event {
	e := b.next(body, pos)
	b.events = append(b.events, e)
	return e
}

// Fail appends input that could not be decoded. body is what could be read of
// it, as text. It leaves through the source's failed port or stops the
// pipeline, as on_error says.
func (b *Batch) Fail(body record.Body, pos int64, err error) {
	b.failed = append(b.failed, Failure{b.next(body, pos), err})
}

func (b *Batch) next(body record.Body, pos int64) *Event {
	e := b.newEvent()
	e.Body = body
	b.enter(e, pos)
	return e
}

// AddText is Add for a line of text, the most common event, without the copies.
func (b *Batch) AddText(line []byte, pos int64) {
	e := b.newEvent()
	e.Body = record.FromText(line)
	b.enter(e, pos)
	b.events = append(b.events, e)
}

// enter makes e an instance of the present message, or of one of its own.
func (b *Batch) enter(e *Event, pos int64) {
	if !b.inside {
		b.origins = append(b.origins, origin{})
		if b.tokens != nil {
			b.tokens, b.weights = append(b.tokens, b.each), append(b.weights, 0)
		}
	}
	i := len(b.origins) - 1
	o := &b.origins[i]
	split := uint32(o.open)
	o.open++
	o.pos = pos
	if b.weights != nil {
		b.weights[i]++
	}
	e.meta, e.group, e.index, e.split = b.meta, b.group, uint32(i), split
	e.decided, e.dead, e.settled, e.detached = 0, false, false, false
	e.Weigh()
	b.bytes += int64(e.size)
	b.filled += int64(e.size)
}

// Len returns how many events the batch holds, failed ones included.
func (b *Batch) Len() int { return len(b.events) + len(b.failed) }

// Bytes returns the accounted bytes of the events in the batch.
func (b *Batch) Bytes() int64 { return b.bytes }

// Messages returns how many messages the batch holds.
func (b *Batch) Messages() int { return len(b.origins) }

// Take closes the batch and returns its events, its failures and its group. The
// slices are valid until the next Reset. Only the engine calls it. start must
// be called on the group once the caller has counted it.
func (b *Batch) Take(now time.Time) (events []*Event, failed []Failure, g *Group) {
	g = b.group
	g.read, g.origins, g.tokens, g.weights = now, b.origins, b.tokens, b.weights
	g.events, g.bytes = int64(b.Len()), b.bytes
	g.open.Store(int64(len(g.origins)))
	g.resident.Store(g.events)
	return b.events, b.failed, g
}

// SettleEmpty settles the messages of g that hold no event. The engine calls it
// after it has counted the group, before any event is sent.
func SettleEmpty(g *Group) {
	n := int64(0)
	for i := range g.origins {
		if g.origins[i].open != 0 {
			continue
		}
		n++
		g.origins[i].worst.Store(uint32(Filtered))
		if g.tokens != nil {
			g.acks.MessageDone(g, g.tokens[i], Filtered)
		}
	}
	if len(g.origins) == 0 { // a read that brought nothing
		return
	}
	g.release(n)
}
