package engine

import (
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// TestHandFence: only the call that has taken too long loses its events, and only
// while it goes on.
func TestHandFence(t *testing.T) {
	h := &hand{}
	h.take(make([]*pipe.Event, 1))
	first := h.begin(time.Now())
	h.finish()
	if h.fence(first) {
		t.Error("a call that was over was left behind")
	}
	second := h.begin(time.Now())
	if h.fence(first) {
		t.Error("a call was left behind in the place of the one before")
	}
	if !h.fence(second) || !h.lost() || h.give() || h.fence(second) {
		t.Error("a call that goes on must be left behind, once")
	}
	h.take(nil)
	if h.give() {
		t.Error("a worker that was left behind goes on")
	}
}
