package engine

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pipectl/pipectl/engine/pipe"
)

// inside is the engine as its components may see it; it implements pipe.Inside.
type inside struct{ e *Engine }

// StatusJSON implements pipe.Inside.
func (i inside) StatusJSON() ([]byte, error) { return json.Marshal(i.e.Status()) }

// Follow implements pipe.Inside.
func (i inside) Follow(f func(node string, r slog.Record)) (stop func()) { return i.e.listeners.add(f) }

var _ pipe.Inside = inside{}

// listeners are told what the pipeline logs.
type listeners struct {
	some atomic.Bool  // there is one
	mu   sync.RWMutex // guards list; held for reading while they are told
	list []*listener
}

type listener struct {
	f func(node string, r slog.Record)
}

func (l *listeners) add(f func(node string, r slog.Record)) (remove func()) {
	one := &listener{f}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, one)
	l.some.Store(true)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.list = slices.DeleteFunc(l.list, func(x *listener) bool { return x == one })
		l.some.Store(len(l.list) > 0)
	}
}

func (l *listeners) tell(node string, r slog.Record) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, x := range l.list {
		x.f(node, r)
	}
}

// listened is the handler of the engine's log: what it writes, the listeners hear.
type listened struct {
	slog.Handler
	to   *listeners
	node string // whose log it is
}

// Handle implements slog.Handler.
func (h *listened) Handle(ctx context.Context, r slog.Record) error {
	if h.to.some.Load() {
		h.to.tell(h.node, r.Clone())
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *listened) WithAttrs(attrs []slog.Attr) slog.Handler {
	node := h.node
	for _, a := range attrs {
		if a.Key == "node" {
			node = a.Value.String()
		}
	}
	return &listened{Handler: h.Handler.WithAttrs(attrs), to: h.to, node: node}
}

// WithGroup implements slog.Handler.
func (h *listened) WithGroup(name string) slog.Handler {
	return &listened{Handler: h.Handler.WithGroup(name), to: h.to, node: h.node}
}
