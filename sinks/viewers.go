package sinks

import (
	"context"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

// How long viewers are waited for.
const (
	viewerWait  = 10 * time.Second // one write to a viewer
	viewerAlive = 15 * time.Second // without an event, until it is seen whether it is still there
	viewerGrace = time.Second      // for the last events, when the sink closes
)

// crowd is the viewers of a sink. Each has a ring of messages of its own, which
// loses its oldest ones when the viewer is slow: handing on never waits.
type crowd struct {
	most   int // viewers
	events int // of a ring
	bytes  int // of a ring

	mu      sync.Mutex // guards what follows
	viewers map[*viewer]bool
	over    bool
	gone    sync.WaitGroup // handlers of viewers
}

func (c *crowd) init(most, events, bytes int) {
	c.most, c.events, c.bytes, c.viewers = most, events, bytes, map[*viewer]bool{}
}

// viewer is one of them.
type viewer struct {
	wake chan struct{} // one slot
	end  chan struct{} // closed when the sink closes
	cut  func()        // ends the connection at once; may be called at any time

	mu      sync.Mutex // guards what follows
	ring    [][]byte
	size    int   // bytes in ring
	dropped int64 // since the viewer was told last
}

// enter makes a viewer, if there is a place for one.
func (c *crowd) enter(cut func()) *viewer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || len(c.viewers) >= c.most {
		return nil
	}
	v := &viewer{wake: make(chan struct{}, 1), end: make(chan struct{}), cut: cut}
	c.viewers[v] = true
	c.gone.Add(1)
	return v
}

// leave ends what enter began.
func (c *crowd) leave(v *viewer) {
	c.mu.Lock()
	delete(c.viewers, v)
	c.mu.Unlock()
	c.gone.Done()
}

// count returns how many viewers there are.
func (c *crowd) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.viewers)
}

// show hands messages to every viewer. They are shared and must not change any more.
func (c *crowd) show(messages [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for v := range c.viewers {
		v.put(messages, c.events, c.bytes)
	}
}

// close tells the viewers that there is nothing more, and waits for their handlers;
// it cuts off who does not read.
func (c *crowd) close(ctx context.Context) {
	c.mu.Lock()
	if !c.over {
		c.over = true
		for v := range c.viewers {
			close(v.end)
		}
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, viewerGrace)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for v := range c.viewers {
			v.cut()
		}
	})()
	c.gone.Wait()
}

// encoded makes a message of every event with wrap. Those that the codec cannot
// write fail.
func encoded(enc *codec.Encoder, in []*pipe.Event, wrap func(text []byte) []byte) (messages [][]byte, err error) {
	var bad []pipe.ItemError
	var text []byte
	for i, e := range in {
		var err error
		if text, err = enc.AppendMessage(text[:0], e); err != nil {
			bad = append(bad, pipe.ItemError{Index: i, Err: pipe.Classed(pipe.Poison, err)})
			continue
		}
		messages = append(messages, wrap(text))
	}
	if len(bad) > 0 {
		return messages, &pipe.PartialError{Items: bad}
	}
	return messages, nil
}

func (v *viewer) put(messages [][]byte, events, bytes int) {
	v.mu.Lock()
	for _, m := range messages {
		v.ring = append(v.ring, m)
		v.size += len(m)
		for len(v.ring) > events || v.size > bytes && len(v.ring) > 1 {
			v.size -= len(v.ring[0])
			v.ring[0] = nil
			v.ring = v.ring[1:]
			v.dropped++
		}
	}
	v.mu.Unlock()
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// take returns what is there for the viewer, and how many messages were lost
// before it. Once taken, they do not count against the ring any more.
func (v *viewer) take() (messages [][]byte, dropped int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	messages, dropped = v.ring, v.dropped
	v.ring, v.size, v.dropped = nil, 0, 0
	return messages, dropped
}
