package pipe

import (
	"encoding/hex"
	"hash/fnv"
	"io"
	"strconv"
	"time"
)

// Past is who an event was when it was read the first time. An event that is
// read again from where it was put aside, a dead letter, keeps its identity: a
// sink that knows the event from before knows it again.
type Past struct {
	ID       string    // as Event.ID was
	Source   string    // the source node that read it
	Origin   string    // as Event.Origin was
	Position int64     // as Event.Position was
	First    time.Time // when it was read the first time; zero when unknown
	Replays  int64     // how often it was put aside and replayed before, this time included
}

// Replayed is a token (see Batch.Begin) of a message whose event had a life
// before this run: ID, Source, Origin and Position of the event, and of all that
// is made of it, are those of its past. Its Time is that of this run: the age of
// an event, its deadline and buffer.age begin anew.
type Replayed interface {
	// Past returns the same every time, never nil. It is called from any
	// goroutine and must not block.
	Past() *Past
}

// Past returns the earlier life of an event that is replayed, nil for all others.
func (e *Event) Past() *Past {
	if r, ok := e.token().(Replayed); ok {
		return r.Past()
	}
	return nil
}

// token returns the token of the event's message, nil when it has none.
func (e *Event) token() any {
	if g := e.group; g != nil && int(e.index) < len(g.tokens) {
		return g.tokens[e.index]
	}
	return nil
}

// partID is the identity of a part of an event that is known by id.
func partID(id string, part uint32) string {
	if part == 0 {
		return id
	}
	h := fnv.New64a()
	io.WriteString(h, id)
	h.Write(strconv.AppendUint([]byte{'/'}, uint64(part), 10))
	return hex.EncodeToString(h.Sum(nil))
}
